"""The explorer's schedules a second, beside as many bare asyncio.run() calls: python -m benchmarks.explorer."""

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
    """Alternate the two, and print the medians."""
    explored, bare = [], []
    schedules = 0
    for _ in range(ROUNDS):
        report = explore(three_tasks, cancels=3)
        report.check()
        schedules = report.schedules
        explored.append(report.schedules / report.seconds)
        start = time.perf_counter()
        for _ in range(report.schedules):
            asyncio.run(nothing())
        bare.append(report.schedules / (time.perf_counter() - start))
    print(f"Python {platform.python_version()}, three tasks and a lock, up to 3 cancellations: {schedules:,} schedules")
    print(f"{statistics.median(explored):10,.0f} schedules a second, each a loop, three tasks and their checks")
    print(f"{statistics.median(bare):10,.0f} bare asyncio.run() calls a second")


if __name__ == "__main__":
    main()
