"""Semaphore and BoundedSemaphore: a limited number of tasks at a time.

What must hold: while a permit is on its way to a task that has not run yet, no task takes another one without waiting
behind that task, even if one is free. asyncio promises that tasks proceed in the order of their acquire(). So a free
permit and a queued waiter can exist at the same time, but only while a grant is under way, or while the first waiter
needs more permits than are free. When a waiter has left, by whatever exit, _hand_out() grants what is free.

A task that needs several permits takes them at once, so two tasks cannot each hold half of what both need.
"""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from holdfast import _hooks

from .context_manager import FINISHED, ContextManager, returns_awaitable
from .gil import ONE_AT_A_TIME
from .primitive import Primitive
from .pypy import closed_when_collected
from .twins import compiled
from .wait_queue import this_run

if TYPE_CHECKING:
    from .wait_queue import WaitQueue


AsyncioBoundedSemaphore = asyncio.BoundedSemaphore
"""asyncio's class, also after install(). `holdfast.threads` may be imported later."""
ONE = 1
"""The number of permits that most ask for. To compare with `is` is quicker than to look at the type of a number."""


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

    _kind = "semaphore"

    def __init__(self, value: int = 1, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._value = _permits(value)
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else f"unlocked, value:{self._value}")

    def locked(self) -> bool:
        """Return True if acquire() would have to wait."""
        queue = self._live_queue()
        return self._value <= 0 or (queue is not None and (queue.granted > 0 or queue.has_waiters()))

    def statistics(self) -> SemaphoreStatistics:
        """Return the number of free permits, and the number of tasks that wait for one."""
        waiting = self._tasks_waiting()
        return SemaphoreStatistics(self._value, waiting)

    def try_acquire(self, n: int = 1) -> bool:
        """Take `n` permits if that needs no waiting, and return whether it did. Never overtakes a waiting task.

        n: the number of permits, 1 or more.

        Raises RuntimeError if the semaphore is bound to another event loop; Closed, TypeError and ValueError as
        acquire() does.
        """
        needs = n if n is ONE else self._needs(n)
        if self._queue is not None:
            self._queue.check_open()
        if self.locked() or self._value < needs:
            return False
        self._value -= needs
        return True

    @closed_when_collected
    async def acquire(self, n: int = 1) -> Literal[True]:
        """Wait until `n` permits are free, take them at once, return True.

        n: the number of permits, 1 or more. A task that needs many keeps its place: none that asks later gets a permit
        before it, so permits may be free while tasks wait.

        Raises RuntimeError if the semaphore is bound to another event loop, or if it would have to wait while tasks of
        another event loop wait; TypeError if `n` is no integer, ValueError if it is below 1 or more than a
        BoundedSemaphore has; Closed if the semaphore was closed, or is closed meanwhile.

        Cancellation: the task leaves the line, and holds no permit. Permits that had already been handed to it, and
        those that it kept from others, go to the next waiting tasks.
        """
        needs = n if n is ONE else self._needs(n)
        line = self._queue
        if line is None and self._value >= needs:
            self._value -= needs
            return True
        if line is None or line.run is not this_run():
            line = self._enter_line()
        if self._value >= needs and not line.granted and not line.has_waiters():
            self._value -= needs
            line.retire()
            return True
        if needs == 1:
            waiter = line.loop.create_future()  # type: ignore[union-attr]  # line.join(); 2 % faster
            line.line.append(waiter)
            if _hooks.are_installed or waiter._source_traceback is not None:  # type: ignore[union-attr]
                line._tell_of(waiter)
        else:
            waiter = line.join_for(needs)
        try:
            await waiter
        except BaseException:
            if line.leave(waiter):
                line.more -= needs - 1
                self._give_back(needs)
            raise
        line.granted -= 1
        line.more -= needs - 1
        if self._value > 0:
            self._hand_out()
        return True

    def release(self, n: int = 1) -> None:
        """Hand `n` permits to the first waiting tasks, and add the rest to the free ones. Needs no acquire() before.

        n: the number of permits, 1 or more.

        Raises RuntimeError if the semaphore is bound to another event loop, and in asyncio's debug mode if the loop of
        the waiting tasks runs in another thread; TypeError if `n` is no integer, ValueError if it is below 1. It then
        adds nothing.
        """
        permits = n if n is ONE else at_least_one(n)
        queue = self._queue
        granted = 0
        if queue is not None:
            if self._value < 0:  # after a resize(), more are taken than there are
                queue.elsewhere()
            else:
                granted = queue.grant(permits)
        if granted < permits:
            self._value += permits - granted
            if queue is not None and queue.line:  # the first waiter may have needed more than these
                self._hand_out()
            elif not ONE_AT_A_TIME:
                self._look_again()

    def permits(self, n: int) -> Permits:
        """What takes `n` permits in `async with`, and puts them back at its end.

        n: the number of permits, 1 or more.

        The `as` value is None. It may be used again, also by several tasks at the same time.

        Raises TypeError and ValueError as acquire() does, at once.

        Cancellation: as with acquire().

        Example::

            memory = holdfast.BoundedSemaphore(64)
            async with memory.permits(16):
                ...  # 16 of the 64 at once
        """
        return Permits(self, n if n is ONE else self._needs(n))

    def _needs(self, n: int) -> int:
        """The number of permits that a task asks for. Raises TypeError or ValueError if that is wrong."""
        return at_least_one(n)

    def _take(self, needs: int) -> bool:
        """Take permits if nothing is queued and they are free; return whether they were taken."""
        if self._queue is None and self._value >= needs:
            self._value -= needs
            return True
        return False

    def _hand_out(self) -> None:
        # A grant may find that a loop was closed, take back what its tasks had, and come here again. So what is being
        # granted is not free meanwhile; and if the value has changed, the first waiter may have enough now.
        while self._queue is not None and self._value > 0:
            free, self._value = self._value, 0
            granted = self._queue.grant(free, refusing=False)
            self._value += free - granted
            if self._value == free:
                break

    def _give_back(self, n: int = 1) -> None:
        self._value += n
        self._hand_out()

    def _give_back_all(self, n: int) -> None:
        self._give_back(n)

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
        self._put_back_closed(1)

    def _put_back_closed(self, n: int) -> None:
        """Release permits, and do not refuse to wake a task of another loop."""
        self._give_back(n)


