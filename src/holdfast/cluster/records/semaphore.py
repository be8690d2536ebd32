"""The record of a Semaphore, and every change of it. Pure.

A permit is either free or held by a session. The record keeps the number that each session holds, so the permits of a
session that died become free again. A ticket may ask for several permits, and is granted all at once. Permits are free
while somebody waits only if the first ticket asks for more of them. If the value was lowered while permits were held,
the number of free permits is negative until enough of them have come back.

A ticket that asks for more permits than a bounded semaphore has is refused. The record keeps the refusal until the
session takes it, by withdrawing the ticket: a ticket of which nothing is kept was granted.

What must hold here, besides what `record.py` names: no permit is lost, and none is made. There are two exceptions: a
resize, and a release of more permits than the session holds, which adds the rest (a bounded semaphore refuses it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .json_text import ENCODER, document_of
from .leased import Acquire, LeasedRecord, TryAcquire
from .line import join, leave, take, tickets
from .record import Grants, Held, Record, Wake, Withdraw, WithdrawMany, wakes_for
from .run import Run
from .shapes import Shape


class AcquireMany(NamedTuple):
    """Ask for several permits at once. Outcome: 1, 0 if the ticket waits now, or refusal()."""

    ticket: int
    permits: int


class TryAcquireMany(NamedTuple):
    """Ask for several permits at once, without waiting. Outcome: 1, -1, or refusal(), of which nothing is kept."""

    ticket: int
    permits: int


class Release(NamedTuple):
    """Give a permit back, or add one if the session holds none. Outcome: 1, or 0 if the semaphore refuses."""


class GiveBack(NamedTuple):
    """Give a permit back that the session was granted. Outcome: 1, or 0 if the session holds none."""


class ReleaseMany(NamedTuple):
    """Give so many permits back, and add those that the session does not hold.

    Outcome: 1, or 0 if the semaphore refuses to add any. Then none is given back.
    """

    permits: int


class GiveBackMany(NamedTuple):
    """Give so many permits back that the session was granted. Outcome: 1, or 0 if the session holds fewer."""

    permits: int


class Resize(NamedTuple):
    """Change the number of permits, held and free, to `value`. Outcome: 1."""

    value: int


class Refused(NamedTuple):
    """A ticket that asks for more permits than there are."""

    session: str
    ticket: int
    value: int
    """How many there were."""


def refusal(value: int) -> int:
    """What a ticket gets that asks for more permits than the `value` that there are. It is its own inverse."""
    return -2 - value


Operation = (
    Acquire | TryAcquire | AcquireMany | TryAcquireMany | Release | GiveBack | ReleaseMany | GiveBackMany | Resize
)
MOST_VALUES = 50
"""How many earlier values a record keeps, at most, besides its first."""
_IS_REFUSED = shapes.some(shapes.row(shapes.session, shapes.number, shapes.number))


def _are_refusals(document: object) -> bool:
    """Whether the rows of parts() are those of refusals."""
    return (
        type(document) is list
        and len(document) == 1
        and type(document[0]) is dict
        and document[0].keys() == {"refused"}
        and _IS_REFUSED(document[0]["refused"])
    )


@dataclass(frozen=True, kw_only=True)
class SemaphoreRecord(LeasedRecord):
    """All that the cluster knows of one Semaphore."""

    KIND = "semaphore"
    ADDED: ClassVar[Mapping[str, type]] = {
        "acquire": Acquire,
        "acquire many": AcquireMany,
        "try": TryAcquire,
        "try many": TryAcquireMany,
        "release": Release,
        "release many": ReleaseMany,
        "give back": GiveBack,
        "give back many": GiveBackMany,
        "resize": Resize,
        "withdraw": Withdraw,
        "withdraw many": WithdrawMany,
    }
    ASKS = frozenset({Acquire, AcquireMany, TryAcquire, TryAcquireMany})
    MOST_ASKED = math.inf
    RESIZES = True
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "free": shapes.integer,
        "permits": shapes.by_session(shapes.number),
        "values": shapes.each(shapes.number),
    }

    value: int
    """The number of permits, held and free, without those that a release has added."""
    values: tuple[int, ...] = ()
    """The values from before a resize. A session that uses the name with one of them may go on."""
    bounded: bool = False
    free: int
    permits: Mapping[str, int] = field(default_factory=dict)
    """The number that each session holds. A session that holds none is left out."""
    refused: tuple[Refused, ...] = ()
    """The refusals that their sessions have not taken yet."""

    @property
    def kind(self) -> str:
        return f"{'bounded ' if self.bounded else ''}semaphore of {self.value}"

    @classmethod
    def of_kind(cls, kind: str) -> SemaphoreRecord | None:
        name, _, value = kind.partition(" of ")
        if name not in ("semaphore", "bounded semaphore") or not shapes.is_decimal(value):
            return None
        return cls(value=int(value), free=int(value), bounded=name != "semaphore")

    def accepts(self, wanted: Record) -> bool:
        if not isinstance(wanted, SemaphoreRecord) or self.bounded != wanted.bounded:
            return False
        return wanted.value == self.value or wanted.value in self.values

    def is_idle(self) -> bool:
        return not self.line and not self.permits

    def with_value_of(self, wanted: SemaphoreRecord) -> SemaphoreRecord:
        """Permits that a release has added stay, unless the new value is bounded."""
        free = wanted.value if wanted.bounded else max(self.free + wanted.value - self.value, 0)
        return self.but(value=wanted.value, values=(), bounded=wanted.bounded, free=free)

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[SemaphoreRecord, int]:
        match operation:
            case Acquire() | TryAcquire():
                return self.asked(session, operation)
            case AcquireMany(ticket, permits) | TryAcquireMany(ticket, permits):
                return self._asked_for_many(session, ticket, permits, isinstance(operation, AcquireMany))
            case Release():
                if session in self.permits:
                    return self._take_back(session)._serve(wakes), 1
                if self.bounded:
                    return self, 0
                return self.but(free=self.free + 1)._serve(wakes), 1
            case GiveBack():
                return (self._take_back(session)._serve(wakes), 1) if session in self.permits else (self, 0)
            case ReleaseMany(permits):
                return self._release(session, permits, wakes)
            case GiveBackMany(permits):
                if self.permits.get(session, 0) < permits:
                    return self, 0
                return self._take_back(session, permits)._serve(wakes), 1
            case Resize(value):
                if value == self.value:
                    return self, 1
                first, *others = dict.fromkeys((*self.values, self.value))
                values = first, *others[-MOST_VALUES:]
                free = self.free + value - self.value
                return self.but(value=value, values=values, free=free)._refuse_too_many(wakes)._serve(wakes), 1

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[SemaphoreRecord, Collection[int]]:
        return self.withdraw_many(session, dict.fromkeys(leaving, 1), wakes)

    def withdraw_many(
        self, session: str, permits: Mapping[int, int], wakes: list[Wake]
    ) -> tuple[SemaphoreRecord, Collection[int]]:
        record, known = self, set[int]()
        if self.refused:
            known.update(ticket for other, ticket, _ in self.refused if other == session and ticket in permits)
            record = record._without_refusals(lambda each: each.session == session and each.ticket in known)
        line, waited = leave(self.line, session, sorted(permits))
        known.update(waited)
        held, given_back = self.permits.get(session, 0), 0
        for ticket in sorted(permits.keys() - known):  # it does not wait, so it has been granted
            if given_back + permits[ticket] <= held:
                given_back += permits[ticket]
                known.add(ticket)
        record = record.but(line=line)
        if given_back:
            record = record._take_back(session, given_back)
        return record._serve(wakes), known

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> SemaphoreRecord:
        lost = sum(count for session, count in self.permits.items() if session in dead)
        held = {session: count for session, count in self.permits.items() if session not in dead}
        record = self._without_refusals(lambda each: each.session in dead)
        return record.without_waiters(dead).but(permits=held, free=self.free + lost)._serve(wakes)

    def is_free(self) -> bool:
        return self.free > 0 and not self.line

    def granting(self, session: str, ticket: int) -> tuple[SemaphoreRecord, int]:
        return self._grant(session), 1

    def waits_for_holders(self, run: Run) -> bool:
        return run.asks > self.free

    def is_initial(self) -> bool:
        return self.is_idle() and self.free == self.value and not self.refused

    def holding(self) -> frozenset[str]:
        return frozenset(self.permits)

    def users(self) -> set[str]:
        users = Record.users(self)
        return users | {each.session for each in self.refused} if self.refused else users

    def granted(self, session: str, asked: Collection[int]) -> list[Grants]:
        found = Record.granted(self, session, asked)
        if not self.refused:
            return found
        values = {each.ticket: refusal(each.value) for each in self.refused if each.session == session}
        return [Grants(ticket, values.get(ticket, granted)) for ticket, granted, _ in found]

    def keeps(self, session: str, tokens: Mapping[int, int]) -> bool:
        return self.permits.get(session, 0) >= sum(tokens.values())

    def held(self) -> Iterator[Held]:
        return (Held(session, permits, None, None) for session, permits in self.permits.items())

    def figures(self) -> dict[str, int | bool]:
        return {"value": self.value, "free": self.free, "bounded": self.bounded}

    def state(self) -> dict[str, Any]:
        return {"free": self.free, "permits": self.permits, "values": self.values}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"free": document["free"], "permits": document["permits"], "values": tuple(document["values"])}

    def parts(self) -> Iterable[str]:
        return [ENCODER.encode({"refused": self.refused})] if self.refused else ()

    def with_parts(self, rows: Collection[str], known: SemaphoreRecord | None) -> SemaphoreRecord | None:
        if not rows:
            return self
        document = document_of(f"[{','.join(rows)}]")
        if not _are_refusals(document):
            return None
        return self.but(refused=tuple(Refused(*each) for each in document[0]["refused"]))

    def _asked_for_many(self, session: str, ticket: int, permits: int, waits: bool) -> tuple[SemaphoreRecord, int]:
        if self.bounded and permits > self.value:
            refused = (*self.refused, Refused(session, ticket, self.value)) if waits else self.refused
            return self.but(refused=refused), refusal(self.value)
        if self.free >= permits and not self.line:
            return self._grant(session, permits), 1
        return (self.but(line=join(self.line, session, ticket, self.changed, permits)), 0) if waits else (self, -1)

    def _release(self, session: str, permits: int, wakes: list[Wake]) -> tuple[SemaphoreRecord, int]:
        held = min(self.permits.get(session, 0), permits)
        if self.bounded and held < permits:
            return self, 0
        record = self._take_back(session, held) if held else self
        return record.but(free=record.free + permits - held)._serve(wakes), 1

    def _refuse_too_many(self, wakes: list[Wake]) -> SemaphoreRecord:
        """Refuse the tickets in the line that ask for more permits than there are. One permit is waited for."""
        most = max(self.value, 1)
        gone = tuple(run for run in self.line if run.asks > most)
        if not (self.bounded and gone):
            return self
        wakes += wakes_for(gone, refusal(self.value))
        refused = [Refused(session, ticket, self.value) for session, ticket in tickets(gone)]
        line = tuple(run for run in self.line if run.asks <= most)
        return self.but(line=line, refused=(*self.refused, *refused))

    def _without_refusals(self, gone: Callable[[Refused], bool]) -> SemaphoreRecord:
        if not self.refused:
            return self
        return self.but(refused=tuple(each for each in self.refused if not gone(each)))

    def _grant(self, session: str, permits: int = 1) -> SemaphoreRecord:
        held = {**self.permits, session: self.permits.get(session, 0) + permits}
        return self.but(free=self.free - permits, permits=held)

    def _take_back(self, session: str, permits: int = 1) -> SemaphoreRecord:
        held = {**self.permits, session: self.permits[session] - permits}
        if not held[session]:
            del held[session]
        return self.but(free=self.free + permits, permits=held)

    def _serve(self, wakes: list[Wake]) -> SemaphoreRecord:
        """Grant the free permits to the first waiters. One that asks for more than are free is not overtaken."""
        if self.free <= 0 or not self.line:
            return self
        served, rest = take(self.line, self.free)
        wakes += wakes_for(served, 1)
        record = self.but(line=rest)
        for run in served:
            record = record._grant(run.session, run.size() * run.asks)
        return record
