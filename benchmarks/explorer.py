"""How many schedules the explorer covers in a second, beside bare asyncio.run() calls: python -m benchmarks.explorer.

A schedule is covered if it is run, or if it can be seen to do the same as one that is run. Seconds are of CPU time, but
for the search that several processes share: its seconds are of the clock on the wall, so the machine must be idle.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import time
from collections.abc import Callable

import holdfast
from holdfast.testing import Run, explore

ROUNDS = 5
PROCESSES = os.cpu_count() or 1


def tasks_and_a_lock(tasks: int) -> Callable[[Run], None]:
    """Tasks that take a lock twice each; any of them may be cancelled at any moment."""

    def scenario(run: Run) -> None:
        lock = holdfast.Lock()
        inside = 0

        async def task() -> None:
            nonlocal inside
            for _ in range(2):
                async with lock:
                    inside += 1
                    assert inside == 1
                    try:
                        await asyncio.sleep(0)
                    finally:
                        inside -= 1

        for _ in range(tasks):
            run.spawn(task)
        run.at_end(lambda: not lock.locked())

    return scenario


async def nothing() -> None:
    """What asyncio.run() costs by itself."""


def one_process() -> None:
    """Cover a search, run all of it, and make as many bare calls, by turns; print the medians."""
    explored: list[float] = []
    all_run: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        for reduce, rates in ((True, explored), (False, all_run)):
            start = time.process_time()
            report = explore(tasks_and_a_lock(3), cancels=3, reduce=reduce)
            rates.append(report.schedules / (time.process_time() - start))
            report.check()
            if reduce:
                runs = report.runs
        start = time.process_time()
        for _ in range(report.schedules):
            asyncio.run(nothing())
        bare.append(report.schedules / (time.process_time() - start))
    print(f"Python {platform.python_version()}, three tasks and a lock, up to 3 cancellations:")
    print(f"{report.schedules:,} schedules, of which {runs:,} are run, each with a loop, three tasks and their checks")
    print(f"{statistics.median(explored):10,.0f} schedules covered a second")
    print(f"{statistics.median(explored) * runs / report.schedules:10,.0f} of them run")
    print(f"{statistics.median(all_run):10,.0f} schedules run a second with reduce=False")
    print(f"{statistics.median(bare):10,.0f} bare asyncio.run() calls a second")


def several_processes() -> None:
    """Share a longer search among the processors; print the medians of what it takes."""
    seconds: dict[int, list[float]] = {1: [], PROCESSES: []}
    cpu: dict[int, list[float]] = {1: [], PROCESSES: []}
    for _ in range(ROUNDS):
        for processes in seconds:
            before = sum(os.times()[:4])
            report = explore(tasks_and_a_lock(4), cancels=4, processes=processes)
            report.check()
            seconds[processes].append(report.seconds)
            cpu[processes].append(sum(os.times()[:4]) - before)
    print(f"Four tasks and a lock, up to 4 cancellations: {report.schedules:,} schedules, {report.runs:,} of them run")
    for processes, rounds in seconds.items():
        wall = statistics.median(rounds)
        print(
            f"{report.schedules / wall:10,.0f} schedules covered a second with processes={processes}, "
            f"in {wall:.2f} s and {statistics.median(cpu[processes]):.2f} s of CPU time"
        )


if __name__ == "__main__":
    one_process()
    several_processes()
