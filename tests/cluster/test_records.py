"""The protocol of every record, beside its reference model: walks through many worlds, and all small worlds.

HOLDFAST_EXPLORE=large or deep searches larger ones; HYPOTHESIS_PROFILE=deep walks longer.
"""

from __future__ import annotations

import os

import pytest
from exploration.size import SIZE
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from holdfast.cluster.records.closing import ITSELF

from .protocol import Kind, Left, World, search
from .reference import BarrierKind, ClosableKind, EventKind, LockKind, RWLockKind, SemaphoreKind

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SETTINGS = settings(
    derandomize=not DEEP,
    database=None,
    deadline=None,
    max_examples=5000 if DEEP else 40,
    stateful_step_count=80 if DEEP else 40,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
KINDS: dict[str, Kind] = {
    "lock": LockKind(),
    "condition": LockKind("c"),
    "two conditions": LockKind("c", "d"),
    "semaphore": SemaphoreKind(1, bounded=False),
    "semaphore of 0": SemaphoreKind(0, bounded=False),
    "bounded semaphore": SemaphoreKind(2, bounded=True),
    "resized semaphore": SemaphoreKind(1, False, 0, 2),
    "resized bounded semaphore": SemaphoreKind(2, True, 1, 3),
    "semaphore with many at once": SemaphoreKind(2, False, many=(2, 3)),
    "resized bounded semaphore with many at once": SemaphoreKind(3, True, 1, 0, many=(2, 3)),
    "reader-writer lock": RWLockKind(),
    "event": EventKind(),
    "barrier": BarrierKind(2),
    "barrier of 3": BarrierKind(3),
    "lock, closed": ClosableKind(LockKind()),
    "condition, closed": ClosableKind(LockKind("c"), "c"),
    "condition of a lock that is closed": ClosableKind(LockKind("c"), ITSELF, "c"),
    "semaphore, closed": ClosableKind(SemaphoreKind(2, bounded=True, many=(2,))),
    "reader-writer lock, closed": ClosableKind(RWLockKind(tries=True)),
    "event, closed": ClosableKind(EventKind()),
    "barrier, closed": ClosableKind(BarrierKind(2)),
}
MOST = {"small": 2_000, "large": 6_000, "deep": 1_000_000}[SIZE]
SMALL_WORLDS = {
    "one thing goes wrong": Left(asks=3, tells=1, faults=1),
    "three things go wrong": Left(asks=2, tells=1, faults=3, sessions=1),
}


@pytest.mark.timeout({"small": 240, "large": 600, "deep": 6000}[SIZE])
@pytest.mark.parametrize("left", SMALL_WORLDS.values(), ids=SMALL_WORLDS.keys())
@pytest.mark.parametrize("name", KINDS)
def test_every_small_world(name: str, left: Left) -> None:
    """The nearest ones first, as many as the size allows."""
    most = MOST // 8 if isinstance(KINDS[name], ClosableKind) and SIZE == "small" else MOST
    worlds, exhausted = search(World.new(KINDS[name], "ab", left), most)
    print(f"{name}: {worlds} worlds, {'exhausted' if exhausted else 'and there are more'}")
    assert exhausted or worlds > most


def machine(kind: Kind) -> type:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = World.new(kind, "abc", Left(asks=1000, tells=1000, faults=1000, sessions=1000))

        @rule(which=st.integers(0, 1 << 16))
        def move(self, which: int) -> None:
            moves = self.world.moves()
            label, move = moves[which % len(moves)]
            note(label)
            self.world = move()

        def teardown(self) -> None:
            self.world.perish()
            self.world.drain()

    Machine.TestCase.settings = SETTINGS
    return Machine.TestCase


TestLock = machine(KINDS["lock"])
TestCondition = machine(KINDS["two conditions"])
TestSemaphore = machine(KINDS["semaphore"])
TestBoundedSemaphore = machine(KINDS["bounded semaphore"])
TestResizedSemaphore = machine(KINDS["resized semaphore"])
TestResizedBoundedSemaphore = machine(KINDS["resized bounded semaphore"])
TestManyAtOnce = machine(KINDS["semaphore with many at once"])
TestResizedManyAtOnce = machine(KINDS["resized bounded semaphore with many at once"])
TestRWLock = machine(RWLockKind(tries=True))
TestEvent = machine(KINDS["event"])
TestBarrier = machine(KINDS["barrier of 3"])
TestClosedCondition = machine(KINDS["condition of a lock that is closed"])
TestClosedSemaphore = machine(KINDS["semaphore, closed"])
TestClosedRWLock = machine(KINDS["reader-writer lock, closed"])
