"""What every record has and answers, whatever its kind. Pure.

A record is all that the cluster knows under one name. A session numbers its tickets in it 1, 2, ... A ticket asks for
something once, stands in the line while it waits, and is granted by leaving the line. So a session that missed a
wake-up finds its grant in the record. A line is a list of runs of tickets, so it grows with the number of sessions that
wait and not with the number of tasks.

What must hold for every kind, and which library broke it:

 1. First come, first served, in the order in which the batches are applied (redis-py: the next to poll wins).
 2. A batch is applied once, however often it is sent: the record keeps the answer to each session's last batch.
 3. A ticket that is withdrawn leaves nothing behind, whether it waited or was granted (redis-py: locked for ever).
 4. A dead session leaves nothing behind. Death is final, so any session that learns of it may bury the dead one.
 5. A name has one kind while its record lives, and one value while it is in use. A session that disagrees changes
    nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from .answers import Answers
from .closing import ITSELF, Closing, TurnedAway, plain, with_others
from .json_text import ENCODER
from .line import leave, tickets_of, without
from .rows import Line
from .run import Run
from .shapes import MANY, Shape
from .watching import watches


class Withdraw(NamedTuple):
    """Give up the ticket, whether it waits or was granted. Outcome: 1, or 0 if it was neither."""

    ticket: int


class WithdrawMany(NamedTuple):
    """As Withdraw, of a ticket that has asked for so many permits."""

    ticket: int
    permits: int


class Held(NamedTuple):
    """What a session holds."""

    session: str
    permits: int
    token: int | None
    since: float | None
    """The engine's time of the grant, in seconds since 1970, if the record keeps it."""
    side: str | None = None
    """Of an RWLock: as what it is held."""


class Grants(NamedTuple):
    """What some tickets of one session, in succession, were granted."""

    ticket: int
    """The first one."""
    value: int
    """What it was granted. The others were granted the same; if the kind is IN_TURN, each one more than the one before
    it."""
    tickets: int = 1
    """How many they are."""


class Wake(NamedTuple):
    """A session must be told what some of its tickets were granted; see `Grants`."""

    session: str
    ticket: int
    value: int
    tickets: int = 1
    """0 tells the session to read the record: it may have been granted something, or may have to watch other sessions
    than before."""

    def message(self) -> str:
        """The text that is sent to the session; see `read()`."""
        return f"{self.ticket} {self.value} {self.tickets}"

    @staticmethod
    def read(message: str) -> Grants | None:
        """What the text that a session was sent says.

        None if the text says only that the session has to read the record, or is not one of holdfast's.
        """
        try:
            ticket, value, tickets = map(int, message.split())
        except ValueError:
            return None
        return Grants(ticket, value, tickets) if 0 < tickets < MANY else None


def wakes_for(line: Line, value: int) -> list[Wake]:
    """The wakes for all tickets of a line, each of which was granted `value`."""
    return [Wake(run.session, first, value, end - first) for run in line for first, end in run.pairs()]


_new, _set = object.__new__, object.__setattr__


