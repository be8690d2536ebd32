"""Semaphore and BoundedSemaphore: a fixed number of holders at a time, with threading.Semaphore's methods."""

from __future__ import annotations

from contextlib import AbstractContextManager

from holdfast.cluster.primitives.semaphore import Semaphore

from .grant import OnLost, SyncGrant
from .leased import SyncLeased
from .way_in import WayIn


class SyncSemaphore(SyncLeased):
    """A Semaphore of a session, with the methods of threading.Semaphore. Made by `SyncSession.semaphore()`.

    Threads, tasks and processes get the permits in the order of asking.
    """

    _leased: Semaphore

    def __init__(self, way_in: WayIn, semaphore: Semaphore, on_lost: OnLost | None, hold_at_most: float | None) -> None:
        """Called by `SyncSession.semaphore()` and `SyncSession.bounded_semaphore()`."""
        super().__init__(way_in, semaphore, on_lost, hold_at_most)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> SyncGrant | None:
        """Take a permit; return the grant, which is true, or None if none was had.

        blocking: whether to wait if no permit is free. Without waiting for one, the engine's answer is waited for.
        timeout: how many seconds to wait at most; None means no limit, and a negative number is taken as 0.

        Raises ValueError for a timeout with `blocking=False`; OverflowError for one above threading.TIMEOUT_MAX;
        EngineError if the engine fails; NameConflict if the name is in use for something else, or with another number
        of permits.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and no permit is held. If one was granted already, the next waiter gets it.
        """
        return self._acquire(blocking, -1 if timeout is None else max(timeout, 0))

    def within(self, timeout: float) -> AbstractContextManager[SyncGrant]:
        """For `with semaphore.within(SECONDS) as grant:`, which waits for that long at most. The body is not limited.

        timeout: how many seconds to wait; 0 does not wait for others. threading has no such method.

        Raises nothing before it is entered. Then it raises TimeoutError if the time is up; ValueError if `timeout` is
        negative, OverflowError if it is above threading.TIMEOUT_MAX; and what acquire() raises.

        Cancellation: as for acquire().
        """
        return self._within(timeout)

    def release(self, n: int = 1) -> None:
        """Give `n` permits back, one after the other. A session that holds no permit adds one, as in threading.

        n: the number of permits, 1 or more.

        Raises ValueError if `n` is below 1; LeaseLost if a permit was lost; FormatError or NameConflict if the name is
        in use for something else. A BoundedSemaphore raises ValueError if the session holds no permit. While the engine
        fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out. A permit is given back all the
        same, and of several perhaps not all.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        for _ in range(n):
            self._end(self._release)

    def locked(self) -> bool:
        """Whether acquire() would have to wait.

        Raises EngineError if the engine fails; NameConflict as acquire() does.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; nothing has been changed.
        """
        return self._way_in._run(self._leased.locked)

    def resize(self, value: int) -> None:
        """Change the number of permits to `value`, also while they are held; see `Semaphore.resize()`.

        value: the number of permits, 0 or more.

        Raises TypeError if `value` is not an integer, ValueError if it is below 0; FormatError or NameConflict if the
        name is in use for something else. While the engine fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is changed all the same.
        """
        self._way_in._run(lambda: self._leased.resize(value))
