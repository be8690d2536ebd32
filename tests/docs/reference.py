"""What docs/reference/ documents: the classes and functions that its directives name, and their members."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import holdfast
import holdfast.cluster
import holdfast.instrumentation
import holdfast.testing
import holdfast.threads
from holdfast.testing import engine_suite

PAGES = Path(__file__).parents[2] / "docs" / "reference"
EXPORTING = [holdfast, holdfast.threads, holdfast.cluster, holdfast.instrumentation, holdfast.testing]
DIRECTIVE = re.compile(r"^\.\. (?P<what>currentmodule|auto\w+|py:\w+):: (?P<name>[\w.]+)")
MEMBERS = re.compile(r"^ +:members: *(?P<names>.*)")


class Entry(NamedTuple):
    """One directive."""

    module: str
    name: str
    members: frozenset[str] | None
    """None: all of them."""


@cache
def entries() -> tuple[Entry, ...]:
    found: list[Entry] = []
    module = ""
    for page in sorted(PAGES.glob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            if directive := DIRECTIVE.match(line):
                name = directive["name"]
                if directive["what"] == "currentmodule":
                    module = name
                elif directive["what"] == "automodule":
                    found += [Entry(name, each.__name__, None) for each in written_in(importlib.import_module(name))]
                else:
                    found.append(Entry(module, name, frozenset()))
            elif (members := MEMBERS.match(line)) and found:
                names = frozenset(re.findall(r"\w+", members["names"]))
                found[-1] = found[-1]._replace(members=names or None)
    return tuple(found)


def written_in(module: Any) -> list[Any]:
    """The classes and functions that a module defines."""
    named = [each for name, each in vars(module).items() if not name.startswith("_")]
    return [
        each
        for each in named
        if (inspect.isclass(each) or inspect.isfunction(each)) and each.__module__ == module.__name__
    ]


@cache
def handed_out() -> dict[str, type]:
    """The classes that users meet and cannot import, by their names in the reference."""
    makers = [("Lock", ()), ("Event", ()), ("Condition", ()), ("Semaphore", ()), ("Barrier", (1,))]
    views = [type(getattr(holdfast.threads, name)(*given).sync) for name, given in makers]
    of_tasks = [type(getattr(holdfast, name)(*given).statistics()) for name, given in makers]
    rw, locks, shared = holdfast.RWLock(), holdfast.KeyedLock[str](), holdfast.threads.RWLock()
    of_tasks += [type(each.statistics()) for each in (rw, holdfast.RateLimiter(1))]
    of_tasks += [type(rw.reader), type(rw.writer), type(rw.reader).__base__, type(locks["key"]), type(locks.all())]
    views += [type(each) for each in (shared.reader.sync, shared.writer.sync)]
    views += [type(shared.reader.sync).__base__, type(holdfast.threads.KeyedLock[str]()["key"].sync)]
    others = holdfast.threads.RateLimiter(1), holdfast.threads.SingleFlight(), holdfast.threads.Once[str]()
    views += [type(each.sync) for each in others]
    return {f"holdfast.threads.{each.__name__}": each for each in views} | {
        f"holdfast.{each.__name__}": each for each in of_tasks
    }


@cache
def documented() -> dict[str, Any]:
    """Each class and function in the reference, by name; besides those for authors of engines."""
    found = {}
    for module, name, _ in entries():
        full = f"{module}.{name}"
        each = handed_out().get(full) or getattr(importlib.import_module(module), name)
        if callable(each):
            found[full] = each
    return found | {
        f"{engine_suite.__name__}.{each.__name__}": each for each in (engine_suite.EngineSuite, engine_suite.Bench)
    }


def public_classes() -> dict[str, type]:
    return {name: each for name, each in documented().items() if inspect.isclass(each)}


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class that it or a base of ours defines; but not the tests of a suite."""
    for name in dir(cls):
        if not name.startswith(("_", "test_")):
            home = next(base for base in cls.__mro__ if name in vars(base))
            is_ours = home.__module__.partition(".")[0] == "holdfast"
            value = inspect.getattr_static(cls, name)
            if is_ours and (isinstance(value, property) or callable(getattr(cls, name))):
                yield name, getattr(cls, name)


def methods() -> dict[str, Any]:
    """Each public function, method and property, by name."""
    found = {}
    for name, each in documented().items():
        if inspect.isclass(each):
            found |= {f"{name}.{method}": value for method, value in members(each)}
        else:
            found[name] = each
    return found
