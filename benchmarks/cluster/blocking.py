"""Locks that block a thread, each in the same shape, as a worker process without an event loop uses them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from .entrance import Seat


class BlockingLock(Protocol):
    """A process's way to the lock that all share."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


Open = Callable[[Seat], AbstractContextManager[BlockingLock]]


@contextmanager
def holdfast(seat: Seat) -> Iterator[BlockingLock]:
    with _session(f"sqlite://{seat.directory}") as session:
        yield session.lock("x")


@contextmanager
def holdfast_on_server(seat: Seat) -> Iterator[BlockingLock]:
    with _session(f"redis://127.0.0.1:{_port(seat)}", ttl=5) as session:
        yield session.lock("x")


def _session(url: str, ttl: float | None = None) -> Any:
    import holdfast

    return holdfast.connect(url, ttl=ttl, name=f"worker {os.getpid()}").sync


def _port(seat: Seat) -> int:
    return int(seat.place("redis"))


@contextmanager
def file_lock(seat: Seat) -> Iterator[BlockingLock]:
    from filelock import FileLock

    yield FileLock(seat.directory / "x.lock")


class Flock:
    """The kernel's, which queues."""

    def __init__(self, file: int) -> None:
        self._file = file

    def acquire(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


@contextmanager
def flock(seat: Seat) -> Iterator[BlockingLock]:
    yield Flock(os.open(seat.directory / "x.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


@contextmanager
def redis_py(seat: Seat) -> Iterator[BlockingLock]:
    from redis import Redis

    with Redis(port=_port(seat)) as client:
        yield client.lock("x", timeout=30)


@contextmanager
def python_redis_lock(seat: Seat) -> Iterator[BlockingLock]:
    import redis
    import redis_lock

    # Its wait is a BLPOP of up to half a minute, longer than redis-py waits for an answer by default.
    yield redis_lock.Lock(redis.Redis(port=_port(seat), socket_timeout=60), "x", expire=30)


HOLDFAST = "holdfast, from a thread"
HOLDFAST_ON_SERVER = "holdfast on Valkey, from a thread"
PYTHON_REDIS_LOCK = "python-redis-lock"
BLOCKING: dict[str, Open] = {
    HOLDFAST: holdfast,
    "filelock FileLock": file_lock,
    "flock": flock,
    HOLDFAST_ON_SERVER: holdfast_on_server,
    "redis-py Lock, blocking": redis_py,
    PYTHON_REDIS_LOCK: python_redis_lock,
}
