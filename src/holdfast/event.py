"""Event: one task tells many that something has happened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from ._errand import do_there
from ._primitive import Primitive
from ._twins import compiled
from ._waitqueue import Waiter, WaitQueue, this_run


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """An Event at one moment."""

    is_set: bool
    tasks_waiting: int
    """How many tasks wait for set()."""


@compiled
class Event(Primitive, asyncio.Event):
    """A flag that tasks of one event loop can wait for. Not thread-safe.

    loop: bind the event to this event loop; to wait, set or clear from another one raises RuntimeError.

    Source: asyncio.Event. `loop=` was removed there in 3.10, and works here.
    """

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._value = False
        self._woken = 0  # how many tasks have been woken and have not run yet
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("set" if self._value else "unset")

    def is_set(self) -> bool:
        """Return True if the flag is set."""
        return self._value

    def statistics(self) -> EventStatistics:
        """Return whether the flag is set, and how many tasks wait for it."""
        return EventStatistics(self._value, self._tasks_waiting())

    def set(self) -> None:
        """Set the flag, and wake every task that waits at this moment, even if `clear()` follows at once.

        Raises RuntimeError, and sets nothing, in asyncio's debug mode if the loop of the waiting tasks runs in another
        thread.
        """
        queue = self._queue
        if queue is None:
            self._value = True
        else:
            self._set_and_wake(queue)

    def _set_and_wake(self, waiters: WaitQueue) -> None:
        loop = None if waiters.run is this_run() else waiters.elsewhere()
        if loop is None:
            waiters.detach()
            self._woken += waiters.release_all()
            self._value = True
            return
        # Who is about to wait there shows the queue before it looks a last time, and here the flag is set before a last
        # look for a queue: so one of the two sees the other.
        self._value = True
        queue = self._queue
        if queue is not None:
            queue.detach()
            do_there(loop, partial(self._wake, queue))

    def _wake(self, queue: WaitQueue) -> None:
        if not queue.forget_closed_loop():
            self._woken += queue.release_all()

    def clear(self) -> None:
        """Unset the flag: from now on `wait()` waits for the next `set()`."""
        if self._queue is not None:
            self._queue.check_bound()
        self._value = False

    async def wait(self) -> Literal[True]:
        """Return True at once if the flag is set, else wait until `set()` is called.

        Raises RuntimeError if it would have to wait while tasks of another event loop do.

        Cancellation: the task no longer waits; nothing else changes.
        """
        if self._value:
            return True
        line = self._queue
        if line is None or line.run is not this_run():
            line = self._enter_line()
            if self._value:  # set by another thread meanwhile
                line.retire()
                return True
        waiter = line.join()
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._woken -= 1
            else:
                line.leave(waiter)
            raise
        self._woken -= 1
        return True

    def _count_waiters(self) -> int:
        return self._woken + super()._count_waiters()

    if not TYPE_CHECKING:

        @Primitive._waiters.getter
        def _waiters(self) -> tuple[Waiter | None, ...]:
            return (*[None] * self._woken, *super()._waiters)
