"""The locks, each in the same shape, as a worker process uses them."""

from __future__ import annotations

import asyncio
import fcntl
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from . import before
from .entrance import Entrance, Open, Seat
from .floors import two_changes, two_round_trips

# No competitor is imported before it is used: a process with an earlier build of holdfast must not have this one.


@asynccontextmanager
async def holdfast(seat: Seat) -> AsyncIterator[Entrance]:
    async with _session(f"sqlite://{seat.directory}") as session:
        yield Entrance(lambda: session.lock("x"), _noted_changes(session.engine))


@asynccontextmanager
async def holdfast_before(seat: Seat) -> AsyncIterator[Entrance]:
    before.use(seat.place(before.PLACE))
    async with holdfast(seat) as entrance:
        yield entrance


def _session(url: str, ttl: float | None = None, namespace: str = "default") -> Any:
    """namespace: one of the run's own, where killed workers leave locks that have to expire."""
    import holdfast

    return holdfast.connect(url, ttl=ttl, namespace=namespace, name=f"worker {os.getpid()}")


def _noted_changes(engine: Any) -> list[float]:
    """When the engine is asked for a change, from now on. All builds have engines with this method."""
    noted: list[float] = []
    apply = engine.apply

    def note_and_apply(*arguments: Any, **options: Any) -> Any:
        noted.append(monotonic())
        return apply(*arguments, **options)

    engine.apply = note_and_apply
    return noted


@asynccontextmanager
async def async_file_lock(seat: Seat) -> AsyncIterator[Entrance]:
    from filelock import AsyncFileLock

    path = seat.directory / "x.lock"
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
async def flock_in_thread(seat: Seat) -> AsyncIterator[Entrance]:
    path = seat.directory / "x.lock"
    yield Entrance(lambda: FlockInThread(path))


@asynccontextmanager
async def grelmicro_on_sqlite(seat: Seat) -> AsyncIterator[Entrance]:
    """As its manual has it: one backend and one lock for a process."""
    from grelmicro.sync.lock import Lock
    from grelmicro.sync.sqlite import SQLiteSyncBackend

    async with SQLiteSyncBackend(seat.directory / "x.db") as backend:
        lock = Lock("x", backend=backend)
        yield Entrance(lambda: lock)


# On a server, of which a seat knows the port.


def port(seat: Seat, server: str) -> int:
    return int(seat.place(server))


@asynccontextmanager
async def holdfast_on_server(seat: Seat) -> AsyncIterator[Entrance]:
    async with _session(f"redis://127.0.0.1:{port(seat, 'redis')}", ttl=5) as session:
        yield Entrance(lambda: session.lock("x"))


@asynccontextmanager
async def holdfast_before_on_server(seat: Seat) -> AsyncIterator[Entrance]:
    before.use(seat.place(before.PLACE))
    async with holdfast_on_server(seat) as entrance:
        yield entrance


def redis_py(sleep: float) -> Open:
    @asynccontextmanager
    async def lock(seat: Seat) -> AsyncIterator[Entrance]:
        from redis.asyncio import Redis

        async with Redis(port=port(seat, "redis")) as client:
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
async def python_redis_lock(seat: Seat) -> AsyncIterator[Entrance]:
    import redis
    import redis_lock

    client = redis.Redis(port=port(seat, "redis"))
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
async def py_redis_semaphore(seat: Seat) -> AsyncIterator[Entrance]:
    from redis.asyncio import Redis
    from redis_semaphore import Mutex

    async with Redis(port=port(seat, "redis")) as client:
        yield Entrance(lambda: Semaphore(Mutex(client, "x", blpop_timeout=3.0)))


@asynccontextmanager
async def coredis_lock(seat: Seat) -> AsyncIterator[Entrance]:
    import coredis
    from coredis.patterns.lock import Lock as CoredisLock

    async with coredis.Redis(port=port(seat, "redis")) as client:
        yield Entrance(lambda: CoredisLock(client, "x", timeout=30))


