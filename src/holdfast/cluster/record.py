"""What the records of all primitives share: tickets, batches, the line, and how a record is stored. Pure.

A record is all that the cluster knows under one name. A session numbers its tickets there 1, 2, ...; a ticket asks
once, is in the line while it waits, and is granted by leaving the line. So a lost wake-up is made good by looking at
the record, and a line is a list of runs of tickets, which grows with the sessions that wait and not with their tasks.

A batch that only joins the line may be stored as a line of text behind the record (`added()`), which whoever reads it
takes into account (`decode()`). So who joins need not know the record, and does not change it under the hands of who
is about to release.

What must hold for every kind, and who broke it elsewhere:

 1. First come, first served, in the order in which the batches are applied (redis-py: whoever polls next).
 2. A batch is applied once, however often it is sent: a session has one answer here, that of its last batch.
 3. A ticket that is withdrawn leaves nothing behind, waiting or granted (redis-py: locked for ever).
 4. A dead session leaves nothing behind. Death is final, so whoever learns of it may bury it.
 5. A name has one kind while its record lives, and one value while it is used; who disagrees changes nothing.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, groupby, repeat, takewhile
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from holdfast._refusals import shortened, shown

from . import shapes
from .errors import FormatError, NameConflict
from .line import Line, Run, line_of, tickets_of
from .shapes import Shape

FORMAT = 2
KINDS = "lock", "semaphore", "bounded semaphore", "event", "barrier"


class Answer(NamedTuple):
    """What a session's last batch came to; see `Step.outcomes`."""

    batch: int
    packed: tuple[int, ...]
    """Each outcome, and how many times in succession: those of thousands of operations are mostly the same."""

    @classmethod
    def of(cls, batch: int, outcomes: Sequence[int]) -> Self:
        if len(outcomes) == 1:
            return cls(batch, (outcomes[0], 1))
        return cls(batch, tuple(chain.from_iterable((each, len([*same])) for each, same in groupby(outcomes))))

    @property
    def outcomes(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(map(repeat, self.packed[::2], self.packed[1::2])))


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

    def message(self) -> str:
        """What is sent to the session."""
        return f"{self.ticket} {self.value} {self.tickets}"


