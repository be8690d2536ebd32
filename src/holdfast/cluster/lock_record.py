"""The record of a Lock and of the Conditions that share it, and every change of it. Pure.

    free     nobody holds it, nobody waits for it
    held     one ticket of one session holds it, with a token that no other grant ever had; others may wait

A Condition is a second line here. Waiting in it is one change, that releases the lock and joins; notifying moves
tickets to the end of the lock's line, so that nobody is woken before the lock is theirs. A ticket of a Condition is in
its line, in the lock's line, or holds the lock; never in two of them, and never in none until its task has left.

What must hold here, besides what `record.py` names, and who broke it elsewhere:

 1. Each grant has a higher token than every grant before it, whatever became of that (Redisson's fenced lock).
 2. A release names the grant that it ends, and ends no other (redis-py: another task's).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

from . import shapes
from .line import Line, Run, join, join_run, leave, line_of, size, stands_in, take, take_first, without
from .record import ENCODER, Held, Record, Wake, document_of
from .shapes import Shape


class Holder(NamedTuple):
    session: str
    ticket: int
    token: int
    since: float = 0.0
    """As in `Batch.at`."""


class Room(NamedTuple):
    """Who waits in a condition."""

    line: Line
    text: str
    """How it is stored, in a row of its own."""

    @classmethod
    def of(cls, condition: str, line: Line) -> Self:
        return cls(line, ENCODER.encode({condition: line}))


_IS_LINE = shapes.some(shapes.run)


class Acquire(NamedTuple):
    """Ask for the lock. Outcome: the token, or 0 if the ticket waits now."""

    ticket: int


class TryAcquire(NamedTuple):
    """Ask for the lock, but do not wait. Outcome: the token, or -1."""

    ticket: int


class Release(NamedTuple):
    """End the grant with this token. Outcome: 1, or 0 if it had ended before."""

    token: int


class Wait(NamedTuple):
    """End the grant with this token and wait in a condition. Outcome: 0, or -1 if the grant had ended before."""

    ticket: int
    condition: str
    token: int


class Notify(NamedTuple):
    """Move the first `n` tickets of a condition to the lock's line, all if n is -1. Needs the grant with this token.

    Outcome: how many there were, or -1 if the grant had ended before.
    """

    condition: str
    n: int
    token: int


class Relock(NamedTuple):
    """Stop waiting in a condition and wait for the lock instead: the task was cancelled.

    Outcome: 1, or -1 if the ticket had been notified before.
    """

    ticket: int
    condition: str


Operation = Acquire | TryAcquire | Release | Wait | Notify | Relock


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRecord(Record):
    """All that the cluster knows of one Lock and its Conditions."""

    KIND = "lock"
    ADDED: ClassVar[Mapping[str, type]] = {"acquire": Acquire}
    ONLY_JOINS = True
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "tokens": shapes.number,
        "holder": shapes.maybe(shapes.row(shapes.session, shapes.number, shapes.number, shapes.moment)),
    }

    tokens: int = 0
    """The last token that was given out."""
    holder: Holder | None = None
    rooms: Mapping[str, Room] = field(default_factory=dict)
    """Who waits to be notified, by the name of the condition. Empty ones are left out."""

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[LockRecord, int]:
        match operation:
            case Acquire(ticket) | TryAcquire(ticket):
                if self.holder is None:  # then nobody waits
                    return self._grant(session, ticket), self.tokens + 1
                if isinstance(operation, TryAcquire):
                    return self, -1
                return replace(self, line=join(self.line, session, ticket, self.changed)), 0
            case Release(token):
                return (self._hand_over(wakes), 1) if self._holds(token) else (self, 0)
            case Wait(ticket, condition, token):
                if not self._holds(token):
                    return self, -1
                waiting = join(self._waiting_in(condition), session, ticket, self.changed)
                return self._with_room(condition, waiting)._hand_over(wakes), 0
            case Notify(condition, n, token):
                return self._notify(condition, n) if self._holds(token) else (self, -1)
            case Relock(ticket, condition):
                waiting = self._waiting_in(condition)
                if not stands_in(waiting, session, ticket):
                    return self, -1
                left, _ = leave(waiting, session, [ticket])
                return self._with_room(condition, left)._ask_again(session, ticket, wakes), 1

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[LockRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        record, known = replace(self, line=line), {*waited}
        for condition, room in self.rooms.items():
            if len(known) == len(leaving):
                break
            if any(run.session == session for run in room.line):
                line, waited = leave(room.line, session, leaving)
                record = record._with_room(condition, line)
                known.update(waited)
        holder = self.holder
        if holder is not None and holder.session == session and holder.ticket in leaving:
            return record._hand_over(wakes), known | {holder.ticket}
        return record, known

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> LockRecord:
        record = replace(self, line=without(self.line, dead))
        for condition, room in self.rooms.items():
            if any(run.session in dead for run in room.line):
                record = record._with_room(condition, without(room.line, dead))
        if self.holder is not None and self.holder.session in dead:
            record = record._hand_over(wakes)
        return record

    def is_initial(self) -> bool:
        return self.holder is None and not self.line and not self.rooms

    def holding(self) -> frozenset[str]:
        return frozenset() if self.holder is None else frozenset({self.holder.session})

    def sessions(self) -> set[str]:
        waiting = {run.session for room in self.rooms.values() for run in room.line}
        return Record.sessions(self) | waiting

    def ahead(self) -> tuple[str, int] | None:
        if self.holder is None:
            return None
        return (self.line[-1].session, self.line[-1].last()) if self.line else self.holder[:2]

    def told(self) -> str | None:
        if self.holder is None or (self.line and not self.rooms):
            return None  # it can hand over to who is known, and the others stay behind
        return self.holder.session

    def granted(self, session: str, asked: Collection[int]) -> dict[int, int]:
        holder = self.holder
        return {} if holder is None or holder.session != session else {holder.ticket: holder.token}

    def keeps(self, session: str, tokens: Collection[int]) -> bool:
        return all(self._holds(token) for token in tokens)

    def last_token(self) -> int:
        return self.tokens

    def starting_at(self, floor: int) -> LockRecord:
        return replace(self, tokens=floor)

    def held(self) -> Iterator[Held]:
        if self.holder is not None:
            yield Held(self.holder.session, 1, self.holder.token, self.holder.since)

    def waiting(self) -> Iterator[tuple[Run, str | None]]:
        yield from Record.waiting(self)
        yield from ((run, condition) for condition, room in self.rooms.items() for run in room.line)

    def figures(self) -> dict[str, int | bool]:
        return {"locked": self.holder is not None, "tokens": self.tokens}

    def state(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "holder": self.holder}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        holder = document["holder"]
        return {
            "tokens": document["tokens"],
            "holder": None if holder is None else Holder(*holder),
        }

    def parts(self) -> Iterable[str]:
        return [room.text for room in self.rooms.values()]

    def with_parts(self, rows: Collection[str], known: LockRecord | None) -> LockRecord | None:
        if not rows:
            return self
        before = {room.text: (name, room) for name, room in known.rooms.items()} if known is not None else {}
        rooms: dict[str, Room] = {}
        others = [row for row in rows if row not in before]
        documents = document_of(f"[{','.join(others)}]")  # at once, as there may be thousands
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
        return replace(self, rooms=rooms)

    def _holds(self, token: int) -> bool:
        return self.holder is not None and self.holder.token == token

    def _grant(self, session: str, ticket: int, line: Line = ()) -> LockRecord:
        """Give it to the ticket; `line` waits on."""
        token = self.tokens + 1
        return replace(self, tokens=token, holder=Holder(session, ticket, token, self.changed), line=line)

    def _hand_over(self, wakes: list[Wake]) -> LockRecord:
        """Grant the first ticket of the line what the holder has had."""
        if not self.line:
            return replace(self, holder=None)
        session, ticket, rest = take_first(self.line)
        wakes.append(Wake(session, ticket, self.tokens + 1))
        return self._grant(session, ticket, rest)

    def _ask_again(self, session: str, ticket: int, wakes: list[Wake]) -> LockRecord:
        if self.holder is None:
            wakes.append(Wake(session, ticket, self.tokens + 1))
            return self._grant(session, ticket)
        return replace(self, line=join(self.line, session, ticket, self.changed))

    def _waiting_in(self, condition: str) -> Line:
        return self.rooms[condition].line if condition in self.rooms else ()

    def _with_room(self, condition: str, waiting: Line) -> LockRecord:
        rooms = {**self.rooms}
        if waiting:
            rooms[condition] = Room.of(condition, waiting)
        else:
            rooms.pop(condition, None)
        return replace(self, rooms=rooms)

    def _notify(self, condition: str, n: int) -> tuple[LockRecord, int]:
        waiting = self._waiting_in(condition)
        moved, left = take(waiting, n if n >= 0 else size(waiting))
        line = self.line
        for run in moved:
            line = join_run(line, run._replace(since=self.changed))
        return (replace(self._with_room(condition, left), line=line) if moved else self), size(moved)
