"""The same choices on asyncio and on holdfast: every difference between the two is listed here, with its reason.

Both run the same scenario, step by step with the same interventions, and only as long as they have done the same so
far: so each difference is the first one. The list cannot rot: a difference that is not listed is a failure, and so is
one that is listed for this interpreter, this scenario and this kind of intervention, and does not occur.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import ModuleType

import pytest

import holdfast
from holdfast.testing import Run
from holdfast.testing.execution import Execution
from holdfast.testing.schedule import KINDS as KINDS_OF_INTERVENTION
from holdfast.testing.schedule import Rules, Schedule

from .scenarios import SCENARIOS, Scenario, Setup, timeout


@dataclass(frozen=True)
class Difference:
    """What the two did under one schedule, from the point where they parted."""

    schedule: Schedule
    failure: str
    """What is wrong with asyncio's run, if anything is."""
    before: list[str]
    ours: list[str]
    theirs: list[str]

    def __str__(self) -> str:
        lines = [f"replay={[number for pair in self.schedule for number in pair]}", f"before: {self.before[-6:]}"]
        return "\n  ".join([*lines, f"holdfast: {self.ours}", f"asyncio: {self.failure or self.theirs}"])


def differences(
    build: Callable[[ModuleType], Scenario], bounds: dict[str, int], other: ModuleType = asyncio
) -> Iterator[Difference]:
    """Run all schedules within bounds on holdfast and on the other library; yield the differences."""
    unlimited_late = {"late": 1 << 30}
    names = ("late", "cancels", "timers", "deliveries", "reorders", "kills", "ends", "switches")
    assert len(names) == len(KINDS_OF_INTERVENTION)
    budgets = tuple((unlimited_late | bounds).get(name, 0) for name in names)
    rules = Rules(budgets, cancel_main=False, swallow_ok=False, max_steps=10_000)
    level: list[Schedule] = [()]
    while level:
        following: list[Schedule] = []
        for schedule in level:
            ours, theirs = Execution(build(holdfast), rules), Execution(build(other), rules)
            ours.execute(schedule, all_forks=True)
            theirs.execute(schedule, all_forks=True)
            assert ours.failure is None, f"{schedule}: {ours.failure}"
            if theirs.failure is not None or ours.log != theirs.log:
                yield _difference(schedule, ours, theirs)
            possible_there = {fork[0]: fork for fork in theirs.forks}
            for fork in ours.forks:
                step, codes, _, logged = fork
                if possible_there.get(step) == fork and ours.log[:logged] == theirs.log[:logged]:
                    following += [(*schedule, (step, code)) for code in codes]
        level = following


def _difference(schedule: Schedule, ours: Execution, theirs: Execution) -> Difference:
    pairs = zip(ours.log, theirs.log, strict=False)
    same = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(ours.log), len(theirs.log)))
    failure = "" if theirs.failure is None else str(theirs.failure)
    here, there = [str(event) for event in ours.log], [str(event) for event in theirs.log]
    return Difference(schedule, failure, here[:same], here[same:], there[same:])


# The list


def handed_over(library: ModuleType, setup: Setup) -> Scenario:
    """What locked() says when a lock was released and the next owner has not run."""

    def scenario(run: Run) -> None:
        lock = library.Lock()

        async def user(name: str) -> None:
            async with lock:
                await asyncio.sleep(0)
            run.log(f"{name} out, locked: {lock.locked()}")

        setup.spawn(run, user)

    return scenario


COMPARED = {**SCENARIOS, "Lock, locked()": handed_over}
LOCKS = {"Lock", "Lock, acquire()", "Lock, insistent"}
SEMAPHORES = {"Semaphore(1)", "Semaphore(2)", "BoundedSemaphore(1)", "Semaphore(0), signals"}
OVER_ASYNCIO_LOCK = {name for name in SCENARIOS if "over asyncio.Lock" in name}
CONDITIONS = {name for name in SCENARIOS if name.startswith("Condition")} - OVER_ASYNCIO_LOCK
BARRIERS = {name for name in SCENARIOS if name.startswith("Barrier")}

KINDS: dict[str, tuple[Setup, dict[str, int]]] = {
    "cancelled": (Setup(), {"cancels": 1}),
    "out of time": (Setup(around=timeout), {"timers": 1}),
    "closed": (Setup(), {"kills": 1}),
}


@dataclass(frozen=True)
class Known:
    """A kind of difference."""

    reason: str
    fits: Callable[[Difference], bool]
    where: dict[str, Collection[str]]
    """The scenarios in which there is this difference, by kind."""
    since: tuple[int, int] = (3, 11)
    before: tuple[int, int] = (9, 9)

    def expected(self, kind: str, name: str) -> bool:
        return self.since <= sys.version_info[:2] < self.before and name in self.where.get(kind, ())


def fails(*parts: str) -> Callable[[Difference], bool]:
    """With asyncio, the run fails, and says so."""
    return lambda difference: any(part in difference.failure for part in parts)


def first(ours: str, theirs: str) -> Callable[[Difference], bool]:
    """These are the next events where they part. In asyncio, that of holdfast comes later, if at all."""

    def fits(difference: Difference) -> bool:
        here, there = difference.ours[:1], difference.theirs[:1]
        return bool(not difference.failure and here and there and ours in here[0] and theirs in there[0])

    return fits


def leaves_earlier(difference: Difference) -> bool:
    """The task that goes on next was cancelled. In asyncio it goes on later."""
    if difference.failure:
        return False
    return " leaves by CancelledError" in difference.ours[0] and difference.ours[0] in difference.theirs


def is_not_woken(difference: Difference) -> bool:
    """A task gets a notification that gets none in asyncio, or a later one, and nothing has failed."""
    return not difference.failure and " gets it" in difference.ours[0] and "gets it" not in difference.theirs[0]


