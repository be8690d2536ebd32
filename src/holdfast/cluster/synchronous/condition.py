"""Condition: threads and tasks of all sessions wait, under a Lock, until one notifies them; for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import TypeVar

from holdfast.blocking.timeouts import check_optional_timeout
from holdfast.blocking.wait_for import wait_for
from holdfast.cluster.errors import LeaseLost
from holdfast.cluster.primitives.closable import Closable
from holdfast.cluster.primitives.condition import Condition
from holdfast.tasks.closed import Closed

from .closable import SyncClosable
from .grant import SyncGrant
from .lock import SyncLock
from .way_in import WayIn

T = TypeVar("T")


class SyncCondition(SyncClosable):
    """A lock, and a place to wait for a change of what it protects, with threading.Condition's methods. Not reentrant.

    Made by `SyncSession.condition()`.
    """

    def __init__(self, way_in: WayIn, condition: Condition, lock: SyncLock) -> None:
        """Called by `SyncSession.condition()`."""
        self._way_in = way_in
        self._condition = condition
        self._lock = lock

    def __repr__(self) -> str:
        return repr(self._condition).replace("Condition", "SyncCondition", 1)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> SyncGrant | None:
        """Take the lock, as `SyncLock.acquire()` does; return the grant, or None if it was not had.

        blocking: whether to wait if the lock is not free.
        timeout: how many seconds to wait at most; -1 means no limit.

        Raises as `SyncLock.acquire()` does.

        Cancellation: as for `SyncLock.acquire()`.
        """
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Give back the lock; it goes to the first that waits for it. Those that wait to be notified go on waiting.

        Raises as `SyncLock.release()` does.

        Cancellation: as for `SyncLock.release()`.
        """
        self._lock.release()

    def locked(self) -> bool:
        """Whether any session holds the lock, or it is on its way to a waiter.

        Raises as `SyncLock.locked()` does.

        Cancellation: as for `SyncLock.locked()`.
        """
        return self._lock.locked()

    def __enter__(self) -> SyncGrant:
        """Take the lock, as acquire() does; the `as` value is the grant."""
        return self._lock.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Release the lock, as `with` of the lock itself does."""
        self._lock.__exit__(exc_type, exc, tb)

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, and take the lock again; return whether it was notified in time.

        The grant gets a new token. If the time is up, another waiter gets a notification that comes at that moment.

        timeout: how many seconds to wait to be notified and to have the lock again; None means no limit, and a negative
            number is taken as 0. If the time is up, the lock is taken again all the same, however long that takes.

        Raises `holdfast.Closed` if the condition is closed, when the lock is held again; RuntimeError if this
        condition's lock object does not hold the lock; OverflowError for a timeout above threading.TIMEOUT_MAX;
        LeaseLost if the session ends, or the record is replaced by another one; then the lock is not held. While the
        engine fails, it waits.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out when the lock is held again. If one raises once more before, that comes out at once, and the lock is
        given back as soon as it is had.
        """
        wait = partial(self._wait, get_ident())
        return self._way_in._run(wait, check_optional_timeout(timeout), undo=self._leave, patient=True)

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate()` is true; return its last value, which is false only if the time is up.

        predicate: called in this thread with the lock held, at once and after each notification.
        timeout: as for wait().

        Raises what the predicate raises, with the lock held; and what wait() raises, if it has to wait.

        Cancellation: as for wait().
        """
        return wait_for(self.wait, predicate, timeout, Closed)

    def notify(self, n: int = 1) -> None:
        """Notify the first `n` that wait here: move them to the lock's line.

        n: how many; all if there are fewer, and none if it is 0 or less.

        Raises RuntimeError if this condition's lock object does not hold the lock; LeaseLost if the lock was lost;
        TypeError if `n` is not an integer. While the engine fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; they are notified all the same.
        """
        self._way_in._run(lambda: self._condition.notify(n))

    def notify_all(self) -> None:
        """Notify all that wait here: move them to the lock's line.

        Raises as notify() does.

        Cancellation: as for notify().
        """
        self._way_in._run(self._condition.notify_all)

    # In the loop

    async def _wait(self, thread: int) -> bool:
        """Wait; return whether it was notified. The lock is held again when this ends, or the grant is lost."""
        grant = self._condition._grant("wait")
        held = next(each for each in self._lock._held if each._grant is grant)
        held._stop_clock()  # what waits holds nothing
        held._waits_in = thread
        try:
            await self._condition.wait()
        except asyncio.CancelledError:  # the time is up, or the thread is interrupted
            grant._check_not_lost()
            return False
        finally:
            held._waits_in = 0
            if grant._why is None:
                self._lock._start_clock(held)
        return True

    async def _leave(self, notified: bool) -> None:
        """The thread has left in the middle of wait(). The lock was taken again, and nobody is there to have it."""
        for grant in [*self._lock._leased._held]:
            if grant._why is None:
                why = LeaseLost(f"{grant} was lost: its thread was interrupted twice in Condition.wait()")
                await self._lock._leased._revoke(grant, why)

    def _closes(self) -> tuple[WayIn, Closable]:
        return self._way_in, self._condition
