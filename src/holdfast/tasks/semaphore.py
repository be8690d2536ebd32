"""Semaphore and BoundedSemaphore: a limited number of tasks at a time.

What must hold: while a permit is on its way to a task that has not run yet, no task takes another one without waiting
behind that task, even if one is free. asyncio promises that tasks proceed in the order of their acquire(). So a free
permit and a queued waiter can exist at the same time, but only while a grant is under way. When the granted waiter has
left, by whatever exit, _hand_out() grants what is free.
"""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from .context_manager import FINISHED, ContextManager, returns_awaitable
from .gil import ONE_AT_A_TIME
from .primitive import Primitive
from .pypy import closed_when_collected
from .twins import compiled
from .wait_queue import this_run


@dataclass(frozen=True, slots=True)
class SemaphoreStatistics:
    """The state of a Semaphore at one moment."""

    value: int
    """The number of free permits. A permit that was handed to a task that has not run yet is not free."""
    tasks_waiting: int
    """The number of tasks that wait for a permit. In `holdfast.threads`, of tasks and threads."""


@compiled
class Semaphore(ContextManager, Primitive, asyncio.Semaphore):
    """A number of permits, shared by the tasks of one event loop. Not thread-safe.

    Tasks get permits in the order in which they asked for them. `release()` hands the permit directly to the first
    waiting task, and no other task can take it in between.

    value: the number of permits at the start, 0 or more; math.inf for a semaphore that is never locked.
    loop: bind the semaphore to this event loop. Any use from another loop then raises RuntimeError.

    Raises ValueError if `value` is below 0, TypeError if it is neither an integer nor infinite.

    Example::

        calls = holdfast.Semaphore(10)
        async with calls:
            ...  # at most ten tasks at a time

    Source: asyncio.Semaphore as of 3.13. asyncio removed `loop=` in 3.10; here it works.
    """

    def __init__(self, value: int = 1, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._value = _permits(value)
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else f"unlocked, value:{self._value}")

    def locked(self) -> bool:
        """Return True if acquire() would have to wait."""
        queue = self._live_queue()
        return self._value == 0 or (queue is not None and queue.granted > 0)

    def statistics(self) -> SemaphoreStatistics:
        """Return the number of free permits, and the number of tasks that wait for one."""
        waiting = self._tasks_waiting()
        return SemaphoreStatistics(self._value, waiting)

    def try_acquire(self) -> bool:
        """Take a permit if that needs no waiting, and return whether it did. Never overtakes a waiting task.

        Raises RuntimeError if the semaphore is bound to another event loop.
        """
        if self._queue is not None:
            self._queue.check_bound()
        if self.locked():
            return False
        self._value -= 1
        return True

    @closed_when_collected
    async def acquire(self) -> Literal[True]:
        """Wait until a permit is free, take it, return True.

        Raises RuntimeError if the semaphore is bound to another event loop, or if it would have to wait while tasks of
        another event loop wait.

        Cancellation: the task leaves the line, and holds no permit. If one had already been handed to it, the next
        waiting task gets it.
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
        waiter = line.loop.create_future()  # type: ignore[union-attr]  # line.join(); 2 % faster
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
        """Hand a permit to the first waiting task, or add it to the free ones. Needs no acquire() before.

        Raises RuntimeError if the semaphore is bound to another event loop, and in asyncio's debug mode if the loop of
        the waiting tasks runs in another thread. It then adds nothing.
        """
        queue = self._queue
        if queue is None or not queue.grant():
            self._value += 1
            if not ONE_AT_A_TIME:
                self._look_again()

    def _hand_out(self) -> None:
        if self._queue is not None:
            granted = self._queue.grant(self._value, refusing=False)  # It may change the value, if a loop was closed.
            self._value -= granted

    def _give_back(self, n: int = 1) -> None:
        self._value += n
        self._hand_out()

    def _let_go(self) -> None:
        self._value += 1

    def _settle(self) -> None:
        self._hand_out()

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take a permit, at once if that needs no waiting, else as acquire() does. The `as` value is None."""
        if self._queue is None and self._value > 0 and type(self).acquire is ACQUIRE:
            self._value -= 1
            return FINISHED
        return self._enter()

    def _release_closed(self) -> None:
        self._give_back()


ACQUIRE = Semaphore.acquire
"""See lock.ACQUIRE."""


class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A Semaphore that cannot be released more often than it was acquired.

    It takes the arguments of Semaphore, and raises the same errors.

    Source: asyncio.BoundedSemaphore.
    """

    def __init__(self, value: int = 1, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(value, loop=loop)
        self._bound_value = self._value

    def release(self) -> None:
        """Hand a permit to the first waiting task, or add it to the free ones.

        Raises ValueError if all permits are free already; it then adds nothing. Raises RuntimeError where
        Semaphore.release() does.
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
    if not (isinstance(value, float) and math.isinf(value)):  # It is no integer, but asyncio has always accepted it.
        try:
            permits = operator.index(value)
        except TypeError:
            raise TypeError(f"Semaphore initial value must be an integer, or math.inf, not {value!r}") from None
    if permits < 0:
        raise ValueError(f"Semaphore initial value must be >= 0, not {permits}")
    return permits
