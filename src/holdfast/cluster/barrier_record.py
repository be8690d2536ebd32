"""The record of a Barrier, and every change of it. Pure.

The line is who has arrived. With the last one it trips: the line is empty again for the next round, and each ticket's
place is kept until its session has taken it, which it says by withdrawing the ticket. Of a ticket that neither
stands in the line nor has a place, the round was broken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .record import Record, Wake, Withdraw, join, leave, stands_in, tickets, without
from .shapes import Shape

BROKEN = -1


class Place(NamedTuple):
    session: str
    ticket: int
    place: int
    """1 for who arrived first."""


class Arrive(NamedTuple):
    """Arrive. Outcome: the place if that was the last one, 0 if the ticket waits now, or BROKEN."""

    ticket: int


class Abort(NamedTuple):
    """Break the barrier for all who wait or come. Outcome: 1."""


class Reset(NamedTuple):
    """Break it for all who wait, and mend it for all who come. Outcome: 1."""


Operation = Arrive | Abort | Reset | Withdraw


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierRecord(Record):
    """All that the cluster knows of one Barrier."""

    KIND = "barrier"
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "broken": shapes.truth,
        "places": shapes.each(shapes.row(shapes.session, shapes.number, shapes.number)),
    }

    parties: int
    broken: bool = False
    places: tuple[Place, ...] = ()
    """Of rounds that are through, those that have not been taken."""

    @property
    def kind(self) -> str:
        return f"barrier of {self.parties}"

    def arrived(self) -> int:
        """How many wait for the others."""
        return sum(run.end - run.first for run in self.line)

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[BarrierRecord, int]:
        match operation:
            case Arrive(ticket):
                if self.broken:
                    return self, BROKEN
                if self.arrived() + 1 < self.parties:
                    return replace(self, line=join(self.line, session, ticket)), 0
                places = [Place(*entry, place) for place, entry in enumerate(tickets(self.line), 1)]
                wakes += [Wake(*place) for place in places]
                mine = Place(session, ticket, self.parties)
                return replace(self, line=(), places=(*self.places, *places, mine)), self.parties
            case Abort():
                return replace(self._break(wakes), broken=True), 1
            case Reset():
                return replace(self._break(wakes), broken=False), 1
            case Withdraw(ticket):
                places = [place for place in self.places if place[:2] != (session, ticket)]
                known = stands_in(self.line, session, ticket) or len(places) < len(self.places)
                return replace(self, line=leave(self.line, session, ticket), places=tuple(places)), int(known)

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> BarrierRecord:
        places = tuple(place for place in self.places if place.session not in dead)
        return replace(self, line=without(self.line, dead), places=places)

    def is_initial(self) -> bool:
        return not self.line and not self.broken and not self.places

    def sessions(self) -> set[str]:
        return Record.sessions(self) | {place.session for place in self.places}

    def watches(self) -> dict[str, frozenset[str]]:
        """A ring: each the one before it, and the first the last. An arrival of the dead must not count."""
        ring = [*dict.fromkeys(run.session for run in self.line)]
        return {
            session: frozenset({before}) - {session}
            for before, session in zip(ring[-1:] + ring[:-1], ring, strict=True)
        }

    def granted(self, session: str, asked: Iterable[int]) -> dict[int, int]:
        places = {place.ticket: place.place for place in self.places if place.session == session}
        return {ticket: places.get(ticket, BROKEN) for ticket in Record.granted(self, session, asked)}

    def figures(self) -> dict[str, int | bool]:
        return {"parties": self.parties, "arrived": self.arrived(), "broken": self.broken}

    def state(self) -> dict[str, Any]:
        return {"broken": self.broken, "places": self.places}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"broken": document["broken"], "places": tuple(Place(*place) for place in document["places"])}

    def _break(self, wakes: list[Wake]) -> BarrierRecord:
        wakes += [Wake(run.session, run.first, BROKEN, run.end - run.first) for run in self.line]
        return replace(self, line=())
