"""Semaphore and BoundedSemaphore: at most so many tasks at a time."""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from ._contextmanager import FINISHED, ContextManager, returns_awaitable
from ._primitive import Primitive
from ._twins import compiled
from ._waitqueue import this_run


@dataclass(frozen=True, slots=True)
class SemaphoreStatistics:
    """A Semaphore at one moment."""

    value: int
    """How many permits are free. Those on their way to a task that has not run yet are not."""
    tasks_waiting: int
    """How many tasks wait for a permit."""


@compiled
class Semaphore(ContextManager, Primitive, asyncio.Semaphore):
    """A number of permits, shared by the tasks of one event loop. Not thread-safe.

    Tasks get permits in the order in which they asked for them. `release()` hands the permit to the first
    waiting task at once, and nobody can slip in.

    value: the number of permits at the start, not negative; math.inf for one that is always free.
    loop: bind the semaphore to this event loop; any use from another one raises RuntimeError.

    Raises ValueError if `value` is below 0, TypeError if it is neither an integer nor infinite.

    Source: asyncio.Semaphore as of 3.13. `loop=` was removed there in 3.10, and works here.
    """

    # While a permit is on its way to a task that has not run yet, nobody takes another without waiting behind
    # it, even if one is free: asyncio promises that tasks proceed in the order of their acquire(). So a free
    # permit and a waiting task can go together, but only while a grant is under way; when that waiter has
    # left, by whatever exit, _hand_out() gives out what is free.

    def __init__(self, value: int = 1, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._value = _permits(value)
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else f"unlocked, value:{self._value}")

    def locked(self) -> bool:
        """Return True if a permit cannot be acquired at once."""
        queue = self._live_queue()
        return self._value == 0 or (queue is not None and queue.granted > 0)

    def statistics(self) -> SemaphoreStatistics:
        """Return how many permits are free, and how many tasks wait for one."""
        waiting = self._tasks_waiting()
        return SemaphoreStatistics(self._value, waiting)

    def try_acquire(self) -> bool:
        """Take a permit if that needs no waiting; return whether it did. Never overtakes a waiting task.

        Raises RuntimeError if the semaphore is bound to another event loop.
        """
        if self._queue is not None:
            self._queue.check_bound()
        if self.locked():
            return False
        self._value -= 1
        return True

    async def acquire(self) -> Literal[True]:
        """Wait until a permit is free, take it, return True.

        Raises RuntimeError if it would have to wait while tasks of another event loop do.

        Cancellation: the task has left the line, and holds no permit; if one was already on its way to it,
        the next task gets it.
        """
        line = self._queue
        if line is None and self._value > 0:
            self._value -= 1
            return True
        if line is None or line.run is not this_run():
            line = self._enter_line()
        if self._value > 0 and not line.granted:
            self._value -= 1
            line.retire()
            return True
        waiter = line.loop.create_future()  # type: ignore[union-attr]  # line.join(), and 2 % faster
        line.line.append(waiter)
        try:
            await waiter
        except BaseException:
            if line.leave(waiter):
                self._give_back()
            raise
        line.granted -= 1
        if self._value > 0:
            self._hand_out()
        return True

    def release(self) -> None:
        """Hand a permit to the first waiting task, or add it to the free ones.

        May be called more often than acquire(). Raises RuntimeError, and adds nothing, in asyncio's debug mode if
        the loop of the waiting tasks runs in another thread.
        """
        queue = self._queue
        if queue is None or not queue.grant():
            self._value += 1

    def _hand_out(self) -> None:
        if self._queue is not None:
            granted = self._queue.grant(self._value, refusing=False)  # which may change the value, if a loop was closed
            self._value -= granted

    def _give_back(self) -> None:
        self._value += 1
        self._hand_out()

    def _let_go(self) -> None:
        self._value += 1

    def _settle(self) -> None:
        self._hand_out()

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take a permit at once if that needs no waiting, else wait as acquire() does. The `as` value is None."""
        if self._queue is None and self._value > 0 and type(self).acquire is ACQUIRE:
            self._value -= 1
            return FINISHED
        return self._enter()

    def _release_closed(self) -> None:
        self._give_back()


ACQUIRE = Semaphore.acquire
"""See lock.ACQUIRE."""


class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A Semaphore that refuses to be released more often than it was acquired.

    Takes the arguments of Semaphore, and raises the same errors.

    Source: asyncio.BoundedSemaphore.
    """

    def __init__(self, value: int = 1, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(value, loop=loop)
        self._bound_value = self._value

    def release(self) -> None:
        """Hand a permit to the first waiting task, or add it to the free ones.

        Raises ValueError, and adds nothing, if all permits are free already; RuntimeError as Semaphore's does.
        """
        self._check_bound_value()
        super().release()

    def _release_closed(self) -> None:
        self._check_bound_value()
        super()._release_closed()

    def _check_bound_value(self) -> None:
        if self._value >= self._bound_value:
            raise ValueError(
                f"BoundedSemaphore released too many times: all its {self._bound_value} permits are free. Release "
                "it once for each acquire(), or use a Semaphore if more permits are to be added"
            )


def _permits(value: int) -> int:
    permits = value
    if not (isinstance(value, float) and math.isinf(value)):  # no int, but asyncio's has always worked with it
        try:
            permits = operator.index(value)
        except TypeError:
            raise TypeError(f"Semaphore initial value must be an integer, or math.inf, not {value!r}") from None
    if permits < 0:
        raise ValueError(f"Semaphore initial value must be >= 0, not {permits}")
    return permits
