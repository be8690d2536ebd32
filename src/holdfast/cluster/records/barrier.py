"""The record of a Barrier, and every change of it. Pure.

The line holds the tickets that have arrived. The barrier trips when enough have arrived and all of their sessions are
known to be alive. The tickets then leave the line, and the record keeps each one's place until its session has taken
it, which the session says by withdrawing the ticket. A ticket that neither stands in the line nor has a place was in a
round that was broken.

A session need not look which others are alive in order to arrive. The session whose arrival fills the line looks, and
then says so (`due()`). If it has died, the session that stands behind it, or comes there, notices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .line import join, leave, size, take, tickets
from .record import Grants, Record, Wake, Withdraw, wakes_for
from .shapes import Shape

BROKEN = -1


class Place(NamedTuple):
    session: str
    ticket: int
    place: int
    """1 for the first arrival."""


class Arrive(NamedTuple):
    """Arrive. Outcome: the place, if this was the last arrival and all are of one session; 0 if the ticket waits now;
    or BROKEN."""

    ticket: int


class Trip(NamedTuple):
    """Say that these sessions were alive when all had arrived. Outcome: how many tickets that has let through."""

    alive: tuple[str, ...] | list[str]


class GiveUp(NamedTuple):
    """The ticket's time is up. Outcome: its place, if all had come before; else BROKEN, and if the ticket still waited,
    the barrier is broken for all."""

    ticket: int


class Abort(NamedTuple):
    """Break the barrier for all tickets that wait or arrive. Outcome: 1."""


class Reset(NamedTuple):
    """Break the barrier for all tickets that wait, and mend it for those that arrive. Outcome: 1."""


Operation = Arrive | Trip | GiveUp | Abort | Reset


@dataclass(frozen=True, kw_only=True)
class BarrierRecord(Record):
    """All that the cluster knows of one Barrier."""

    KIND = "barrier"
    ADDED: ClassVar[Mapping[str, type]] = {
        "arrive": Arrive,
        "trip": Trip,
        "abort": Abort,
        "reset": Reset,
        "withdraw": Withdraw,
    }
    ASKS = frozenset({Arrive})
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "broken": shapes.truth,
        "places": shapes.each(shapes.row(shapes.session, shapes.number, shapes.number)),
    }

    parties: int
    broken: bool = False
    places: tuple[Place, ...] = ()
    """The places of finished rounds that their sessions have not taken yet."""

    @property
    def kind(self) -> str:
        return f"barrier of {self.parties}"

    @classmethod
    def of_kind(cls, kind: str) -> BarrierRecord | None:
        name, _, parties = kind.partition(" of ")
        return cls(parties=int(parties)) if name == "barrier" and shapes.is_decimal(parties) else None

    def with_value_of(self, wanted: BarrierRecord) -> BarrierRecord:
        return self.but(parties=wanted.parties)

    def arrived(self) -> int:
        """The number of tickets that wait for the others."""
        return size(self.line)

    def due(self) -> tuple[str, Trip] | None:
        if self.arrived() < self.parties:
            return None
        complete, _ = take(self.line, self.parties)
        return complete[-1].session, Trip((*dict.fromkeys(run.session for run in self.line),))

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[BarrierRecord, int]:
        match operation:
            case Arrive(ticket):
                if self.broken:
                    return self, BROKEN
                record = self.but(line=join(self.line, session, ticket, self.changed))
                through: list[Wake] = []
                record = record._trip({session}, through)
                mine = [wake.value for wake in through if wake[:2] == (session, ticket)]
                wakes += [wake for wake in through if wake[:2] != (session, ticket)]
                return record, (mine[0] if mine else 0)
            case Trip(alive):
                before = len(wakes)
                record = self._trip({*alive}, wakes)
                return record, len(wakes) - before
            case GiveUp(ticket):
                return self._give_up(session, ticket, wakes)
            case Abort():
                return self._break(wakes).but(broken=True), 1
            case Reset():
                return self._break(wakes).but(broken=False), 1

    def _give_up(self, session: str, ticket: int, wakes: list[Wake]) -> tuple[BarrierRecord, int]:
        record, away = self.taking_back(session, [ticket])
        if away:  # it was closed at that very moment
            return record, BROKEN
        place = next((place.place for place in self.places if place[:2] == (session, ticket)), BROKEN)
        waited = self.arrived()
        record, _ = self.withdraw(session, [ticket], wakes)
        if record.arrived() < waited:
            record = record._break(wakes).but(broken=True)
        return record, place

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[BarrierRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        taken = {place.ticket for place in self.places if place.session == session}.intersection(leaving)
        places = tuple(place for place in self.places if place.session != session or place.ticket not in taken)
        return self.but(line=line, places=places), taken.union(waited)

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> BarrierRecord:
        places = tuple(place for place in self.places if place.session not in dead)
        return self.without_waiters(dead).but(places=places)

    def is_initial(self) -> bool:
        return self.is_idle() and not self.places

    def is_idle(self) -> bool:
        return not self.line and not self.broken

    def users(self) -> set[str]:
        return Record.users(self) | {place.session for place in self.places}

    def granted(self, session: str, asked: Collection[int]) -> list[Grants]:
        places = {place.ticket: place.place for place in self.places if place.session == session}
        return [Grants(ticket, places.get(ticket, BROKEN)) for ticket, _, _ in Record.granted(self, session, asked)]

    def figures(self) -> dict[str, int | bool]:
        return {"parties": self.parties, "arrived": self.arrived(), "broken": self.broken}

    def state(self) -> dict[str, Any]:
        return {"broken": self.broken, "places": self.places}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"broken": document["broken"], "places": tuple(Place(*place) for place in document["places"])}

    def _trip(self, alive: Collection[str], wakes: list[Wake]) -> BarrierRecord:
        """Let every round through that is complete with these sessions alone."""
        if not (self.line and self.line[0].session in alive):
            return self
        line, places = self.line, [*self.places]
        while size(line) >= self.parties:
            round, rest = take(line, self.parties)
            if not all(run.session in alive for run in round):
                break
            places += [Place(*entry, place) for place, entry in enumerate(tickets(round), 1)]
            line = rest
        if line is self.line:
            return self
        wakes += [Wake(*place) for place in places[len(self.places) :]]
        return self.but(line=line, places=tuple(places))

    def _break(self, wakes: list[Wake]) -> BarrierRecord:
        wakes += wakes_for(self.line, BROKEN)
        return self.but(line=())
