"""Lock: one task at a time."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from ._contextmanager import FINISHED, ContextManager, returns_awaitable
from ._primitive import Primitive, Queue
from ._twins import compiled
from ._waitqueue import this_run


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """A Lock or a Condition at one moment."""

    locked: bool
    """Whether acquire() would have to wait."""
    tasks_waiting: int
    """How many tasks wait: for a Lock to get it, for a Condition to be notified."""


@compiled
class Lock(ContextManager, Primitive, asyncio.Lock):
    """A mutual-exclusion lock for the tasks of one event loop. Not thread-safe.

    Tasks get the lock in the order in which they asked for it. `release()` hands it to the first waiting task
    at once: `locked()` stays true in between, and nobody can slip in.

    loop: bind the lock to this event loop; any use from another one raises RuntimeError. By default an idle
    lock may move from loop to loop. A holder is not recorded, so a task of one loop may hold it while tasks of another
    wait; `release()` wakes them there.

    Source: asyncio.Lock. `loop=` was removed there in 3.10, and works here.
    """

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._locked = False
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else "unlocked")

    def locked(self) -> bool:
        """Return True if the lock is held, or on its way to a task that has not run yet."""
        queue = self._queue
        if queue is not None and queue.granted:
            queue.forget_closed_loop()  # which may have been on its way there
        return self._locked

    def statistics(self) -> LockStatistics:
        """Return whether the lock is locked, and how many tasks wait for it."""
        return LockStatistics(self.locked(), self._tasks_waiting())

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was. Never waits, never overtakes a waiting task.

        Raises RuntimeError if the lock is bound to another event loop.
        """
        if self._queue is not None:
            self._queue.check_bound()
        if self.locked():
            return False
        self._locked = True
        return True

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, return True.

        Raises RuntimeError if it would have to wait while tasks of another event loop do.

        Cancellation: the task has left the line, and does not hold the lock; if the lock was already on its
        way to it, the next task gets it.
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
        """Hand the lock to the first waiting task, or unlock it. Any task may do so, as in asyncio.

        Raises RuntimeError if the lock is not locked; in asyncio's debug mode also if the loop of the waiting tasks
        runs in another thread, and the lock is then as before.
        """
        if not self._locked:
            raise RuntimeError("Lock is not acquired. Release it once for each acquire(), or write 'async with lock:'")
        queue = self._queue
        if queue is None:
            self._locked = False
        else:
            queue.owed_exits = 0
            if not queue.grant():
                self._locked = False

    def _give_back(self) -> None:
        queue = self._queue
        if queue is None or not queue.grant(refusing=False):
            self._locked = False

    def _let_go(self) -> None:
        self._locked = False

    def _settle(self) -> None:
        if not self._locked:
            self._locked = True
            self._give_back()

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take the lock at once if it is free, else wait as acquire() does. The `as` value is None."""
        if self._queue is None and not self._locked and type(self).acquire is ACQUIRE:
            self._locked = True
            return FINISHED
        return self._enter()

    # For Condition

    async def _reacquire(self) -> None:
        """Take the lock again in Condition.wait(), at the first place in the line that this task got.

        Cancellation: the task waits on, and raises the last CancelledError (or whatever was thrown in) when it
        holds the lock. Closed (GeneratorExit), it takes the lock only if that needs no waiting; if not, it
        owes an exit.
        """
        line = self._queue
        if line is None and not self._locked:
            self._locked = True
            return
        interruption: BaseException | None = None
        if line is None or line.run is not this_run():
            line = self._enter_line()
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
                # Closed; or another thread, which is misuse, has taken the line to its own loop between two lines of
                # ours, and to wait on would raise this again and again.
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
                    waiter._asyncio_future_blocking = False  # a task has done so, but not who drives this by hand
        line.granted -= 1
        line.keepers.discard(waiter)  # type: ignore[union-attr]  # join_to_stay() has made it
        if interruption is not None:
            try:
                raise interruption
            finally:
                del interruption  # its traceback refers to this frame: no cycle

    def _reacquire_closed(self) -> None:
        """Take the lock if it is free, else owe an exit."""
        if self._locked:
            self._owe_exit()
        else:
            self._locked = True

    def _owe_exit(self) -> None:
        """Note that a coroutine left Condition.wait() without the lock, closed while another task holds it.

        Its GeneratorExit goes on to the `async with` around the wait, whose exit must not release the lock of that
        other task. As nothing else can run in between, that exit is the next one that sees a GeneratorExit; any
        other use of the lock shows that there was no `async with`, and clears the debt.
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
"""The lock's own. Where tests or tracers put another one into the class, `async with` goes through that."""