@asynccontextmanager
async def grelmicro_on_redis(seat: Seat) -> AsyncIterator[Entrance]:
    from grelmicro.sync.lock import Lock
    from grelmicro.sync.redis import RedisSyncBackend

    async with RedisSyncBackend(f"redis://127.0.0.1:{port(seat, 'redis')}/0") as backend:
        lock = Lock("x", backend=backend)
        yield Entrance(lambda: lock)


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
async def advisory_lock(seat: Seat) -> AsyncIterator[Entrance]:
    import asyncpg

    where = port(seat, "postgres")
    async with asyncpg.create_pool(
        host="127.0.0.1", port=where, user="postgres", database="postgres", min_size=1, max_size=64
    ) as pool:
        yield Entrance(lambda: AdvisoryLock(pool))


@asynccontextmanager
async def holdfast_on_postgres(seat: Seat) -> AsyncIterator[Entrance]:
    url = f"postgresql://postgres@127.0.0.1:{port(seat, 'postgres')}/postgres"
    async with _session(url, ttl=5, namespace=seat.directory.name) as session:
        yield Entrance(lambda: session.lock("x"))


@asynccontextmanager
async def holdfast_on_etcd(seat: Seat) -> AsyncIterator[Entrance]:
    async with _session(f"etcd://127.0.0.1:{port(seat, 'etcd')}", ttl=5, namespace=seat.directory.name) as session:
        yield Entrance(lambda: session.lock("x"))


class LockService:
    """etcd's own lock, which waits in the server; by the client that holdfast uses. Each task needs a lease of its own:
    one lease may have the lock twice.
    """

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._name = b64encode(name.encode()).decode()
        self._connection: Any = None
        self._lease = self._key = ""

    async def acquire(self) -> None:
        if self._connection is None:
            from holdfast.cluster.engines.etcd.connection import Connection

            self._connection = Connection("127.0.0.1", self._port, None)
            await self._connection.open()
            self._lease = (await self._ask("/v3/lease/grant", TTL="60"))["ID"]
        self._key = (await self._ask("/v3/lock/lock", name=self._name, lease=self._lease))["key"]

    async def release(self) -> None:
        await self._ask("/v3/lock/unlock", key=self._key)

    async def _ask(self, path: str, **body: str) -> Any:
        return (await self._connection.request(path, body, {})).body


@asynccontextmanager
async def etcd_lock_service(seat: Seat) -> AsyncIterator[Entrance]:
    where = port(seat, "etcd")
    yield Entrance(lambda: LockService(where, seat.directory.name))


HOLDFAST = "holdfast"
BEFORE = "holdfast, earlier build"
FLOCK = "flock in a thread"
GRELMICRO = "grelmicro Lock on SQLite"
FLOOR = "floor: a datagram, two changes of SQLite"
COMPETITORS: dict[str, Open] = {
    HOLDFAST: holdfast,
    BEFORE: holdfast_before,
    "AsyncFileLock": async_file_lock,
    FLOCK: flock_in_thread,
    GRELMICRO: grelmicro_on_sqlite,
    FLOOR: two_changes,
}
HOLDFAST_ON_SERVER = "holdfast on Valkey"
BEFORE_ON_SERVER = "holdfast on Valkey, earlier build"
HOLDFAST_ON_POSTGRES = "holdfast on PostgreSQL"
ADVISORY_LOCK = "PostgreSQL advisory lock, asyncpg"
REDIS_PY = "redis-py Lock"
HOLDFAST_ON_ETCD = "holdfast on etcd"
ETCD_LOCK = "etcd's lock service, same client"
FLOOR_ON_SERVER = "floor: two round trips"
ON_SERVER: dict[str, Open] = {
    HOLDFAST_ON_SERVER: holdfast_on_server,
    BEFORE_ON_SERVER: holdfast_before_on_server,
    REDIS_PY: redis_py(0.1),
    "redis-py Lock, 10 ms sleep": redis_py(0.01),
    "python-redis-lock, in a thread": python_redis_lock,
    "py-redis-semaphore": py_redis_semaphore,
    "coredis Lock": coredis_lock,
    "grelmicro Lock on Redis": grelmicro_on_redis,
    HOLDFAST_ON_POSTGRES: holdfast_on_postgres,
    ADVISORY_LOCK: advisory_lock,
    HOLDFAST_ON_ETCD: holdfast_on_etcd,
    ETCD_LOCK: etcd_lock_service,
    FLOOR_ON_SERVER: two_round_trips,
}
