"""What asyncio has not (RWLock, KeyedLock, RateLimiter, several permits) against libraries that have it. Interleaved.

    python -m benchmarks.beyond_asyncio [--rounds N] [--only SUBSTRING]

Uncontended rows are one task that goes in and out. The rows of waiters are 10,000 tasks that wait and are let in. CPU
time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiolimiter
import aiorwlock
import anyio
import asyncio_keyed_lock

import holdfast

from .clock import now
from .interleaved import Costs, Sample, as_table, run, verdicts
from .markdown import PYTHON, machine

OPERATIONS = 5_000
WAITERS = 10_000
KEY = "a key"
RATE = 1e9


def entering(make: Callable[[], Callable[[], Any]]) -> Sample:
    """make: returns what gives the context manager of each entry."""

    async def main() -> float:
        entry = make()
        start = now()
        for _ in range(OPERATIONS):
            async with entry():
                pass
        return (now() - start) / OPERATIONS

    return lambda: asyncio.run(main())


def draining(make: Callable[[], tuple[Any, Callable[[], Any]]], waiters: int = WAITERS) -> Sample:
    """make: returns what keeps all out, and what gives the context manager of each waiter."""

    async def main() -> float:
        door, entry = make()

        async def wait() -> None:
            async with entry():
                pass

        async with door:
            tasks = [asyncio.create_task(wait()) for _ in range(waiters)]
            await asyncio.sleep(0)
            start = now()
        await asyncio.gather(*tasks)
        return (now() - start) / waiters

    return lambda: asyncio.run(main())


def reader_of_holdfast() -> Callable[[], Any]:
    lock = holdfast.RWLock()
    return lambda: lock.reader


def writer_of_holdfast() -> Callable[[], Any]:
    lock = holdfast.RWLock()
    return lambda: lock.writer


def reader_of_aiorwlock() -> Callable[[], Any]:
    lock = aiorwlock.RWLock()
    return lambda: lock.reader_lock


def writer_of_aiorwlock() -> Callable[[], Any]:
    lock = aiorwlock.RWLock()
    return lambda: lock.writer_lock


def behind_a_writer_of_holdfast() -> tuple[Any, Callable[[], Any]]:
    lock = holdfast.RWLock()
    return lock.writer, lambda: lock.reader


def behind_a_writer_of_aiorwlock() -> tuple[Any, Callable[[], Any]]:
    lock = aiorwlock.RWLock()
    return lock.writer_lock, lambda: lock.reader_lock


def key_of_holdfast() -> Callable[[], Any]:
    locks: holdfast.KeyedLock[str] = holdfast.KeyedLock()
    return lambda: locks[KEY]


def key_of_asyncio_keyed_lock() -> Callable[[], Any]:
    locks = asyncio_keyed_lock.AsyncioKeyedLock()
    return lambda: locks(KEY)


def key_of_a_dict(lock: Callable[[], Any]) -> Callable[[], Callable[[], Any]]:
    def make() -> Callable[[], Any]:
        locks = {KEY: lock()}
        return lambda: locks[KEY]

    return make


def waiting_for_a_key() -> tuple[Any, Callable[[], Any]]:
    locks: holdfast.KeyedLock[str] = holdfast.KeyedLock()
    return locks[KEY], lambda: locks[KEY]


def waiting_for_a_key_of_asyncio_keyed_lock() -> tuple[Any, Callable[[], Any]]:
    locks = asyncio_keyed_lock.AsyncioKeyedLock()
    return locks(KEY), lambda: locks(KEY)


def limiter_of_holdfast() -> Callable[[], Any]:
    limiter = holdfast.RateLimiter(RATE)
    return lambda: limiter


def limiter_of_aiolimiter() -> Callable[[], Any]:
    limiter = aiolimiter.AsyncLimiter(RATE, 1)
    return lambda: limiter


def permits_of_holdfast() -> Callable[[], Any]:
    permits = holdfast.Semaphore(3).permits(2)
    return lambda: permits


def semaphore_of_holdfast() -> Callable[[], Any]:
    semaphore = holdfast.Semaphore(3)
    return lambda: semaphore


def limiter_of_anyio() -> Callable[[], Any]:
    limiter = anyio.CapacityLimiter(3)
    return lambda: limiter


ROWS: dict[str, dict[str, Sample]] = {
    "RWLock, a reader": {"holdfast": entering(reader_of_holdfast), "aiorwlock": entering(reader_of_aiorwlock)},
    "RWLock, a writer": {"holdfast": entering(writer_of_holdfast), "aiorwlock": entering(writer_of_aiorwlock)},
    "RWLock, 10,000 readers behind a writer": {
        "holdfast": draining(behind_a_writer_of_holdfast),
        "aiorwlock": draining(behind_a_writer_of_aiorwlock),
        "holdfast, 1,000 of them": draining(behind_a_writer_of_holdfast, 1_000),
    },
    "KeyedLock": {
        "holdfast": entering(key_of_holdfast),
        "asyncio-keyed-lock": entering(key_of_asyncio_keyed_lock),
        "a dict of asyncio.Lock": entering(key_of_a_dict(asyncio.Lock)),
        "a dict of holdfast.Lock": entering(key_of_a_dict(holdfast.Lock)),
    },
    "KeyedLock, 10,000 wait for a key": {
        "holdfast": draining(waiting_for_a_key),
        "asyncio-keyed-lock": draining(waiting_for_a_key_of_asyncio_keyed_lock),
        "holdfast, 1,000 of them": draining(waiting_for_a_key, 1_000),
    },
    "RateLimiter": {"holdfast": entering(limiter_of_holdfast), "aiolimiter": entering(limiter_of_aiolimiter)},
    "two permits": {
        "holdfast": entering(permits_of_holdfast),
        "anyio.CapacityLimiter, which takes one": entering(limiter_of_anyio),
        "one permit of holdfast.Semaphore": entering(semaphore_of_holdfast),
    },
}
PROMISES = [
    ("RWLock, a reader", "aiorwlock", 1 / 3),
    ("RWLock, a writer", "aiorwlock", 1 / 3),
    ("KeyedLock", "asyncio-keyed-lock", 1 / 3),
    ("KeyedLock", "a dict of holdfast.Lock", 1.5),
    ("RateLimiter", "aiolimiter", 1.0),
    ("RWLock, 10,000 readers behind a writer", "holdfast, 1,000 of them", 2.0),
    ("KeyedLock, 10,000 wait for a key", "holdfast, 1,000 of them", 2.0),
]


def report(costs: Costs, rounds: int) -> str:
    """Say what came out, and which promises hold."""
    libraries = "holdfast", "aiorwlock", "aiolimiter", "asyncio-keyed-lock", "anyio"
    setting = (
        f"{machine(libraries)}; medians of {rounds} rounds, in each of which every library runs once. A KeyedLock "
        "makes its entry and removes it each time; a dict keeps its locks for ever."
    )
    title = f"# What asyncio has not, on Python {PYTHON}"
    parts = [title, setting, as_table(costs), "\n".join(verdicts(costs, PROMISES))]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    run("benchmarks.beyond_asyncio", __doc__.partition("\n")[0], "beyond-asyncio", ROWS, report)