def after_a_round(difference: Difference) -> bool:
    """A round of the barrier has left, or is leaving, when they part."""
    return not difference.failure and any(" gets it" in event for event in (*difference.before, difference.ours[0]))


def goes_on_without_the_cancelled(difference: Difference) -> bool:
    """A round goes on in asyncio, and not here: asyncio counts a task that is about to leave."""
    ours, theirs = difference.ours, difference.theirs
    goes_on = not difference.failure and " gets it" in theirs[0] and " gets it" not in ours[0]
    return goes_on and any(" leaves by CancelledError" in event for event in ours)


def after(*events: str) -> Callable[[Difference], bool]:
    """One of these events has happened, or is the next one, when they part."""

    def fits(difference: Difference) -> bool:
        happened = {*difference.before, *difference.ours[:1], *difference.theirs[:1]}
        return not difference.failure and not happened.isdisjoint(events)

    return fits


def either(*conditions: Callable[[Difference], bool]) -> Callable[[Difference], bool]:
    return lambda difference: any(fits(difference) for fits in conditions)


KNOWN: dict[str, Known] = {
    "locked() is true while the lock is handed over": Known(
        "decided: acquire() would have to wait; asyncio has it as an open issue, gh-138121",
        first("locked: True", "locked: False"),
        {kind: {"Lock, locked()"} for kind in KINDS},
    ),
    "a notification is lost": Known(
        "gh-112202: up to 3.12, asyncio loses it when the task that was notified is cancelled",
        either(fails("there are", "predicate is true"), is_not_woken),
        {
            "cancelled": {"Condition, late consumers", "Condition, notify()", "Condition over asyncio.Lock, notify()"},
            "out of time": {"Condition, notify()", "Condition over asyncio.Lock, notify()"},
            "closed": {"Condition, notify()"},
        },
        before=(3, 13),
    ),
    "a waiter is woken that nobody notified": Known(
        "decided: since gh-112202, asyncio notifies another waiter whenever one leaves, notified or not",
        fails("were woken, and"),
        {
            "cancelled": {"Condition, consumers", "Condition, notify()", *OVER_ASYNCIO_LOCK},
            "out of time": {"Condition, consumers", "Condition, notify()", *OVER_ASYNCIO_LOCK},
            "closed": CONDITIONS - {"Conditions that share a lock"},
        },
        since=(3, 13),
    ),
    "who is cancelled keeps the place in the line for the lock": Known(
        "decided: in asyncio, a task that is cancelled while it takes the lock of a Condition again goes to the end",
        leaves_earlier,
        {kind: CONDITIONS - {"Conditions that share a lock"} for kind in ("cancelled", "out of time")},
    ),
    "closed after the grant": Known(
        "asyncio handles CancelledError and no other exit, so the grant is lost; not reported there",
        fails("could run", "permits", "there are", "there is", "predicate is true", "deadlock"),
        {"closed": {*LOCKS, *SEMAPHORES, *CONDITIONS}},
    ),
    "closed without the lock": Known(
        "asyncio's exit of a coroutine that is closed in wait() releases another task's lock, or fails; not reported",
        fails("and it is not locked", "Lock is not acquired"),
        {"closed": CONDITIONS},
    ),
    "two tasks of a round get the same index": Known(
        "gh-155233: asyncio gives an index away when a task leaves while the barrier fills",
        fails("the rounds were"),
        {"out of time": {"Barrier(3)"}},
    ),
    "who is cancelled is no party": Known(
        "decided: asyncio counts a task that has been cancelled until it runs, and lets a round of fewer go",
        goes_on_without_the_cancelled,
        {"cancelled": BARRIERS, "out of time": {"Barrier(3)"}},
    ),
    "a round leaves at once, and the next one begins in the order of arrival": Known(
        "decided: asyncio wakes those who came early, and makes all queue for a lock",
        after_a_round,
        {"cancelled": BARRIERS, "out of time": BARRIERS - {"Barrier(3)"}, "closed": BARRIERS},
    ),
    "reset() and abort() do not wait, and those whom they wake leave at once": Known(
        "decided: in asyncio, all of them queue for a lock",
        after("reset", "aborted"),
        {kind: {"Barrier(2), reset()", "Barrier(2), abort() and reset()"} for kind in KINDS},
    ),
    "abort() wakes in the order of arrival": Known(
        "a round that a task left: asyncio has woken the others for nothing, which puts them behind who comes then",
        first(" leaves by BrokenBarrierError", " leaves by BrokenBarrierError"),
        {"cancelled": {"Barrier(3)"}, "closed": {"Barrier(3)"}},
        since=(3, 13),
    ),
}


def _found(kind: str, name: str) -> tuple[dict[str, Difference], list[Difference]]:
    setup, bounds = KINDS[kind]
    seen: dict[str, Difference] = {}
    unknown = []
    for difference in differences(lambda library: COMPARED[name](library, setup), bounds):
        fitting = [key for key, known in KNOWN.items() if known.expected(kind, name) and known.fits(difference)]
        for key in fitting:
            seen.setdefault(key, difference)
        if not fitting:
            unknown.append(difference)
    return seen, unknown


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_differences_are_those_listed(kind, name):
    if kind == "closed" and name in OVER_ASYNCIO_LOCK:
        pytest.skip("asyncio.Lock loses a grant whose task is closed, whoever waits")
    seen, unknown = _found(kind, name)
    assert not unknown, f"{len(unknown)} not listed, such as\n  {unknown[0]}"
    listed = {key for key, known in KNOWN.items() if known.expected(kind, name)}
    assert set(seen) == listed, f"listed, and not seen: {listed - set(seen)}"
