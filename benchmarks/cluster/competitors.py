"""The locks, each in the same shape, as a worker process uses them."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from holdfast.cluster.engines.contract import Change, T
from holdfast.cluster.engines.embedded.engine import EmbeddedEngine
from holdfast.cluster.session import Session


class Lock(Protocol):
    """One task's way to the lock that all share."""

    def acquire(self) -> Awaitable[object]: ...
    def release(self) -> Awaitable[object]: ...


@dataclass
class Entrance:
    """One process's way to the lock."""

    lock: Callable[[], Lock]
    """Makes one for each task."""
    swaps: list[float] = field(default_factory=list)
    """When the engine was asked for a change, in seconds of CLOCK_MONOTONIC; where there is an engine."""


Open = Callable[[Path], AbstractAsyncContextManager[Entrance]]


class CountingEngine(EmbeddedEngine):
    """The embedded engine; it notes when it is asked for a change."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "default")
        self.swaps: list[float] = []

    async def apply(self, name: str, change: Change[T], **options: Any) -> T:
        self.swaps.append(monotonic())
        return await super().apply(name, change, **options)


@asynccontextmanager
async def holdfast(directory: Path) -> AsyncIterator[Entrance]:
    engine = CountingEngine(directory)
    async with Session(engine, f"worker {os.getpid()}") as session:
        yield Entrance(lambda: session.lock("x"), engine.swaps)


@asynccontextmanager
async def async_file_lock(directory: Path) -> AsyncIterator[Entrance]:
    from filelock import AsyncFileLock

    path = directory / "x.lock"
    yield Entrance(lambda: AsyncFileLock(path))  # an object is reentrant, so each task has its own


class FlockInThread:
    """A blocking flock() in one of the event loop's threads. To release it, no thread is needed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def acquire(self) -> None:
        await asyncio.to_thread(fcntl.flock, self._file, fcntl.LOCK_EX)

    async def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


@asynccontextmanager
async def flock_in_thread(directory: Path) -> AsyncIterator[Entrance]:
    path = directory / "x.lock"
    yield Entrance(lambda: FlockInThread(path))


# On a server. The directory has a file each that says on which port.


def port(directory: Path, server: str) -> int:
    return int((directory / f"{server}.port").read_text())


@asynccontextmanager
async def holdfast_on_server(directory: Path) -> AsyncIterator[Entrance]:
    from holdfast.cluster.engines.redis.engine import RedisEngine

    engine = RedisEngine(f"redis://127.0.0.1:{port(directory, 'redis')}", "default", 5)
    async with Session(engine, f"worker {os.getpid()}") as session:
        yield Entrance(lambda: session.lock("x"))


def redis_py(sleep: float) -> Open:
    @asynccontextmanager
    async def lock(directory: Path) -> AsyncIterator[Entrance]:
        from redis.asyncio import Redis

        async with Redis(port=port(directory, "redis")) as client:
            yield Entrance(lambda: client.lock("x", timeout=30, sleep=sleep, thread_local=False))

    return lock


class InThread:
    """A lock whose methods block, in a thread of the event loop."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    async def acquire(self) -> None:
        await asyncio.to_thread(self._lock.acquire)

    async def release(self) -> None:
        await asyncio.to_thread(self._lock.release)


@asynccontextmanager
async def python_redis_lock(directory: Path) -> AsyncIterator[Entrance]:
    import redis
    import redis_lock

    client = redis.Redis(port=port(directory, "redis"))
    yield Entrance(lambda: InThread(redis_lock.Lock(client, "x", expire=30)))


class Semaphore:
    """py-redis-semaphore's, of one permit, with the methods that it has for asyncio."""

    def __init__(self, mutex: Any) -> None:
        self._mutex = mutex

    async def acquire(self) -> None:
        await self._mutex.aacquire()

    async def release(self) -> None:
        await self._mutex.arelease()


@asynccontextmanager
async def py_redis_semaphore(directory: Path) -> AsyncIterator[Entrance]:
    from redis.asyncio import Redis
    from redis_semaphore import Mutex

    async with Redis(port=port(directory, "redis")) as client:
        yield Entrance(lambda: Semaphore(Mutex(client, "x", blpop_timeout=3.0)))


@asynccontextmanager
async def coredis_lock(directory: Path) -> AsyncIterator[Entrance]:
    import coredis
    from coredis.patterns.lock import Lock as CoredisLock

    async with coredis.Redis(port=port(directory, "redis")) as client:
        yield Entrance(lambda: CoredisLock(client, "x", timeout=30))


class AdvisoryLock:
    """PostgreSQL's, of a connection, which waits there."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None

    async def acquire(self) -> None:
        self._connection = self._connection or await self._pool.acquire()
        await self._connection.execute("SELECT pg_advisory_lock(1)")

    async def release(self) -> None:
        await self._connection.execute("SELECT pg_advisory_unlock(1)")


@asynccontextmanager
async def advisory_lock(directory: Path) -> AsyncIterator[Entrance]:
    import asyncpg

    where = port(directory, "postgres")
    async with asyncpg.create_pool(
        host="127.0.0.1", port=where, user="postgres", database="postgres", min_size=1, max_size=20
    ) as pool:
        yield Entrance(lambda: AdvisoryLock(pool))


ON_SERVER: dict[str, Open] = {
    "holdfast on Valkey": holdfast_on_server,
    "redis-py Lock": redis_py(0.1),
    "redis-py Lock, 10 ms sleep": redis_py(0.01),
    "python-redis-lock, in a thread": python_redis_lock,
    "py-redis-semaphore": py_redis_semaphore,
    "coredis Lock": coredis_lock,
    "PostgreSQL advisory lock, asyncpg": advisory_lock,
}
HOLDFAST_ON_SERVER = "holdfast on Valkey"
HOLDFAST = "holdfast"
COMPETITORS: dict[str, Open] = {
    HOLDFAST: holdfast,
    "AsyncFileLock": async_file_lock,
    "flock in a thread": flock_in_thread,
}
