"""RateLimiter: at most so many in so much time.

Its state is the time at which all tokens will be there again (the generic cell rate algorithm, GCRA). To take n tokens
moves it on by the time that n tokens take to come; to give them back moves it back. So nothing has to run while nobody
waits. It is kept as the time at which all were there, and how many were taken since. So no rounding keeps the last
token of a burst back where the clock stands still for a moment, as uvloop's does for a millisecond.

What must hold:

 1. Tasks are served in the order in which they asked, whatever they ask for. (In aiolimiter 1.3.0 an acquire(8) that
    came first was served after 60 later acquire(1).)
 2. Tokens are taken in the step in which a waiter is granted. So who leaves before has taken nothing, and who leaves
    after that gives them back.
 3. While a task waits, one timer stands for the first one in the line, in the loop of the waiters.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

from .context_manager import FINISHED, returns_awaitable
from .primitive import Primitive
from .pypy import closed_when_collected
from .semaphore import at_least_one
from .wait_queue import WaitQueue, this_run

DIGITS = 9
"""Digits behind the point of a number of tokens in reports."""
SHORTEST, LONGEST = 1e-9, 1e9
"""Seconds that a token, and a whole burst, may take to come."""
_numbers = itertools.count()


class Timer(Protocol):
    """What calls `_settle()` when the first waiter's tokens are there."""

    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RateLimiterStatistics:
    """The state of a RateLimiter at one moment."""

    tokens: float
    """How many are there."""
    tasks_waiting: int
    """The number of tasks that wait for some. In `holdfast.threads`, of tasks and threads."""


