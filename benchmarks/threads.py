"""The thread tier against threading, asyncio, aiologic, and what people write themselves. Interleaved; medians.

    python -m benchmarks.threads [--rounds N]

Uncontended rows are CPU time; hand-offs between threads are time on the wall, as their cost is in waking.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from time import perf_counter_ns
from typing import Any

import aiologic

import holdfast
from holdfast import threads

from .clock import now
from .markdown import PYTHON, machine, table

Sample = Callable[[], float]
"""Nanoseconds per operation."""
OPERATIONS = 5_000
HAND_OFFS = 1_000


def entering(make: Callable[[], Any]) -> Sample:
    async def main() -> float:
        lock = make()
        start = now()
        for _ in range(OPERATIONS):
            async with lock:
                pass
        return (now() - start) / OPERATIONS

    return lambda: asyncio.run(main())


def entering_sync(make: Callable[[], Any]) -> Sample:
    def sample() -> float:
        lock = make()
        start = now()
        for _ in range(OPERATIONS):
            with lock:
                pass
        return (now() - start) / OPERATIONS

    return sample


def contending_sync(make: Callable[[], Any]) -> Sample:
    def sample() -> float:
        lock = make()

        def work() -> None:
            for _ in range(HAND_OFFS):
                with lock:
                    pass

        return _in_threads([work] * 4) / (4 * HAND_OFFS)

    return sample


def _in_threads(works: Sequence[Callable[[], object]]) -> float:
    started = [threading.Thread(target=work) for work in works]
    start = perf_counter_ns()
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return perf_counter_ns() - start


def between_loops(make: Callable[[], Any], acquire: str, release: str) -> Sample:
    """Two tasks in two loops, each of which wakes the other by turns."""

    def sample() -> float:
        mine, yours = make(), make()

        async def play(take: Any, give: Any) -> None:
            wait, wake = getattr(take, acquire), getattr(give, release)
            for _ in range(HAND_OFFS):
                await wait()
                wake()

        getattr(mine, release)()
        plays = [lambda: asyncio.run(play(mine, yours)), lambda: asyncio.run(play(yours, mine))]
        return _in_threads(plays) / (2 * HAND_OFFS)

    return sample


def to_a_thread(make: Callable[[], Any], acquire: str, release: str, sync_acquire: Callable[[Any], Any]) -> Sample:
    """A task and a thread that blocks, each of which wakes the other by turns."""

    def sample() -> float:
        mine, yours = make(), make()

        async def play() -> None:
            wait, wake = getattr(mine, acquire), getattr(yours, release)
            for _ in range(HAND_OFFS):
                wake()
                await wait()

        def block() -> None:
            take, wake = sync_acquire(yours), getattr(mine, release)
            for _ in range(HAND_OFFS):
                take()
                wake()

        return _in_threads([lambda: asyncio.run(play()), block]) / (2 * HAND_OFFS)

    return sample


def coroutine_threadsafe() -> float:
    """What the documentation of asyncio says: run_coroutine_threadsafe() and a future to wait for."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def there() -> None: ...

    async def main() -> float:
        start = perf_counter_ns()
        for _ in range(HAND_OFFS):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))
        return (perf_counter_ns() - start) / (2 * HAND_OFFS)

    try:
        return asyncio.run(main())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def janus_idiom() -> float:
    """A queue for the thread, and call_soon_threadsafe() on the way back, as janus has it."""
    to_thread: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        back = asyncio.Semaphore(0)

        def work() -> None:
            while to_thread.get() is not None:
                loop.call_soon_threadsafe(back.release)

        thread = threading.Thread(target=work)
        thread.start()
        start = perf_counter_ns()
        for _ in range(HAND_OFFS):
            to_thread.put(1)
            await back.acquire()
        elapsed = perf_counter_ns() - start
        to_thread.put(None)
        thread.join()
        return elapsed / (2 * HAND_OFFS)

    return asyncio.run(main())


