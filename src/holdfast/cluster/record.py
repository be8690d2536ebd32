"""What the records of all primitives share: tickets, batches, the line, and how a record is stored. Pure.

A record is all that the cluster knows under one name. A session numbers its tickets there 1, 2, ...; a ticket asks
once, is in the line while it waits, and is granted by leaving the line. So a lost wake-up is made good by looking at
the record, and a line is a list of runs of tickets, which grows with the sessions that wait and not with their tasks.

A batch that only joins the line may be stored as a line of text behind the record (`joining()`), which whoever reads it
takes into account (`decode()`). So who joins need not know the record, and does not change it under the hands of who
is about to release.

What must hold for every kind, and who broke it elsewhere:

 1. First come, first served, in the order in which the batches are applied (redis-py: whoever polls next).
 2. A batch is applied once, however often it is sent: a session has one answer here, that of its last batch.
 3. A ticket that is withdrawn leaves nothing behind, waiting or granted (redis-py: locked for ever).
 4. A dead session leaves nothing behind. Death is final, so whoever learns of it may bury it.
 5. A name has one kind and one value while its record lives; who disagrees changes nothing.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from holdfast._refusals import shortened, shown

from . import shapes
from .errors import FormatError, NameConflict
from .shapes import Shape

FORMAT = 1
KINDS = "lock", "semaphore", "bounded semaphore", "event", "barrier"


class Run(NamedTuple):
    """The tickets `first` ... `end - 1` of one session in a line."""

    session: str
    first: int
    end: int

    def __contains__(self, ticket: object) -> bool:
        return ticket in range(self.first, self.end)


Line = tuple[Run, ...]


def join(line: Line, session: str, ticket: int) -> Line:
    """The line with the ticket behind all others."""
    return join_run(line, Run(session, ticket, ticket + 1))


def join_run(line: Line, run: Run) -> Line:
    """The line with the tickets of the run behind all others."""
    if line and line[-1].session == run.session and line[-1].end == run.first:
        return (*line[:-1], line[-1]._replace(end=run.end))
    return (*line, run)


def take_first(line: Line) -> tuple[str, int, Line]:
    """The session and the ticket that stand first, and the line without them."""
    (session, ticket, end), *rest = line
    return session, ticket, ((Run(session, ticket + 1, end), *rest) if ticket + 1 < end else tuple(rest))


def stands_in(line: Line, session: str, ticket: int) -> bool:
    return any(run.session == session and ticket in run for run in line)


def leave(line: Line, session: str, ticket: int) -> Line:
    """The line without the ticket."""
    left: list[Run] = []
    for run in line:
        if run.session == session and ticket in run:
            parts = Run(session, run.first, ticket), Run(session, ticket + 1, run.end)
            left += [part for part in parts if part.first < part.end]
        else:
            left.append(run)
    return tuple(left)


def without(line: Line, dead: Collection[str]) -> Line:
    """The line without the tickets of these sessions."""
    return tuple(run for run in line if run.session not in dead)


def tickets(line: Line) -> Iterator[tuple[str, int]]:
    """The tickets one by one, with their sessions."""
    return ((run.session, ticket) for run in line for ticket in range(run.first, run.end))


class Answer(NamedTuple):
    """What a session's last batch came to; see `Step.outcomes`."""

    batch: int
    outcomes: tuple[int, ...]


class Withdraw(NamedTuple):
    """Give up the ticket, be it waiting or granted. Outcome: 1, or 0 if it was neither."""

    ticket: int


class Batch(NamedTuple):
    """Operations of one session, applied together or not at all. A number is never used for another batch."""

    session: str
    number: int
    operations: tuple[Any, ...]
    """Those of the primitive's own module. An empty batch says that the answers to all before are known."""
    at: float = 0.0
    """The engine's time, in seconds since 1970. It is carried along for inspect(), and decides nothing."""


class Held(NamedTuple):
    """What a session holds."""

    session: str
    permits: int
    token: int | None
    since: float | None
    """The engine's time of the grant, in seconds since 1970, if that is kept."""


