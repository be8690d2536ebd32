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
from holdfast.cluster.engines.embedded import EmbeddedEngine
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


HOLDFAST = "holdfast"
COMPETITORS: dict[str, Open] = {
    HOLDFAST: holdfast,
    "AsyncFileLock": async_file_lock,
    "flock in a thread": flock_in_thread,
}
