"""The rows in which a record's line is stored: one for each run of tickets. Pure.

The sessions in a line take turns, so who comes to its turn finds that all others have written since. And a change
touches the ends of a line only. So a line that was stored stays a text: it is checked as a whole, and only those runs
are made of it that somebody asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import overload

from . import shapes
from .run import Run
from .shapes import BETWEEN, FEW

_REMEMBERED = 1024


class StoredLine(Sequence[Run]):
    """A line of at least one run, as the text of its rows. It is not changed."""

    __slots__ = ("_count", "text")

    def __init__(self, text: str, count: int) -> None:
        """text: the rows, each behind a line break. They were checked. count: how many they are."""
        self.text = text
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StoredLine):
            return self.text == other.text
        return isinstance(other, tuple) and (*self,) == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr((*self,))

    def __iter__(self) -> Iterator[Run]:
        return iter(_runs_in(self.text))

    def __reversed__(self) -> Iterator[Run]:
        return iter(tuple(self)[::-1])

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Line: ...
    def __getitem__(self, index: int | slice) -> Run | Line:
        text = self.text
        if isinstance(index, slice):
            first, end, step = index.indices(self._count)
            if step != 1:
                return tuple(self)[index]
            return _line(text[self._place(first) : self._place(end)], end - first)
        at = range(self._count)[index]
        place = self._place(at)
        return _read(text[place + 1 : None if at == self._count - 1 else text.find("\n", place + 1)])

    def _place(self, index: int) -> int:
        """Where the row with this number begins; or the text ends."""
        if index >= self._count - 1:
            return len(self.text) if index == self._count else self.text.rfind("\n")
        place = 0
        for _ in range(index):
            place = self.text.find("\n", place + 1)
        return place

    def with_last(self, run: Run) -> StoredLine:
        return StoredLine(f"{self.text}\n{of_run(run)}", self._count + 1)

    def with_first(self, run: Run) -> StoredLine:
        return StoredLine(f"\n{of_run(run)}{self.text}", self._count + 1)

    def places_of(self, session: str) -> Iterator[tuple[int, int]]:
        """Where each row of a session begins and ends, in order."""
        beginning, end = f"\n{session}{BETWEEN}", 0
        while (place := self.text.find(beginning, end)) >= 0:
            end = self.text.find("\n", place + 1)
            if end < 0:
                end = len(self.text)
            yield place, end

    def runs_of(self, session: str) -> Iterator[Run]:
        return (_read(self.text[place + 1 : end]) for place, end in self.places_of(session))

    def with_runs_of(self, session: str, change: Callable[[Run], Run]) -> Line:
        parts, kept, count = list[str](), 0, self._count
        for place, end in self.places_of(session):
            run = change(_read(self.text[place + 1 : end]))
            parts.append(self.text[kept:place])
            if run.spans:
                parts.append(f"\n{of_run(run)}")
            else:
                count -= 1
            kept = end
        parts.append(self.text[kept:])
        return _line("".join(parts), count)

    def session_before(self, session: str) -> str | None:
        """The session of the run before the first one of a session; "" if that is the first; None if it has none."""
        place = self.text.find(f"\n{session}{BETWEEN}")
        if place <= 0:
            return None if place else ""
        before = self.text.rfind("\n", 0, place)
        return self.text[before + 1 : self.text.find(BETWEEN, before)]

    def moved_on(self, later: StoredLine) -> tuple[tuple[Run, ...], tuple[Run, ...]] | None:
        """See `moved_on()`."""
        old, new = self.text, later.text
        end = new.find("\n", 1)
        first = new[: end if end > 0 else len(new)]
        start = f"{old}\n".find(f"{first}\n")
        kept = old[start:] if start >= 0 else ""
        if not kept or not (new == kept or new.startswith(f"{kept}\n")):
            return None
        return (*_runs_in(old[:start]),), (*_runs_in(new[len(kept) :]),)

    def unlike(self, later: StoredLine) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
        """What is left of both without the rows that they have in common at the beginning and at the end; and of the
        later one the first of those at the end. It may be some rows more."""
        old, new = self.text, later.text
        front = old.rfind("\n", 0, _most(lambda length: old[:length] == new[:length], min(len(old), len(new))))
        old, new = old[max(front, 0) :], new[max(front, 0) :]
        back = _most(lambda length: old.endswith(new[len(new) - length :]), min(len(old), len(new)))
        behind = new.find("\n", len(new) - back)
        if behind < 0:
            return (*_runs_in(old),), (*_runs_in(new),)
        end = new.find("\n", behind + 1)
        rest = old[: len(old) - len(new) + behind]
        return (*_runs_in(rest),), (*_runs_in(new if end < 0 else new[:end]),)


def _most(fits: Callable[[int], bool], longest: int) -> int:
    """The greatest length that fits, of those up to the longest. All lengths below it fit."""
    length = 0
    while length < longest:
        middle = (length + longest + 1) // 2
        if fits(middle):
            length = middle
        else:
            longest = middle - 1
    return length


Line = tuple[Run, ...] | StoredLine


def _line(text: str, count: int) -> Line:
    return StoredLine(text, count) if text else ()


def _runs_in(text: str) -> Iterable[Run]:
    return map(_read, text[1:].split("\n")) if text else ()


def _read(row: str) -> Run:
    """The run that a row stands for, which was checked."""
    session, since, ticket, *more = row.split(BETWEEN)
    if not more:  # as most often; Run() takes twice as long
        return _new(Run, (session, (first := int(ticket), first + 1), float(since), 1))
    run = run_in(row)
    assert run is not None
    return run


def line_in(text: str, most_asked: float) -> Line | None:
    """The line that rows stand for, each of which is behind a line break; None if they are not holdfast's.

    most_asked: the most that a ticket may ask for.
    """
    if not text:
        return ()
    for row in _others_in(text):
        run = run_in(row)
        if run is None or run.asks > most_asked:
            return None
    count = text.count("\n")
    return StoredLine(text, count) if count > FEW else (*_runs_in(text),)


def text_of(line: Line) -> str:
    """The rows of a line, each behind a line break."""
    return line.text if isinstance(line, StoredLine) else "".join([f"\n{of_run(run)}" for run in line])


def with_last(line: Line, run: Run) -> Line:
    """The line with one run more behind all others."""
    return line.with_last(run) if isinstance(line, StoredLine) else (*line, run)


def with_first(run: Run, line: Line) -> Line:
    """The line with one run more in front of all others."""
    return line.with_first(run) if isinstance(line, StoredLine) else (run, *line)


def runs_of(line: Line, session: str) -> Iterable[Run]:
    """The runs of one session, in order."""
    return line.runs_of(session) if isinstance(line, StoredLine) else [run for run in line if run.session == session]


def with_runs_of(line: Line, session: str, change: Callable[[Run], Run]) -> Line:
    """The line with what `change` makes of each run of one session. A run without tickets is left out."""
    if isinstance(line, StoredLine):
        return line.with_runs_of(session, change)
    changed = (change(run) if run.session == session else run for run in line)
    return tuple(run for run in changed if run.spans)


def moved_on(old: Line, new: Line) -> tuple[tuple[Run, ...], tuple[Run, ...]] | None:
    """The runs that have left a line at the front, and those that have come at the end; None if that is not all."""
    if isinstance(old, StoredLine) and isinstance(new, StoredLine):
        return old.moved_on(new)
    old, new = (*old,), (*new,)
    front = old.index(new[0]) if new and new[0] in old else 0
    kept = len(old) - front
    return (old[:front], new[kept:]) if old[front:] == new[:kept] else None


_new = tuple.__new__
_OF_ONE_TICKET = f"[ -~]*{BETWEEN}(?:0|[1-9][0-9]{{0,10}})[.](?:0|[0-9]{{0,2}}[1-9]){BETWEEN}(?:0|[1-9][0-9]{{0,17}})$"
"""A row of one ticket, as most are, that joined at a whole millisecond of the years before 5138. That is how of_run()
writes it, as Python writes a number with so few digits as it was. Every other row is written anew and compared."""
_others_in = re.compile(f"\n(?!{_OF_ONE_TICKET})(.*)", re.MULTILINE).findall


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


@lru_cache(_REMEMBERED)
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