def cancelling(size: int) -> Sample:
    async def main() -> float:
        lock = threads.Lock()
        await lock.acquire()
        tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(_waits(lock.acquire)) for _ in range(size)]
        await asyncio.sleep(0)
        start = now()
        for task in reversed(tasks):
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        elapsed = now() - start
        assert all(task.cancelled() for task in tasks)
        return elapsed / size

    return lambda: asyncio.run(main())


async def _waits(wait: Callable[[], Awaitable[object]]) -> None:
    await wait()


OURS = "holdfast.threads"
ROWS: dict[str, dict[str, Sample]] = {
    "Lock, async with": {
        OURS: entering(threads.Lock),
        "asyncio": entering(asyncio.Lock),
        "holdfast": entering(holdfast.Lock),
        "aiologic": entering(aiologic.Lock),
    },
    "Semaphore, async with": {
        OURS: entering(threads.Semaphore),
        "asyncio": entering(asyncio.Semaphore),
        "holdfast": entering(holdfast.Semaphore),
        "aiologic": entering(lambda: aiologic.Semaphore(1)),
    },
    "Lock, with": {
        OURS: entering_sync(lambda: threads.Lock().sync),
        "threading": entering_sync(threading.Lock),
        "aiologic": entering_sync(aiologic.Lock),
    },
    "Lock, with, four threads": {
        OURS: contending_sync(lambda: threads.Lock().sync),
        "threading": contending_sync(threading.Lock),
        "aiologic": contending_sync(aiologic.Lock),
    },
    "Semaphore, from loop to loop": {
        OURS: between_loops(lambda: threads.Semaphore(0), "acquire", "release"),
        "aiologic": between_loops(lambda: aiologic.Semaphore(0), "async_acquire", "async_release"),
        "run_coroutine_threadsafe": coroutine_threadsafe,
    },
    "Semaphore, from task to thread and back": {
        OURS: to_a_thread(lambda: threads.Semaphore(0), "acquire", "release", lambda s: s.sync.acquire),
        "aiologic": to_a_thread(
            lambda: aiologic.Semaphore(0), "async_acquire", "async_release", lambda s: s.green_acquire
        ),
        "janus's idiom": janus_idiom,
    },
    "Lock, cancel newest first, each of": {f"{size:,} waiters": cancelling(size) for size in (1_000, 50_000)},
}
PROMISES = [
    ("Lock, async with", "asyncio", 2.0),
    ("Lock, async with", "aiologic", 1 / 4),
    ("Lock, with", "threading", 10.0),
    ("Semaphore, from loop to loop", "aiologic", 1 / 1.3),
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="run the rows whose title contains this")
    options = parser.parse_args()
    rounds, rows = options.rounds, {title: row for title, row in ROWS.items() if options.only in title}
    print(f"# The thread tier on Python {PYTHON}\n\n{machine(('holdfast', 'aiologic'))}; {rounds} rounds.\n")
    lines, costs = [], {}
    for title, samples in rows.items():
        taken: dict[str, list[float]] = {name: [] for name in samples}
        for turn in range(rounds):
            names = [*samples]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                gc.collect()
                taken[name].append(samples[name]())
        costs[title] = taken
        first = next(iter(taken.values()))
        for name, values in taken.items():
            ratio = median(mine / theirs for mine, theirs in zip(first, values, strict=True))
            lines.append([title, name, f"{median(values):,.0f}", f"{ratio:.2f}"])
    print(table(["", "", "ns per operation", "the first one's part of it"], lines))
    print()
    for title, rival, limit in PROMISES:
        if title not in rows:
            continue
        ratio = median(a / b for a, b in zip(costs[title][OURS], costs[title][rival], strict=True))
        print(f"- {'yes' if ratio <= limit else '**no**'}: {title}: {ratio:.2f} of {rival}, at most {limit:.2f}")
    if cancelled := costs.get("Lock, cancel newest first, each of"):
        small, large = map(median, cancelled.values())
        growth = large / small
        print(f"- {'yes' if growth <= 2 else '**no**'}: cancelling one of 50,000 costs {growth:.2f} of one of 1,000")


if __name__ == "__main__":
    main()
