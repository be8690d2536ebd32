"""Which tasks and threads nothing can help, and the circles among them. Pure.

One that waits is *stuck* if all that could let it go on are stuck as well: all holders of what it waits for, and, if
that would be free for it, one that stands before it; or all tasks whose end it awaits. First all that wait are taken to
be stuck. Then those are taken out, again and again, that something else may let go on: a timeout, a holder that works,
a holder that nobody has told of. What is left is the greatest set in which each waits for others of the set alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from holdfast._place import Place
from holdfast.cluster.deadlock import Deadlock, DeadlockStep
from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.records.record import Record
from holdfast.cluster.records.run import Run

from .suspects import line
from .testimony import Held, Spot, Statement, Ticket


class Graph:
    """Who waits for whom."""

    def __init__(
        self, records: Mapping[str, Record], sessions: Mapping[str, SessionInfo], parties: Mapping[str, Statement]
    ) -> None:
        """sessions: those of the records that are known; what another one has does not count.

        parties: by key, as `merged()` returns them.
        """
        self._records = records
        self._sessions = sessions
        self.parties = parties
        self._lines = {name: [*line(name, record)] for name, record in records.items()}
        self._runs = {ticket: run for some in self._lines.values() for run, ticket in some}
        by_ticket = {party.ticket: party for party in self.parties.values() if party.ticket is not None}
        self._waiters = {
            name: [by_ticket[ticket] for _, ticket in some if ticket in by_ticket] for name, some in self._lines.items()
        }
        self._holders: dict[str, list[tuple[Statement, Held]]] = {}
        owners = {name: {each.session for each in record.held()} for name, record in records.items()}
        for party in self.parties.values():
            for held in party.held:
                if held.session in owners.get(held.name, ()):  # a session of another namespace may hold the same name
                    self._holders.setdefault(held.name, []).append((party, held))
        self._hopeless = {name for name, record in records.items() if self._are_all_known(name, record)}
        self.stuck = self._find_stuck()

    def _are_all_known(self, name: str, record: Record) -> bool:
        """Whether those who are known to hold a name are all that hold it."""
        known: dict[str, int] = {}
        for _, held in self._holders.get(name, ()):
            known[held.session] = known.get(held.session, 0) + held.permits
        held_by: dict[str, int] = {}
        for each in record.held():
            held_by[each.session] = held_by.get(each.session, 0) + each.permits
        return bool(held_by) and known == held_by and all(map(self._is_alive, held_by))

    def _is_alive(self, session: str) -> bool:
        """Whether it goes on, as far as was known with the records."""
        info = self._sessions.get(session)
        return info is not None and info.alive

    def _find_stuck(self) -> set[str]:
        stuck = {*self.parties}
        awaited_by: dict[str, list[Statement]] = {}
        for party in self.parties.values():
            for key in party.awaited:
                awaited_by.setdefault(key, []).append(party)
        leaving = [party for party in self.parties.values() if not self._stays(party, stuck)]
        stuck.difference_update(party.key for party in leaving)
        while leaving:
            party = leaving.pop()
            names = {each.name for each in party.held}
            if party.ticket is not None:
                names.add(party.ticket.name)  # others may stand behind it
            others = [*awaited_by.get(party.key, ())]
            for name in names:
                others += self._waiters.get(name, ())
            for other in others:
                if other.key in stuck and not self._stays(other, stuck):
                    stuck.discard(other.key)
                    leaving.append(other)
        return stuck

    def _stays(self, party: Statement, stuck: set[str]) -> bool:
        if party.has_timeout:
            return False
        ticket = party.ticket
        if ticket is None:
            return bool(party.awaited) and all(each in stuck for each in party.awaited)
        if ticket.name not in self._hopeless or ticket not in self._runs or not self._is_alive(ticket.session):
            return False
        if not all(other.key in stuck for other, _ in self._holders[ticket.name]):
            return False
        return self._waits_for_holders(ticket) or self._one_before(ticket, stuck) is not None

    def _waits_for_holders(self, ticket: Ticket) -> bool:
        return self._records[ticket.name].waits_for_holders(self._runs[ticket])

    def _one_before(self, ticket: Ticket, stuck: set[str]) -> Statement | None:
        """One that is stuck and stands before a ticket in the line."""
        for party in self._waiters[ticket.name]:
            if party.ticket == ticket:
                return None
            if party.key in stuck:
                return party
        return None

    def deadlocks(self) -> list[Deadlock]:
        """The circles. They have nobody in common, so that each is told once.

        One of tasks alone that wait for each other's end goes through no name, and is not told.
        """
        circles = [circle for circle in self._circles() if any(party.ticket is not None for party in circle)]
        return [*map(self._tell, circles)]

    def _circles(self) -> list[list[Statement]]:
        found: list[list[Statement]] = []
        visited: set[str] = set()
        for start in sorted(self.stuck):
            path: list[Statement] = []
            places: dict[str, int] = {}
            key = start
            while key not in places and key not in visited:
                places[key] = len(path)
                path.append(self.parties[key])
                key = self._next(self.parties[key])
            visited.update(places)
            if key in places:
                found.append(path[places[key] :])
        return found

    def _next(self, party: Statement) -> str:
        """One that it waits for; itself only if there is no other."""
        if party.ticket is None:
            return min(party.awaited)
        return min(self._holders[party.ticket.name], key=lambda each: (each[0].key == party.key, each[0].key))[0].key

    def _tell(self, circle: list[Statement]) -> Deadlock:
        followers = [*circle[1:], circle[0]]
        steps = [self._step(party, other) for party, other in zip(circle, followers, strict=True)]
        keys = {party.key for party in circle}
        held = {name for name, some in self._holders.items() if any(party.key in keys for party, _ in some)}
        members = {party.ticket for party in circle}
        behind = sum(ticket not in members for name in held for _, ticket in self._lines[name])
        names = {step.waits_for for step in steps if step.kind is not None}
        return Deadlock(tuple(steps), tuple(sorted(names)), behind)

    def _step(self, party: Statement, other: Statement) -> DeadlockStep:
        ticket, place = party.ticket, _place(party.place)
        if ticket is None:
            session = self._sessions[self._session_of(party)]
            return DeadlockStep(
                party.name, session, place, other.name, None, None, None, None, False, None, None, None, None
            )
        record, run = self._records[ticket.name], self._runs[ticket]
        held = next(held for party, held in self._holders[ticket.name] if party.key == other.key)
        before = None if self._waits_for_holders(ticket) else self._one_before(ticket, self.stuck)
        behind = None
        if before is not None and before.ticket is not None:
            behind = f"{before.name} in {self._sessions[before.ticket.session].name!r}"
        return DeadlockStep(
            party.name,
            self._sessions[ticket.session],
            place,
            ticket.name,
            record.kind,
            record.side_of(run),
            _moment(run),
            other.name,
            other is party,
            self._sessions[held.session],
            _place(held.place),
            held.token,
            behind,
        )

    def _session_of(self, party: Statement) -> str:
        """A session of one in a circle: where it waits, or where the first one waits that it waits for."""
        while party.ticket is None:
            party = self.parties[self._next(party)]
        return party.ticket.session


def merged(statements: Iterable[Statement]) -> dict[str, Statement]:
    """One statement for each task or thread, from those of all sessions that it uses. Each tells only what is held
    through itself."""
    found: dict[str, Statement] = {}
    for each in statements:
        before = found.get(each.key)
        if before is None:
            found[each.key] = each
        elif (before.ticket, before.awaited) != (each.ticket, each.awaited):
            found[each.key] = each._replace(ticket=None, awaited=(), held=())  # it has run in between
        else:
            held = (*before.held, *(other for other in each.held if other not in before.held))
            has_timeout = before.has_timeout or each.has_timeout
            found[each.key] = each._replace(has_timeout=has_timeout, held=held)
    return found


def unchanged(before: Mapping[str, Statement], now: Mapping[str, Statement]) -> dict[str, Statement]:
    """Those who wait for the same as before, each with what it holds since then."""
    found = {}
    for key, party in now.items():
        earlier = before.get(key)
        if earlier is not None and (earlier.ticket, earlier.awaited) == (party.ticket, party.awaited):
            found[key] = party._replace(held=tuple(each for each in party.held if each in earlier.held))
    return found


def _place(spot: Spot | None) -> Place | None:
    return None if spot is None else Place(*spot)


def _moment(run: Run) -> datetime | None:
    return datetime.fromtimestamp(run.since, UTC) if run.since else None
