"""Condition: tasks and threads wait, under a lock, until another one tells them that something changed."""

from __future__ import annotations

import time
import types
from _thread import get_ident
from collections.abc import Callable
from typing import Literal, TypeVar

from holdfast.condition import NotALockError

from . import _task_tier as task_tier
from ._primitive import Shared, SyncView, check_timeout
from ._queue import pass_on_notification
from ._waiter import TaskWaiter, ThreadWaiter, Waiter
from .lock import Lock, SyncLock

T = TypeVar("T")
_NOT_LOCKED = "cannot {0} on un-acquired lock; write 'async with condition:' around {0}()"


class Condition(Shared, task_tier.Condition):
    """A lock, and a place to wait for a change of what it protects, for threads and the tasks of any event loops.

    lock: a holdfast.threads.Lock, or its `sync`, which several conditions may share; None makes a new one. It is not
    reentrant, other than that of threading.Condition. `sync` is the same condition for threads.

    Raises TypeError if `lock` is no such lock.

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
        self._section = lock._section  # so that letting go of the lock and joining the line here is one change
        self.locked = lock.locked  # type: ignore[method-assign]
        self.acquire = lock.acquire  # type: ignore[method-assign]
        self.release = lock.release  # type: ignore[method-assign]
        self._queue = None

    @property
    def sync(self) -> SyncCondition:
        """The condition with the methods of threading.Condition."""
        return SyncCondition(self)

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        return self._lock.try_acquire()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, return True.

        Raises RuntimeError if the lock is not held.

        Cancellation: the task takes the lock again, however long that lasts, and then raises. If it had been
        notified, the notification goes to another waiter; if not, nobody is woken.
        """
        waiter, again = TaskWaiter(), TaskWaiter(keeps_place=True)
        self._section.run(self._release_and_join, waiter)
        interruption: BaseException | None = None
        try:
            await waiter.future
        except GeneratorExit:
            self._section.do(self._close, waiter, again, get_ident())
            raise
        except BaseException as exc:
            interruption = exc
        notified = self._section.run(self._leave_and_relock, waiter, again)
        try:
            interruption = await self._lock._wait_on(again) or interruption
        except GeneratorExit:
            self._section.do(pass_on_notification, again)
            raise
        self._pass_on(notified, interruption)
        return True

    def notify(self, n: float = 1) -> None:
        """Wake the first `n` that wait, or all if they are fewer; 0 or less wakes none. Never blocks.

        They go on once they have the lock again, so release it soon.

        Raises RuntimeError, and wakes nobody, if the lock is not held; TypeError if `n` is not a number.
        """
        self._section.run(super().notify, n, within=self._notify_late)

    def notify_all(self) -> None:
        """Wake everyone who waits. Never blocks.

        Raises RuntimeError as notify() does.
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
        """Stop waiting to be notified, and take the lock again or join its line; return whether it was notified."""
        notified = waiter.line.leave(waiter)  # type: ignore[union-attr]  # it has waited there
        if notified:
            again.notified_by = self
        self._lock._relock(again)
        return notified

    def _close(self, waiter: Waiter, again: Waiter, thread: int) -> None:
        self._abandon(waiter)
        self._lock._close(again, thread)

    def _notify_late(self, n: float) -> None:
        if not self._lock.locked():
            raise RuntimeError(_NOT_LOCKED.format("notify"))
        self._section.do(self._grant, n)

    def _grant(self, n: float) -> None:
        if self._queue is not None:
            self._queue.grant(n)

    def _pass_on(self, notified: bool, interruption: BaseException | None) -> None:
        """Raise what came out of the wait, if anything did, after passing on the notification that it met."""
        if interruption is not None:
            if notified:
                self._section.do(self._give_back)
            try:
                raise interruption
            finally:
                del interruption  # its traceback refers to this frame: no cycle


class SyncCondition(SyncView[Condition]):
    """The Condition as threads see it. Its lock is not reentrant."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock: see SyncLock.acquire()."""
        return self._shared._lock.sync.acquire(blocking, timeout)

    def release(self) -> None:
        """Release the lock."""
        self._shared._lock.release()

    def locked(self) -> bool:
        """Return True if the lock is held."""
        return self._shared._lock.locked()

    def __enter__(self) -> bool:
        return self._shared._lock.sync.__enter__()

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self._shared._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, for at most `timeout` seconds, and take the lock again, however long
        that lasts; return whether it was notified.

        Raises RuntimeError if the lock is not held, or if it would block a running event loop. What a signal handler
        raises meanwhile comes out once the lock is held again.
        """
        condition = self._shared
        seconds = -1 if timeout is None else check_timeout(True, max(timeout, 0))
        waiter, again = ThreadWaiter(), ThreadWaiter()
        interruption: BaseException | None = None
        try:
            condition._section.run(condition._release_and_join, waiter)
            waiter.wait(seconds)
        except BaseException as exc:
            if waiter.line is None:
                raise
            interruption = exc
        notified = condition._section.run(condition._leave_and_relock, waiter, again)
        interruption = condition._lock._block_on(again) or interruption
        condition._pass_on(notified, interruption)
        return notified

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate()` is true, for at most `timeout` seconds; return its last value.

        Raises as wait() does.
        """
        end = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the first `n` that wait. Raises RuntimeError if the lock is not held."""
        self._shared.notify(n)

    def notify_all(self) -> None:
        """Wake everyone who waits. Raises RuntimeError if the lock is not held."""
        self._shared.notify_all()

    def __repr__(self) -> str:
        waiters = self._shared.statistics().tasks_waiting
        return f"<holdfast.threads.SyncCondition({self._shared._lock.sync!r}, {waiters})>"