ACQUIRE = Semaphore.acquire
"""See lock.ACQUIRE."""


class Bounded:
    """What a BoundedSemaphore is besides a Semaphore: it knows how many permits there are."""

    _value: int
    _bound_value: int

    if TYPE_CHECKING:
        _queue: WaitQueue | None

        def _hand_out(self) -> None: ...

    def _needs(self, n: int) -> int:
        needs = at_least_one(n)
        if needs > self._bound_value:
            raise self._too_many(needs)
        return needs

    def _too_many(self, n: int) -> ValueError:
        return ValueError(f"n must be at most {self._bound_value}, which is how many permits there are, not {n}")

    def _checked_size(self, value: int) -> int:
        if math.inf in (value, self._bound_value):
            raise ValueError(
                "a BoundedSemaphore cannot be resized to or from math.inf: it does not count what is taken"
            )
        return _permits(value)

    def _set_size(self, value: int) -> None:
        self._value += value - self._bound_value
        self._bound_value = value
        if self._queue is not None:
            self._queue.refuse(value, self._too_many)
        if self._value > 0:
            self._hand_out()


class BoundedSemaphore(Bounded, Semaphore, asyncio.BoundedSemaphore):
    """A Semaphore that cannot be released more often than it was acquired.

    It takes the arguments of Semaphore, and raises the same errors.

    Source: asyncio.BoundedSemaphore.
    """

    def __init__(self, value: int = 1, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(value, loop=loop)
        self._bound_value = self._value

    def release(self, n: int = 1) -> None:
        """Hand `n` permits to the first waiting tasks, and add the rest to the free ones.

        n: the number of permits, 1 or more.

        Raises ValueError if fewer than `n` permits are taken; it then adds nothing. Raises what Semaphore.release()
        does.
        """
        self._check_taken(n)
        super().release(n)

    def resize(self, value: int) -> None:
        """Change the number of permits to `value`.

        value: the new number of permits, 0 or more.

        If there are more, they go to the waiting tasks at once. If there are fewer, the tasks that hold some go on, and
        what is put back is not given out again until no more than `value` permits are taken. Tasks that wait for more
        than `value` permits get the ValueError that acquire() raises for so many.

        Raises TypeError if `value` is not an integer; ValueError if it is below 0, or if it or the number of permits so
        far is math.inf; RuntimeError if the semaphore is bound to another event loop.
        """
        size = self._checked_size(value)
        if self._queue is not None:
            self._queue.check_bound()
        self._set_size(size)

    def _release_closed(self) -> None:
        self._put_back_closed(1)

    def _put_back_closed(self, n: int) -> None:
        self._check_taken(n)
        super()._put_back_closed(n)

    def _check_taken(self, n: int) -> None:
        # The first test is asyncio's, which differs from the other one for math.inf.
        if self._value >= self._bound_value:
            free = "all its"
        elif n is not ONE and self._value + at_least_one(n) > self._bound_value:
            free = f"{self._value} of its"
        else:
            return
        raise ValueError(
            f"BoundedSemaphore released too many times: {free} {self._bound_value} permits are free. Release it once "
            "for each acquire(), or use a Semaphore if more permits are to be added"
        )


class Permits(ContextManager):
    """So many permits of one semaphore. Made by `Semaphore.permits()`."""

    def __init__(self, semaphore: Semaphore, n: int) -> None:
        self._semaphore = semaphore
        self._n = n

    def __repr__(self) -> str:
        return f"<{self._n} permits of {self._semaphore!r}>"

    async def acquire(self) -> Literal[True]:
        """Take the permits, as `Semaphore.acquire(n)` does.

        Cancellation: as there.
        """
        return await self._semaphore.acquire(self._n)

    def release(self) -> None:
        """Put them back, as `Semaphore.release(n)` does."""
        self._semaphore.release(self._n)

    def _release_closed(self) -> None:
        self._semaphore._put_back_closed(self._n)


def at_least_one(n: int, what: str = "n, a number of permits,") -> int:
    """Return a number, which the error calls `what`. Raises TypeError if it is no integer, ValueError if below 1."""
    try:
        number = operator.index(n)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {n!r}") from None
    if number < 1:
        raise ValueError(f"{what} must be one or more, not {number}")
    return number


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
