"""The record of a Semaphore, and every change of it. Pure.

A permit is free, or one of those that a session holds: a number for each session, so that what a session held when it
died is free again. There are free permits only while nobody waits.

What must hold here, besides what `record.py` names: permits are neither lost nor made, but by a release in a session
that holds none, which adds one (and which a bounded semaphore refuses).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .record import Held, Record, Wake, Withdraw, join, leave, stands_in, take_first, without
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


Operation = Acquire | TryAcquire | Release | GiveBack | Withdraw


@dataclass(frozen=True, slots=True, kw_only=True)
class SemaphoreRecord(Record):
    """All that the cluster knows of one Semaphore."""

    KIND = "semaphore"
    SHAPES: ClassVar[Mapping[str, Shape]] = {"free": shapes.number, "permits": shapes.by_session(shapes.number)}

    value: int
    """How many permits it was made with."""
    bounded: bool = False
    free: int
    permits: Mapping[str, int] = field(default_factory=dict)
    """By session; none that holds nothing."""

    @property
    def kind(self) -> str:
        return f"{'bounded ' if self.bounded else ''}semaphore of {self.value}"

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[SemaphoreRecord, int]:
        match operation:
            case Acquire(ticket) | TryAcquire(ticket):
                if self.free:  # then nobody waits
                    return self._grant(session), 1
                if isinstance(operation, TryAcquire):
                    return self, -1
                return replace(self, line=join(self.line, session, ticket)), 0
            case Release():
                if session in self.permits:
                    return self._take_back(session)._serve(wakes), 1
                if self.bounded:
                    return self, 0
                return replace(self, free=self.free + 1)._serve(wakes), 1
            case GiveBack():
                return (self._take_back(session)._serve(wakes), 1) if session in self.permits else (self, 0)
            case Withdraw(ticket):
                if stands_in(self.line, session, ticket):
                    return replace(self, line=leave(self.line, session, ticket)), 1
                if session in self.permits:  # a ticket that does not wait has been granted
                    return self._take_back(session)._serve(wakes), 1
                return self, 0

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> SemaphoreRecord:
        lost = sum(count for session, count in self.permits.items() if session in dead)
        held = {session: count for session, count in self.permits.items() if session not in dead}
        return replace(self, line=without(self.line, dead), permits=held, free=self.free + lost)._serve(wakes)

    def is_initial(self) -> bool:
        return not self.line and not self.permits and self.free == self.value

    def holding(self) -> frozenset[str]:
        return frozenset(self.permits)

    def keeps(self, session: str, tokens: Collection[int]) -> bool:
        return self.permits.get(session, 0) >= len(tokens)

    def held(self) -> Iterator[Held]:
        return (Held(session, permits, None, None) for session, permits in self.permits.items())

    def figures(self) -> dict[str, int | bool]:
        return {"value": self.value, "free": self.free, "bounded": self.bounded}

    def state(self) -> dict[str, Any]:
        return {"free": self.free, "permits": self.permits}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"free": document["free"], "permits": document["permits"]}

    def _grant(self, session: str) -> SemaphoreRecord:
        return replace(self, free=self.free - 1, permits={**self.permits, session: self.permits.get(session, 0) + 1})

    def _take_back(self, session: str) -> SemaphoreRecord:
        held = {**self.permits, session: self.permits[session] - 1}
        if not held[session]:
            del held[session]
        return replace(self, free=self.free + 1, permits=held)

    def _serve(self, wakes: list[Wake]) -> SemaphoreRecord:
        """Grant free permits to who waits."""
        record = self
        while record.free and record.line:
            session, ticket, rest = take_first(record.line)
            wakes.append(Wake(session, ticket, 1))
            record = replace(record, line=rest)._grant(session)
        return record
