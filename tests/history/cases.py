"""Which fault is found by which scenario, and how it shows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import holdfast

from . import faulty, scenarios


@dataclass(frozen=True)
class Case:
    """A faulty primitive, what people do with it, and what comes of it."""

    faulty: type[Any]
    scenario: Callable[[Any], Callable[..., Any]]
    sound: type[Any] | None
    """The same without the fault."""
    kind: str
    message: str
    """A pattern of what goes wrong, and for whom."""
    interventions: tuple[str, ...]
    """What it takes: in the story, the beginnings of the lines with >>."""
    schedules: int
    """How many schedules were run when this was written, those for a shorter story included."""
    bounds: dict[str, int] = field(default_factory=dict)


CLOSING = {"cancels": 0, "kills": 1}
UNDISTURBED = {"cancels": 0, "late": 0, "timers": 0}
four_users = functools.partial(scenarios.users, early="ABC", late="D")

CASES = [
    Case(
        faulty.ForgetfulLock,
        scenarios.users,
        holdfast.Lock,
        "deadlock",
        "nothing is left that would wake C,",
        ("C comes", "cancel B, which is about to go on"),
        90,
    ),
    Case(
        faulty.OverzealousLock,
        four_users,
        holdfast.Lock,
        "invariant",
        "no_more_inside_than_permits",
        ("D comes", "cancel B"),
        244,
    ),
    Case(
        faulty.LockThatIgnoresClosing,
        scenarios.users,
        holdfast.Lock,
        "deadlock",
        "nothing is left that would wake C,",
        ("C comes", "close the coroutine of B, which is about to go on"),
        56,
        CLOSING,
    ),
    Case(
        faulty.LockThatQueuesBehindTheDead,
        scenarios.users,
        holdfast.Lock,
        "deadlock",
        "nothing is left that would wake C,",
        ("C comes", "cancel B"),
        90,
    ),
    Case(
        faulty.BargingSemaphore,
        scenarios.turns,
        holdfast.Semaphore,
        "invariant",
        "first_come_first_served",
        (),
        1,
        UNDISTURBED,
    ),
    Case(
        faulty.DeadSemaphore,
        scenarios.users,
        holdfast.Semaphore,
        "deadlock",
        "nothing is left that would wake C,",
        ("cancel B, which is about to go on",),
        16,
    ),
    Case(
        faulty.OpenSemaphore,
        scenarios.askers,
        holdfast.Semaphore,
        "invariant",
        "locked_while_somebody_waits",
        (),
        1,
        UNDISTURBED,
    ),
    Case(
        faulty.SemaphoreThatIgnoresClosing,
        scenarios.users,
        holdfast.Semaphore,
        "deadlock",
        "nothing is left that would wake C,",
        ("close the coroutine of B, which is about to go on",),
        12,
        CLOSING,
    ),
    Case(
        faulty.OvergenerousLimiter,
        scenarios.users,
        holdfast.Semaphore,
        "invariant",
        "no_more_inside_than_permits",
        ("C comes",),
        16,
    ),
    Case(
        faulty.ConditionThatReturnsUnlocked,
        scenarios.listeners,
        holdfast.Condition,
        "exception",
        "C raised RuntimeError.*Lock is not acquired",
        ("cancel B",),
        22,
    ),
    Case(
        faulty.DeafCondition,
        scenarios.listeners,
        holdfast.Condition,
        "swallowed",
        "C was cancelled, and finished",
        ("cancel C",),
        22,
    ),
    Case(
        faulty.ConditionThatForgetsTheReason,
        scenarios.reasons,
        holdfast.Condition,
        "exception",
        "B raised AssertionError.*the reason is gone",
        (),
        1,
        UNDISTURBED,
    ),
    Case(
        faulty.ConditionThatLosesNotifications,
        scenarios.consumers,
        holdfast.Condition,
        "at rest",
        "no_item_while_a_consumer_sleeps",
        ("cancel B, which is about to go on",),
        26,
    ),
    Case(
        faulty.JumpyCondition,
        scenarios.listeners,
        holdfast.Condition,
        "exception",
        "C raised AssertionError.*nobody has notified",
        ("cancel B",),
        22,
    ),
    Case(
        faulty.ConditionThatMovesItsWaiters,
        scenarios.consumers,
        holdfast.Condition,
        "at rest",
        "no_item_while_a_consumer_sleeps",
        ("cancel B",),
        23,
    ),
    Case(
        faulty.ConditionThatIgnoresClosing,
        scenarios.consumers,
        holdfast.Condition,
        "exception",
        "main raised RuntimeError.*Lock is not acquired",
        ("close the coroutine of B",),
        23,
        CLOSING,
    ),
    Case(
        faulty.BarrierThatCountsBackwards,
        scenarios.parties,
        holdfast.Barrier,
        "invariant",
        "no_index_twice",
        ("cancel A",),
        36,
        {"late": 0, "timers": 0},
    ),
    Case(
        faulty.ReaderWriterLockWithGhosts,
        scenarios.readers,
        None,
        "at rest",
        "readers_read_together",
        ("cancel B",),
        27,
    ),
]
