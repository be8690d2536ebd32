"""RWLock: any number of readers, or one writer.

It is a semaphore of very many permits: a reader takes one of them, and a writer takes all. So the wait queue keeps the
order: a writer at the head is not overtaken by readers, readers at the head enter together, and a writer that leaves
lets the readers behind it in. (tokio's RwLock is made so. In aiorwlock 1.5.1 and Nito.AsyncEx #134, readers sleep on
behind a writer that was cancelled.)

What must hold: no permit is free if and only if a writer is in, or has been let in and has not run yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from holdfast._hooks import Named

from .closed import Closable
from .context_manager import FINISHED, ContextManager, returns_awaitable
from .lock import LockStatistics
from .semaphore import Semaphore
from .twins import reference

ALL = 1 << 30
"""Permits: more than there can be readers."""


@dataclass(frozen=True, slots=True)
class RWLockStatistics:
    """The state of an RWLock at one moment."""

    readers: int
    """How many readers are in, or have been let in and have not run yet."""
    writing: bool
    """Whether a writer is."""
    tasks_waiting: int
    """The number of tasks that wait, as readers and writers. In `holdfast.threads`, of tasks and threads."""


class Permits(Protocol):
    """A semaphore of `ALL` permits, as its readers and writers see it."""

    _value: int
    _downgraded: bool
    """Whether a writer has become a reader, and may be in still."""

    async def acquire(self, n: int = 1) -> Literal[True]: ...
    def try_acquire(self, n: int = 1) -> bool: ...
    def release(self, n: int = 1) -> None: ...
    def _close(self, reason: object) -> None: ...
    def _is_closed(self) -> bool: ...
    def _take(self, needs: int) -> bool: ...
    def _put_back_closed(self, n: int) -> None: ...
    def _live_queue(self) -> object: ...
    def _count_waiters(self) -> int: ...
    def _tasks_waiting(self) -> int: ...


class Side(ContextManager):
    """What readers, or writers, use: a lock, with a Lock's methods."""

    _needs: int

    def __init__(self, permits: Permits) -> None:
        """Called by the RWLock."""
        self._permits = permits

    def __repr__(self) -> str:
        return f"<{type(self).__name__.removeprefix('_')} at {id(self):#x} [{state_of(self._permits)}]>"

    def locked(self) -> bool:
        """Return True if acquire() would have to wait."""
        permits = self._permits
        return permits._tasks_waiting() > 0 or permits._value < self._needs

    def statistics(self) -> LockStatistics:
        """Return whether acquire() would have to wait, and how many tasks wait: readers and writers, in one line."""
        return LockStatistics(self.locked(), self._permits._tasks_waiting())

    def try_acquire(self) -> bool:
        """Take it if that needs no waiting, and return whether it was taken. Never overtakes a waiting task.

        Raises RuntimeError if the RWLock is bound to another event loop, Closed if it was closed.
        """
        return self._permits.try_acquire(self._needs)

    async def acquire(self) -> Literal[True]:
        """Wait until it can be taken, take it, return True.

        Raises RuntimeError if the RWLock is bound to another event loop, or if it would have to wait while tasks of
        another event loop wait; Closed if it was closed, or is closed meanwhile.

        Cancellation: the task leaves the line, and holds nothing. What had already been handed to it, and what it kept
        from others, goes to the next waiting tasks.
        """
        return await self._permits.acquire(self._needs)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take it, at once if that needs no waiting, else as acquire() does. The `as` value is None."""
        return FINISHED if self._permits._take(self._needs) else self._enter()

    def release(self) -> None:
        """Give it back; those who are next come in. Any task may do so.

        Raises RuntimeError if it is not acquired, or if the RWLock is bound to another event loop.
        """
        self._permits.release(self._taken())

    def _release_closed(self) -> None:
        self._permits._put_back_closed(self._taken())

    def _taken(self) -> int:
        """How many permits a release gives back. Raises RuntimeError if nothing is acquired."""
        raise NotImplementedError


class Reader(Side):
    """The readers' side of an RWLock. Any number of tasks hold it at the same time, while no writer is in."""

    _needs = 1

    def _taken(self) -> int:
        if not 0 < free_permits(self._permits) < ALL:
            raise RuntimeError(
                "RWLock.reader is not acquired. Release it once for each acquire(), or write 'async with rw.reader:'"
            )
        return 1


