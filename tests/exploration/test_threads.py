"""The primitives for threads and several loops: tasks of two event loops, under every schedule within bounds.

When something arrives from the other loop is a choice, and which loop goes first, and that one of them ends. For the
sizes see test_primitives.py.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from interpreters import closing
from tests.threads.by_hand import each_mutex

from holdfast import threads
from holdfast.testing import Run, explore

from .beyond_scenarios import BEYOND
from .close_scenarios import CLOSED
from .scenarios import CLOSING, ONLY_HOLDFAST, SCENARIOS, Setup, timeout
from .size import MINUTES, PROCESSES, SIZE
from .test_primitives import SIZES_OF_SETUP, Kind, marks

NOT_HERE = {
    "Condition over asyncio.Lock, consumers": "it takes a lock of this tier only",
    "Condition over asyncio.Lock, notify()": "it takes a lock of this tier only",
    "Condition, place kept": "who is notified in another loop asks for the lock once that loop has taken note",
    "RateLimiter": "a thread keeps its time",
}
SCENARIOS_HERE = {**SCENARIOS, **ONLY_HOLDFAST, **CLOSED, **BEYOND}
ALL = {name: build for name, build in SCENARIOS_HERE.items() if name not in NOT_HERE}
TWO_LOOPS = Setup(two_loops=True, in_order=False)
KINDS = {
    "cancelled": Kind(
        TWO_LOOPS,
        {
            "small": {"cancels": 1, "deliveries": 1, "switches": 1, "late": 0},
            "deep": {"waiters": 3, "cancels": 2, "deliveries": 2, "switches": 2},
        },
    ),
    "timeout": Kind(
        replace(TWO_LOOPS, around=timeout),
        {
            "small": {"timers": 1, "deliveries": 1, "cancels": 0, "late": 0},
            "deep": {"timers": 2, "deliveries": 2, "switches": 2, "cancels": 1},
        },
    ),
    "closed": Kind(
        TWO_LOOPS,
        {
            "small": {"kills": 1, "deliveries": 1, "switches": 1, "cancels": 0, "late": 0},
            "deep": {"waiters": 3, "kills": 2, "deliveries": 2, "switches": 2, "cancels": 1},
        },
    ),
    "a loop ends, tasks collected": Kind(
        replace(TWO_LOOPS, keep_tasks=False),
        {
            "small": {"ends": 1, "deliveries": 1, "cancels": 0, "late": 0},
            "deep": {"waiters": 3, "ends": 1, "deliveries": 2, "switches": 2, "cancels": 1},
        },
    ),
    "a loop ends, tasks kept": Kind(
        replace(TWO_LOOPS, keep_tasks=True),
        {
            "small": {"ends": 1, "deliveries": 1, "cancels": 0, "late": 0},
            "deep": {"waiters": 3, "ends": 1, "deliveries": 2, "switches": 2, "cancels": 1},
        },
    ),
}


def searches() -> Iterator[Any]:
    for kind, rules in KINDS.items():
        for name in ALL:
            bounds = dict(rules.bounds["deep" if SIZE == "deep" else "small"])  # more is for minutes
            sizes = {to: bounds.pop(by) for by, to in SIZES_OF_SETUP.items() if by in bounds}
            setup = replace(rules.setup, **sizes)
            yield pytest.param(name, setup, bounds, id=f"two loops, {kind}: {name}", marks=marks(bounds))


SEARCHES = [*searches()]
SECONDS = MINUTES * 60 / len(SEARCHES) if SIZE == "deep" else 150


@pytest.mark.timeout(SECONDS * 5 + 60)  # they are of CPU time
@pytest.mark.parametrize(("name", "setup", "bounds"), SEARCHES)
def test_every_schedule(name: str, setup: Setup, bounds: dict[str, int], keep: Callable[[object], None]) -> None:
    bounds = {"timers": 0, "cancel_created": name not in BEYOND, **bounds}
    report = explore(ALL[name](threads, setup), time_limit=SECONDS, processes=PROCESSES, **bounds)
    keep(report)
    if SIZE != "deep" or report.counterexample is not None:
        report.check()
    if "ends" in bounds:
        gc.collect()  # the tasks of loops that were ended


def was_told(task: asyncio.Task[Any]) -> bool:
    """Return whether the task would run next if its loop did."""
    return task._fut_waiter is None or task._fut_waiter.done()


@each_mutex
@pytest.mark.parametrize("kept", [False, True], ids=["collected", "kept"])
def test_a_grant_to_a_loop_that_ends_goes_to_the_next(make: Callable[[], Any], kept: bool) -> None:
    """It does so by itself when the task is collected, and when the loop drops what was sent to it.

    A task that somebody keeps, and that its loop has told and never run, gives it back at the next use.
    """
    ended = []

    def scenario(run: Run) -> object:
        mutex = make()
        assert mutex.try_acquire()
        other = run.another_loop()
        tasks = []

        async def use() -> None:
            async with mutex:
                pass

        first = run.spawn(use, name="first", loop=other)
        if kept:
            tasks.append(first)
        del first
        second = run.spawn(use, name="second")

        async def main() -> None:
            mutex.release()
            await asyncio.sleep(CLOSING)
            if kept and was_told(tasks[0]) and not second.done():
                mutex.try_acquire()
                await asyncio.sleep(0)
            ended.append(other.is_closed())
            await asyncio.wait_for(second, 1)

        run.at_end(lambda: not mutex.locked())
        return main()

    explore(scenario, cancels=0, timers=0, deliveries=1, switches=1, ends=1).check()
    assert any(ended)
    gc.collect()


@closing
def test_a_notification_to_a_loop_that_ends_goes_to_the_next() -> None:
    """It does so also if its task is already in the line for the lock, and something refers to the task."""
    ended = []

    def scenario(run: Run) -> object:
        condition = threads.Condition()
        other = run.another_loop()
        tasks = []

        async def wait() -> None:
            async with condition:
                await condition.wait()

        tasks.append(run.spawn(wait, name="first", loop=other))
        second = run.spawn(wait, name="second")

        async def main() -> None:
            async with condition:
                condition.notify()
                await asyncio.sleep(CLOSING)
            await asyncio.sleep(CLOSING)
            ended.append(other.is_closed() and not tasks[0].done())
            if not ended[-1]:
                async with condition:
                    condition.notify()
            elif was_told(tasks[0]):
                assert condition.statistics().tasks_waiting <= 1  # it is used
            await asyncio.wait_for(second, 1)

        run.at_end(lambda: not condition.locked())
        return main()

    explore(scenario, cancels=0, timers=0, deliveries=1, switches=1, ends=1).check()
    assert any(ended)
    gc.collect()


def test_one_call_for_several_wake_ups() -> None:
    """However the loops take turns, never more than one call is on its way, and no task is left."""

    def scenario(run: Run) -> None:
        semaphore = threads.Semaphore(0)
        other = run.another_loop()
        sent: list[object] = []
        send = other.call_soon_threadsafe

        def counting(callback: Callable[[], object]) -> asyncio.Handle:
            def arrive() -> None:
                sent.remove(callback)
                callback()

            sent.append(callback)
            return send(arrive)

        other.call_soon_threadsafe = counting  # type: ignore[method-assign,assignment]

        async def wait() -> None:
            await semaphore.acquire()

        async def give() -> None:
            semaphore.release()
            await asyncio.sleep(0)
            semaphore.release()

        for _ in range(3):
            run.spawn(wait, loop=other)
        run.spawn(give, name="one")
        run.spawn(give, name="another")
        run.invariant(lambda: len(sent) <= 1)
        run.at_end(lambda: semaphore.statistics().value == 1)

    explore(scenario, cancels=0, timers=0, deliveries=2, switches=2).check()
