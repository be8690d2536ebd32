"""RateLimiter: at most so many in so much time, among all sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Literal

from holdfast._refusals import refusing
from holdfast.cluster.errors import NameConflict, SessionLost
from holdfast.cluster.only_async_with import OnlyAsyncWith
from holdfast.cluster.records.rate_limiter import (
    MICROS,
    TAKEN,
    Claim,
    PutBack,
    RateLimiterRecord,
    Take,
    TryTake,
    wait_of,
)
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.session_life.recovery import REPLACED
from holdfast.cluster.values_in_messages import shown
from holdfast.tasks.rate_limiter import RateLimiter as OfTasks

from .closable import ClosesItself

NO_TICKET = 0
"""No ticket has this number."""


class RateLimiter(ClosesItself, OnlyAsyncWith):
    """At most `rate` tokens in `per` seconds, and at most `burst` at once, for all tasks of all sessions that name it.

    Made by `Session.rate_limiter()`. Tokens come evenly, by the engine's clock. Tasks get them in the order in which
    they asked, whatever they ask for. A session that ends while a task of it waits has taken nothing for it; what was
    taken stays taken.
    """

    def __init__(self, session: Membership, name: str, rate: float, per: float, burst: int | None) -> None:
        """Called by `Session.rate_limiter()`."""
        limits = OfTasks(rate, per, burst=burst)  # which checks them
        if per / rate * MICROS < 1:
            raise ValueError(
                f"a rate of {shown(rate)} in {shown(per)} s is too high for a session: a token must take at least a "
                "microsecond to come"
            )
        super().__init__(session, name, RateLimiterRecord(rate=float(rate), per=float(per), burst=limits.burst))
        self._limits = limits
        self.rate = rate
        self.per = per
        self.burst = limits.burst
        """How many tokens can be there at once."""

    def _how_to_enter(self) -> str:
        return "a RateLimiter is entered with 'async with', not with 'with'"

    @refusing
    async def acquire(self, n: int = 1) -> Literal[True]:
        """Wait until `n` tokens are there and nobody stands before, take them, return True.

        n: the number of tokens, 1 or more.

        Raises `holdfast.Closed` if it is closed; TypeError if `n` is no integer, ValueError if it is below 1 or more
        than `burst`; SessionLost if the session is over or ends before; EngineError if the engine fails before the task
        stands at the head of the line; NameConflict if the name is in use for something else, or with another rate.

        Cancellation: raises at once. The task leaves the line, and has taken nothing: what was taken already is put
        back, but for what has come since the request.
        """
        needs = self._needs(n)
        await self._session._ready()
        loop, register = self._session._life.loop, self._register
        asked = loop.time()

        def leave(ticket: int) -> PutBack:
            return _put_back(ticket, needs, loop.time() - asked)

        ticket, turn = register.begin(partial(Take, tokens=needs), leave=leave, ends_with_grant=False)
        try:
            value = await turn
            register.take(ticket)
            until = loop.time() + wait_of(value)
            while value != TAKEN:
                if (seconds := until - loop.time()) > 0:
                    news = await register.wait_at_most(ticket, seconds)
                    if news is None or news == value:  # the record was looked at, and is as it was: the time runs on
                        continue
                    value = news
                else:
                    asked = loop.time()
                    value = await register.send(Claim(ticket))
                    if not value:
                        await register.check_not_turned_away(ticket)
                        raise SessionLost(f"the place of {self._session!r} in {shown(self._name)} is gone: {REPLACED}")
                until = loop.time() + wait_of(value)
        except BaseException:
            register.not_taken(ticket, leave)
            raise
        register.has_all(ticket)
        return True

    @refusing
    async def try_acquire(self, n: int = 1) -> bool:
        """Take `n` tokens if they are there and nobody waits; return whether they were taken.

        n: the number of tokens, 1 or more.

        Raises `holdfast.Closed` if it is closed; TypeError if `n` is no integer, ValueError if it is below 1 or more
        than `burst`; SessionLost if the session is over or ends before; FormatError if another version of holdfast
        wrote the record; NameConflict as acquire() does. While the engine fails, it goes on trying.

        Cancellation: raises at once, and nothing has been taken. What is taken all the same is put back as soon as that
        is known.
        """
        needs = self._needs(n)
        await self._session._ready()
        loop = self._session._life.loop
        asked = loop.time()
        _, value = await self._register.ask_at_once(
            partial(TryTake, tokens=needs),
            lambda ticket: _put_back(ticket, needs, loop.time() - asked),
        )
        return value == TAKEN

    async def _return(self, n: int, seconds: float) -> None:
        """Put back what was taken within so many seconds, but for what has come since."""
        await self._tell(_put_back(NO_TICKET, n, seconds))

    # For acquire_all()

    def _place(self) -> tuple[int, int, str]:
        """Behind those of this process, and in the same order in all of them."""
        return 1, 0, self._name

    def _needs(self, n: int) -> int:
        return self._limits._needs(n)

    def _now(self) -> float:
        return self._session._life.loop.time()

    def _put_back(self, n: int, since: float) -> None:
        """It is done soon, also if the task is cancelled again."""
        with contextlib.suppress(NameConflict):  # the name is something else by now
            self._register.send(_put_back(NO_TICKET, n, self._now() - since))

    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take one token, as acquire() does. The `as` value is None."""
        return self._enter()

    async def _enter(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Do nothing: what was taken stays taken."""


def _put_back(ticket: int, n: int, seconds: float) -> PutBack:
    """Of what was taken within so many seconds."""
    return PutBack(ticket, n, round(seconds * MICROS))
