"""Lock: one task or thread at a time.

The state is a `threading.Lock`, `_held`. While there is no queue, one test-and-set of it takes the lock, without the
critical section.
"""

from __future__ import annotations

import types
from _thread import allocate_lock, get_ident
from collections.abc import Coroutine
from typing import Any, Literal

from holdfast.blocking.timeouts import check_timeout
from holdfast.tasks.context_manager import FINISHED, returns_awaitable
from holdfast.tasks.gil import ONE_AT_A_TIME
from holdfast.tasks.lock import NOT_ACQUIRED

from . import task_tier as task_tier
from .critical_section import Section as Section
from .critical_section import this_thread
from .primitive import Shared
from .sync_view import SyncView
from .task_future import SteadfastTaskFuture
from .task_waiter import TaskWaiter
from .thread_waiter import ThreadWaiter
from .wait_queue import SharedQueue
from .waiter import Waiter


class Lock(Shared, task_tier.Lock):
    """A mutual-exclusion lock for threads and for the tasks of any event loops. Not reentrant.

    Tasks and threads get the lock in the order in which they asked for it. `release()` hands it to the first waiter at
    once: `locked()` stays true until that one runs, and no other task or thread can take it in between. Any task or
    thread may release it.

    The methods here are for tasks; `sync` is the same lock with threading's methods.

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
        """The same lock with the methods of threading.Lock, for threads."""
        return SyncLock(self)

    def locked(self) -> bool:
        """Return True if the lock is held, or was granted to a task or thread that has not run yet."""
        queue = self._queue
        if queue is not None and queue.granted:
            self._section.run_or_defer(queue.forget_closed_loop)
        return self._held.locked()

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was taken. Never waits, never overtakes a waiter.

        In a signal handler or finalizer that has interrupted a change of a primitive, it may return False although the
        lock is free.
        """
        if self._queue is None:
            return self._held.acquire(False)
        return self._try_acquire()

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, and return True.

        Cancellation: the task stops waiting, and does not hold the lock. If the lock was granted to it already, the
        next waiter gets it.
        """
        if not (self._queue is None and self._held.acquire(False)):
            await self._wait()
        return True

    def release(self) -> None:
        """Hand the lock to the first waiter, or unlock it if there is none. Any task or thread may do so. Never blocks.

        Raises RuntimeError if the lock is not locked.
        """
        # A waiter sets `_queue` before it tries the lock a last time, and a release unlocks before it looks at `_queue`
        # a last time, so one of them sees the other. Without the GIL both happen in the section.
        if self._queue is None and ONE_AT_A_TIME:
            try:
                self._held.release()
            except RuntimeError:
                raise RuntimeError(NOT_ACQUIRED) from None
            if self._queue is not None:
                self._section.run_or_defer(self._settle)
            return
        self._section.run(self._release, if_inside=self._check_and_defer)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take the lock, at once if it is free, and otherwise as acquire() does. The `as` value is None."""
        if type(self).acquire is ACQUIRE and self._queue is None and self._held.acquire(False):
            return FINISHED
        return self._enter()

    # In the critical section

    def _try(self, line: SharedQueue, needs: int) -> bool:
        line.owed_exits.pop(get_ident(), None)
        # The lock can be free although there are waiters: a release has unlocked it, and has yet to see the queue. Then
        # it goes to the first of them.
        return self._held.acquire(False) and not line.grant()

    def _take_if_free(self) -> bool:
        return self._held.acquire(False)

    def _let_go(self) -> None:
        if self._held.locked():
            self._held.release()

    def _release(self) -> None:
        if not self._held.locked():
            raise RuntimeError(NOT_ACQUIRED)
        line = self._queue
        if line is None:
            self._held.release()  # the short way; the rest would do the same
            return
        line.owed_exits.pop(get_ident(), None)
        self._give_back()

    def _check_change(self) -> None:
        if not self._held.locked():
            raise RuntimeError(NOT_ACQUIRED)

    def _change(self) -> None:
        self._give_back()

    # For Condition

    def _relock(self, again: Waiter) -> None:
        """In the section: take the lock again, or join the queue."""
        again.granted = self._try_or_join(again)

    async def _wait_on(self, again: TaskWaiter) -> BaseException | None:
        """Wait until the lock is held again, whatever is thrown in; return the last exception that was.

        The task tier's Lock._reacquire() for a waiter of this tier, which keeps its place in the queue by itself.
        """
        interruption: BaseException | None = None
        while not again.granted:
            try:
                await again.future
            except GeneratorExit:
                self._section.run_or_defer(self._close_again, again, get_ident())
                raise
            except BaseException as exc:
                interruption = exc
                if again.future.cancelled():
                    again.future = SteadfastTaskFuture(loop=again.loop)
                else:
                    # A task has reset this; where the coroutine is driven by hand, nothing has.
                    again.future._asyncio_future_blocking = False
        self._arrive_again(again)
        return interruption

    def _block_on(self, again: ThreadWaiter) -> BaseException | None:
        """Block until the lock is held again, whatever signal handlers raise; return the last exception they raised."""
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

    def _close_again(self, again: Waiter, thread: int) -> None:
        """In the section: a coroutine that is closed stops waiting for the lock.

        The coroutine takes the lock if it is free, else owes an exit: see the task tier's Lock.
        """
        self._abandon(again)
        if not self._take_if_free():
            self._enter_line(again=True).owe_exit(thread)

    def _exit_closed(self) -> None:
        self._section.run_or_defer(self._leave_closed, get_ident())

    def _leave_closed(self, thread: int) -> None:
        line = self._queue
        if line is not None and line.take_owed_exit(thread):
            line.retire()
        elif self._held.locked():  # if not, no error: a finalizer may run in a thread that has nothing to do with it
            # Outside the section, as a subclass may have its own release().
            this_thread.state.deferred.append(self._release_closed)


ACQUIRE = Lock.acquire
"""The lock's own. See the task tier's."""


class SyncLock(SyncView):
    """A Lock as threads see it, with the methods of threading.Lock. Not reentrant."""

    __slots__ = ()

    _shared: Lock

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; return whether it was taken.

        blocking: whether to wait if the lock is not free.
        timeout: how many seconds to wait at most; -1 means no limit.

        Raises RuntimeError if the call would block a running event loop, or would have to wait in a signal handler or
        finalizer that has interrupted a change of a primitive; ValueError for a timeout that is negative, or given with
        `blocking=False`; OverflowError for one above threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and the lock is not held. If it was granted already, the next waiter gets it.
        """
        lock = self._shared
        seconds = check_timeout(blocking, timeout)
        if lock._queue is None and lock._held.acquire(False):
            return True
        return bool(lock._block(seconds)) if seconds else lock.try_acquire()

    def release(self) -> None:
        """Hand the lock to the first waiter, or unlock it if there is none. Any task or thread may do so. Never blocks.

        Raises RuntimeError if the lock is not locked.
        """
        self._shared.release()

    def locked(self) -> bool:
        """Return True if the lock is held, or was granted to a task or thread that has not run yet."""
        return self._shared.locked()

    def __enter__(self) -> bool:
        """Take the lock, as acquire() does. The `as` value is True."""
        lock = self._shared
        return (lock._queue is None and lock._held.acquire(False)) or bool(lock._block())

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        """Release the lock, as release() does."""
        self._shared.release()

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        return f"<{state} holdfast.threads.SyncLock object at {id(self._shared):#x}>"