def wakes_for(line: Line, value: int) -> list[Wake]:
    """For all who wait there, who have got the same."""
    return [Wake(run.session, first, value, end - first) for run in line for first, end in run.pairs()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(ABC):
    """All that the cluster knows under one name; a subclass for each kind."""

    KIND: ClassVar[str]
    ADDED: ClassVar[Mapping[str, type]]
    """The operations that may be stored behind a record, by what they are called there."""
    ONLY_JOINS: ClassVar[bool] = False
    """Whether only those may be stored behind a record which do nothing but join the line, while somebody is
    `ahead()`; else any may that are in `ADDED`, at any time."""
    RESIZES: ClassVar[bool] = False
    """Whether its value may change in use."""
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
        """What the user calls it, with its value: "semaphore of 10"."""
        return self.KIND

    @classmethod
    def of_kind(cls, kind: str) -> Self | None:
        """A record before its first change, if that is the kind of one."""
        return cls() if kind == cls.KIND else None

    def accepts(self, wanted: Record) -> bool:
        """Whether who uses the name as `wanted`, which is another value of the same kind, may go on with this one."""
        return self.kind == wanted.kind

    def is_idle(self) -> bool:
        """Whether it may get another value: nothing is held or waited for."""
        return self.is_initial()

    def with_value_of(self, wanted: Self) -> Self:
        """The record with that value."""
        return self

    @abstractmethod
    def apply(self, session: str, operation: Any, wakes: list[Wake]) -> tuple[Self, int]:
        """One operation, but no Withdraw: the new record and the outcome. More wakes may be appended."""

    @abstractmethod
    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[Self, Collection[int]]:
        """Several Withdraws, of tickets in rising order: the new record, and the tickets that waited or were granted.

        Those that wait leave before anything is passed on.
        """

    @abstractmethod
    def bury(self, dead: Collection[str], wakes: list[Wake]) -> Self:
        """The record without what dead sessions hold and wait for."""

    @abstractmethod
    def is_initial(self) -> bool:
        """Whether nothing is held, waited for or set."""

    def due(self) -> tuple[str, Any] | None:
        """What has to be done, by which session, once that has looked who is dead; it does so when it sees this."""
        return None

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

    def watches(self, of: Collection[str] | None = None) -> dict[str, frozenset[str]]:
        """Whose death each waiting session has to notice: the holders if it is first, else who waits before it.

        of: the sessions that are asked about, if not all are.
        """
        watches: dict[str, frozenset[str]] = {}
        left = None if of is None else {*of}
        before: str | None = None
        for run in self.line:
            session = run.session
            if (left is None or session in left) and session not in watches:
                others = self.holding() if before is None else frozenset({before})
                watches[session] = others - {session}
                if left is not None:
                    left.discard(session)
            if left is not None and not left:
                break
            before = session
        return watches

    def granted(self, session: str, asked: Collection[int]) -> dict[int, int]:
        """Which of the tickets that the session has asked for do not wait any more, and what they got."""
        waiting = tickets_of(self.line, session)
        return {ticket: 1 for ticket in asked if ticket not in waiting}

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What is stored besides the fields of every kind."""

    @abstractmethod
    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        """The inverse of state(): the fields of a record that began as this one. `SHAPES` hold for the document."""

    def parts(self) -> Iterable[str]:
        """What is stored in rows of its own, each a document, as most of it stays the same from change to change."""
        return ()

    def with_parts(self, rows: Collection[str], known: Self | None) -> Self | None:
        """The inverse of parts(); None if they are not of such a record. known: one that may have some of them."""
        return None if rows else self


_SHAPES: Mapping[str, Shape] = {
    "made_by": shapes.text,
    "answers": shapes.by_session(shapes.answer),
    "line": shapes.line,
    "changed": shapes.moment,
}
ENCODER = json.JSONEncoder(separators=(",", ":"))
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
    found, buried = record, frozenset(dead)
    if buried and buried & record.sessions():
        record = _buried(record, buried, batch.at, wakes)
    answer = record.answers.get(batch.session)
    if answer is not None and answer.batch == batch.number:  # whom it has woken is not known any more
        wakes += [Wake(session, 0, 0, 0) for session in sorted(record.sessions() - {batch.session})]
        return Step(record, answer.outcomes, tuple(wakes))
    record, outcomes = _applied(record, batch, wakes)
    due = record.due()
    lookers = _watch_more(found, record) | ({due[0]} if due is not None and due != found.due() else set())
    wakes += [Wake(session, 0, 0, 0) for session in sorted(lookers - {batch.session})]
    is_alike = not buried and record.ahead() is not None and record.ahead() == found.ahead()
    return Step(record, tuple(outcomes), tuple(wakes), is_alike)


def _buried(record: R, dead: Collection[str], at: float, wakes: list[Wake]) -> R:
    record = replace(record, changed=at).bury(dead, wakes)
    return replace(record, answers={who: answer for who, answer in record.answers.items() if who not in dead})


def _applied(record: R, batch: Batch, wakes: list[Wake]) -> tuple[R, list[int]]:
    """The record after the batch, which it has not seen, and the outcomes."""
    record, outcomes = _operated(record, batch, wakes)
    answers = {**record.answers}
    _answer(answers, record, batch, outcomes)
    return replace(record, answers=answers), outcomes


def _operated(record: R, batch: Batch, wakes: list[Wake]) -> tuple[R, list[int]]:
    """The same, but for the answer."""
    outcomes: list[int] = []
    record = replace(record, changed=batch.at)
    for kind, operations in groupby(batch.operations, type):
        if kind is Withdraw:
            leaving = [operation.ticket for operation in operations]
            record, known = record.withdraw(batch.session, sorted({*leaving}), wakes)
            known = frozenset(known)
            outcomes += [int(ticket in known) for ticket in leaving]
        else:
            for operation in operations:
                record, outcome = record.apply(batch.session, operation, wakes)
                outcomes.append(outcome)
    return record, outcomes


def _answer(answers: dict[str, Answer], record: Record, batch: Batch, outcomes: Sequence[int]) -> None:
    """Note what the batch came to, which tells how much of it the record knows, if the session has any part in it."""
    answers.pop(batch.session, None)
    if batch.operations or batch.session in replace(record, answers={}).sessions():
        answers[batch.session] = Answer.of(batch.number, outcomes)


def _watch_more(before: Record, after: Record) -> set[str]:
    """The sessions that have to watch others than before."""
    old, new = before.line, after.line
    if not new or (old is new and before.holding() == after.holding()):
        return set()
    front = _alike(old, new)
    back = _alike(reversed(old[front:]), reversed(new[front:]))
    # All others stand behind the same session, and none of them stands further in front as well.
    of = {run.session for run in chain(old[front : len(old) - back], new[front : len(new) - back + 1])}
    if before.holding() != after.holding():
        of |= {run.session for run in new[:1]}
    watched = before.watches(of)
    return {session for session, others in after.watches(of).items() if not others <= watched.get(session, frozenset())}


def _alike(one: Iterable[Run], other: Iterable[Run]) -> int:
    """How many they have in common at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(one, other, strict=False)))


