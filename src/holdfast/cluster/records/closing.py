"""What is closed under a name, and the tickets that were turned away because of that. Pure.

A primitive is closed, or in the record of a Lock one of its Conditions. A ticket that waited for what is closed, or
that asks for it later, is turned away: it leaves its line, or never joins it. The record keeps that until the session
takes it, by withdrawing the ticket. Otherwise a ticket that is in no line would count as granted.

What is closed stays so when nobody uses the name any more: until somebody opens it again, or the record is forgotten
(`session_life/old_records.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from . import shapes
from .json_text import ENCODER, document_of
from .line import join_run
from .rows import Line
from .run import Run

ITSELF = ""
"""What is closed, if it is the primitive. No condition has this name."""


class Closing(NamedTuple):
    """That something is closed."""

    reason: str | None
    by: str
    """The session that has closed it; "" once that has ended."""
    at: float
    """The engine's time, as in `Batch.at`."""


class TurnedAway(NamedTuple):
    """Tickets that were turned away, and whose sessions have not taken that yet."""

    what: str
    """What they have waited for or asked for: ITSELF, or a condition."""
    reason: str | None
    line: Line
    """Without the times since which they wait, and without what they asked for."""


class Close(NamedTuple):
    """Close the primitive or a condition, and turn those away who wait for it. Outcome: 1, or 0 if it was closed."""

    what: str
    reason: str | None


class Reopen(NamedTuple):
    """Open it again. Who was turned away stays so. Outcome: 1, or 0 if it was open."""

    what: str


def plain(line: Line) -> Line:
    """The tickets of a line, as `TurnedAway` has them."""
    return tuple(Run(run.session, run.spans) for run in line)


def with_others(turned_away: tuple[TurnedAway, ...], more: TurnedAway) -> tuple[TurnedAway, ...]:
    """All of them, with one line for each reason."""
    if not more.line:
        return turned_away
    line = next((away.line for away in turned_away if away[:2] == more[:2]), ())
    for run in more.line:
        line = join_run(line, run)
    return (*(away for away in turned_away if away[:2] != more[:2]), more._replace(line=line))


# How it is stored

ROW = '{"closed":{'
"""The beginning of the row. No condition's row begins so: what it has behind the name is a list."""
_IS_CLOSING = shapes.row(shapes.maybe(shapes.text), shapes.session, shapes.moment)
_IS_AWAY = shapes.each(
    shapes.row(shapes.text, shapes.maybe(shapes.text), shapes.some(shapes.row(shapes.session, shapes.spans)))
)


def row_of(closings: Mapping[str, Closing], turned_away: tuple[TurnedAway, ...]) -> str:
    away = [(what, reason, [run[:2] for run in line]) for what, reason, line in turned_away]
    return ENCODER.encode({"closed": {"is": closings, "away": away}})


def from_row(row: str) -> tuple[dict[str, Closing], tuple[TurnedAway, ...]] | None:
    """What a row says; None if it is not one of holdfast's."""
    document = document_of(row)
    closed = document.get("closed") if isinstance(document, dict) and len(document) == 1 else None
    if type(closed) is not dict or closed.keys() != {"is", "away"}:
        return None
    closings, away = closed["is"], closed["away"]
    if type(closings) is not dict or not all(map(_IS_CLOSING, closings.values())) or not _IS_AWAY(away):
        return None
    return (
        {what: Closing(*closing) for what, closing in closings.items()},
        tuple(
            TurnedAway(what, reason, tuple(Run(session, tuple(spans)) for session, spans in line))
            for what, reason, line in away
        ),
    )