@dataclass(frozen=True, kw_only=True)
class Record(ABC):
    """All that the cluster knows under one name. Each kind is a subclass."""

    KIND: ClassVar[str]
    ADDED: ClassVar[Mapping[str, type]]
    """The operations that may be stored behind a record, by the names that they have there; see `additions.py`."""
    ONLY_JOINS: ClassVar[bool] = False
    """If true, only operations that join the line may be stored behind a record, and only while `ahead()` names a
    ticket. If false, any operation in `ADDED` may be, at any time."""
    IN_TURN: ClassVar[bool] = False
    """Whether tickets that were granted together have it one after the other, as their session lets them in. If false,
    all of them have it at the same time."""
    MOST_ASKED: ClassVar[float] = 1
    """The most that a ticket may ask for; see `Run.asks`."""
    ASKS: ClassVar[frozenset[type]]
    """The operations that ask for the primitive. If it is closed, their tickets are turned away."""
    RESIZES: ClassVar[bool] = False
    """Whether the value may change while the record is in use."""
    AGREES_WHEN: ClassVar[str] = "nobody holds it or waits for it"
    """When `is_idle()` will be true, as a message says it."""
    SHAPES: ClassVar[Mapping[str, Shape]]
    """The shapes of what `state()` returns."""

    made_by: str = ""
    """The name of the session that used the record first, for error messages."""
    answers: Answers = field(default_factory=dict)
    """The answer to each session's last batch, by session; see `answers.py`."""
    line: Line = ()
    """The waiters, in the order in which they are served."""
    changed: float = 0.0
    """The engine's time of the last change, as in `Batch.at`."""
    closings: Mapping[str, Closing] = field(default_factory=dict)
    """What is closed: ITSELF, or conditions by their names."""
    turned_away: tuple[TurnedAway, ...] = ()

    def but(self, **fields: Any) -> Self:
        """The record with these fields in place of its own. As `dataclasses.replace()`, in a quarter of the time."""
        record = _new(type(self))
        _set(record, "__dict__", self.__dict__ | fields)
        return record

    @property
    def kind(self) -> str:
        """The kind as the user calls it, with its value: "semaphore of 10"."""
        return self.KIND

    @classmethod
    def of_kind(cls, kind: str) -> Self | None:
        """The record before its first change; None if `kind` is not one of this class."""
        return cls() if kind == cls.KIND else None

    def accepts(self, wanted: Record) -> bool:
        """Whether a session that uses the name as `wanted`, with another value, may use this record."""
        return self.kind == wanted.kind

    def is_idle(self) -> bool:
        """Whether the record may get another value: nothing is held, and nobody waits."""
        return self.is_initial()

    def with_value_of(self, wanted: Self) -> Self:
        """The record with the value of `wanted`."""
        return self

    def as_of(self, now: float) -> Self:
        """The record as it is at a later moment, by the engine's clock, if nothing but time has passed."""
        return self

    @abstractmethod
    def apply(self, session: str, operation: Any, wakes: list[Wake]) -> tuple[Self, int]:
        """Apply one operation other than Withdraw; return the new record and the outcome. May append to `wakes`."""

    @abstractmethod
    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[Self, Collection[int]]:
        """Withdraw several tickets, given in rising order; return the new record and the tickets that it knew.

        The tickets that wait leave before anything that was granted is passed on. A ticket that leaves from the head
        may be what those behind it have waited for.
        """

    def withdraw_many(
        self, session: str, permits: Mapping[int, int], wakes: list[Wake]
    ) -> tuple[Self, Collection[int]]:
        """As withdraw(), for tickets that have asked for more than one permit. permits: how many, by ticket."""
        raise NotImplementedError

    def refuses(self, operation: Any) -> bool:
        """Whether the operation asks for the primitive, and that is closed."""
        return ITSELF in self.closings and type(operation) in self.ASKS

    def close(self, session: str, what: str, reason: str | None, wakes: list[Wake]) -> tuple[Self, int]:
        """See `Close`. The sessions of those that are turned away have to read the record."""
        if what in self.closings:
            return self, 0
        waiting = self.waiting_for(what)
        record = self.without_waiting(what).but(
            closings={**self.closings, what: Closing(reason, session, self.changed)},
            turned_away=with_others(self.turned_away, TurnedAway(what, reason, plain(waiting))),
        )
        told = {run.session for run in waiting} | (record.with_turns() if what == ITSELF else frozenset())
        wakes += [Wake(other, 0, 0, 0) for other in sorted(told - {session})]
        return record, 1

    def reopen(self, what: str) -> tuple[Self, int]:
        """See `Reopen`."""
        if what not in self.closings:
            return self, 0
        return self.but(closings={each: closing for each, closing in self.closings.items() if each != what}), 1

    def waiting_for(self, what: str) -> Line:
        """The tickets that wait for what may be closed: ITSELF, or a condition."""
        return self.line if what == ITSELF else ()

    def without_waiting(self, what: str) -> Self:
        """The record without the tickets of waiting_for()."""
        return self.but(line=()) if what == ITSELF else self

    def with_turns(self) -> frozenset[str]:
        """The sessions that have been granted something for tickets which they have yet to let in; see IN_TURN."""
        return frozenset()

    def turning_away(self, session: str, ticket: int, what: str = ITSELF) -> Self:
        """The record, with a ticket turned away that asks for what is closed."""
        away = TurnedAway(what, self.closings[what].reason, (Run(session, (ticket, ticket + 1)),))
        return self.but(turned_away=with_others(self.turned_away, away))

    def taking_back(self, session: str, tickets: Collection[int]) -> tuple[Self, frozenset[int]]:
        """The record without what it keeps of those of the tickets that were turned away; and these tickets."""
        if not self.turned_away:
            return self, frozenset()
        leaving, taken, left = sorted(tickets), set[int](), list[TurnedAway]()
        for away in self.turned_away:
            line, gone = leave(away.line, session, leaving)
            taken.update(gone)
            if line:
                left.append(away._replace(line=line))
        return (self.but(turned_away=(*left,)), frozenset(taken)) if taken else (self, frozenset())

    def turned_away_among(self, session: str, asked: Collection[int]) -> Iterator[tuple[int, TurnedAway]]:
        """The tickets among `asked` that were turned away, each with what it was turned away from."""
        for away in self.turned_away:
            for ticket in tickets_of(away.line, session).intersection(asked):
                yield ticket, away

    def without_waiters(self, dead: Collection[str]) -> Self:
        """The record without what dead sessions wait for in its line, and without what it keeps of them besides."""
        record = self.but(line=without(self.line, dead))
        if not (self.closings or self.turned_away):
            return record
        lines = [away._replace(line=without(away.line, dead)) for away in self.turned_away]
        closings = {
            what: closing._replace(by="") if closing.by in dead else closing for what, closing in self.closings.items()
        }
        return record.but(closings=closings, turned_away=tuple(away for away in lines if away.line))

    @abstractmethod
    def bury(self, dead: Collection[str], wakes: list[Wake]) -> Self:
        """The record without what dead sessions hold and wait for."""

    @abstractmethod
    def is_initial(self) -> bool:
        """Whether nothing is held, waited for or set. It may be closed."""

    def due(self) -> tuple[str, Any] | None:
        """An operation that is due, and the session that has to send it once it has looked which sessions are dead."""
        return None

    def holding(self) -> frozenset[str]:
        """The sessions that hold something."""
        return frozenset()

    def keeps(self, session: str, tokens: Mapping[int, int]) -> bool:
        """Whether the session still holds all that it was granted. tokens: of what, and how many permits of each."""
        return True

    def last_token(self) -> int:
        """The highest token that this record has given out."""
        return 0

    def ending(self, value: int) -> Any:
        """The operation that gives back what was granted in turn, up to the ticket with this value; see IN_TURN."""
        raise NotImplementedError

    def starting_at(self, floor: int) -> Self:
        """The record, changed to give out only tokens above `floor`."""
        return self

    def ahead(self) -> tuple[str, int] | None:
        """The session and the ticket right behind which a new ticket would wait; None if it might not have to wait."""
        return None

    def told(self) -> str | None:
        """The session that is told of each ticket that joins, because its next change is likely to serve it."""
        return None

    def held(self) -> Iterator[Held]:
        """What each session holds, for reports."""
        return iter(())

    def waiting(self) -> Iterator[tuple[Run, str | None]]:
        """The runs of waiting tickets, in order, each with the name of its condition, if it waits in one."""
        return ((run, None) for run in self.line)

    def line_of_holders(self) -> list[Run]:
        """The runs of tickets that wait for what others hold, in order."""
        return [run for run, condition in self.waiting() if condition is None]

    def waits_for_holders(self, run: Run) -> bool:
        """Whether a run of the line would have to wait for the holders, also if nobody stood before it."""
        return True

    def side_of(self, run: Run) -> str | None:
        """Of an RWLock: as what a run waits for it."""
        return None

    @abstractmethod
    def figures(self) -> dict[str, int | bool]:
        """What a report says besides the holders and the waiters."""

    def users(self) -> set[str]:
        """Every session that holds something or waits here."""
        users = {run.session for run in self.line} | self.holding()
        if self.turned_away:
            users.update(run.session for away in self.turned_away for run in away.line)
        return users

    def sessions(self) -> set[str]:
        """Every session that is named here: the users, those whose last answer is kept, and who has closed it."""
        sessions = self.users() | {*self.answers}
        if self.closings:
            sessions.update(closing.by for closing in self.closings.values() if closing.by)
        return sessions

    def watches(self, of: Collection[str] | None = None) -> dict[str, frozenset[str]]:
        """For each waiting session, the sessions whose death it has to notice; see `watching.watches()`."""
        return watches(self.line, self.holding(), of)

    def granted(self, session: str, asked: Collection[int]) -> list[Grants]:
        """What the tickets among `asked` that no longer wait were granted."""
        waiting = tickets_of(self.line, session)
        return [Grants(ticket, 1) for ticket in asked if ticket not in waiting]

    def base(self) -> int:
        """A number that seldom changes, and from which `state()` counts."""
        return 0

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What is stored besides the fields that every kind has, in the order of `SHAPES`."""

    def state_text(self) -> str:
        """The values of state() in JSON, with commas in between. Each change writes it: the Lock has a quicker way."""
        return ",".join(map(ENCODER.encode, self.state().values()))

    @abstractmethod
    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        """The inverse of state(), as arguments for `but()`. The document has the shapes in `SHAPES`, and base()
        as "from"."""

    def parts(self) -> Iterable[str]:
        """Documents that are stored in rows of their own, because most of them do not change from step to step."""
        return ()

    def with_parts(self, rows: Collection[str], known: Self | None) -> Self | None:
        """The inverse of parts(); None if the rows do not belong to this kind.

        known: a record that may have some of the same parts, which then need not be read again.
        """
        return None if rows else self


def with_article(kind: str) -> str:
    """For messages: "a lock", "an event"."""
    return f"{'an' if kind.startswith('e') else 'a'} {kind}"
