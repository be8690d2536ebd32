"""How heat spreads over a plate, computed by several workers that meet at a Barrier after every step.

    python examples/heat_diffusion.py --size 40 --workers 4

The top edge is kept at 100 degrees, the other edges at 0. In each step every inner point becomes the mean of its four
neighbours (Jacobi iteration), until no point changes by more than the tolerance. Each worker computes its own rows in a
thread. On a free-threaded Python the threads run at the same time, on others in turns, with the same result.
"""

import argparse
import asyncio

from holdfast import Barrier

Grid = list[list[float]]


class Plate:
    """The temperatures now, the temperatures after the step under way, and the largest changes in it."""

    def __init__(self, size: int, tolerance: float) -> None:
        self.now: Grid = [[100.0] * size] + [[0.0] * size for _ in range(size - 1)]
        self.then: Grid = [row[:] for row in self.now]
        self.tolerance = tolerance
        self.changes: list[float] = []
        self.steps = 0
        self.settled = False

    def compute(self, rows: range) -> float:
        """Compute the next temperatures of `rows`, and return the largest change. It reads `now` and writes `then`."""
        largest = 0.0
        for y in rows:
            above, row, below, target = self.now[y - 1], self.now[y], self.now[y + 1], self.then[y]
            for x in range(1, len(row) - 1):
                target[x] = (above[x] + below[x] + row[x - 1] + row[x + 1]) / 4
                largest = max(largest, abs(target[x] - row[x]))
        return largest

    def finish_step(self) -> None:
        """Make the computed temperatures the current ones."""
        self.now, self.then = self.then, self.now
        self.steps += 1
        self.settled = max(self.changes) <= self.tolerance
        self.changes.clear()


async def work(plate: Plate, rows: range, barrier: Barrier) -> None:
    """Compute `rows` in each step, in time with the other workers."""
    while not plate.settled:
        plate.changes.append(await asyncio.to_thread(plate.compute, rows))
        # All workers must have computed their rows before the step is finished. The worker with index 0 finishes it.
        if await barrier.wait() == 0:
            plate.finish_step()
        # The step must be finished before any worker begins the next one.
        await barrier.wait()


async def solve(size: int, workers: int, tolerance: float) -> Plate:
    """Return a plate of `size` x `size` points whose temperatures no longer change."""
    plate = Plate(size, tolerance)
    barrier = Barrier(workers)
    # If a worker fails, the group cancels the others, which would wait for it at the barrier for ever.
    async with asyncio.TaskGroup() as group:
        for worker in range(workers):
            first, end = (1 + (size - 2) * part // workers for part in (worker, worker + 1))
            group.create_task(work(plate, range(first, end), barrier))
    return plate


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute how heat spreads over a plate.")
    parser.add_argument("--size", type=int, default=40, metavar="N", help="points along an edge (40)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="how many workers (4)")
    parser.add_argument("--tolerance", type=float, default=0.01, metavar="DEGREES", help="when to stop (0.01)")
    args = parser.parse_args()
    if args.size < 3 or args.workers < 1 or args.tolerance <= 0:
        parser.error("it takes at least 3 points along an edge, 1 worker, and a tolerance above 0")
    plate = asyncio.run(solve(args.size, args.workers, args.tolerance))
    print(f"{args.size} x {args.size} points settled after {plate.steps} steps of {args.workers} workers")
    shades = " .:-=+*#%@"
    for row in plate.now[:: max(1, args.size // 20)]:
        print("".join(shades[min(int(degrees / 10), 9)] for degrees in row))


if __name__ == "__main__":
    main()
