"""Lock: one task or thread at a time."""

from __future__ import annotations

import types
from _thread import allocate_lock, get_ident
from collections.abc import Coroutine
from typing import Any, Literal

from holdfast._contextmanager import FINISHED, returns_awaitable

from . import _task_tier as task_tier
from ._primitive import Shared, SyncView, check_timeout
from ._queue import SharedQueue
from ._section import ONE_AT_A_TIME, here
from ._section import Section as Section
from ._waiter import SteadfastTaskFuture, TaskWaiter, ThreadWaiter, Waiter

NOT_ACQUIRED = "Lock is not acquired. Release it once for each acquire(), or write 'async with lock:'"


class Lock(Shared, task_tier.Lock):
    """A mutual-exclusion lock for threads and for the tasks of any event loops.

    Who asks first gets it first, task or thread. `release()` hands it to the first in the line at once, and may be
    called from anywhere. `sync` is the same lock for threads.

    Source: asyncio.Lock, and threading.Lock for `sync`.
    """

    _instead = "async with lock:"
    _instead_of_with = "'with lock.sync:', or in a coroutine 'async with lock:',"

    def __init__(self) -> None:
        self._section = Section()
        self._held = allocate_lock()
        self._queue = None

    @property
    def sync(self) -> SyncLock:
        """The lock with the methods of threading.Lock."""
        return SyncLock(self)

    def locked(self) -> bool:
        """Return True if the lock is held, or on its way to a task or thread that has not run yet."""
        queue = self._queue
        if queue is not None and queue.granted:
            self._section.do(queue.forget_closed_loop)
        return self._held.locked()

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was. Never waits, never overtakes who waits."""
        if self._queue is None:
            return self._held.acquire(False)
        return super().try_acquire()

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, return True.

        Cancellation: the task has left the line, and does not hold the lock; if the lock was already on its
        way to it, the next in the line gets it.
        """
        if not (self._queue is None and self._held.acquire(False)):
            await self._wait()
        return True

    def release(self) -> None:
        """Hand the lock to the first in the line, or unlock it. Any task or thread may do so. Never blocks.

        Raises RuntimeError if the lock is not locked.
        """
        # Whoever joins shows the queue before it tries a last time, and here the lock is unlocked before a last look
        # for a queue: so one of the two sees the other. Without the GIL both do so in the section.
        if self._queue is None and ONE_AT_A_TIME:
            try:
                self._held.release()
            except RuntimeError:
                raise RuntimeError(NOT_ACQUIRED) from None
            if self._queue is not None:
                self._section.do(self._settle)
            return
        self._section.run(self._release, within=self._release_late)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take the lock at once if it is free, else wait as acquire() does. The `as` value is None."""
        if type(self).acquire is ACQUIRE and self._queue is None and self._held.acquire(False):
            return FINISHED
        return self._enter()

    # In the critical section

    def _try(self, line: SharedQueue) -> bool:
        line.owed_exits.pop(get_ident(), None)
        # If a release has just met who was about to join, the lock is free for a moment although somebody waits.
        return self._held.acquire(False) and not line.grant()

    def _release(self) -> None:
        if not self._held.locked():
            raise RuntimeError(NOT_ACQUIRED)
        if self._queue is not None:
            self._queue.owed_exits.pop(get_ident(), None)
        self._give_back()

    def _release_late(self) -> None:
        if not self._held.locked():
            raise RuntimeError(NOT_ACQUIRED)
        self._section.do(self._give_back)

    def _give_back(self) -> None:
        line = self._queue
        if (line is None or not line.grant(refusing=False)) and self._held.locked():
            self._held.release()

    def _settle(self) -> None:
        if self._held.acquire(False):
            self._give_back()

    # For Condition

    def _relock(self, again: Waiter) -> None:
        """In the section: take the lock again, or join the line."""
        again.granted = self._try_or_join(again)

    async def _wait_on(self, again: TaskWaiter) -> BaseException | None:
        """Wait until the lock is held again, whatever is thrown in; return the last that was."""
        interruption: BaseException | None = None
        while not again.granted:
            try:
                await again.future
            except GeneratorExit:
                self._section.do(self._close, again, get_ident())
                raise
            except BaseException as exc:
                interruption = exc
                if again.future.cancelled():
                    again.future = SteadfastTaskFuture(loop=again.loop)  # which refuses to be cancelled
                else:
                    again.future._asyncio_future_blocking = False  # a task has done so, but not who drives this by hand
        self._arrive_again(again)
        return interruption

    def _block_on(self, again: ThreadWaiter) -> BaseException | None:
        """Block until the lock is held again, whatever a signal handler raises; return the last that it did."""
        interruption: BaseException | None = None
        while not again.granted:
            try:
                again.wait(-1)
            except BaseException as exc:
                interruption = exc
        self._arrive_again(again)
        return interruption

    def _arrive_again(self, again: Waiter) -> None:
        if again.line is not None:
            self._section.run(self._arrive, again)

    def _close(self, again: Waiter, thread: int) -> None:
        """In the section: a coroutine that is closed stops waiting for the lock, and has it, or owes an exit."""
        self._abandon(again)
        if not self._held.acquire(False):
            self._enter_line().owe_exit(thread)

    def _exit_closed(self) -> None:
        self._section.do(self._leave_closed, get_ident())

    def _leave_closed(self, thread: int) -> None:
        line = self._queue
        if line is not None and line.take_owed_exit(thread):
            line.retire()
        elif self._held.locked():  # else nobody is told: the thread that is here may have nothing to do with it
            here.me.late.append(self._release_closed)  # not in the section: a subclass may have its own release()


ACQUIRE = Lock.acquire
"""See the task tier's."""


class SyncLock(SyncView[Lock]):
    """The Lock as threads see it. Not reentrant."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, waiting at most `timeout` seconds, -1 for ever, or not at all; return whether it was taken.

        Raises RuntimeError if it would block a running event loop; ValueError and OverflowError as threading does.
        What a signal handler raises meanwhile comes out, and the lock is not held.
        """
        lock = self._shared
        seconds = check_timeout(blocking, timeout)
        if lock._queue is None and lock._held.acquire(False):
            return True
        return bool(lock._block(seconds)) if seconds else lock.try_acquire()

    def release(self) -> None:
        """Hand the lock to the first in the line, or unlock it. Raises RuntimeError if it is not locked."""
        self._shared.release()

    def locked(self) -> bool:
        """Return True if the lock is held, or on its way to who has not run yet."""
        return self._shared.locked()

    def __enter__(self) -> bool:
        lock = self._shared
        return (lock._queue is None and lock._held.acquire(False)) or bool(lock._block())

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self._shared.release()

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        return f"<{state} holdfast.threads.SyncLock object at {id(self._shared):#x}>"
