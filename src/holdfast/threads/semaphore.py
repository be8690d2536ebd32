"""Semaphore and BoundedSemaphore: at most so many tasks and threads at a time."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine
from typing import Any, Literal

from holdfast._contextmanager import FINISHED, returns_awaitable

from . import _task_tier as task_tier
from ._primitive import Shared, SyncView, check_timeout
from ._queue import SharedQueue
from ._section import ONE_AT_A_TIME, Section, here
from ._waiter import Waiter


class Semaphore(Shared, task_tier.Semaphore):
    """A number of permits, shared by threads and the tasks of any event loops.

    Who asks first gets one first, task or thread. `sync` is the same semaphore for threads.

    value: the number of permits at the start, not negative; math.inf for one that is always free.

    Raises ValueError if `value` is below 0, TypeError if it is neither an integer nor infinite.

    Source: asyncio.Semaphore, and threading.Semaphore for `sync`.
    """

    _instead = "async with semaphore:"
    _instead_of_with = "'with semaphore.sync:', or in a coroutine 'async with semaphore:',"

    def __init__(self, value: int = 1) -> None:
        self._section = Section()
        task_tier.Semaphore.__init__(self, value)

    @property
    def sync(self) -> SyncSemaphore:
        """The semaphore with the methods of threading.Semaphore."""
        return SyncSemaphore(self)

    async def acquire(self) -> Literal[True]:
        """Wait until a permit is free, take it, return True.

        Cancellation: the task has left the line, and holds no permit; if one was already on its way to it,
        the next in the line gets it.
        """
        if not self._take():
            await self._wait()
        return True

    def release(self) -> None:
        """Hand a permit to the first in the line, or add it to the free ones. Never blocks.

        May be called more often than acquire().
        """
        if ONE_AT_A_TIME:
            self._value += (free := self._queue is None)
        elif free := self._queue is None and not here.me.inside:
            with self._section:
                self._value += (free := self._queue is None)
        if not free:
            self._section.do(self._put, 1)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take a permit at once if one is free, else wait as acquire() does. The `as` value is None."""
        return FINISHED if type(self).acquire is ACQUIRE and self._take() else self._enter()

    def _take(self) -> bool:
        """Take a permit if nobody waits and one is free."""
        # Whoever joins shows the queue before it looks for permits, and here both are looked at in one step.
        if ONE_AT_A_TIME:
            self._value -= (taken := self._queue is None and self._value > 0)
        elif taken := self._value > 0 and self._queue is None and not here.me.inside:
            with self._section:
                self._value -= (taken := self._queue is None and self._value > 0)
        return taken

    def _add(self, n: int) -> None:
        self._section.do(self._put, n)

    # In the critical section

    def _try(self, line: SharedQueue) -> bool:
        if self._value > 0 and not line.granted:
            self._value -= 1
            return True
        return False

    def _arrive(self, waiter: Waiter) -> Any:
        waiter.line.finish(waiter)  # type: ignore[union-attr]  # it has waited there
        if self._value > 0:
            self._hand_out()
        return True

    def _put(self, n: int) -> None:
        self._value += n
        self._hand_out()

    def _release_closed(self) -> None:
        self.release()


ACQUIRE = Semaphore.acquire
"""See the task tier's Lock."""


class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A Semaphore that refuses to be released more often than it was acquired.

    Takes the arguments of Semaphore, and raises the same errors.

    Source: asyncio.BoundedSemaphore, and threading.BoundedSemaphore for `sync`.
    """

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._bound_value = self._value

    def release(self) -> None:
        """Hand a permit to the first in the line, or add it to the free ones. Never blocks.

        Raises ValueError, and adds nothing, if all permits are free already.
        """
        self._add(1)

    def _add(self, n: int) -> None:
        self._section.run(self._check_and_put, n, within=self._check_and_put_late)

    def _check_and_put(self, n: int) -> None:
        self._check_release(n)
        self._put(n)

    def _check_and_put_late(self, n: int) -> None:
        self._check_release(n)
        self._section.do(self._put, n)

    def _check_release(self, n: int) -> None:
        """Raise ValueError if so many permits must not be added."""
        if self._value + n > self._bound_value:
            raise ValueError(
                f"BoundedSemaphore released too many times: of its {self._bound_value} permits {self._value} are free. "
                "Release it once for each acquire(), or use a Semaphore if more permits are to be added"
            )

    def _release_closed(self) -> None:
        self.release()


class SyncSemaphore(SyncView[Semaphore]):
    """The Semaphore, or BoundedSemaphore, as threads see it."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, waiting at most `timeout` seconds, or for ever, or not at all; return whether one was taken.

        Raises RuntimeError if it would block a running event loop; ValueError as threading does. What a signal
        handler raises meanwhile comes out, and no permit is held.
        """
        semaphore = self._shared
        if timeout is not None:
            timeout = max(timeout, 0)  # as in threading
        seconds = check_timeout(blocking, -1 if timeout is None else timeout)
        if semaphore._take():
            return True
        return bool(semaphore._block(seconds)) if seconds else semaphore.try_acquire()

    def release(self, n: int = 1) -> None:
        """Add `n` permits at once, and hand them to the first in the line.

        Raises ValueError, and adds nothing, if `n` is below 1, or above what a BoundedSemaphore has lent.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        self._shared._add(n)

    def __enter__(self) -> bool:
        return self._shared._take() or bool(self._shared._block())

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self._shared.release()

    def __repr__(self) -> str:
        name = f"Sync{type(self._shared).__name__}"
        return f"<holdfast.threads.{name} at {id(self._shared):#x}: value={self._shared._value}>"
