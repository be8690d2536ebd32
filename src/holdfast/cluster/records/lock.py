"""The record of a Lock and of the Conditions that share it, and every change of it. Pure.

    free     nobody holds the lock, and nobody waits for it
    held     one session holds it for a run of tickets; others may wait

A run is granted as a whole: all tickets of one session that stand in succession at the head of the line. Each has a
token that no other grant ever had. The session lets them in one after the other, in the order of the line, and gives
the lock back after the last one. So nobody is overtaken, and when its own tasks hand the lock to each other, the record
does not change. If a task of a granted run leaves before its turn, the session passes it over.

A Condition is a second line in the record. Waiting in it is one change, which ends the ticket's grant and joins that
line. A notification moves tickets to the end of the lock's line, so no waiter is woken before it holds the lock. Until
its task has left, a ticket of a Condition is in exactly one place: in the Condition's line, in the lock's line, or in
the run that holds the lock.

What must hold here, besides what `record.py` names, and which library broke it:

 1. Each grant has a higher token than every grant before it, whatever became of those (Redisson's fenced lock).
 2. A release names the grant that it ends, and ends no other one (redis-py: another task's).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from . import shapes
from .json_text import ENCODER, document_of, quoted
from .leased import Acquire, LeasedRecord, TryAcquire
from .line import join, join_run, leave, line_of, size, stands_in, take, take_first, without
from .record import Grants, Held, Record, Wake
from .rows import Line
from .run import Run
from .shapes import Shape


class Holder(NamedTuple):
    """The run of tickets that holds the lock: those that have not ended yet, as far as the session has said so."""

    session: str
    ticket: int
    """The first one."""
    token: int
    """Of the first ticket. Each ticket behind it has one more."""
    since: float = 0.0
    """As in `Batch.at`."""
    tickets: int = 1
    """How many they are."""

    def token_of(self, ticket: int) -> int | None:
        """The token of a ticket of this run; None if it is not one."""
        return self.token + ticket - self.ticket if 0 <= ticket - self.ticket < self.tickets else None

    def after(self, token: int, at: float) -> Holder | None:
        """The rest of the run behind the ticket with this token; None if that is its last one."""
        ended = token - self.token + 1
        if ended >= self.tickets:
            return None
        return Holder(self.session, self.ticket + ended, token + 1, at, self.tickets - ended)


class Room(NamedTuple):
    """The tasks that wait in one condition."""

    line: Line
    text: str
    """The row in which the room is stored."""

    @classmethod
    def of(cls, condition: str, line: Line) -> Self:
        return cls(line, ENCODER.encode({condition: [run[:3] for run in line]}))


_MANY = 100_000
"""Tokens; so many are given out from the same `base()`."""
_MOST_OFTEN = 0, None, 1
"""How far the holder's token is behind the highest, since when it holds, and how many tickets it has; see `state()`."""
_IS_LINE = shapes.some(shapes.run)


class Release(NamedTuple):
    """End the grant with this token, and those before it in its run. Outcome: 1, or 0 if the grant had ended before."""

    token: int


class Wait(NamedTuple):
    """End the grant with this token and wait in a condition. Outcome: 0, or -1 if the grant had ended before."""

    ticket: int
    condition: str
    token: int


class Notify(NamedTuple):
    """Move the first `n` tickets of a condition to the lock's line, or all if n is -1. Needs the grant with this token.

    Outcome: the number of tickets moved, or -1 if the grant had ended before.
    """

    condition: str
    n: int
    token: int


class Relock(NamedTuple):
    """Stop waiting in a condition and wait for the lock instead, because the task was cancelled.

    Outcome: 1, or -1 if the ticket had been notified before.
    """

    ticket: int
    condition: str


class Return(NamedTuple):
    """Ask for the lock for a task that has waited in a condition and was turned away. It gets a closed lock as well.

    Outcome: as for Acquire.
    """

    ticket: int


Operation = Acquire | TryAcquire | Release | Wait | Notify | Relock | Return


