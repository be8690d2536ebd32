"""What a change, a task that waits, a name and a session cost, by how many there are. Each has a process of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import redis

import holdfast
from holdfast.cluster import Session

T = TypeVar("T")
TTL = 300.0
"""Seconds of a session's ttl on a server."""
AT_ONCE = 100
"""How many names are taken at once, while a session gets its many."""
CHANGES = 2_000
"""How many changes a figure is made of."""
PARTS = 5
"""How many figures a median is made of."""
COUNT = 1_000
"""Of tasks and names whose memory is measured."""
SESSIONS = 100
"""Whose memory is measured."""


def apart(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


@dataclass(frozen=True)
class Place:
    """Where sessions share something."""

    title: str
    url: str
    port: int | None = None
    """Of the server, if there is one."""

    def cpu(self) -> float:
        """Seconds of CPU time that this process has taken so far, and the server."""
        return time.process_time() + (server_cpu(self.port) if self.port is not None else 0.0)

    def session(self) -> Session:
        return holdfast.connect(self.url, ttl=TTL if self.port is not None else None)


def server_cpu(port: int) -> float:
    """Seconds of CPU time that the server has taken so far."""
    with redis.Redis(port=port) as client:
        spent: dict[str, float] = client.info("cpu")
    return spent["used_cpu_user"] + spent["used_cpu_sys"]


# CPU time


def names(place: Place, sizes: Sequence[int]) -> list[float]:
    """Seconds of CPU time for a release and an acquisition of one of so many names, all of which one session holds."""
    return asyncio.run(_names(place, sizes))


async def _names(place: Place, sizes: Sequence[int]) -> list[float]:
    costs = []
    rng = random.Random(0)
    async with place.session() as session:
        held: list[holdfast.cluster.Lock] = []
        for size in sizes:
            while len(held) < size:
                more = [session.lock(f"name {len(held) + each}") for each in range(min(AT_ONCE, size - len(held)))]
                await asyncio.gather(*(lock.acquire() for lock in more))
                held += more
            parts = []
            for _ in range(PARTS):
                chosen = rng.choices(held, k=CHANGES // PARTS)
                before = place.cpu()
                for lock in chosen:
                    await lock.release()
                    await lock.acquire()
                parts.append((place.cpu() - before) / len(chosen))
            costs.append(median(parts))
    return costs


class Waiting(NamedTuple):
    """Seconds of CPU time for each of many tasks of one session."""

    asks: float
    """From its start until it waits."""
    has_it: float
    """For its turn: from a release to the next."""


def tasks(place: Place, size: int) -> Waiting:
    """So many tasks of one session wait for one name that another session holds, and then have it in turn."""
    return asyncio.run(_tasks(place, size))


async def _tasks(place: Place, size: int) -> Waiting:
    parts = []
    for part in range(max(1, CHANGES // size)):
        async with held_elsewhere(place, f"crowd {part}") as (session, name, let_go):
            lock = session.lock(name)

            async def use(lock: holdfast.cluster.Lock = lock) -> None:
                async with lock:
                    pass

            start = place.cpu()
            waiting = [asyncio.create_task(use()) for _ in range(size)]
            await _until_waiting(session, name, size)
            middle = place.cpu()
            await let_go()
            await asyncio.gather(*waiting)
            parts.append(Waiting((middle - start) / size, (place.cpu() - middle) / size))
    return Waiting(*(median(each) for each in zip(*parts, strict=True)))


@asynccontextmanager
async def held_elsewhere(place: Place, name: str) -> AsyncIterator[tuple[Session, str, Callable[[], Awaitable[None]]]]:
    """A session, a name that another one holds, and how that one gives it back."""
    async with place.session() as other, place.session() as session:
        lock = other.lock(name)
        await lock.acquire()
        yield session, name, lock.release


async def _until_waiting(session: Session, name: str, tasks: int) -> None:
    async with asyncio.timeout(300):
        while sum(run.tasks for run in (await session.inspect(name)).waiters) < tasks:
            await asyncio.sleep(0.05)


# Memory


class Memory(NamedTuple):
    """Bytes for each."""

    bare_task: int
    """A task that waits for a future."""
    task: int
    """A task that waits for a name that another session holds, in `async with lock`."""
    acquire: int
    """The same, as a task that is nothing but `lock.acquire()`."""
    held_name: int
    used_name: int
    """A name that was held, and whose Lock is gone."""
    session: int
    """As Python counts it."""
    resident_session: int
    """As the system counts it, with what SQLite and the kernel's buffers in this process take."""


def memory(place: Place) -> Memory:
    bare_task, task, acquire = asyncio.run(_of_tasks(place))
    held_name, used_name = asyncio.run(_of_names(place))
    session = asyncio.run(_of_sessions(place, _traced))
    return Memory(bare_task, task, acquire, held_name, used_name, session, apart(_resident_session, place))


async def _of_tasks(place: Place) -> tuple[int, int, int]:
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    async def each(act: Callable[[], Coroutine[Any, Any, object]], settle: Callable[[], Awaitable[None]]) -> int:
        before = _started()
        waiting = [asyncio.create_task(act()) for _ in range(COUNT)]
        await settle()
        used = _stopped(before)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return round(used / COUNT)

    async with held_elsewhere(place, "memory") as (session, name, let_go):
        lock = session.lock(name)

        async def use() -> None:
            async with lock:
                pass

        async def settle() -> None:
            await _until_waiting(session, name, 1 + COUNT)

        first = asyncio.create_task(use())  # what the first task brings with it is none of the others'
        await _until_waiting(session, name, 1)
        used = await each(wait, partial(asyncio.sleep, 0)), await each(use, settle), await each(lock.acquire, settle)
        await let_go()
        await first
    return used


async def _of_names(place: Place) -> tuple[int, int]:
    async with place.session() as session:
        async with session.lock("first"):
            pass
        before = _started()
        held = [session.lock(f"memory {each}") for each in range(COUNT)]
        for lock in held:
            await lock.acquire()
        gc.collect()
        with_all = tracemalloc.get_traced_memory()[0] - before
        for lock in held:
            await lock.release()
        del held, lock
        await asyncio.sleep(0.1)
        return round(with_all / COUNT), round(_stopped(before) / COUNT)


async def _of_sessions(place: Place, used: Callable[[], Iterator[Callable[[], int]]]) -> int:
    """used: a context whose `as` value tells the bytes that were taken in it."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(place.session())
        with contextmanager(used)() as bytes_used:
            for _ in range(SESSIONS):
                session = await stack.enter_async_context(place.session())
                async with session.lock("any"):
                    pass
            result = bytes_used()
    return round(result / SESSIONS)


def _traced() -> Iterator[Callable[[], int]]:
    before = _started()
    yield lambda: _stopped(before)


def _resident_session(place: Place) -> int:
    return asyncio.run(_of_sessions(place, _resident))


def _resident() -> Iterator[Callable[[], int]]:
    before = _resident_bytes()
    yield lambda: _resident_bytes() - before


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _started() -> int:
    gc.collect()
    tracemalloc.start()
    return tracemalloc.get_traced_memory()[0]


def _stopped(before: int) -> int:
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used
