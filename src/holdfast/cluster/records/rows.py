"""The rows in which a record's line is stored: one for each run of tickets. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from . import shapes
from .line import Line, Run
from .shapes import BETWEEN

K = TypeVar("K")
V = TypeVar("V")


class LineRows:
    """A line and its rows, from change to change. A change touches the ends of a line: only they are read and written.

    It has the last line only.
    """

    def __init__(self) -> None:
        self._line: Line = ()
        self._rows: list[str] = []

    def of(self, line: Line) -> Sequence[str]:
        """The rows of a line."""
        if line is not self._line:
            self._rows = _carried(self._line, self._rows, line, _rows_of)
            self._line = line
        return self._rows

    def read(self, rows: list[str]) -> Line | None:
        """The line that rows stand for; None if they are not holdfast's."""
        if rows == self._rows:
            return self._line
        known: Sequence[Run | None] = self._line
        runs = (*_carried(self._rows, known, rows, _runs_in),)
        if None in runs:
            return None
        self._line, self._rows = cast(Line, runs), rows
        return self._line


def _carried(
    old: Sequence[K], values: Sequence[V], new: Sequence[K], make: Callable[[Sequence[K]], list[V]]
) -> list[V]:
    """The values for `new`: those of `old` that are the same, and the others made anew."""
    if not (old and new) or not (new[0] in old or new[-1] in old):
        return make(new)
    front = old.index(new[0]) if new[0] in old else 0
    kept = len(old) - front
    if [*old[front:]] == [*new[:kept]]:  # most often the first have left, and others have come at the end
        return [*values[front:], *make(new[kept:])]
    known = dict(zip(old, values, strict=True))
    unknown = [each for each in new if each not in known]
    known.update(zip(unknown, make(unknown), strict=True))
    return [known[each] for each in new]


def _rows_of(line: Sequence[Run]) -> list[str]:
    return [*map(of_run, line)]


def _runs_in(rows: Sequence[str]) -> list[Run | None]:
    found = _all_of_one_ticket("\n".join(rows))
    if len(found) != len(rows):
        return [*map(run_in, rows)]
    return [  # Run() takes twice as long
        _new(Run, (session, (ticket := int(number), ticket + 1), float(at), 1)) for session, at, number in found
    ]


_new = tuple.__new__
_OF_ONE_TICKET = f"([ -~]*){BETWEEN}((?:0|[1-9][0-9]{{0,10}})[.](?:0|[0-9]{{0,2}}[1-9])){BETWEEN}(0|[1-9][0-9]{{0,17}})"
"""A row of one ticket, as most are, that joined at a whole millisecond of the years before 5138. That is how of_run()
writes it, as Python writes a number with so few digits as it was. Every other row is written anew and compared."""
_all_of_one_ticket = re.compile(f"^{_OF_ONE_TICKET}$", re.MULTILINE).findall


def of_run(run: Run) -> str:
    """The row of a run: the session, since when it waits, and the spans of its tickets; or its only ticket.

    If each ticket asks for more than one, that number stands before the spans. So there are three numbers, or five, ...
    """
    spans = run.spans
    if run.asks != 1:
        spans = run.asks, *spans
    elif len(spans) == 2 and spans[0] + 1 == spans[1]:
        spans = spans[:1]
    return BETWEEN.join((run.session, repr(float(run.since)), *map(str, spans)))


def run_in(row: str) -> Run | None:
    """The run that a row stands for; None if it is not one of holdfast's."""
    session, *numbers = row.split(BETWEEN)
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
    fits = shapes.run([session, [*spans], since]) and shapes.positive(asks)
    return run if fits and of_run(run) == row else None