class Writer(Side):
    """The writers' side of an RWLock. One task holds it at a time, while no reader is in."""

    _needs = ALL

    def downgrade(self) -> None:
        """Become a reader: the readers at the head of the line come in as well. No writer has been in meanwhile.

        What is held then is given back by `release()` of either side, or by the end of the `async with` block.

        Raises RuntimeError if no writer is in, or if the RWLock is bound to another event loop.
        """
        permits = self._permits
        if free_permits(permits) > 0:
            raise RuntimeError("RWLock.writer is not acquired, so it cannot become a reader")
        permits._downgraded = True  # before any other reader is in
        permits.release(ALL - 1)

    def _taken(self) -> int:
        permits = self._permits
        free = free_permits(permits)
        was_downgraded, permits._downgraded = permits._downgraded, False
        if free <= 0:
            return ALL
        if not (was_downgraded and free < ALL):
            raise RuntimeError(
                "RWLock.writer is not acquired. Release it once for each acquire(), or write 'async with rw.writer:'"
            )
        return 1


class RWLock(Closable, Named):
    """Any number of readers, or one writer, among the tasks of one event loop. Not thread-safe.

    Tasks come in in the order in which they asked. A reader that asks after a writer comes in after it, so writers do
    not starve; readers that stand behind each other at the head come in together. It cannot be acquired again by a task
    that holds it, and a reader cannot become a writer: either would wait for itself.

    loop: as for Lock.

    Example::

        cache = holdfast.RWLock()
        async with cache.reader:
            ...  # with other readers
        async with cache.writer:
            ...  # alone
            cache.writer.downgrade()
            ...  # with other readers; nobody has changed anything in between

    Source: the order of tokio's RwLock; aiorwlock for the use.
    """

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        permits = _Permits(ALL, loop=loop)
        self._permits: Permits = permits
        self.reader = Reader(permits)
        """What readers acquire."""
        self.writer = Writer(permits)
        """What writers acquire."""

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} object at {id(self):#x} [{state_of(self._permits)}]>"

    def _close(self, reason: object) -> None:
        self._permits._close(reason)

    def _is_closed(self) -> bool:
        return self._permits._is_closed()

    def _parts(self) -> Iterable[Named]:
        return [self._permits]  # type: ignore[list-item]  # each semaphore of permits is one

    def statistics(self) -> RWLockStatistics:
        """Return how many readers are in, whether a writer is, and how many tasks wait."""
        waiting, free = self._permits._tasks_waiting(), self._permits._value
        return RWLockStatistics(ALL - free if free > 0 else 0, free <= 0, waiting)


class _Permits(reference(Semaphore)):  # type: ignore[misc]  # mypy knows no class that a function returns
    """The Python twin: the fields of the compiled one take longer to read from Python."""

    _kind = "reader-writer lock"
    _downgraded = False

    def __repr__(self) -> str:
        return describe(self)


def free_permits(permits: Permits) -> int:
    """How many are free, once those are back that tasks of a closed loop were granted and did not take."""
    permits._live_queue()
    return permits._value


def describe(permits: Permits) -> str:
    """The repr of the semaphore, for errors."""
    return f"<the line of an RWLock [{state_of(permits)}]>"


def state_of(permits: Permits) -> str:
    """For a repr: who is in, and how many waiters there are."""
    waiters, free = permits._count_waiters(), permits._value
    state = "unlocked" if free == ALL else f"reading, readers:{ALL - free}" if free > 0 else "writing"
    closed = ", closed" if permits._is_closed() else ""
    return (f"{state}, waiters:{waiters}" if waiters else state) + closed
