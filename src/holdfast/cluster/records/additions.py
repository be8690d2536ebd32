"""What may be stored behind a record, in place of a change of the record. Pure.

A batch may be stored as a row of text behind the record, which every reader takes into account. So a session that joins
a line need not know the record, and does not change it while another session is about to release.

A row has the engine's time in microseconds, a space, the session, and a tab. If the session has left, this is all. Else
there follow the number of its batch and, each behind a tab, the operations: a name, and behind a colon the values in
JSON without the brackets. Operations of tickets in succession are one, with the first ticket, and the one behind the
last if they are more than one. The engine writes the time and the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from . import shapes
from .answers import batch_of
from .json_text import ENCODER, FORMAT, document_of
from .record import Record, Withdraw
from .shapes import BETWEEN
from .step import Batch, moment, note_answer, operated

R = TypeVar("R", bound=Record)


def additions_to(record: Record) -> str:
    """A word for the kind of what may be stored behind the record. It changes with the format."""
    return f"{record.kind.replace(' ', '-')}/{FORMAT}"


def takes_additions(record: Record) -> bool:
    """Whether anything may be stored behind the record now. Nothing is, while something is closed: that is for a change
    to judge, and a version that does not know of closing must not get past it."""
    if record.closings:
        return False
    return record.ahead() is not None if record.ONLY_JOINS else bool(record.ADDED)


def added(record: Record, batch: Batch) -> str | None:
    """What stands behind the session in the row for the batch, behind a record of this kind; None if there is none."""
    names = _names(type(record))
    rows: list[list[Any]] = []
    if record.ONLY_JOINS and not batch.operations:
        return None
    for operation in batch.operations:
        name = names.get(type(operation))
        if name is None:
            return None
        if type(operation)._fields != ("ticket",):
            rows.append([name, *operation])
        elif rows and rows[-1][0] == name and operation.ticket == (rows[-1][-1] if rows[-1][2:] else rows[-1][1] + 1):
            rows[-1][2:] = [operation.ticket + 1]
        else:
            rows.append([name, operation.ticket])
    asked = [f"{name}:{ENCODER.encode(values)[1:-1]}" for name, *values in rows]
    return BETWEEN.join(("", str(batch.number), *asked))


@cache
def _names(kind: type[Record]) -> Mapping[type, str]:
    return {operation: name for name, operation in kind.ADDED.items()}


def left(record: Record) -> str | None:
    """As added(), for the burial of the session at its own request, where a withdrawal may be stored so."""
    takes_it = Withdraw in record.ADDED.values() and not record.ONLY_JOINS
    return BETWEEN if takes_it else None


def with_additions(record: R, rows: Iterable[str]) -> R | None:
    """The record after the rows that were stored behind it, in order; None if a row is not one of holdfast's."""
    answers = record.answers.copy()  # changed in place, as there may be hundreds of rows
    record = record.but(answers=answers)
    for row in rows:
        micros, _, text = row.partition(" ")
        session, *asked = text.split(BETWEEN)
        operations = [_operation(each) for each in asked[1:]]
        if not (micros.isascii() and micros.isdigit() and len(micros) < len("253402300800000000")):
            return None
        if not shapes.session(session) or not session or not asked:
            return None
        has_left = asked == [""]
        if not has_left and not _is_batch(asked[0], operations, record):
            return None
        at = moment(int(micros) / 1_000_000)
        if has_left:
            record = record.but(changed=at).bury([session], [])
            answers.pop(session, None)
            continue
        number = int(asked[0])
        if number and batch_of(answers.get(session)) >= number:
            continue  # it was sent, and stored, twice
        batch = Batch(session, number, _operations(operations, record.ADDED), at)
        record, outcomes = operated(record.but(changed=at), batch, [])
        note_answer(answers, record, batch, outcomes)
    return record


def _operation(text: str) -> list[Any]:
    name, _, values = text.partition(":")
    found = document_of(f"[{values}]")
    return [name, *found] if isinstance(found, list) else []


def _is_batch(number: str, operations: object, record: Record) -> bool:
    return shapes.is_decimal(number) and shapes.operations(operations, record.ADDED)


def _operations(rows: Iterable[list[Any]], named: Mapping[str, Any]) -> tuple[Any, ...]:
    operations: list[Any] = []
    for name, *values in rows:
        if named[name]._fields == ("ticket",):
            first, end = values if len(values) == 2 else (values[0], values[0] + 1)
            operations += map(named[name], range(first, end))
        else:
            operations.append(named[name](*values))
    return tuple(operations)
