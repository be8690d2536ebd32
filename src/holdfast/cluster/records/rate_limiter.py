"""The record of a RateLimiter, and every change of it. Pure.

Its state is one number: the time at which all tokens will be there again (GCRA, as in `tasks/rate_limiter.py`), by the
engine's clock, which each change comes with. So this is the one record in which that clock decides something.

Who finds tokens, and nobody in the line, takes them in one change. Else the ticket joins the line. No tokens are set
aside for it: its session is told when it stands at the head, and when the tokens will be there. It waits until then,
takes them, and leaves the line in one change, which tells the next one. So tokens are only taken by a change of the
session that uses them, and a ticket that leaves the line, or whose session has died, has taken nothing.

What must hold here, besides what `record.py` names: in any time t, at most burst + t * rate / per tokens are taken, by
the times that the changes came with; and no ticket is overtaken, whatever it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .line import join, leave
from .record import Grants, Record, Wake, Withdraw
from .shapes import Shape

TAKEN = 1
"""What a ticket gets that has its tokens."""
MICROS = 1_000_000
SET_BACK = MICROS
"""If the engine's clock shows so many microseconds less than it could, somebody has set it back."""


class Take(NamedTuple):
    """Ask for tokens. Outcome: TAKEN, turn() if the ticket stands at the head of the line now, or 0 if it waits."""

    ticket: int
    tokens: int


class TryTake(NamedTuple):
    """Ask for tokens, without waiting. Outcome: TAKEN, or -1."""

    ticket: int
    tokens: int


class Claim(NamedTuple):
    """The ticket at the head of the line takes its tokens.

    Outcome: TAKEN; -1 and so many microseconds below that until they are there; or 0 if the ticket is not there.
    """

    ticket: int


class PutBack(NamedTuple):
    """The ticket leaves the line; if it has taken tokens, they are put back, but for what has come since.

    Outcome: 1, or 0 if it did not wait.
    """

    ticket: int
    tokens: int
    elapsed: int
    """Microseconds since the request by which it may have taken them."""


Operation = Take | TryTake | Claim | PutBack


def turn(micros: int) -> int:
    """What a ticket gets that stands at the head of the line, from the microseconds until its tokens are there."""
    return TAKEN + 1 + micros


def wait_of(value: int) -> float:
    """The seconds that a ticket has to wait that got turn(), or what a Claim got that came too early."""
    return max(value - TAKEN - 1 if value > TAKEN else -1 - value, 0) / MICROS


