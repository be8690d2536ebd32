"""The thread tier against threading, asyncio, aiologic, and what people write themselves. Interleaved; medians.

    python -m benchmarks.threads [--rounds N] [--only SUBSTRING]

Uncontended rows are CPU time; hand-offs between threads are time on the wall, as their cost is in waking.
"""

from __future__ import annotations

import asyncio
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
from .interleaved import Costs, Sample, as_table, run, verdict, verdicts
from .markdown import PYTHON, machine

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


class BareFuture:
    """What a hand-off between two loops costs at least, if it goes by call_soon_threadsafe(): without any guarantee.

    For one task that waits and one that wakes it. Nobody may leave, and it relies on the GIL.
    """

    def __init__(self) -> None:
        self._permits = 0
        self._waiter: asyncio.Future[None] | None = None

    async def acquire(self) -> None:
        if not self._permits:
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            if not self._permits:  # release() may have come in between
                await waiter
            self._waiter = None
        self._permits -= 1

    def release(self) -> None:
        self._permits += 1
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.get_loop().call_soon_threadsafe(_set_unless_done, waiter)


def _set_unless_done(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def between_loops(make: Callable[[], Any], acquire: str, release: str, tasks: int = 1) -> Sample:
    """So many tasks in each of two loops; each one that is woken wakes one of the other loop."""

    def sample() -> float:
        mine, yours = make(), make()

        async def play(take: Any, give: Any) -> None:
            wait, wake = getattr(take, acquire), getattr(give, release)
            for _ in range(HAND_OFFS // tasks):
                await wait()
                wake()

        async def all_of(take: Any, give: Any) -> None:
            await asyncio.gather(*(play(take, give) for _ in range(tasks)))

        for _ in range(tasks):
            getattr(mine, release)()
        plays = [lambda: asyncio.run(all_of(mine, yours)), lambda: asyncio.run(all_of(yours, mine))]
        return _in_threads(plays) / (2 * HAND_OFFS)

    return sample


def handing_over(make: Callable[[], Any], acquire: str, release: str) -> Sample:
    """A task in each of two loops and three locks: each time, one lets go of the lock that the other has to have next.

    So they take turns, and a lock is released by who holds it, which aiologic's insists on.
    """

    def sample() -> float:
        locks = [make() for _ in range(3)]
        take, give = [getattr(lock, acquire) for lock in locks], [getattr(lock, release) for lock in locks]
        start = threading.Barrier(2)

        async def first() -> None:
            await take[0]()
            await take[1]()
            start.wait()
            for turn in range(HAND_OFFS):
                give[turn % 3]()
                await take[(turn + 2) % 3]()

        async def second() -> None:
            await take[2]()
            start.wait()
            for turn in range(HAND_OFFS):
                await take[turn % 3]()
                give[(turn + 2) % 3]()

        return _in_threads([lambda: asyncio.run(first()), lambda: asyncio.run(second())]) / (2 * HAND_OFFS)

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


async def at_a_lock() -> Callable[[], Awaitable[object]]:
    lock = threads.Lock()
    await lock.acquire()
    return lock.acquire


async def at_a_future() -> Callable[[], Awaitable[object]]:
    return asyncio.get_running_loop().create_future


def cancelling(waiting: Callable[[], Awaitable[Callable[[], Awaitable[object]]]], size: int) -> Sample:
    async def main() -> float:
        wait = await waiting()
        tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(_waits(wait)) for _ in range(size)]
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
CANCELLING = "Lock, cancel newest first, each of"
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
        "a bare future": between_loops(BareFuture, "acquire", "release"),
    },
    "Semaphore, ten tasks from loop to loop": {
        OURS: between_loops(lambda: threads.Semaphore(0), "acquire", "release", 10),
        "aiologic": between_loops(lambda: aiologic.Semaphore(0), "async_acquire", "async_release", 10),
    },
    "Lock, handed over between two loops": {
        OURS: handing_over(threads.Lock, "acquire", "release"),
        "aiologic": handing_over(aiologic.Lock, "async_acquire", "async_release"),
    },
    "Semaphore, from task to thread and back": {
        OURS: to_a_thread(lambda: threads.Semaphore(0), "acquire", "release", lambda s: s.sync.acquire),
        "aiologic": to_a_thread(
            lambda: aiologic.Semaphore(0), "async_acquire", "async_release", lambda s: s.green_acquire
        ),
        "janus's idiom": janus_idiom,
    },
    CANCELLING: {
        f"{size:,} {name}": cancelling(waiting, size)
        for name, waiting in (("waiters", at_a_lock), ("bare futures", at_a_future))
        for size in (1_000, 50_000)
    },
}
PROMISES = [
    ("Lock, async with", "asyncio", 2.0),
    ("Lock, async with", "aiologic", 1 / 4),
    ("Lock, with", "threading", 10.0),
    ("Semaphore, from loop to loop", "aiologic", 1 / 1.3),
    ("Lock, handed over between two loops", "aiologic", 1 / 1.3),
]


def report(costs: Costs, rounds: int) -> str:
    """Say what came out, and which promises hold."""
    held = verdicts(costs, PROMISES)
    if cancelled := costs.get(CANCELLING):
        small, large, small_floor, large_floor = map(median, cancelled.values())
        growth, growth_of_floor = large / small, large_floor / small_floor
        held.append(
            f"- {verdict(growth, 2 * growth_of_floor)}: cancelling one of 50,000 costs {growth:.2f} of one of 1,000"
            f", and with bare futures {growth_of_floor:.2f}; at most twice that"
        )
    setting = (
        f"{machine(('holdfast', 'aiologic'))}; medians of {rounds} rounds, in each of which every library runs once."
    )
    parts = [f"# The thread tier on Python {PYTHON}", setting, as_table(costs), "\n".join(held)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    run("benchmarks.threads", __doc__.partition("\n")[0], "threads", ROWS, report)
