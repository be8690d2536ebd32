"""RateLimiter: at most so many in so much time, among all sessions, for threads."""

from __future__ import annotations

from time import monotonic
from types import TracebackType

from holdfast.blocking.timeouts import check_timeout
from holdfast.cluster.loop_in_thread.call import OutOfTime
from holdfast.cluster.primitives.closable import Closable
from holdfast.cluster.primitives.rate_limiter import RateLimiter

from .closable import SyncClosable
from .way_in import WayIn


class SyncRateLimiter(SyncClosable):
    """A RateLimiter of a session, for threads. Made by `SyncSession.rate_limiter()`.

    Threads, tasks and processes get tokens in the order in which they asked, whatever they ask for.
    """

    def __init__(self, way_in: WayIn, limiter: RateLimiter) -> None:
        """Called by `SyncSession.rate_limiter()`."""
        self._way_in = way_in
        self._limiter = limiter

    def __repr__(self) -> str:
        return repr(self._limiter).replace("RateLimiter", "SyncRateLimiter", 1)

    def acquire(self, blocking: bool = True, timeout: float = -1, *, n: int = 1) -> bool:
        """Take `n` tokens; return whether they were taken.

        blocking: whether to wait if they are not there. Without waiting for them, the engine's answer is waited for.
        timeout: how many seconds to wait at most; -1 means no limit.
        n: the number of tokens, 1 or more.

        Raises `holdfast.Closed` if it is closed; ValueError for a timeout that is negative, or given with
        `blocking=False`, and for an `n` below 1 or more than `burst`; TypeError if `n` is no integer; OverflowError for
        a timeout above threading.TIMEOUT_MAX; EngineError if the engine fails; NameConflict if the name is in use for
        something else, or with another rate.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and nothing has been taken.
        """
        seconds = check_timeout(blocking, timeout)
        limiter, began = self._limiter, monotonic()

        async def put_back(taken: bool) -> None:
            if taken:
                await limiter._return(n, monotonic() - began)

        if not seconds:
            return self._way_in._run(lambda: limiter.try_acquire(n), undo=put_back)
        try:
            return self._way_in._run(lambda: limiter.acquire(n), seconds, undo=put_back)
        except OutOfTime:
            return False

    def __enter__(self) -> bool:
        """Take one token, as acquire() does. The `as` value is True."""
        return self.acquire()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Do nothing: what was taken stays taken."""

    def _closes(self) -> tuple[WayIn, Closable]:
        return self._way_in, self._limiter
