"""The rows in which a record's line and answers are stored: one for each run of tickets, one for each answer. Pure.

Most rows stay as they are from step to step, as a change touches the ends of the line and the answer to one session. So
what a row stands for is remembered, and so is the row of a run and of an answer. A long line then costs a change
little. Rows that are long themselves are not remembered, as they could fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import cast

from . import shapes
from .line import Line, Run
from .record import Answer

_BETWEEN = "\t"
"""A session's id has no tab, as it is printable."""
_REMEMBERED = 4096
"""Rows."""
_SHORT = 200
"""The most characters of a row that is remembered."""
_FEW = 12
"""The most numbers of spans or of outcomes in such a row."""


def of_line(line: Line) -> Iterable[str]:
    """The rows of a line."""
    are_short = max(map(len, map(_SPANS, line)), default=0) <= _FEW
    return map(of_run if are_short else of_run.__wrapped__, line)


def line_in(rows: Sequence[str]) -> Line | None:
    """The line that rows stand for; None if they are not holdfast's."""
    read = run_in if max(map(len, rows), default=0) <= _SHORT else run_in.__wrapped__
    runs = (*map(read, rows),)
    return None if None in runs else cast(Line, runs)


def of_answers(answers: Mapping[str, Answer]) -> Iterable[str]:
    """The rows of the answers to some sessions."""
    are_short = max(map(len, map(_PACKED, answers.values())), default=0) <= _FEW
    return map(of_answer if are_short else of_answer.__wrapped__, answers, answers.values())


def answers_in(rows: Sequence[str]) -> dict[str, Answer] | None:
    """The answers that rows stand for; None if they are not holdfast's."""
    read = answer_in if max(map(len, rows), default=0) <= _SHORT else answer_in.__wrapped__
    answers = [*map(read, rows)]
    return None if None in answers else dict(cast(list[tuple[str, Answer]], answers))


_SPANS, _PACKED = itemgetter(1), itemgetter(1)


@lru_cache(_REMEMBERED)
def of_run(run: Run) -> str:
    """The row of a run: the session, since when it waits, and the spans of its tickets; or its only ticket.

    If each ticket asks for more than one, that number stands before the spans. So there are three numbers, or five, ...
    """
    spans = run.spans
    if run.asks != 1:
        spans = run.asks, *spans
    elif len(spans) == 2 and spans[0] + 1 == spans[1]:
        spans = spans[:1]
    return _BETWEEN.join((run.session, repr(float(run.since)), *map(str, spans)))


@lru_cache(_REMEMBERED)
def run_in(row: str) -> Run | None:
    """The run that a row stands for; None if it is not one of holdfast's."""
    session, *numbers = row.split(_BETWEEN)
    try:
        since, spans = float(numbers[0]), tuple(map(int, numbers[1:]))
    except (ValueError, IndexError):
        return None
    asks = 1
    if len(spans) == 1:
        spans = spans[0], spans[0] + 1
    elif len(spans) % 2:
        asks, *rest = spans
        spans = (*rest,)
    run = Run(session, spans, since, asks)
    written = of_run if len(row) <= _SHORT else of_run.__wrapped__
    fits = shapes.run([session, [*spans], since]) and shapes.positive(asks)
    return run if fits and written(run) == row else None


@lru_cache(_REMEMBERED)
def of_answer(session: str, answer: Answer) -> str:
    """The row of the answer to a session: the session, the number of its batch, and the outcomes as they are packed; or
    the only outcome."""
    batch, packed = answer
    packed = packed[:1] if len(packed) == 2 and packed[1] == 1 else packed
    return f"{session}{_BETWEEN}{batch}" + "".join([f"{_BETWEEN}{number}" for number in packed])


@lru_cache(_REMEMBERED)
def answer_in(row: str) -> tuple[str, Answer] | None:
    """The session and the answer that a row stands for; None if it is not one of holdfast's."""
    session, *numbers = row.split(_BETWEEN)
    try:
        batch, *packed = map(int, numbers)
    except ValueError:
        return None
    if len(packed) == 1:
        packed.append(1)
    answer = Answer(batch, tuple(packed))
    fits = shapes.session(session) and shapes.answer([batch, packed])
    written = of_answer if len(row) <= _SHORT else of_answer.__wrapped__
    return (session, answer) if fits and written(session, answer) == row else None
