"""The explorer finds what is wrong in the asyncio of the interpreter that runs the tests, and in pinned releases of
other libraries if they are installed; and in holdfast, nothing."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import holdfast
from holdfast.testing import explore

from . import scenarios
from .cases import CLOSING, UNDISTURBED

HERE = sys.version_info[:3]
SEEN = [(3, 11, 7), (3, 12, 1), (3, 13, 0)]
"""Where each of these was looked for, and found unless it was not there yet or not any more. Other releases of a
version may have it fixed."""
ALWAYS = (4,)


@dataclass(frozen=True)
class Bug:
    """Something that is wrong in some versions of asyncio, and not in holdfast."""

    name: str
    primitive: str
    scenario: Callable[[Any], Callable[..., Any]]
    kind: str
    message: str
    intervention: str | None
    schedules: int
    """How many schedules were run when this was written."""
    since: tuple[int, ...] = (3, 11)
    until: tuple[int, ...] = ALWAYS
    """The version in which it was fixed."""
    bounds: dict[str, int] = field(default_factory=dict)


BUGS = [
    Bug(
        "gh-112202",
        "Condition",
        scenarios.consumers,
        "at rest",
        "no_item_while_a_consumer_sleeps",
        "cancel B, which is about to go on",
        26,
        until=(3, 13),
    ),
    Bug(
        "gh-112202, since its fix",
        "Condition",
        scenarios.listeners,
        "exception",
        "C raised .*nobody has notified",
        "cancel B",
        22,
        since=(3, 13),
    ),
    Bug(
        "gh-111693",
        "Condition",
        scenarios.reasons,
        "exception",
        "B raised .*the reason is gone",
        None,
        1,
        until=(3, 13),
        bounds=UNDISTURBED,
    ),
    Bug(
        "gh-138121",
        "Lock",
        scenarios.askers,
        "invariant",
        "locked_while_somebody_waits",
        None,
        1,
        bounds=UNDISTURBED,
    ),
    Bug(
        "gh-155233",
        "Barrier",
        scenarios.parties,
        "invariant",
        "no_index_twice",
        "cancel A",
        20,
        bounds={"late": 0, "timers": 0},
    ),
    Bug(
        "closing of a granted waiter",
        "Lock",
        scenarios.users,
        "deadlock",
        "would wake C,",
        "close the coroutine of B, which is about to go on",
        56,
        bounds=CLOSING,
    ),
    Bug(
        "closing of a granted waiter",
        "Semaphore",
        scenarios.users,
        "deadlock",
        "would wake C,",
        "close the coroutine of B, which is about to go on",
        12,
        bounds=CLOSING,
    ),
    Bug(
        "closing in wait()",
        "Condition",
        scenarios.consumers,
        "exception",
        "main raised RuntimeError.*Lock is not acquired",
        "close the coroutine of B",
        23,
        bounds=CLOSING,
    ),
]


def ids(bug: Bug) -> str:
    return f"{bug.primitive}: {bug.name}"


def assert_found(report, bug):
    counterexample = report.counterexample
    assert counterexample is not None, str(report)
    assert counterexample.kind == bug.kind
    assert re.search(bug.message, counterexample.message)
    told = [line for line in counterexample.story if line.startswith("   >>  ")]
    assert bool(told) == (bug.intervention is not None)
    assert not told or told[-1].startswith(f"   >>  {bug.intervention}")
    assert report.schedules <= 2 * bug.schedules
    assert report.seconds < 5  # typically 0.01


@pytest.mark.parametrize("bug", BUGS, ids=ids)
def test_it_is_found_in_asyncio(bug):
    report = explore(bug.scenario(getattr(asyncio, bug.primitive)), **bug.bounds)
    if not bug.since <= HERE < bug.until:
        report.check()
    elif report.passed and HERE not in SEEN:
        pytest.skip(f"this Python {sys.version} has it fixed")
    else:
        assert_found(report, bug)


@pytest.mark.parametrize("bug", BUGS, ids=ids)
def test_it_is_not_in_holdfast(bug):
    report = explore(bug.scenario(getattr(holdfast, bug.primitive)), **bug.bounds)
    report.check()
    assert report.exhausted


@dataclass(frozen=True)
class Released(Bug):
    """The same in a release of another library."""

    library: str = "anyio"
    pinned: str = "4.13.0"
    mended: tuple[int, ...] = (4, 16)
    arguments: tuple[int, ...] = (1,)


RELEASED = [
    Released("#1145", "Lock", scenarios.users, "deadlock", "would wake C,", "cancel B", 126, arguments=()),
    Released("#1145", "Semaphore", scenarios.users, "deadlock", "would wake C,", "cancel B", 126),
    Released("#1170", "CapacityLimiter", scenarios.users, "invariant", "no_more_inside_than_permits", "C comes", 20),
    Released(
        "cancelled writer",
        "RWLock",
        scenarios.readers,
        "at rest",
        "readers_read_together",
        "cancel B",
        28,
        library="aiorwlock",
        pinned="1.5.1",
        mended=ALWAYS,
        arguments=(),
    ),
]


@pytest.mark.parametrize("bug", RELEASED, ids=lambda bug: f"{bug.library} {bug.primitive}")
def test_it_is_found_in_a_pinned_release(bug):
    try:
        version = importlib.metadata.version(bug.library)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{bug.library} is not installed")
    mended = tuple(map(int, re.findall(r"\d+", version)[:2])) >= bug.mended
    if version != bug.pinned and not mended:
        pytest.skip(f"{bug.library} {version} is installed, and this is about {bug.pinned}")
    primitive = getattr(importlib.import_module(bug.library), bug.primitive)
    report = explore(bug.scenario(lambda: primitive(*bug.arguments)))
    if mended:
        report.check()
    else:
        assert_found(report, bug)
