"""Event: one task tells many that something has happened.

What must hold: `set()` wakes every task that waits at that moment, even if `clear()` follows before they run. So it
takes the whole queue away from the event; the next task to wait makes a new one, and the event itself counts the tasks
that have been woken and have not run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from .gil import ONE_AT_A_TIME
from .other_loop import do_there
from .primitive import Primitive
from .pypy import closed_when_collected
from .twins import compiled
from .wait_queue import Waiter, WaitQueue, this_run


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """The state of an Event at one moment."""

    is_set: bool
    tasks_waiting: int
    """The number of tasks that wait for set(). In `holdfast.threads`, of tasks and threads."""


@compiled
class Event(Primitive, asyncio.Event):
    """A flag that tasks of one event loop can wait for. Not thread-safe.

    loop: bind the event to this event loop. Waiting, setting and clearing in another loop then raise RuntimeError.

    Example::

        ready = holdfast.Event()
        waiter = asyncio.create_task(ready.wait())
        ready.set()
        await waiter

    Source: asyncio.Event. asyncio removed `loop=` in 3.10; here it works.
    """

    _kind = "event"

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._value = False
        self._woken = 0  # the number of tasks that have been woken and have not run yet
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("set" if self._value else "unset")

    def is_set(self) -> bool:
        """Return True if the flag is set."""
        return self._value

    def statistics(self) -> EventStatistics:
        """Return whether the flag is set, and the number of tasks that wait for it."""
        return EventStatistics(self._value, self._tasks_waiting())

    def set(self) -> None:
        """Set the flag, and wake every task that waits at this moment, even if `clear()` follows at once.

        Raises RuntimeError if the event is bound to another event loop, and in asyncio's debug mode if the loop of the
        waiting tasks runs in another thread. The flag then stays as it is.
        """
        queue = self._queue
        if queue is None:
            self._value = True
            queue = None if ONE_AT_A_TIME else self._queue  # see _look_again()
        if queue is not None:
            self._set_and_wake(queue)

    def _set_and_wake(self, waiters: WaitQueue) -> None:
        loop = None if waiters.run is this_run() else waiters.elsewhere()
        if loop is None:
            waiters.detach()
            self._woken += waiters.release_all()
            self._value = True
            return
        # A task that is about to wait in that loop first makes the queue, and then looks at the flag once more. Here
        # the flag is set first, and then comes the look for a queue. So one of the two sees the other.
        self._value = True
        queue = self._queue
        if queue is not None:
            queue.detach()
            do_there(loop, partial(self._wake, queue))

    def _wake(self, queue: WaitQueue) -> None:
        if not queue.forget_closed_loop():
            self._woken += queue.release_all()

    def clear(self) -> None:
        """Unset the flag. From now on, `wait()` waits for the next `set()`.

        Raises RuntimeError if the event is bound to another event loop. The flag then stays as it is.
        """
        if self._queue is not None:
            self._queue.check_bound()
        self._value = False

    @closed_when_collected
    async def wait(self) -> Literal[True]:
        """Return True at once if the flag is set, else wait until `set()` is called.

        Raises RuntimeError if it would have to wait, and the event is bound to another event loop, or tasks of another
        event loop wait; Closed if it would have to wait and the event was closed, or is closed meanwhile.

        Cancellation: the task no longer waits. Nothing else changes.
        """
        if self._value:
            return True
        line = self._queue
        if line is None or line.run is not this_run():
            line = self._enter_line()
            if self._value:  # by another thread, meanwhile
                line.retire()
                return True
        waiter = line.join()
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
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
