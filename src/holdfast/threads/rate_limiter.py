"""RateLimiter: at most so many in so much time, among tasks and threads: the task tier's, by one clock for all.

Its tokens change in the critical section. An alarm looks at the first in the line when its tokens are there. Nobody
tells when an event loop is closed: so while others stand behind a task, it looks earlier whether that loop still lives.
"""

from __future__ import annotations

import time
import types
from collections.abc import Coroutine
from functools import partial
from typing import Literal
from weakref import ref

from holdfast.blocking.timeouts import check_timeout
from holdfast.tasks import rate_limiter
from holdfast.tasks.context_manager import FINISHED, returns_awaitable
from holdfast.tasks.wait_queue import WaitQueue

from .alarm import Alarm, set_alarm
from .critical_section import Section
from .primitive import Shared
from .sync_view import SyncView
from .wait_queue import SharedQueue
from .waiter import Waiter

LOOK = 0.1
"""Seconds between two looks whether the loop of the first in the line lives, once those behind could have tokens."""


class RateLimiter(Shared, rate_limiter.RateLimiter):
    """At most `rate` tokens in `per` seconds, and at most `burst` at once, for threads and the tasks of any loops.

    Tokens come evenly, by time.monotonic(). Tasks and threads get them in the order in which they asked; one that needs
    many is not overtaken by those that need few.

    The methods here are for tasks; `sync` is the same limiter for threads.

    rate: the number of tokens that come in `per` seconds; more than 0.
    per: seconds; more than 0.
    burst: how many tokens can be there at once, an integer, 1 or more; by default `rate`, rounded up. All are there at
    the start. In any time t, at most burst + t * rate / per are taken.

    Raises TypeError or ValueError if a number is wrong.

    Example::

        requests = holdfast.threads.RateLimiter(10, per=60)
        async with requests:
            ...  # in a task
        with requests.sync:
            ...  # in a thread

    Source: GCRA (ITU-T I.371); aiolimiter for the use.
    """

    _instead = "async with limiter:"

    def __init__(self, rate: float, per: float = 1.0, *, burst: int | None = None) -> None:
        self._section = Section()
        super().__init__(rate, per, burst=burst)

    @property
    def sync(self) -> SyncRateLimiter:
        """The same limiter for threads."""
        return SyncRateLimiter(self)

    def try_acquire(self, n: int = 1) -> bool:
        """Take `n` tokens if they are there and nobody waits; return whether they were taken.

        n: the number of tokens, 1 or more.

        In a signal handler or finalizer that has interrupted a change of a primitive, it may return False although they
        are there.

        Raises TypeError if `n` is no integer, ValueError if it is below 1 or more than `burst`, Closed if the limiter
        was closed.
        """
        return self._try_acquire(self._needs(n))

    async def acquire(self, n: int = 1) -> Literal[True]:
        """Wait until `n` tokens are there, take them, and return True.

        n: the number of tokens, 1 or more.

        Raises TypeError if `n` is no integer, ValueError if it is below 1 or more than `burst`; Closed if the limiter
        was closed, or is closed meanwhile.

        Cancellation: the task leaves the line, and has taken nothing.
        """
        needs = self._needs(n)
        if not self._try_acquire(needs):
            await self._wait(needs)
        return True

    @returns_awaitable
    def __aenter__(self) -> Coroutine[object, object, None]:
        """Take one token, as acquire() does. The `as` value is None."""
        return FINISHED if self._try_acquire() else self._enter()

    def _put_back(self, n: int, since: float) -> None:
        self._section.run_or_defer(self._return, n, since)

    # In the critical section

    def _try(self, line: SharedQueue, needs: int) -> bool:
        now = self._now()
        if line.granted or line.first_needs() or self._there_at(needs) > now:
            return False
        self._spend(needs, now)
        return True

    def _try_or_join(self, waiter: Waiter) -> bool:
        if super()._try_or_join(waiter):
            return True
        line = waiter.line
        assert isinstance(line, SharedQueue)
        if line.line[0] is waiter or len(line) == 2:  # type: ignore[comparison-overlap]  # its waiters are of this tier
            self._settle()
        return False

    def _settle(self) -> None:
        queue = self._queue
        if queue is not None:
            queue.forget_closed_loop()
        super()._settle()

    # One clock for all

    def _now(self) -> float:
        return time.monotonic()

    def _time_of(self, queue: WaitQueue) -> float:
        return time.monotonic()

    def _timer_at(self, when: float, queue: WaitQueue) -> Alarm:
        return set_alarm(self._time_to_look(when, queue), partial(_ring, ref(self)))

    def _time_to_look(self, when: float, queue: WaitQueue) -> float:
        """when: the time from which on the tokens of the first in the line are there."""
        first: Waiter = queue.line[0]  # type: ignore[assignment]  # as above
        if first.loop is None or len(queue) == 1:
            return when
        now, soonest = self._now(), self._there_at(1)
        return min(when, soonest if soonest > now else now + LOOK)


def _ring(reference: ref[RateLimiter]) -> None:
    """The tokens of the first in the line are there. Nobody waits for a limiter that nobody has any more."""
    limiter = reference()
    if limiter is not None:
        limiter._section.run_or_defer(limiter._settle)


class SyncRateLimiter(SyncView):
    """A RateLimiter as threads see it."""

    __slots__ = ()

    _shared: RateLimiter

    def acquire(self, blocking: bool = True, timeout: float = -1, *, n: int = 1) -> bool:
        """Take `n` tokens; return whether they were taken.

        blocking: whether to wait if they are not there.
        timeout: how many seconds to wait at most; -1 means no limit.
        n: the number of tokens, 1 or more.

        Raises RuntimeError if the call would block a running event loop, or would have to wait in a signal handler or
        finalizer that has interrupted a change of a primitive; ValueError for a timeout that is negative, or given with
        `blocking=False`, and for an `n` below 1 or more than `burst`; TypeError if `n` is no integer; OverflowError for
        a timeout above threading.TIMEOUT_MAX; Closed if the limiter was closed, or is closed meanwhile.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and nothing is taken.
        """
        limiter = self._shared
        needs = limiter._needs(n)
        seconds = check_timeout(blocking, timeout)
        return limiter._try_acquire(needs) or bool(seconds and limiter._block(seconds, needs))

    def __enter__(self) -> bool:
        """Take one token, as acquire() does. The `as` value is True."""
        return self.acquire()

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        """Do nothing: what was taken stays taken."""

    def __repr__(self) -> str:
        return f"<sync of {self._shared!r}>"