@dataclass(frozen=True, kw_only=True)
class RateLimiterRecord(Record):
    """All that the cluster knows of one RateLimiter."""

    KIND = "rate limiter"
    ADDED: ClassVar[Mapping[str, type]] = {
        "take": Take,
        "try": TryTake,
        "claim": Claim,
        "put back": PutBack,
        "withdraw": Withdraw,
    }
    ASKS = frozenset({Take, TryTake})
    MOST_ASKED = math.inf
    AGREES_WHEN = "all its tokens are there again and nobody waits for any"
    SHAPES: ClassVar[Mapping[str, Shape]] = {"full_at": shapes.number}

    rate: float
    per: float
    """Seconds."""
    burst: int
    full_at: int = 0
    """The engine's time at which all tokens will be there, in microseconds since 1970; in the past if they are."""

    @property
    def kind(self) -> str:
        return f"rate limiter of {_shown(self.rate)} per {_shown(self.per)} s, {self.burst} at most"

    @classmethod
    def of_kind(cls, kind: str) -> RateLimiterRecord | None:
        words = kind.removeprefix("rate limiter of ").split(" ")
        if len(words) != 7:
            return None
        try:
            record = cls(rate=float(words[0]), per=float(words[2]), burst=int(words[4]))
        except ValueError:
            return None
        numbers = record.rate, record.per, record.burst
        return record if all(0 < each < math.inf for each in numbers) and record.kind == kind else None

    def with_value_of(self, wanted: RateLimiterRecord) -> RateLimiterRecord:
        return self.but(rate=wanted.rate, per=wanted.per, burst=wanted.burst)

    def as_of(self, now: float) -> RateLimiterRecord:
        return self.but(full_at=0) if 0 < self.full_at <= now * MICROS else self

    def tokens(self) -> float:
        """How many were there at the last change."""
        return self.burst - max(self.full_at - self._now(), 0) / self._each()

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[RateLimiterRecord, int]:
        record = self._in_time()
        match operation:
            case Take(ticket, tokens):
                if not record.line and not record._wait_for(tokens):
                    return record._spend(tokens), TAKEN
                waiting = record.but(line=join(record.line, session, ticket, record.changed, tokens))
                return waiting, 0 if record.line else turn(record._wait_for(tokens))
            case TryTake(_, tokens):
                is_free = not record.line and not record._wait_for(tokens)
                return (record._spend(tokens), TAKEN) if is_free else (record, -1)
            case Claim(ticket):
                head = record.head()
                if head is None or head[:2] != (session, ticket):
                    return record, 0
                if wait := record._wait_for(head[2]):
                    return record, -1 - wait
                left, _ = leave(record.line, session, [ticket])
                return record._spend(head[2]).but(line=left)._next(head, wakes), TAKEN
            case PutBack(ticket, tokens, elapsed):
                record, away = record.taking_back(session, [ticket])
                if away:
                    return record, 1
                line, waited = leave(record.line, session, [ticket])
                if waited:
                    return record.but(line=line)._next(record.head(), wakes), 1
                back = max(record._cost(tokens) - elapsed, 0)
                return record.but(full_at=record.full_at - min(back, record.full_at))._next(None, wakes), 0

    def withdraw(
        self, session: str, leaving: list[int], wakes: list[Wake]
    ) -> tuple[RateLimiterRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        return self.but(line=line)._in_time()._next(self.head(), wakes), waited

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> RateLimiterRecord:
        return self.without_waiters(dead)._in_time()._next(self.head(), wakes)

    def is_initial(self) -> bool:
        return not self.line and not self.full_at

    def granted(self, session: str, asked: Collection[int]) -> list[Grants]:
        head = self.head()
        if head is None or head[0] != session or head[1] not in asked:
            return []
        return [Grants(head[1], turn(self._in_time()._wait_for(head[2])))]

    def head(self) -> tuple[str, int, int] | None:
        """The session and the ticket at the head of the line, and how many tokens it asks for."""
        return (self.line[0].session, self.line[0].spans[0], self.line[0].asks) if self.line else None

    def figures(self) -> dict[str, int | bool]:
        return {"tokens": max(math.floor(self.tokens()), 0)}

    def state(self) -> dict[str, Any]:
        return {"full_at": self.full_at}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"full_at": document["full_at"]}

    def _now(self) -> int:
        return round(self.changed * 1000) * 1000

    def _each(self) -> float:
        """The microseconds that a token takes to come."""
        return self.per * MICROS / self.rate

    def _cost(self, tokens: int) -> int:
        return round(tokens * self._each())

    def _in_time(self) -> RateLimiterRecord:
        """If the engine's clock was set back, no tokens are there, and they begin to come."""
        latest = self._now() + self._cost(self.burst)
        return self.but(full_at=latest) if self.full_at > latest + SET_BACK else self

    def _wait_for(self, tokens: int) -> int:
        """The microseconds until so many are there."""
        return max(self.full_at - self._cost(self.burst) + self._cost(tokens) - self._now(), 0)

    def _spend(self, tokens: int) -> RateLimiterRecord:
        return self.but(full_at=max(self.full_at, self._now()) + self._cost(tokens))

    def _next(self, before: tuple[str, int, int] | None, wakes: list[Wake]) -> RateLimiterRecord:
        """Tell the ticket at the head of the line how long it has to wait, unless it was there `before` this change."""
        head = self.head()
        if head is not None and head != before:
            wakes.append(Wake(head[0], head[1], turn(self._wait_for(head[2]))))
        return self


def _shown(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)
