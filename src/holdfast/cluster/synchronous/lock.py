"""Lock: one holder among all sessions, with threading.Lock's methods."""

from __future__ import annotations

from contextlib import AbstractContextManager

from holdfast.cluster.primitives.closable import Closable
from holdfast.cluster.primitives.lock import Lock
from holdfast.cluster.primitives.rw_lock import Reader, Writer

from .closable import SyncClosable
from .grant import OnLost, SyncGrant
from .leased import SyncLeased
from .way_in import WayIn


class LockMethods(SyncLeased):
    """The methods of threading.Lock, for a Lock and for each side of an RWLock."""

    _leased: Lock | Reader | Writer

    def acquire(self, blocking: bool = True, timeout: float = -1) -> SyncGrant | None:
        """Take it; return the grant, which is true, or None if it was not had.

        blocking: whether to wait if it is not free. Without waiting for it, the engine's answer is waited for.
        timeout: how many seconds to wait at most; -1 means no limit.

        Raises `holdfast.Closed` if it is closed; ValueError for a timeout that is negative, or given with
        `blocking=False`; OverflowError for one above threading.TIMEOUT_MAX; EngineError if the engine fails;
        NameConflict if the name is in use for something else.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and it is not held. If it was granted already, the next waiter gets it.
        """
        return self._acquire(blocking, timeout)

    def within(self, timeout: float) -> AbstractContextManager[SyncGrant]:
        """For `with lock.within(SECONDS) as grant:`, which waits for that long at most. The body is not limited.

        timeout: how many seconds to wait; 0 does not wait for others. threading has no such method.

        Raises nothing before it is entered. Then it raises TimeoutError if the time is up; ValueError if `timeout` is
        negative, OverflowError if it is above threading.TIMEOUT_MAX; and what acquire() raises.

        Cancellation: as for acquire().
        """
        return self._within(timeout)

    def release(self) -> None:
        """Give it back; it goes to the next in line. Any thread may do so.

        Raises RuntimeError if it is not acquired through this object; LeaseLost if the grant was lost; FormatError or
        NameConflict if somebody has put another record in its place. While the engine fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out, and it is given back all the same.
        """
        self._end(self._release)

    def locked(self) -> bool:
        """Whether it is held, or on its way to a waiter, so that acquire() would have to wait.

        Raises EngineError if the engine fails; NameConflict if the name is in use for something else.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; nothing has been changed.
        """
        return self._way_in._run(self._leased.locked)


class SyncLock(LockMethods, SyncClosable):
    """A Lock of a session, with the methods of threading.Lock. Made by `SyncSession.lock()`. Not reentrant.

    Threads, tasks and processes stand in one line, and are served in the order of asking.
    """

    _leased: Lock

    def __init__(self, way_in: WayIn, lock: Lock, on_lost: OnLost | None, hold_at_most: float | None) -> None:
        """Called by `SyncSession.lock()`."""
        super().__init__(way_in, lock, on_lost, hold_at_most)

    def _closes(self) -> tuple[WayIn, Closable]:
        return self._way_in, self._leased
