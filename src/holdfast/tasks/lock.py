"""Lock: one task at a time.

What must hold: a release() with waiters leaves the lock locked and grants it to the first of them, so that no other
task can take it before that one runs. A free lock has no waiters.

The methods that a Condition needs (to take the lock again in spite of cancellations, and not to release another task's
lock when a waiting coroutine is closed) stay in this class: an object of their own would put one more coroutine under
each Condition.wait(), and acquire() and release() have to clear what they note.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from .context_manager import FINISHED, ContextManager, returns_awaitable
from .gil import ONE_AT_A_TIME
from .primitive import Primitive, Queue
from .pypy import closed_when_collected
from .twins import compiled
from .wait_queue import this_run

NOT_ACQUIRED = "Lock is not acquired. Release it once for each acquire(), or write 'async with lock:'"


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """The state of a Lock or a Condition at one moment."""

    locked: bool
    """Whether acquire() would have to wait."""
    tasks_waiting: int
    """The number of tasks that wait: for the Lock, or to be notified by the Condition. In `holdfast.threads`, of tasks
    and threads."""


@compiled
class Lock(ContextManager, Primitive, asyncio.Lock):
    """A mutual-exclusion lock for the tasks of one event loop. Not thread-safe.

    Tasks get the lock in the order in which they asked for it. `release()` hands it directly to the first waiting
    task: `locked()` stays true until that task runs, and no other task can take the lock in between.

    loop: bind the lock to this event loop. Any use from another loop then raises RuntimeError. By default, an idle lock
    may be used in any loop. The lock does not know its holder, so a task of one loop may hold it while tasks of another
    loop wait; `release()` wakes them there.

    Example::

        lock = holdfast.Lock()
        async with lock:
            ...  # one task at a time

    Source: asyncio.Lock. asyncio removed `loop=` in 3.10; here it works.
    """

    _kind = "lock"

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._locked = False
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else "unlocked")

    def locked(self) -> bool:
        """Return True if the lock is held, or has been handed to a task that has not run yet."""
        queue = self._queue
        if queue is not None and queue.granted:
            queue.forget_closed_loop()  # The lock may have been handed to a task of that loop.
        return self._locked

    def statistics(self) -> LockStatistics:
        """Return whether the lock is locked, and the number of tasks that wait for it."""
        return LockStatistics(self.locked(), self._tasks_waiting())

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and return whether it was. Never waits, and never overtakes a waiting task.

        Raises RuntimeError if the lock is bound to another event loop, Closed if it was closed.
        """
        if self._queue is not None:
            self._queue.check_open()
        if self.locked():
            return False
        self._locked = True
        return True

    @closed_when_collected
    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, return True.

        Raises RuntimeError if the lock is bound to another event loop, or if it would have to wait while tasks of
        another event loop wait; Closed if the lock was closed, or is closed meanwhile.

        Cancellation: the task leaves the line, and does not hold the lock. If the lock had already been handed to it,
        the next waiting task gets it.
        """
        line = self._queue
        if line is None and not self._locked:
            self._locked = True
            return True
        if line is None or line.run is not this_run():
            line = self._enter_line()
        line.owed_exits = 0
        if not self._locked:
            self._locked = True
            line.retire()
            return True
        waiter = line.join()
        try:
            await waiter
        except BaseException:
            if line.leave(waiter):
                self._give_back()
            raise
        line.granted -= 1
        return True

    def release(self) -> None:
        """Hand the lock to the first waiting task, or unlock it if none waits. Any task may do so, as in asyncio.

        Raises RuntimeError if the lock is not locked, or is bound to another event loop. In asyncio's debug mode, it
        also raises if the loop of the waiting tasks runs in another thread. The lock then stays as it is.
        """
        if not self._locked:
            raise RuntimeError(NOT_ACQUIRED)
        queue = self._queue
        if queue is None:
            self._locked = False
            if not ONE_AT_A_TIME:
                self._look_again()
        else:
            queue.owed_exits = 0
            if not queue.grant():
                self._locked = False

    def _give_back(self) -> None:
        queue = self._queue
        if queue is None or not queue.grant(refusing=False):
            self._let_go()

    def _let_go(self) -> None:
        self._locked = False

    def _settle(self) -> None:
        if self._take_if_free():
            self._give_back()

    def _take_if_free(self) -> bool:
        if self._locked:
            return False
        self._locked = True
        return True

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take the lock, at once if it is free, else as acquire() does. The `as` value is None."""
        if self._queue is None and not self._locked and type(self).acquire is ACQUIRE:
            self._locked = True
            return FINISHED
        return self._enter()

    # For Condition

    async def _reacquire(self) -> None:
        """Take the lock again in Condition.wait(). The task keeps its place in the line, even if it is cancelled.

        Cancellation: the task waits on. When it holds the lock, it raises the last CancelledError, or whatever else was
        thrown in last. If it is closed (GeneratorExit), it takes the lock if that needs no waiting, and owes an exit if
        not.
        """
        line = self._queue
        if line is None and not self._locked:
            self._locked = True
            return
        interruption: BaseException | None = None
        if line is None or line.run is not this_run():
            line = self._enter_line(again=True)
        if not self._locked:
            self._locked = True
            line.retire()
            return
        waiter = line.join_to_stay()
        while True:
            try:
                await waiter
                break
            except BaseException as exc:
                # It is closed. Or another thread has taken the line to its own loop between two lines of ours, which is
                # misuse; then waiting on would raise this again and again.
                if isinstance(exc, GeneratorExit) or _get_running_loop() not in (None, waiter.get_loop()):
                    if line.leave(waiter):
                        self._give_back()
                    self._reacquire_closed()
                    raise
                interruption = exc
                if waiter.cancelled():
                    steadfast = line.rejoin(waiter)
                    if steadfast is None:
                        break
                    waiter = steadfast
                else:
                    waiter._asyncio_future_blocking = False  # A task has done so; a caller of send() has not.
        line.granted -= 1
        line.keepers.discard(waiter)  # type: ignore[union-attr]  # join_to_stay() has made it
        if interruption is not None:
            try:
                raise interruption
            finally:
                del interruption  # Its traceback refers to this frame. This breaks the cycle.

    def _reacquire_closed(self) -> None:
        """Take the lock if it is free, else owe an exit."""
        if not self._take_if_free():
            self._owe_exit()

    def _owe_exit(self) -> None:
        """Note that a coroutine was closed in Condition.wait() while another task held the lock, and left without it.

        Its GeneratorExit goes on to the `async with` around the wait, whose exit must not release the lock of that
        other task. Nothing else can run in between, so that exit is the next one that sees a GeneratorExit. Any other
        use of the lock shows that there was no `async with`, and clears the debt.
        """
        if self._queue is None:
            self._queue = Queue(self)
        self._queue.owed_exits += 1

    def _exit_closed(self) -> None:
        queue = self._queue
        if queue is not None and queue.owed_exits:
            queue.owed_exits -= 1
            queue.retire()
        else:
            self._release_closed()

    def _release_closed(self) -> None:
        if self._locked:
            self._give_back()
        else:
            self.release()


ACQUIRE = Lock.acquire
"""The method as it is here. If a test or a tracer puts another one into the class, `async with` calls that one."""
