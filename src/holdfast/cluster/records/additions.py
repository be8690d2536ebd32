"""What may be stored behind a record, in place of a change of the record. Pure.

A batch may be stored as a row of text behind the record, which every reader takes into account. So a session that joins
a line need not know the record, and does not change it while another session is about to release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from . import shapes
from .json_text import ENCODER, FORMAT, document_of
from .record import Record
from .step import Batch, note_answer, operated

R = TypeVar("R", bound=Record)


def additions_to(record: Record) -> str:
    """A word for the kind of what may be stored behind the record. It changes with the format."""
    return f"{record.kind.replace(' ', '-')}/{FORMAT}"


def takes_additions(record: Record) -> bool:
    """Whether anything may be stored behind the record now."""
    return record.ahead() is not None if record.ONLY_JOINS else bool(record.ADDED)


def added(record: Record, batch: Batch) -> str:
    """The row that stands for the batch behind a record of this kind; "" if there is none.

    The engine puts its time, in microseconds, and a space in front.
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
    """The row that stands for the burial of a session, at its own request; "" if there is none. As added()."""
    return "" if record.ONLY_JOINS else ENCODER.encode([session])


def with_additions(record: R, rows: Iterable[str]) -> R | None:
    """The record after the rows that were stored behind it, in order; None if a row is not one of holdfast's."""
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
            record = record.but(changed=at).bury(document, [])
            answers.pop(document[0], None)
            continue
        session, number, operations = document
        answer = answers.get(session)
        if answer is not None and number and answer.batch >= number:
            continue  # it was sent, and stored, twice
        batch = Batch(session, number, _operations(operations, record.ADDED), at)
        record, outcomes = operated(record, batch, [])
        note_answer(answers, record, batch, outcomes)
    return record.but(answers=answers)


def _operations(rows: Iterable[list[Any]], named: Mapping[str, Any]) -> tuple[Any, ...]:
    operations: list[Any] = []
    for name, *values in rows:
        if named[name]._fields == ("ticket",):
            operations += map(named[name], range(*values))
        else:
            operations.append(named[name](*values))
    return tuple(operations)


def moment(micros: int) -> float:
    """An engine's time as in `Batch.at`."""
    return round(micros / 1_000_000, 3)
