"""The API reference is complete: it has every public method, and each says what it raises and what a cancellation does.

docs/reference/index.md promises this. The reference is made from the docstrings, and help() shows the same.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import pytest

import holdfast.instrumentation

from .reference import EXPORTING, documented, entries, handed_out, members, methods, public_classes

METHODS = methods()
OF_ASYNCIO = "Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"
CLOSABLE = (
    *(f"{tier}{kind}" for tier in ("", "threads.") for kind in (*OF_ASYNCIO, "RWLock")),
    *(f"threads.Sync{kind}" for kind in OF_ASYNCIO if kind != "BoundedSemaphore"),
    "Closable",
    "RateLimiter",
    "threads.RateLimiter",
    "threads.SyncRateLimiter",
)
BLOCKS = {
    "holdfast.cluster.Fence.admitted",
    "holdfast.cluster.Fence.check",
    "holdfast.cluster.SQLiteFence.check",
    "holdfast.testing.engine_suite.EngineSuite.run",
    "holdfast.testing.explore",
    "holdfast.testing.explored",
}
"""What may block a thread without being given a timeout."""
OPENS = {"holdfast.connect"}
"""What returns something to be entered with `async with`."""
RAISES_NOTHING = {
    *(f"holdfast.{kind}.{name}" for kind in CLOSABLE for name in ("close", "is_closed")),
    *(f"holdfast.{kind}.statistics" for kind in ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock")),
    *(f"holdfast.{kind}.locked" for kind in ("BoundedSemaphore", "Condition", "Lock", "Semaphore")),
    "holdfast.Event.is_set",
    "holdfast.Semaphore.statistics",
    "holdfast.install",
    "holdfast.uninstall",
    *(f"holdfast.threads.{kind}.statistics" for kind in ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock")),
    *(f"holdfast.threads.{kind}.locked" for kind in ("BoundedSemaphore", "Condition", "Lock", "Semaphore")),
    *(f"holdfast.threads.{kind}.{name}" for kind in ("Condition", "Lock") for name in ("acquire", "try_acquire")),
    *(f"holdfast.threads.{kind}.{change}" for kind in ("Barrier", "SyncBarrier") for change in ("abort", "reset")),
    *(f"holdfast.threads.{kind}.{name}" for kind in ("Event", "SyncEvent") for name in ("clear", "is_set", "set")),
    *(f"holdfast.threads.{kind}.locked" for kind in ("SyncCondition", "SyncLock")),
    "holdfast.threads.Event.wait",
    "holdfast.threads.Semaphore.statistics",
    *(f"holdfast.{kind}.{name}" for kind in ("KeyLock", "Side") for name in ("locked", "statistics")),
    *(f"holdfast.{kind}.{name}" for kind in ("Reader", "Writer") for name in ("locked", "statistics")),
    *(f"holdfast.threads.{kind}.locked" for kind in ("SyncKeyLock", "SyncReader", "SyncSide", "SyncWriter")),
    *(f"holdfast.{kind}.try_acquire" for kind in ("AllKeys", "KeyLock")),
    "holdfast.AllKeys.locked",
    *(f"holdfast.{kind}.is_made" for kind in ("Once", "threads.Once", "threads.SyncOnce")),
    "holdfast.threads.RateLimiter.statistics",
    "holdfast.RWLock.statistics",
    "holdfast.RateLimiter.statistics",
    "holdfast.threads.RWLock.statistics",
    *(
        f"holdfast.testing.Run.{name}"
        for name in ("afterwards", "another_loop", "at_end", "at_rest", "invariant", "log")
    ),
    "holdfast.debug.dump",
    *(f"holdfast.debug.{name}" for name in ("Dump.as_dict", "Dump.to_json", "Watch.stop")),
    *(
        f"holdfast.instrumentation.{hook}.{name}"
        for hook in ("Hook", "OpenTelemetryHook", "PrometheusHook")
        for name in vars(holdfast.instrumentation.Hook)
        if not name.startswith("_")
    ),
    "holdfast.cluster.engines.contract.Engine.keeper",
    "holdfast.cluster.engines.contract.Engine.wake",
    "holdfast.cluster.engines.contract.Engine.watch",
    "holdfast.cluster.engines.contract.Keeper.close",
    "holdfast.cluster.engines.contract.to_wake",
}
"""What raises nothing of its own, however it is called. A property raises nothing, unless it is awaited."""


def is_awaited(thing: Any) -> bool:
    if isinstance(thing, property):
        return "Awaitable" in str(thing.fget.__annotations__["return"])
    return inspect.iscoroutinefunction(inspect.unwrap(thing)) if callable(thing) else False


def has_timeout(thing: Any) -> bool:
    return callable(thing) and "timeout" in inspect.signature(thing).parameters


def lacking(name: str, thing: Any, text: str) -> list[str]:
    """The paragraphs that a docstring lacks."""
    required = []
    if name not in RAISES_NOTHING and (is_awaited(thing) or not isinstance(thing, property)):
        required.append("Raises ")
    if is_awaited(thing) or has_timeout(thing) or name in BLOCKS | OPENS:
        required.append("Cancellation: ")
    return [each for each in required if not any(paragraph.startswith(each) for paragraph in text.split("\n\n"))]


@pytest.mark.parametrize("name", METHODS)
def test_a_docstring_says_what_is_raised_and_what_a_cancellation_does(name: str) -> None:
    text = inspect.getdoc(METHODS[name])
    assert text, "it has no docstring"
    assert not lacking(name, METHODS[name], text)


def test_a_paragraph_that_is_missing_is_noticed() -> None:
    noticed = 0
    for name, thing in METHODS.items():
        paragraphs = (inspect.getdoc(thing) or "").split("\n\n")
        for start in ("Raises ", "Cancellation: "):
            rest = [each for each in paragraphs if not each.startswith(start)]
            if len(rest) < len(paragraphs) and start in lacking(name, thing, "\n\n".join(rest)):
                noticed += 1
                assert start in lacking(name, thing, "\n\n".join(rest).replace("\n\n", f" {start}"))  # no paragraph
    assert noticed > 150


@pytest.mark.parametrize("name", sorted(RAISES_NOTHING))
def test_what_raises_nothing_says_and_does_so(name: str) -> None:
    thing = METHODS[name]
    assert not re.search(r"(\A|\n\n)Raises ", inspect.getdoc(thing) or "")
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(ast.parse(source)))


def test_what_blocks_is_there() -> None:
    assert METHODS.keys() >= BLOCKS | OPENS


# The reference itself


@pytest.mark.parametrize("module", EXPORTING, ids=lambda module: module.__name__)
def test_the_reference_has_every_name_that_can_be_imported(module: Any) -> None:
    there = {(entry.module, entry.name) for entry in entries()}
    missing = [
        name
        for name in module.__all__
        if (module.__name__, name) not in there
        # An error of the cluster tier can be imported from holdfast as well, and is on one page.
        and (getattr(getattr(module, name), "__module__", ""), name) not in there
    ]
    assert not missing


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.module}.{entry.name}")
def test_the_reference_has_every_method_of_a_class(entry: Any) -> None:
    name = f"{entry.module}.{entry.name}"
    cls = public_classes().get(name)
    if cls is None or entry.members is None:
        return
    of_bases = {
        method
        for other, base in public_classes().items()
        if base in cls.__mro__[1:] and other.rpartition(".")[0] == entry.module
        for method, _ in members(base)
    }
    missing = {method for method, _ in members(cls)} - entry.members - of_bases
    assert not missing


def test_the_reference_is_read() -> None:
    assert len(documented()) > 50
    assert {*handed_out()} <= {*documented()}
    assert len(METHODS) > 150