def agreed(record: R, wanted: R, name: str, label: str, dead: Collection[str] = ()) -> R:
    """The record for who uses the name as `wanted`, of which it takes the value if nobody else has any use for it.

    label: who uses it so. dead: sessions that do not count. Raises NameConflict if it has another value, and is in use.
    """
    if record.accepts(wanted):
        return record
    remains = _buried(record, dead, record.changed, []) if dead else record
    if remains.is_idle():
        return replace(remains.with_value_of(wanted), made_by=label)
    raise NameConflict(
        f"{shown(name)} is {with_article(record.kind)}, made by {shortened(record.made_by)}, and in use; here it is "
        f"used as {with_article(wanted.kind)}. Wait until nobody holds it or waits for it, or use the same value"
        f"{', or resize() it' if wanted.RESIZES else ''}; nothing was changed"
    )


# How it is stored


def additions_to(record: Record) -> str:
    """The kind of what may be stored behind it, as a word; it changes with the format."""
    return f"{record.kind.replace(' ', '-')}/{FORMAT}"


def takes_additions(record: Record) -> bool:
    """Whether anything may be stored behind it now."""
    return record.ahead() is not None if record.ONLY_JOINS else bool(record.ADDED)


def added(record: Record, batch: Batch) -> str:
    """What is stored behind a record of this kind in place of applying the batch; "" if that cannot be.

    The engine's time, in microseconds, and a space are put in front.
    """
    names = _names(type(record))
    rows: list[list[Any]] = []
    if record.ONLY_JOINS and not batch.operations:
        return ""
    for operation in batch.operations:
        name = names.get(type(operation))
        if name is None:
            return ""
        if type(operation)._fields != ("ticket",):
            rows.append([name, *operation])
        elif rows and rows[-1][0] == name and rows[-1][2] == operation.ticket:
            rows[-1][2] += 1
        else:
            rows.append([name, operation.ticket, operation.ticket + 1])
    return ENCODER.encode([batch.session, batch.number, rows])


@cache
def _names(kind: type[Record]) -> Mapping[type, str]:
    return {operation: name for name, operation in kind.ADDED.items()}


def left(record: Record, session: str) -> str:
    """What is stored behind a record of this kind in place of burying the session that asks for it; as added()."""
    return "" if record.ONLY_JOINS else ENCODER.encode([session])


def _with_additions(record: R, rows: Iterable[str]) -> R | None:
    """The record with what was stored behind it, in order; None if that cannot be."""
    answers = {**record.answers}  # changed in place, as there may be hundreds of rows
    for row in rows:
        micros, _, text = row.partition(" ")
        document = document_of(text)
        if not (micros.isascii() and micros.isdigit() and len(micros) < len("253402300800000000")):
            return None
        if not shapes.addition(document, record.ADDED):
            return None
        at = moment(int(micros))
        if len(document) == 1:
            record = replace(record, changed=at).bury(document, [])
            answers.pop(document[0], None)
            continue
        session, number, operations = document
        answer = answers.get(session)
        if answer is not None and number and answer.batch >= number:
            continue  # it was sent, and stored, twice
        batch = Batch(session, number, _operations(operations, record.ADDED), at)
        record, outcomes = _operated(record, batch, [])
        _answer(answers, record, batch, outcomes)
    return replace(record, answers=answers)