class RateLimiter(Primitive):
    """At most `rate` tokens in `per` seconds, and at most `burst` at once, for the tasks of one event loop.

    Tokens come evenly. Tasks get them in the order in which they asked; one that needs many is not overtaken by those
    that need few. Not thread-safe.

    rate: the number of tokens that come in `per` seconds; more than 0.
    per: seconds; more than 0.
    burst: how many tokens can be there at once, an integer, 1 or more; by default `rate`, rounded up. All are there at
    the start. In any time t, at most burst + t * rate / per are taken.

    Raises TypeError or ValueError if a number is wrong.

    Example::

        requests = holdfast.RateLimiter(10, per=60)
        async with requests:
            ...  # at most ten a minute begin this, and ten at once
        await requests.acquire(3)  # what costs three

    Source: GCRA (ITU-T I.371); aiolimiter for the use.
    """

    _kind = "rate limiter"

    def __init__(self, rate: float, per: float = 1.0, *, burst: int | None = None) -> None:
        for name, value in (("rate", rate), ("per", per)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be more than 0, and finite, not {value!r}")
        self.rate = rate
        self.per = per
        self.burst = math.ceil(rate) if burst is None else at_least_one(burst, "burst, a number of tokens,")
        """How many tokens can be there at once."""
        self._each = _seconds(rate, per, self.burst)  # that a token takes to come
        self._full_since = -math.inf  # all tokens were there
        self._taken = 0  # since then
        self._granted_since = 0.0  # the time of the first grant that is still under way
        self._timer: Timer | None = None
        self._number = next(_numbers)
        self._bind(None)

    def __repr__(self) -> str:
        tokens = max(0, math.floor(self.statistics().tokens))
        return self._describe_with_waiters(f"{self.rate:g} per {self.per:g} s, tokens:{tokens} of {self.burst}")

    def statistics(self) -> RateLimiterStatistics:
        """Return how many tokens are there, and how many tasks wait."""
        waiting = self._tasks_waiting()  # first, as it gives back what the tasks of a closed loop were granted
        return RateLimiterStatistics(self._tokens(self._now()), waiting)

    def try_acquire(self, n: int = 1) -> bool:
        """Take `n` tokens if they are there and no task waits; return whether they were taken.

        n: the number of tokens, 1 or more.

        Raises TypeError if `n` is no integer, ValueError if it is below 1 or more than `burst`, Closed if the limiter
        was closed.
        """
        return self._take(self._needs(n), self._now())

    @closed_when_collected
    async def acquire(self, n: int = 1) -> Literal[True]:
        """Wait until `n` tokens are there, take them, return True.

        n: the number of tokens, 1 or more.

        Raises TypeError if `n` is no integer, ValueError if it is below 1 or more than `burst`. Raises RuntimeError if
        it would have to wait while tasks of another event loop wait. Raises Closed if the limiter was closed, or is
        closed meanwhile.

        Cancellation: the task leaves the line, and has taken nothing.
        """
        needs = self._needs(n)
        if self._take(needs, self._now()):
            return True
        line = self._queue
        if line is None or line.run is not this_run():
            line = self._enter_line()
        waiter = line.join_for(needs)
        if line.line[0] is waiter:
            if line.granted:  # they have not run yet, and a waiter that is granted at once would go on before them
                self._set_timer(needs, line)
            else:
                self._settle()
        try:
            await waiter
        except BaseException:
            if line.leave(waiter):
                line.more -= needs - 1
                self._give_back_all(needs)
            raise
        line.granted -= 1
        line.more -= needs - 1
        line.retire()
        return True

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take one token, as acquire() does. The `as` value is None."""
        return FINISHED if self.try_acquire() else self._enter()

    async def _enter(self) -> None:
        await self.acquire()

    @returns_awaitable
    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        """Do nothing: what was taken stays taken."""
        return FINISHED

    def _place(self) -> tuple[int, int, str]:
        return 0, self._number, ""

    def _needs(self, n: int) -> int:
        needs = at_least_one(n, "n, a number of tokens,")
        if needs > self.burst:
            raise ValueError(f"n must be at most {self.burst}, as more tokens are never there at once, not {needs}")
        return needs

    # Tokens

    def _tokens(self, now: float) -> float:
        return round(self.burst - max(0.0, self._full_at() - now) / self._each, DIGITS)

    def _full_at(self) -> float:
        """The time from which on all tokens are there."""
        return self._there_at(self.burst)

    def _there_at(self, needs: int) -> float:
        """The time from which on so many tokens are there. The timer is set to it, and it is compared with the clock:
        no rounding can make the two differ."""
        return self._full_since + (self._taken - self.burst + needs) * self._each

    def _take(self, needs: int, now: float) -> bool:
        """Take tokens if they are there and no task waits; return whether they were taken."""
        queue = self._live_queue()
        if queue is not None:
            queue.check_open()
            if queue.granted or queue.first_needs():
                return False
        if self._there_at(needs) > now:
            return False
        self._spend(needs, now)
        return True

    def _spend(self, tokens: int, now: float) -> None:
        if self._full_at() <= now:
            self._full_since, self._taken = now, 0
        self._taken += tokens

    def _put_back(self, n: int, since: float) -> None:
        """Take back what a task has taken, and does not need after all; see `_return()`."""
        self._return(n, since)

    def _close(self, reason: object) -> None:
        super()._close(reason)
        self._stop_timer()  # or the loop would keep this limiter until then

    # What the wait queue needs

    def _give_back(self) -> None:
        self._give_back_all(1)

    def _give_back_all(self, n: int) -> None:
        self._return(n, self._granted_since)

    def _return(self, n: int, since: float) -> None:
        """Take back tokens that were taken at that time, or later. What has come meanwhile is not had twice."""
        passed = max(0.0, self._now() - since)
        if passed < n * self._each:
            self._taken -= n
            self._full_since += passed
        self._settle()

    def _settle(self) -> None:
        """Grant the tokens that are there, and set the timer for the first task that still waits."""
        self._stop_timer()
        queue = self._queue
        now = None if queue is None else self._time_of(queue)
        if queue is None or now is None:
            return
        while (needs := queue.first_needs()) and self._there_at(needs) <= now:
            if not queue.granted:
                self._granted_since = now
            self._spend(needs, now)  # first, as the grant may find that a loop was closed, and come here again
            granted = queue.grant(needs, refusing=False)
            self._taken -= needs - granted
        if needs:
            self._set_timer(needs, queue)

    def _set_timer(self, needs: int, queue: WaitQueue) -> None:
        self._timer = self._timer_at(self._there_at(needs), queue)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # Whose clock

    def _now(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()

    def _time_of(self, queue: WaitQueue) -> float | None:
        """The time of the waiters; None if nobody has waited."""
        return None if queue.loop is None else queue.loop.time()

    def _timer_at(self, when: float, queue: WaitQueue) -> Timer | None:
        """Have `_settle()` called at that time of the waiters."""
        loop = queue.loop
        return None if loop is None or loop.is_closed() else loop.call_at(when, self._settle)


@runtime_checkable
class Limiter(Protocol):
    """What `acquire_all()` takes tokens from: a RateLimiter of tasks, of `holdfast.threads` or of a session."""

    async def acquire(self, n: int = 1) -> Literal[True]:
        """See `RateLimiter.acquire()`."""

    def _place(self) -> tuple[int, int, str]:
        """By this they are sorted."""

    def _needs(self, n: int) -> int:
        """A number of tokens. Raises TypeError or ValueError if it is wrong."""

    def _now(self) -> float:
        """The time, for `_put_back()`."""

    def _put_back(self, n: int, since: float) -> None:
        """Take back what was taken at that time, but for what has come since."""


async def acquire_all(*wanted: tuple[Limiter, int]) -> Literal[True]:
    """Take tokens from several limiters, from one after the other, in an order that is the same for all tasks.

    wanted: limiters, each with the number of tokens. Those of `holdfast.threads` and of sessions may be among them.

    Raises what `acquire()` of a limiter raises, and then nothing is taken; TypeError also for what is no RateLimiter.

    Cancellation: the task leaves the line, and what it has taken is put back, but for what has come since.

    Example::

        await holdfast.acquire_all((per_second, 1), (per_day, 1))
    """
    for limiter, _ in wanted:
        if not isinstance(limiter, Limiter):
            raise TypeError(f"acquire_all() takes RateLimiters, each with a number of tokens, not {limiter!r}")
    needs = [(limiter, limiter._needs(n)) for limiter, n in wanted]
    taken: list[tuple[Limiter, int, float]] = []
    try:
        for limiter, n in sorted(needs, key=lambda each: each[0]._place()):
            await limiter.acquire(n)
            taken.append((limiter, n, limiter._now()))
    except BaseException:
        for limiter, n, since in taken:
            limiter._put_back(n, since)
        raise
    return True


def _seconds(rate: float, per: float, burst: int) -> float:
    """How many seconds a token takes to come. Raises ValueError if no clock could tell."""
    with contextlib.suppress(OverflowError, ZeroDivisionError):
        each = per / rate
        if each >= SHORTEST and each * burst <= LONGEST:
            return each
    raise ValueError(
        f"a rate of {rate!r} in {per!r} s with a burst of {burst!r} cannot be timed: a token must take at least "
        f"{SHORTEST:g} s to come, and all of them together at most {LONGEST:g} s"
    )
