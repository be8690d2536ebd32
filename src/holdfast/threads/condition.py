"""Condition: tasks and threads wait, under a lock, until another task or thread tells them that something changed.

A Condition shares the critical section of its lock. So `wait()` releases the lock and joins the queue in one change.
"""

from __future__ import annotations

import types
from _thread import get_ident
from collections.abc import Callable
from typing import Literal, TypeVar

from holdfast.blocking.timeouts import check_optional_timeout
from holdfast.blocking.wait_for import wait_for
from holdfast.tasks.closed import Closed
from holdfast.tasks.condition import _NOT_LOCKED, NotALockError

from . import task_tier as task_tier
from .lock import Lock, SyncLock
from .primitive import Shared
from .sync_view import SyncView
from .task_waiter import TaskWaiter
from .thread_waiter import ThreadWaiter
from .waiter import Waiter

T = TypeVar("T")


class Condition(Shared, task_tier.Condition):
    """A lock, and a place to wait for a change of what it protects, for threads and the tasks of any event loops.

    The methods here are for tasks; `sync` is the same condition with threading's methods.

    lock: a holdfast.threads.Lock or its `sync`, which several conditions may share; None makes a new one. Unlike the
        default lock of threading.Condition, it is not reentrant.

    Raises TypeError if `lock` is anything else.

    Source: asyncio.Condition, and threading.Condition for `sync`.
    """

    _instead = "await condition.wait()"
    _instead_of_with = "'with condition.sync:', or in a coroutine 'async with condition:',"
    _lock: Lock

    def __init__(self, lock: Lock | SyncLock | None = None) -> None:
        if isinstance(lock, SyncLock):
            lock = lock._shared
        if lock is None:
            lock = Lock()
        elif not isinstance(lock, Lock):
            raise NotALockError(f"Condition needs a holdfast.threads.Lock or None, not {lock!r}")
        self._lock = lock
        self._grip = lock
        self._section = lock._section
        self.locked = lock.locked  # type: ignore[method-assign]
        self.acquire = lock.acquire  # type: ignore[method-assign]
        self.release = lock.release  # type: ignore[method-assign]
        self._queue = None

    @property
    def sync(self) -> SyncCondition:
        """The same condition with the methods of threading.Condition, for threads."""
        return SyncCondition(self)

    # The instances have the lock's own methods under these names.

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, and return True.

        Cancellation: the task stops waiting, and does not hold the lock. If the lock was granted to it already, the
        next waiter gets it.
        """
        return await self._lock.acquire()

    def release(self) -> None:
        """Hand the lock to the first that waits for it, or unlock it. Any task or thread may do so. Never blocks.

        Those that wait to be notified go on waiting.

        Raises RuntimeError if the lock is not locked.
        """
        self._lock.release()

    def locked(self) -> bool:
        """Return True if the lock is held, or was granted to a task or thread that has not run yet."""
        return self._lock.locked()

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was taken. Never waits, never overtakes a waiter.

        In a signal handler or finalizer that has interrupted a change of a primitive, it may return False although the
        lock is free.
        """
        return self._lock.try_acquire()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, and return True.

        Raises RuntimeError if the lock is not held.

        Cancellation: the task takes the lock again, however long that lasts, and then raises CancelledError. If it was
        notified already, the notification goes to another waiter; if not, no other waiter is woken.
        """
        waiter, again = TaskWaiter(), TaskWaiter(keeps_place=True)
        self._section.run(self._release_and_join, waiter)
        interruption: BaseException | None = None
        try:
            await waiter.future
        except GeneratorExit:
            self._section.run_or_defer(self._close_wait, waiter, again, get_ident())
            raise
        except BaseException as exc:
            interruption = exc
        notified = self._section.run(self._leave_and_relock, waiter, again)
        try:
            interruption = await self._lock._wait_on(again) or interruption or waiter.refusal
        except GeneratorExit:
            self._section.run_or_defer(again.pass_on_notification)
            raise
        self._pass_on(notified, interruption)
        return True

    def notify(self, n: float = 1) -> None:
        """Wake the first `n` waiters, or all if there are fewer; 0 or less wakes none. Never blocks.

        A waiter goes on when it has the lock again, so release the lock soon.

        Raises RuntimeError, and wakes no waiter, if the lock is not held; TypeError if `n` is not a number.
        """
        self._section.run(super().notify, n, if_inside=self._check_and_defer)

    def notify_all(self) -> None:
        """Wake all waiters. Never blocks.

        Raises RuntimeError, and wakes no waiter, if the lock is not held.
        """
        self.notify(float("inf"))

    # In the critical section, which is that of the lock

    def _release_and_join(self, waiter: Waiter) -> None:
        if not self._lock._held.locked():
            raise RuntimeError(_NOT_LOCKED.format("wait"))
        line = self._enter_line()
        try:
            line.admit(waiter, self._instead)
        finally:
            line.retire()
        self._lock._release()

    def _leave_and_relock(self, waiter: Waiter, again: Waiter) -> bool:
        """Stop waiting to be notified, and take the lock again or join its queue; return whether it was notified."""
        notified = waiter.line.leave(waiter)  # type: ignore[union-attr]  # it has waited there
        if notified:
            again.notified_by = self
        self._lock._relock(again)
        return notified

    def _close_wait(self, waiter: Waiter, again: Waiter, thread: int) -> None:
        self._abandon(waiter)
        self._lock._close_again(again, thread)

    def _check_change(self, n: float) -> None:
        if not self._lock.locked():
            raise RuntimeError(_NOT_LOCKED.format("notify"))

    def _change(self, n: float) -> None:
        if self._queue is not None:
            self._queue.grant(n)

    def _pass_on(self, notified: bool, interruption: BaseException | None) -> None:
        """If an exception came out of the wait, pass on the notification if there was one, and raise the exception."""
        if interruption is not None:
            if notified:
                self._section.run_or_defer(self._give_back)
            try:
                raise interruption
            finally:
                del interruption  # its traceback refers to this frame: no cycle


class SyncCondition(SyncView):
    """A Condition as threads see it, with the methods of threading.Condition. Its lock is not reentrant."""

    __slots__ = ()

    _shared: Condition

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, as SyncLock.acquire() does; return whether it was taken.

        blocking: whether to wait if the lock is not free.
        timeout: how many seconds to wait at most; -1 means no limit.

        Raises RuntimeError if the call would block a running event loop, or would have to wait in a signal handler or
        finalizer that has interrupted a change of a primitive; ValueError for a timeout that is negative, or given with
        `blocking=False`; OverflowError for one above threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and the lock is not held. If it was granted already, the next waiter gets it.
        """
        return self._shared._lock.sync.acquire(blocking, timeout)

    def release(self) -> None:
        """Hand the lock to the first that waits for it, or unlock it. Any task or thread may do so. Never blocks.

        Those that wait to be notified go on waiting.

        Raises RuntimeError if the lock is not locked.
        """
        self._shared._lock.release()

    def locked(self) -> bool:
        """Return True if the lock is held, or was granted to a task or thread that has not run yet."""
        return self._shared._lock.locked()

    def __enter__(self) -> bool:
        """Take the lock, as acquire() does. The `as` value is True."""
        return self._shared._lock.sync.__enter__()

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        """Release the lock, as release() does."""
        self._shared._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, and take the lock again; return whether it was notified.

        timeout: how many seconds to wait to be notified; None means no limit, and a negative number is taken as 0. The
            time to take the lock again is not limited.

        Raises RuntimeError if the lock is not held, if the call would block a running event loop, or if it is made in a
        signal handler or finalizer that has interrupted a change of a primitive; OverflowError for a timeout above
        threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out when the lock is held again, however long that takes. If the thread was notified already, the
        notification goes to another waiter; if not, no other waiter is woken.
        """
        condition = self._shared
        seconds = check_optional_timeout(timeout)
        waiter, again = ThreadWaiter(), ThreadWaiter(keeps_place=True)
        interruption: BaseException | None = None
        try:
            condition._section.run(condition._release_and_join, waiter)
            waiter.wait(seconds)
        except BaseException as exc:
            if waiter.line is None:
                raise
            interruption = exc
        notified = condition._section.run(condition._leave_and_relock, waiter, again)
        interruption = condition._lock._block_on(again) or interruption or waiter.refusal
        condition._pass_on(notified, interruption)
        return notified

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate()` is true; return its last value, which is false only if the time is up.

        predicate: called with the lock held, at once and after each notification.
        timeout: how many seconds to wait at most; None means no limit. The time to take the lock again is not limited.

        Raises what the predicate raises, with the lock held; and what wait() raises, if it has to wait.

        Cancellation: as for wait().
        """
        return wait_for(self.wait, predicate, timeout, Closed)

    def notify(self, n: int = 1) -> None:
        """Wake the first `n` waiters, or all if there are fewer; 0 or less wakes none. Never blocks.

        Raises RuntimeError, and wakes no waiter, if the lock is not held; TypeError if `n` is not a number.
        """
        self._shared.notify(n)

    def notify_all(self) -> None:
        """Wake all waiters. Never blocks.

        Raises RuntimeError, and wakes no waiter, if the lock is not held.
        """
        self._shared.notify_all()

    def __repr__(self) -> str:
        waiters = self._shared.statistics().tasks_waiting
        return f"<holdfast.threads.SyncCondition({self._shared._lock.sync!r}, {waiters})>"
