"""The record of a Semaphore, and every change of it. Pure.

A permit is either free or held by a session. The record keeps the number that each session holds, so the permits of a
session that died become free again. Permits are free only while nobody waits. If the value was lowered while permits
were held, the number of free permits is negative until enough of them have come back.

What must hold here, besides what `record.py` names: no permit is lost, and none is made. There are two exceptions: a
resize, and a release in a session that holds no permit, which adds one (a bounded semaphore refuses it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .leased import Acquire, LeasedRecord, TryAcquire
from .line import leave, take, without
from .record import Held, Record, Wake, Withdraw, wakes_for
from .shapes import Shape


class Release(NamedTuple):
    """Give a permit back, or add one if the session holds none. Outcome: 1, or 0 if the semaphore refuses."""


class GiveBack(NamedTuple):
    """Give a permit back that the session was granted. Outcome: 1, or 0 if the session holds none."""


class Resize(NamedTuple):
    """Change the number of permits, held and free, to `value`. Outcome: 1."""

    value: int


Operation = Acquire | TryAcquire | Release | GiveBack | Resize
MOST_VALUES = 50
"""How many earlier values a record keeps, at most, besides its first."""


@dataclass(frozen=True, kw_only=True)
class SemaphoreRecord(LeasedRecord):
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
    """The number of permits, held and free, without those that a release has added."""
    values: tuple[int, ...] = ()
    """The values from before a resize. A session that uses the name with one of them may go on."""
    bounded: bool = False
    free: int
    permits: Mapping[str, int] = field(default_factory=dict)
    """The number that each session holds. A session that holds none is left out."""

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
            case Release():
                if session in self.permits:
                    return self._take_back(session)._serve(wakes), 1
                if self.bounded:
                    return self, 0
                return self.but(free=self.free + 1)._serve(wakes), 1
            case GiveBack():
                return (self._take_back(session)._serve(wakes), 1) if session in self.permits else (self, 0)
            case Resize(value):
                if value == self.value:
                    return self, 1
                first, *others = dict.fromkeys((*self.values, self.value))
                values = first, *others[-MOST_VALUES:]
                free = self.free + value - self.value
                return self.but(value=value, values=values, free=free)._serve(wakes), 1

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[SemaphoreRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        others = sorted({*leaving}.difference(waited))  # a ticket that does not wait has been granted
        granted = others[: self.permits.get(session, 0)]
        record = self.but(line=line)
        if granted:
            record = record._take_back(session, len(granted))._serve(wakes)
        return record, {*waited, *granted}

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> SemaphoreRecord:
        lost = sum(count for session, count in self.permits.items() if session in dead)
        held = {session: count for session, count in self.permits.items() if session not in dead}
        return self.but(line=without(self.line, dead), permits=held, free=self.free + lost)._serve(wakes)

    def is_free(self) -> bool:
        return self.free > 0

    def granting(self, session: str, ticket: int) -> tuple[SemaphoreRecord, int]:
        return self._grant(session), 1

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
        return self.but(free=self.free - permits, permits=held)

    def _take_back(self, session: str, permits: int = 1) -> SemaphoreRecord:
        held = {**self.permits, session: self.permits[session] - permits}
        if not held[session]:
            del held[session]
        return self.but(free=self.free + permits, permits=held)

    def _serve(self, wakes: list[Wake]) -> SemaphoreRecord:
        """Grant the free permits to the first waiters."""
        if self.free <= 0 or not self.line:
            return self
        served, rest = take(self.line, self.free)
        wakes += wakes_for(served, 1)
        record = self.but(line=rest)
        for run in served:
            record = record._grant(run.session, run.size())
        return record
