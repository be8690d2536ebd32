"""One step of a record: the dead are buried, then one session's batch is applied. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from holdfast.cluster.errors import NameConflict
from holdfast.cluster.values_in_messages import shortened, shown

from .answers import Answer, Answers, answer_to, batch_of
from .closing import Close, Reopen
from .leased import Acquire, LeasedRecord
from .record import Record, Wake, Withdraw, WithdrawMany, with_article
from .watching import watch_more

R = TypeVar("R", bound=Record)
_WITHDRAWALS = Withdraw, WithdrawMany


class Batch(NamedTuple):
    """Operations of one session, applied together or not at all. No other batch of the session has the same number."""

    session: str
    number: int
    operations: tuple[Any, ...]
    """Each is of a class in the file of the record's kind, or a Withdraw. An empty batch says that the session knows
    the answers to all batches before."""
    at: float = 0.0
    """The engine's time, in seconds since 1970, to a millisecond. It is kept for inspect(). It decides nothing,
    except when a RateLimiter has tokens."""


class Step(NamedTuple):
    """The result of a batch."""

    record: Any
    """Of the type that went in."""
    outcomes: tuple[int, ...]
    """One number for each operation of the batch, in order."""
    wakes: tuple[Wake, ...]
    found: Any = None
    """The record before, if nobody was buried."""

    @property
    def is_alike_at_end(self) -> bool:
        """Whether a ticket that joined in the meantime stands behind the same ticket as it would without this batch."""
        ahead = self.record.ahead() if self.found is not None else None
        return ahead is not None and ahead == self.found.ahead()


def step(record: Record, batch: Batch, dead: Iterable[str] = ()) -> Step:
    """Bury the dead, then apply the batch; return the new record, the outcomes, and the sessions to wake."""
    wakes: list[Wake] = []
    found, buried = record, frozenset(dead)
    if buried and buried & record.sessions():
        record = _buried(record, buried, batch.at, wakes)
    answer = record.answers.get(batch.session)
    if answer is not None and batch_of(answer) == batch.number:  # the sessions that this batch has woken are not kept
        wakes += [Wake(session, 0, 0, 0) for session in sorted(record.sessions() - {batch.session})]
        return Step(record, Answer.read(answer).outcomes, tuple(wakes))
    record, outcomes = _applied(record, batch, wakes)
    due = record.due()
    lookers: set[str] = set()
    if record.line:
        lookers = watch_more(found.line, found.holding(), record.line, record.holding())
    if due is not None and due != found.due():
        lookers.add(due[0])
    if lookers:
        wakes += [Wake(session, 0, 0, 0) for session in sorted(lookers - {batch.session})]
    return Step(record, tuple(outcomes), tuple(wakes), None if buried else found)


def moment(seconds: float) -> float:
    """An engine's time as in `Batch.at`. A tenth of what round(seconds, 3) takes."""
    return round(seconds * 1000) / 1000


def burial(record: Record, dead: Collection[str], at: float) -> Step:
    """The step that buries the dead and does nothing else, for a session that need not be named in the record."""
    return step(record, Batch("", 0, (), at), dead)


def _buried(record: R, dead: Collection[str], at: float, wakes: list[Wake]) -> R:
    """The record without dead sessions, and without the answers to them."""
    record = record.but(changed=at).bury(dead, wakes)
    return record.but(answers={name: answer for name, answer in record.answers.items() if name not in dead})


def _applied(record: R, batch: Batch, wakes: list[Wake]) -> tuple[R, list[int]]:
    """The record after a batch that it has not seen yet, and the outcomes."""
    answers = record.answers.copy()  # changed in place, as nobody has seen the new record yet
    record, outcomes = operated(record.but(changed=batch.at, answers=answers), batch, wakes)
    note_answer(answers, record, batch, outcomes)
    return record, outcomes


def operated(record: R, batch: Batch, wakes: list[Wake]) -> tuple[R, list[int]]:
    """The record after the operations of a batch, without the answer to it, and the outcomes.

    record: that before, with the time of the batch.
    """
    session = batch.session
    if len(batch.operations) == 1 and type(operation := batch.operations[0]) not in _WITHDRAWALS:
        record, outcome = _with_operation(record, session, operation, wakes)
        return record, [outcome]
    outcomes: list[int] = []
    for kind, operations in groupby(batch.operations, type):
        if kind is Withdraw:
            leaving = [operation.ticket for operation in operations]
            record, away = record.taking_back(session, leaving)
            record, known = record.withdraw(session, sorted({*leaving} - away), wakes)
            known = away.union(known)
            outcomes += [int(ticket in known) for ticket in leaving]
        elif kind is WithdrawMany:
            permits = dict(asked := [*operations])
            record, away = record.taking_back(session, permits)
            rest = {ticket: count for ticket, count in permits.items() if ticket not in away}
            record, known = record.withdraw_many(session, rest, wakes)
            known = away.union(known)
            outcomes += [int(ticket in known) for ticket, _ in asked]
        elif kind is Acquire and isinstance(record, LeasedRecord) and not record.closings:
            record, outcomes_of_these = record.asked_in_a_row(session, [*operations])
            outcomes += outcomes_of_these
        else:
            for operation in operations:
                record, outcome = _with_operation(record, session, operation, wakes)
                outcomes.append(outcome)
    return record, outcomes


def _with_operation(record: R, session: str, operation: Any, wakes: list[Wake]) -> tuple[R, int]:
    """The record after one operation, which is no withdrawal, and the outcome: 0 if the ticket was turned away."""
    if record.closings and record.refuses(operation):
        return record.turning_away(session, operation.ticket), 0
    kind = type(operation)
    if kind is Close:
        return record.close(session, operation.what, operation.reason, wakes)
    if kind is Reopen:
        return record.reopen(operation.what)
    return record.apply(session, operation, wakes)


def note_answer(answers: Answers, record: Record, batch: Batch, outcomes: Sequence[int]) -> None:
    """Keep the answer to a batch, if the session has asked for something or has any part in the record.

    From the answer a session can tell how much of what it did the record knows.
    """
    answers.pop(batch.session, None)
    if batch.operations or batch.session in record.users():
        answers[batch.session] = answer_to(batch.number, outcomes)


def agreed(record: R, wanted: R, name: str, label: str, dead: Collection[str] = ()) -> R:
    """The record for a session that uses the name as `wanted`. It takes that value if nobody else uses the name.

    label: the name of that session. dead: sessions that do not count as users. Raises NameConflict if the record has
    another value and is in use.
    """
    if record.accepts(wanted):
        return record
    remains = _buried(record, dead, record.changed, []) if dead else record
    if remains.is_idle():
        return remains.with_value_of(wanted).but(made_by=label)
    raise NameConflict(
        f"{shown(name)} is {with_article(record.kind)}, made by {shortened(record.made_by)}, and in use; here it is "
        f"used as {with_article(wanted.kind)}. Wait until {record.AGREES_WHEN}, or use the same value"
        f"{', or resize() it' if wanted.RESIZES else ''}; nothing was changed"
    )