@dataclass(frozen=True, kw_only=True)
class LockRecord(LeasedRecord):
    """All that the cluster knows of one Lock and its Conditions."""

    KIND = "lock"
    ADDED: ClassVar[Mapping[str, type]] = {"a": Acquire}
    ONLY_JOINS = True
    IN_TURN = True
    ASKS = frozenset({Acquire, TryAcquire})
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "tokens": shapes.number,
        "holder": shapes.maybe(
            shapes.either(
                shapes.row(shapes.session, shapes.number),
                shapes.row(
                    shapes.session, shapes.number, shapes.number, shapes.maybe(shapes.moment), shapes.some_tickets
                ),
            )
        ),
    }

    tokens: int = 0
    """The highest token that was given out."""
    holder: Holder | None = None
    rooms: Mapping[str, Room] = field(default_factory=dict)
    """The waiters of each condition, by its name. A condition without waiters has no room."""

    def accepts(self, wanted: Record) -> bool:
        return isinstance(wanted, LockRecord)

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[LockRecord, int]:
        match operation:
            case Acquire() | TryAcquire():
                return self.asked(session, operation)
            case Release(token):
                return (self._end(token, wakes), 1) if self._holds(token) else (self, 0)
            case Wait(ticket, condition, token):
                if not self._holds(token):
                    return self, -1
                if condition in self.closings:
                    return self.turning_away(session, ticket, condition)._end(token, wakes), 0
                waiting = join(self._waiting_in(condition), session, ticket, self.changed)
                return self._with_room(condition, waiting)._end(token, wakes), 0
            case Notify(condition, n, token):
                return self._notify(condition, n) if self._holds(token) else (self, -1)
            case Relock(ticket, condition):
                was_waiting = any(away.what for _, away in self.turned_away_among(session, [ticket]))
                record, away = self.taking_back(session, [ticket])
                if away:
                    return record._ask_again(session, ticket, wakes), 1 if was_waiting else -1
                waiting = self._waiting_in(condition)
                if not stands_in(waiting, session, ticket):
                    return self, -1
                left, _ = leave(waiting, session, [ticket])
                return self._with_room(condition, left)._ask_again(session, ticket, wakes), 1
            case Return(ticket):
                return self.asked(session, Acquire(ticket))

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[LockRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        record, known = self.but(line=line), {*waited}
        for condition, room in self.rooms.items():
            if len(known) == len(leaving):
                break
            if any(run.session == session for run in room.line):
                line, waited = leave(room.line, session, leaving)
                record = record._with_room(condition, line)
                known.update(waited)
        holder = self.holder
        if holder is None or holder.session != session:
            return record, known
        known.update(ticket for ticket in leaving if holder.token_of(ticket) is not None)
        # Of a longer run, the session itself knows best who is in, and passes over those that have left.
        return (record._hand_over(wakes) if holder.tickets == 1 and holder.ticket in known else record), known

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> LockRecord:
        record = self.without_waiters(dead)
        for condition, room in self.rooms.items():
            if any(run.session in dead for run in room.line):
                record = record._with_room(condition, without(room.line, dead))
        if self.holder is not None and self.holder.session in dead:
            record = record._hand_over(wakes)
        return record

    def is_free(self) -> bool:
        return self.holder is None

    def waiting_for(self, what: str) -> Line:
        return self._waiting_in(what) if what else self.line

    def without_waiting(self, what: str) -> LockRecord:
        return self._with_room(what, ()) if what else self.but(line=())

    def with_turns(self) -> frozenset[str]:
        return self.holding() if self.holder is not None and self.holder.tickets > 1 else frozenset()

    def granting(self, session: str, ticket: int) -> tuple[LockRecord, int]:
        return self._grant(session, ticket), self.tokens + 1

    def is_initial(self) -> bool:
        return self.holder is None and not self.line and not self.rooms

    def holding(self) -> frozenset[str]:
        return frozenset() if self.holder is None else frozenset({self.holder.session})

    def users(self) -> set[str]:
        return Record.users(self) | {run.session for room in self.rooms.values() for run in room.line}

    def ahead(self) -> tuple[str, int] | None:
        if self.holder is None:
            return None
        if self.line:
            return self.line[-1].session, self.line[-1].last()
        return self.holder.session, self.holder.ticket + self.holder.tickets - 1

    def told(self) -> str | None:
        if self.holder is None or (self.line and not self.rooms):
            return None  # it can hand over to a ticket that it knows of, and new ones stay behind that
        return self.holder.session

    def granted(self, session: str, asked: Collection[int]) -> list[Grants]:
        holder = self.holder
        return (
            [] if holder is None or holder.session != session else [Grants(holder.ticket, holder.token, holder.tickets)]
        )

    def keeps(self, session: str, tokens: Mapping[int, int]) -> bool:
        return all(self._holds(token) for token in tokens)

    def last_token(self) -> int:
        return self.tokens

    def ending(self, value: int) -> Release:
        return Release(value)

    def starting_at(self, floor: int) -> LockRecord:
        return self.but(tokens=floor)

    def held(self) -> Iterator[Held]:
        if self.holder is not None:
            yield Held(self.holder.session, 1, self.holder.token, self.holder.since)

    def waiting(self) -> Iterator[tuple[Run, str | None]]:
        holder = self.holder
        if holder is not None and holder.tickets > 1:  # they have yet to be let in
            yield Run(holder.session, (holder.ticket + 1, holder.ticket + holder.tickets)), None
        yield from Record.waiting(self)
        yield from ((run, condition) for condition, room in self.rooms.items() for run in room.line)

    def figures(self) -> dict[str, int | bool]:
        return {"locked": self.holder is not None, "tokens": self.tokens}

    def base(self) -> int:
        return self.tokens // _MANY * _MANY

    def state(self) -> dict[str, Any]:
        """Of the holder: session and ticket; then how far its token is behind the highest, since when it holds (None:
        since the last change), and how many tickets it has. The last three are left out if they are as most often."""
        holder = self.holder
        if holder is not None:
            since = None if holder.since == self.changed else holder.since
            more = self.tokens - holder.token, since, holder.tickets
            return {"tokens": self.tokens % _MANY, "holder": [*holder[:2], *(() if more == _MOST_OFTEN else more)]}
        return {"tokens": self.tokens % _MANY, "holder": None}

    def state_text(self) -> str:
        tokens, holder = self.tokens % _MANY, self.holder
        if holder is None:
            return f"{tokens},null"
        session, ticket, token, since, tickets = holder
        since_change = since == self.changed
        if since_change and (self.tokens - token, None, tickets) == _MOST_OFTEN:
            return f"{tokens},[{quoted(session)},{ticket}]"
        since_when = "null" if since_change else repr(since)
        return f"{tokens},[{quoted(session)},{ticket},{self.tokens - token},{since_when},{tickets}]"

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        tokens, stored = document["from"] + document["tokens"], document["holder"]
        if stored is None:
            return {"tokens": tokens, "holder": None}
        session, ticket, *more = stored
        behind, since, tickets = more or _MOST_OFTEN
        since = document["changed"] if since is None else since
        return {"tokens": tokens, "holder": Holder(session, ticket, tokens - behind, since, tickets)}

    def parts(self) -> Iterable[str]:
        return [room.text for room in self.rooms.values()] if self.rooms else ()

    def with_parts(self, rows: Collection[str], known: LockRecord | None) -> LockRecord | None:
        if not rows:
            return self
        before = {room.text: (name, room) for name, room in known.rooms.items()} if known is not None else {}
        rooms: dict[str, Room] = {}
        others = [row for row in rows if row not in before]
        documents = document_of(f"[{','.join(others)}]")  # all at once, as there may be thousands
        if not isinstance(documents, list) or len(documents) != len(others):
            return None
        found = iter(documents)
        for row in rows:
            if row in before:
                name, room = before[row]
                rooms[name] = room
                continue
            document = next(found)
            if type(document) is not dict or len(document) != 1:
                return None
            ((name, line),) = document.items()
            if not _IS_LINE(line):
                return None
            rooms[name] = Room(line_of(line), row)
        return self.but(rooms=rooms)

    def _holds(self, token: int) -> bool:
        holder = self.holder
        return holder is not None and holder.token <= token < holder.token + holder.tickets

    def _grant(self, session: str, ticket: int, tickets: int = 1, line: Line = ()) -> LockRecord:
        """Grant the lock to so many tickets, from this one on. `line` is what still waits."""
        holder = Holder(session, ticket, self.tokens + 1, self.changed, tickets)
        return self.but(tokens=self.tokens + tickets, holder=holder, line=line)

    def _end(self, token: int, wakes: list[Wake]) -> LockRecord:
        """End the grants of the run up to this token. After the last one the lock is handed over."""
        assert self.holder is not None
        rest = self.holder.after(token, self.changed)
        return self._hand_over(wakes) if rest is None else self.but(holder=rest)

    def _hand_over(self, wakes: list[Wake]) -> LockRecord:
        """End all grants of the run that holds the lock, and grant it to the run at the head of the line."""
        if not self.line:
            return self.but(holder=None)
        session, ticket, tickets, rest = take_first(self.line)
        wakes.append(Wake(session, ticket, self.tokens + 1, tickets))
        return self._grant(session, ticket, tickets, rest)

    def _ask_again(self, session: str, ticket: int, wakes: list[Wake]) -> LockRecord:
        """Have a ticket that was in a condition ask for the lock."""
        record, token = self.asked(session, Acquire(ticket))
        if token:
            wakes.append(Wake(session, ticket, token))
        return record

    def _waiting_in(self, condition: str) -> Line:
        return self.rooms[condition].line if condition in self.rooms else ()

    def _with_room(self, condition: str, waiting: Line) -> LockRecord:
        rooms = {**self.rooms}
        if waiting:
            rooms[condition] = Room.of(condition, waiting)
        else:
            rooms.pop(condition, None)
        return self.but(rooms=rooms)

    def _notify(self, condition: str, n: int) -> tuple[LockRecord, int]:
        waiting = self._waiting_in(condition)
        moved, left = take(waiting, n if n >= 0 else size(waiting))
        line = self.line
        for run in moved:
            line = join_run(line, run._replace(since=self.changed))
        return (self._with_room(condition, left).but(line=line) if moved else self), size(moved)
