"""The explorer's schedules a second, beside bare asyncio.run() calls: python -m benchmarks.explorer.

A schedule counts if it is covered: run, or seen to do the same as one that is run. Seconds are of CPU time.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import time

import holdfast
from holdfast.testing import Run, explore

ROUNDS = 5


def three_tasks(run: Run) -> None:
    """Three tasks take a lock twice; any three cancellations hit them at any moment."""
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

    for _ in range(3):
        run.spawn(task)
    run.at_end(lambda: not lock.locked())


async def nothing() -> None:
    """What asyncio.run() costs by itself."""


def main() -> None:
    """Alternate them, and print the medians."""
    explored: list[float] = []
    all_run: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        for reduce, rates in ((True, explored), (False, all_run)):
            start = time.process_time()
            report = explore(three_tasks, cancels=3, reduce=reduce)
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


if __name__ == "__main__":
    main()