def _operations(rows: Iterable[list[Any]], named: Mapping[str, Any]) -> tuple[Any, ...]:
    operations: list[Any] = []
    for name, *values in rows:
        if named[name]._fields == ("ticket",):
            operations += map(named[name], range(*values))
        else:
            operations.append(named[name](*values))
    return tuple(operations)


def encode(record: Record) -> str:
    """The record as it is stored."""
    document = {
        "format": FORMAT,
        "kind": record.kind,
        "made_by": record.made_by,
        "answers": record.answers,
        "line": record.line,
        "changed": record.changed,
        **record.state(),
    }
    return "\n".join((ENCODER.encode(document), *record.parts()))


def parse(text: str, name: str) -> dict[str, Any]:
    """A record's fields as they were stored, without its parts and what was stored behind it; see decode().

    Raises FormatError if this version does not know them.
    """
    document = document_of(text.partition("\n")[0])
    if not isinstance(document, dict):
        raise not_ours(text, name)
    kind = document.get("kind")
    if document.get("format") != FORMAT or not isinstance(kind, str) or not kind.startswith(KINDS):
        raise FormatError(
            f"the record of {shown(name)} has the format {document.get('format')!r} and the kind {kind!r}, which this "
            f"version of holdfast does not know (format {FORMAT}). Upgrade holdfast here; nothing was changed"
        )
    return document


def decode(
    text: str | None, name: str, initial: R, known: R | None = None, seen: tuple[str | None, R] | None = None
) -> R:
    """A record as it was stored; None stands for `initial`. It may have another value: see agreed().

    known: a record, parts of which may be the same. seen: a text that was decoded, behind which may be more by now.
    Raises FormatError if a newer version wrote it, or what is there
    is no record; NameConflict if it is of another kind than `initial`.
    """
    if text is None:
        return initial
    if seen is not None and seen[0] is not None and text.startswith(seen[0]):
        rows = text[len(seen[0]) :].split("\n")
        if not rows[0] and not any(row.startswith("{") for row in rows):
            record = _with_additions(seen[1], rows[1:]) if rows[1:] else seen[1]
            if record is None:
                raise not_ours(text, name)
            return record
    return decode_document(parse(text, name), text, name, initial, known)


def decode_document(document: dict[str, Any], text: str, name: str, initial: R, known: R | None = None) -> R:
    """The same, of a text that has been parsed."""
    kind = document["kind"]
    fresh = initial.of_kind(kind)
    if fresh is None:
        made_by = shortened(str(document.get("made_by")))
        raise NameConflict(
            f"{shown(name)} is {with_article(kind)}, made by {made_by}, and is used here as "
            f"{with_article(initial.kind)}. Use another name; nothing was changed"
        )
    for field_name, fits in {**_SHAPES, **initial.SHAPES}.items():
        if field_name not in document or not fits(document[field_name]):
            raise not_ours(text, name)
    _, *rows = text.split("\n")
    parts = [row for row in rows if row.startswith("{")]
    record = replace(
        fresh,
        made_by=document["made_by"],
        answers={who: Answer(number, tuple(packed)) for who, (number, packed) in document["answers"].items()},
        line=line_of(document["line"]),
        changed=document["changed"],
        **fresh.fields_from(document),
    ).with_parts(parts, known)
    if record is not None and len(rows) > len(parts):
        record = _with_additions(record, rows[len(parts) :])
    if record is None:
        raise not_ours(text, name)
    return record


def moment(micros: int) -> float:
    """An engine's time in seconds since 1970."""
    return micros / 1_000_000


def document_of(text: str) -> Any:
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
