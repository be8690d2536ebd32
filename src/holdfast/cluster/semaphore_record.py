"""The record of a Semaphore, and every change of it. Pure.

A permit is free, or one of those that a session holds: a number for each session, so that what a session held when it
died is free again. There are free permits only while nobody waits. If the value was lowered while they were held, there
are less than none, until enough of them have come back.

What must hold here, besides what `record.py` names: permits are neither lost nor made, but by another value, and by a
release in a session that holds none, which adds one (and which a bounded semaphore refuses).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .line import join, leave, take, without
from .record import Held, Record, Wake, Withdraw, wakes_for
from .shapes import Shape


class Acquire(NamedTuple):
    """Ask for a permit. Outcome: 1, or 0 if the ticket waits now."""

    ticket: int


class TryAcquire(NamedTuple):
    """Ask for a permit, but do not wait. Outcome: 1, or -1."""

    ticket: int


class Release(NamedTuple):
    """Give a permit back, or add one if the session holds none. Outcome: 1, or 0 if that is refused."""


class GiveBack(NamedTuple):
    """Give a permit back that the session was granted. Outcome: 1, or 0 if it does not hold any."""


class Resize(NamedTuple):
    """Have so many permits from now on, held and free. Outcome: 1."""

    value: int


Operation = Acquire | TryAcquire | Release | GiveBack | Resize
MOST_VALUES = 50
"""How many of the values that a record has had are kept, besides the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemaphoreRecord(Record):
    """All that the cluster knows of one Semaphore."""

    KIND = "semaphore"
    ADDED: ClassVar[Mapping[str, type]] = {
        "acquire": Acquire,
        "try": TryAcquire,
        "release": Release,
        "give back": GiveBack,
        "resize": Resize,
        "withdraw": Withdraw,
    }
    RESIZES = True
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "free": shapes.integer,
        "permits": shapes.by_session(shapes.number),
        "values": shapes.each(shapes.number),
    }

    value: int
    """How many permits there are, held and free, but for those that were added."""
    values: tuple[int, ...] = ()
    """Those that it had before it was resized. Who uses the name with one of them may go on."""
    bounded: bool = False
    free: int
    permits: Mapping[str, int] = field(default_factory=dict)
    """By session; none that holds nothing."""

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
        """Permits that were added stay, unless they are bounded."""
        free = wanted.value if wanted.bounded else max(self.free + wanted.value - self.value, 0)
        return replace(self, value=wanted.value, values=(), bounded=wanted.bounded, free=free)

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[SemaphoreRecord, int]:
        match operation:
            case Acquire(ticket) | TryAcquire(ticket):
                if self.free > 0:  # then nobody waits
                    return self._grant(session), 1
                if isinstance(operation, TryAcquire):
                    return self, -1
                return replace(self, line=join(self.line, session, ticket, self.changed)), 0
            case Release():
                if session in self.permits:
                    return self._take_back(session)._serve(wakes), 1
                if self.bounded:
                    return self, 0
                return replace(self, free=self.free + 1)._serve(wakes), 1
            case GiveBack():
                return (self._take_back(session)._serve(wakes), 1) if session in self.permits else (self, 0)
            case Resize(value):
                if value == self.value:
                    return self, 1
                first, *others = dict.fromkeys((*self.values, self.value))
                values = first, *others[-MOST_VALUES:]
                free = self.free + value - self.value
                return replace(self, value=value, values=values, free=free)._serve(wakes), 1

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[SemaphoreRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        others = sorted({*leaving}.difference(waited))  # a ticket that does not wait has been granted
        granted = others[: self.permits.get(session, 0)]
        record = replace(self, line=line)
        if granted:
            record = record._take_back(session, len(granted))._serve(wakes)
        return record, {*waited, *granted}

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> SemaphoreRecord:
        lost = sum(count for session, count in self.permits.items() if session in dead)
        held = {session: count for session, count in self.permits.items() if session not in dead}
        return replace(self, line=without(self.line, dead), permits=held, free=self.free + lost)._serve(wakes)

    def is_initial(self) -> bool:
        return self.is_idle() and self.free == self.value

    def holding(self) -> frozenset[str]:
        return frozenset(self.permits)

    def keeps(self, session: str, tokens: Collection[int]) -> bool:
        return self.permits.get(session, 0) >= len(tokens)

    def held(self) -> Iterator[Held]:
        return (Held(session, permits, None, None) for session, permits in self.permits.items())

    def figures(self) -> dict[str, int | bool]:
        return {"value": self.value, "free": self.free, "bounded": self.bounded}

    def state(self) -> dict[str, Any]:
        return {"free": self.free, "permits": self.permits, "values": self.values}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"free": document["free"], "permits": document["permits"], "values": tuple(document["values"])}

    def _grant(self, session: str, permits: int = 1) -> SemaphoreRecord:
        held = {**self.permits, session: self.permits.get(session, 0) + permits}
        return replace(self, free=self.free - permits, permits=held)

    def _take_back(self, session: str, permits: int = 1) -> SemaphoreRecord:
        held = {**self.permits, session: self.permits[session] - permits}
        if not held[session]:
            del held[session]
        return replace(self, free=self.free + permits, permits=held)

    def _serve(self, wakes: list[Wake]) -> SemaphoreRecord:
        """Grant free permits to who waits."""
        if self.free <= 0 or not self.line:
            return self
        served, rest = take(self.line, self.free)
        wakes += wakes_for(served, 1)
        record = replace(self, line=rest)
        for run in served:
            record = record._grant(run.session, run.size())
        return record
