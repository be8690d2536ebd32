"""Semaphore and BoundedSemaphore: a fixed number of holders at a time, with threading.Semaphore's methods."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType

from holdfast.cluster.primitives.closable import Closable
from holdfast.cluster.primitives.grant import Grant
from holdfast.cluster.primitives.semaphore import Semaphore
from holdfast.tasks.semaphore import at_least_one

from .closable import SyncClosable
from .grant import OnLost, SyncGrant
from .leased import SyncLeased
from .way_in import WayIn


class SyncSemaphore(SyncLeased, SyncClosable):
    """A Semaphore of a session, with the methods of threading.Semaphore. Made by `SyncSession.semaphore()`.

    Threads, tasks and processes get the permits in the order of asking.
    """

    _leased: Semaphore

    def __init__(self, way_in: WayIn, semaphore: Semaphore, on_lost: OnLost | None, hold_at_most: float | None) -> None:
        """Called by `SyncSession.semaphore()` and `SyncSession.bounded_semaphore()`."""
        super().__init__(way_in, semaphore, on_lost, hold_at_most)

    def acquire(self, blocking: bool = True, timeout: float | None = None, *, n: int = 1) -> SyncGrant | None:
        """Take `n` permits at once; return the grant, which is true, or None if they were not had.

        blocking: whether to wait if they are not free. Without waiting for them, the engine's answer is waited for.
        timeout: how many seconds to wait at most; None means no limit, and a negative number is taken as 0.
        n: the number of permits, 1 or more; see `Semaphore.acquire()`.

        Raises `holdfast.Closed` if it is closed; ValueError for a timeout with `blocking=False`, and for an `n` below 1
        or above what a BoundedSemaphore has; TypeError if `n` is no integer; OverflowError for a timeout above
        threading.TIMEOUT_MAX; EngineError if the engine fails; NameConflict if the name is in use for something else,
        or with another number of permits.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and no permit is held. If some were granted already, the next waiters get them.
        """
        return self._acquire(blocking, -1 if timeout is None else max(timeout, 0), at_least_one(n))

    def permits(self, n: int) -> AbstractContextManager[SyncGrant]:
        """For `with semaphore.permits(n) as grant:`, which takes `n` permits, and gives them back at its end.

        n: the number of permits, 1 or more.

        It may be used again, also by several threads at the same time.

        Raises TypeError if `n` is no integer, ValueError if it is below 1; and in `with` what acquire() raises.

        Cancellation: as for acquire().
        """
        return _Permits(self, at_least_one(n))

    def within(self, timeout: float, *, n: int = 1) -> AbstractContextManager[SyncGrant]:
        """For `with semaphore.within(SECONDS) as grant:`, which waits for that long at most. The body is not limited.

        timeout: how many seconds to wait; 0 does not wait for others. threading has no such method.
        n: the number of permits, as for acquire().

        Raises TypeError or ValueError for a wrong `n`, and nothing else before it is entered. Then it raises
        TimeoutError if the time is up; ValueError if `timeout` is negative, OverflowError if it is above
        threading.TIMEOUT_MAX; and what acquire() raises.

        Cancellation: as for acquire().
        """
        return self._within(timeout, at_least_one(n))

    def release(self, n: int = 1) -> None:
        """Give `n` permits back at once. What the session does not hold is added, as in threading.

        n: the number of permits, 1 or more; see `Semaphore.release()`.

        Raises ValueError if `n` is below 1; LeaseLost if a permit was lost; FormatError or NameConflict if the name is
        in use for something else. A BoundedSemaphore raises ValueError if fewer than `n` permits are held, and gives
        none back. While the engine fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out. They are given back all the same.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        self._end(self._release if n == 1 else partial(self._release_many, n))

    async def _release(self, thread: int) -> None:
        await self._release_many(1, thread)

    async def _release_many(self, n: int, thread: int) -> None:
        """In the loop."""
        held = self._in_order_of_release(thread)
        if n == 1 and held and held[0]._grant.permits == 1:
            await self._give_back(held[0])
            return
        views = {each._grant: each for each in held}

        def end(grant: Grant) -> None:
            views[grant]._end()
            self._held.remove(views[grant])

        await self._leased._release_some(n, views, end)

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

    def _closes(self) -> tuple[WayIn, Closable]:
        return self._way_in, self._leased


class _Permits:
    """The context manager of permits()."""

    def __init__(self, semaphore: SyncSemaphore, n: int) -> None:
        self._semaphore = semaphore
        self._n = n

    def __repr__(self) -> str:
        return f"<{self._n} permits of {self._semaphore!r}>"

    def __enter__(self) -> SyncGrant:
        return self._semaphore._enter_with(self._n)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._semaphore.__exit__(exc_type, exc, tb)