class Wake(NamedTuple):
    """A session must be told what some of its tickets, in succession, have been granted."""

    session: str
    ticket: int
    value: int
    tickets: int = 1
    """How many. 0 says that the session is to read the record: it may have been granted something, or have others to
    watch than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(ABC):
    """All that the cluster knows under one name; a subclass for each kind."""

    KIND: ClassVar[str]
    JOINS: ClassVar[tuple[type, ...]] = ()
    """The operations of a `ticket` which do nothing but join the line if somebody is `ahead()`."""
    SHAPES: ClassVar[Mapping[str, Shape]]
    """Of what `state()` returns."""

    made_by: str = ""
    """Who used the name first, for the message to who uses it differently."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By session."""
    line: Line = ()
    """Who waits."""
    changed: float = 0.0
    """When it was, as in `Batch.at`."""

    @property
    def kind(self) -> str:
        """What the user calls it, with the value it was made with: "semaphore of 10"."""
        return self.KIND

    @abstractmethod
    def apply(self, session: str, operation: Any, wakes: list[Wake]) -> tuple[Self, int]:
        """One operation: the new record and the outcome. More wakes may be appended."""

    @abstractmethod
    def bury(self, dead: Collection[str], wakes: list[Wake]) -> Self:
        """The record without what dead sessions hold and wait for."""

    @abstractmethod
    def is_initial(self) -> bool:
        """Whether nothing is held, waited for or set."""

    def holding(self) -> frozenset[str]:
        """The sessions that hold something."""
        return frozenset()

    def keeps(self, session: str, tokens: Collection[int]) -> bool:
        """Whether the session still holds all that it was granted under these tokens."""
        return True

    def last_token(self) -> int:
        """No higher one has been given out here."""
        return 0

    def starting_at(self, floor: int) -> Self:
        """The record, to give out only tokens that are higher."""
        return self

    def ahead(self) -> tuple[str, int] | None:
        """The session and the ticket behind which a ticket waits that asks now; None if it is not known to wait."""
        return None

    def told(self) -> str | None:
        """The session that is to know who joins, as what it does next is likely to be about them."""
        return None

    def held(self) -> Iterator[Held]:
        """What each session holds, for reports."""
        return iter(())

    def waiting(self) -> Iterator[tuple[Run, str | None]]:
        """The runs of tickets that wait, in order, each with the condition that it waits for, if any."""
        return ((run, None) for run in self.line)

    @abstractmethod
    def figures(self) -> dict[str, int | bool]:
        """What there is to report besides who holds and who waits."""

    def sessions(self) -> set[str]:
        """Every session that is named here."""
        return {run.session for run in self.line} | self.holding() | {*self.answers}

    def watches(self) -> dict[str, frozenset[str]]:
        """Whose death each waiting session has to notice: the holders if it is first, else who waits before it."""
        watches: dict[str, frozenset[str]] = {}
        before = self.holding()
        for run in self.line:
            watches.setdefault(run.session, before - {run.session})
            before = frozenset({run.session})
        return watches

    def granted(self, session: str, asked: Iterable[int]) -> dict[int, int]:
        """Which of the tickets that the session has asked for do not wait any more, and what they got."""
        waiting = {ticket for other, ticket in tickets(self.line) if other == session}
        return {ticket: 1 for ticket in asked if ticket not in waiting}

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What is stored besides the fields of every kind."""

    @abstractmethod
    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        """The inverse of state(): the fields of a record that began as this one. `SHAPES` hold for the document."""


_SHAPES: Mapping[str, Shape] = {
    "made_by": shapes.text,
    "answers": shapes.by_session(shapes.answer),
    "line": shapes.line,
    "changed": shapes.moment,
}
_ENCODER = json.JSONEncoder(separators=(",", ":"))
R = TypeVar("R", bound=Record)


class Step(NamedTuple):
    """What a batch came to."""

    record: Any
    """Of the type that went in."""
    outcomes: tuple[int, ...]
    """One number for each operation of the batch, in order."""
    wakes: tuple[Wake, ...]
    is_alike_at_end: bool = False
    """Whether who has joined in the meantime stands behind the same ticket as without this batch."""


def step(record: Record, batch: Batch, dead: Iterable[str] = ()) -> Step:
    """Bury the dead, then apply the batch; return the new record, what came out, and who is to be woken."""
    wakes: list[Wake] = []
    buried = frozenset(dead)
    watched, ahead = record.watches(), record.ahead()
    if buried and buried & record.sessions():
        record = replace(record, changed=batch.at).bury(buried, wakes)
        record = replace(record, answers={who: answer for who, answer in record.answers.items() if who not in buried})
    answer = record.answers.get(batch.session)
    if answer is not None and answer.batch == batch.number:  # whom it has woken is not known any more
        wakes += [Wake(session, 0, 0, 0) for session in sorted(record.sessions() - {batch.session})]
        return Step(record, answer.outcomes, tuple(wakes))
    outcomes = []
    record = replace(record, changed=batch.at)
    for operation in batch.operations:
        record, outcome = record.apply(batch.session, operation, wakes)
        outcomes.append(outcome)
    answers = {who: answer for who, answer in record.answers.items() if who != batch.session}
    has_part = batch.operations or batch.session in replace(record, answers=answers).sessions()
    if has_part:  # then the answer tells how much of it the record knows
        answers[batch.session] = Answer(batch.number, tuple(outcomes))
    record = replace(record, answers=answers)
    for session, others in record.watches().items():
        if session != batch.session and not others <= watched.get(session, frozenset()):
            wakes.append(Wake(session, 0, 0, 0))
    is_alike = ahead is not None and ahead == record.ahead() and not buried
    return Step(record, tuple(outcomes), tuple(wakes), is_alike)


def additions_to(record: Record) -> str:
    """The kind of what may be stored behind it, as a word; it changes with the format."""
    return f"{record.kind.replace(' ', '-')}/{FORMAT}"


def joining(record: Record, batch: Batch) -> str:
    """What is stored behind a record of this kind in place of applying the batch, if that only joins; else ""."""
    if not batch.operations or not all(isinstance(operation, record.JOINS) for operation in batch.operations):
        return ""
    line: Line = ()
    for operation in batch.operations:
        line = join(line, batch.session, operation.ticket)
    return "\n" + _ENCODER.encode([batch.session, batch.number, [run[1:] for run in line]])


def _with_joined(record: R, session: str, batch: int, runs: Iterable[tuple[int, int]]) -> R:
    """The inverse of joining(): the record after that batch."""
    answer = record.answers.get(session)
    if answer is not None and answer.batch >= batch:
        return record  # it was sent, and stored, twice
    line, joined = record.line, 0
    for first, end in runs:
        line = join_run(line, Run(session, first, end))
        joined += end - first
    return replace(record, line=line, answers={**record.answers, session: Answer(batch, (0,) * joined)})


def encode(record: Record) -> str:
    """The record as it is stored, in one line."""
    document = {
        "format": FORMAT,
        "kind": record.kind,
        "made_by": record.made_by,
        "answers": record.answers,
        "line": record.line,
        "changed": record.changed,
        **record.state(),
    }
    return _ENCODER.encode(document)


def parse(text: str, name: str) -> dict[str, Any]:
    """A record's fields as they were stored, without what has joined since; see decode().

    Raises FormatError if this version does not know them.
    """
    document = _json(text.partition("\n")[0])
    if not isinstance(document, dict):
        raise not_ours(text, name)
    kind = document.get("kind")
    if document.get("format") != FORMAT or not isinstance(kind, str) or not kind.startswith(KINDS):
        raise FormatError(
            f"the record of {shown(name)} has the format {document.get('format')!r} and the kind {kind!r}, which this "
            f"version of holdfast does not know (format {FORMAT}). Upgrade holdfast here; nothing was changed"
        )
    return document


def decode(text: str | None, name: str, initial: R) -> R:
    """A record as it was stored; None stands for `initial`.

    Raises FormatError if a newer version wrote it, or what is there is no record; NameConflict if it is of another
    kind or value than `initial`.
    """
    if text is None:
        return initial
    document = parse(text, name)
    kind = document["kind"]
    if kind != initial.kind:
        made_by = shortened(str(document.get("made_by")))
        raise NameConflict(
            f"{shown(name)} is {with_article(kind)}, made by {made_by}, and is used here as "
            f"{with_article(initial.kind)}. "
            "Use another name, or the same kind and value; nothing was changed"
        )
    joined = [_json(line) for line in text.split("\n")[1:]]
    for field_name, fits in {**_SHAPES, **initial.SHAPES}.items():
        if field_name not in document or not fits(document[field_name]):
            raise not_ours(text, name)
    if not all(map(shapes.joined, joined)):
        raise not_ours(text, name)
    record = replace(
        initial,
        made_by=document["made_by"],
        answers={who: Answer(number, tuple(outcomes)) for who, (number, outcomes) in document["answers"].items()},
        line=line_of(document["line"]),
        changed=document["changed"],
        **initial.fields_from(document),
    )
    for addition in joined:
        record = _with_joined(record, *addition)
    return record


def _json(text: str) -> Any:
    """What it says; None also if it says nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def with_article(kind: str) -> str:
    """For messages: "a lock", "an event"."""
    return f"{'an' if kind.startswith('e') else 'a'} {kind}"


def not_ours(text: str, name: str) -> FormatError:
    return FormatError(f"the record of {shown(name)} is not one of holdfast's: {text[:80]!r}. Nothing was changed")


def line_of(runs: Iterable[Iterable[Any]]) -> Line:
    """A line as it was stored."""
    return tuple(Run(*run) for run in runs)
