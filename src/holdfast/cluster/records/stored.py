"""How a record is stored: a head of JSON, then rows: the answers, the line, its state, its parts, and what was added.

The head says what stays as it is while the record lives. The state, which is JSON behind a tab, has what each change
changes, and how many rows of the line and of answers stand before it. If anything is closed, a row says so behind the
state. What changes most stands last, so an engine that sends only what a change has changed sends little. Pure.

Nothing that is read is believed before its shape was checked (`shapes.py`): another program, or another version of
holdfast, may have written it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar

from holdfast.cluster.errors import FormatError, NameConflict
from holdfast.cluster.values_in_messages import shortened, shown

from . import shapes
from .additions import with_additions
from .answers import answers_in
from .answers import text_of as rows_of_answers
from .closing import ROW, from_row, row_of
from .json_text import EARLIER, ENCODER, FORMAT, document_in_first_row
from .record import Record, with_article
from .rows import line_in
from .rows import text_of as rows_of_line
from .shapes import Shape

KNOWN = "lock", "semaphore", "bounded semaphore", "event", "barrier", "reader-writer lock", "rate limiter"
"""The beginnings of the kinds that this version knows. Each is that of a class in `any_kind.KINDS`, which imports this
file; a test compares the two."""
_SHAPES: Mapping[str, Shape] = {"changed": shapes.moment}
_STATE = "\t["
"""The beginning of the row of the state, and of no other: the others begin with a session's id, JSON, or a number."""
STEP = 512
"""Characters. The state of a record that is longer ends with blanks, with which the length up to there is a multiple of
this. So the length seldom changes, and SQLite writes over the pages on which the text stands. If it changes, SQLite
gives these pages up and takes others, and has twice as many to write."""
R = TypeVar("R", bound=Record)


def encode(record: Record) -> str:
    """The record as it is stored."""
    line, answers = record.line, record.answers
    rows = f"{rows_of_answers(answers)}{rows_of_line(line)}" if line else rows_of_answers(answers)
    state = f"{len(line)},{len(answers)},{record.changed!r},{record.state_text()}"
    text = f"{_head_of(record)}{rows}\n{_STATE}{state}]"
    if len(text) > STEP:
        text = f"{text[:-1]}{' ' * (-len(text) % STEP)}]"
    if record.closings or record.turned_away:
        text += f"\n{row_of(record.closings, record.turned_away)}"
    parts = record.parts()
    return "\n".join((text, *parts)) if parts else text


def _head_of(record: Record) -> str:
    return _head(record.kind, record.made_by, record.base())


@lru_cache(1024)
def _head(kind: str, made_by: str, base: int) -> str:
    return ENCODER.encode({"format": FORMAT, "kind": kind, "by": made_by, **({"from": base} if base else {})})


def decode(
    text: str | None,
    name: str,
    initial: R,
    known: R | None = None,
    seen: tuple[str | None, R] | None = None,
) -> R:
    """A stored record; `initial` if there is none. It may have another value than `initial`: see `step.agreed()`.

    known: a record that may have some of the same parts. seen: a text and its record; the text may have grown since.

    Raises FormatError if a newer version wrote the text, or it is no record; NameConflict if the record is of another
    kind than `initial`.
    """
    if text is None:
        return initial
    if seen is not None and seen[0] is not None and text.startswith(seen[0]):
        nothing, *more = text[len(seen[0]) :].split("\n")
        if not nothing and not any(row.startswith("{") for row in more):
            record = with_additions(seen[1], more) if more else seen[1]
            if record is None:
                raise not_ours(text, name)
            return record
    if known is not None and text.startswith(f"{_head_of(known)}\n"):
        document = {"kind": known.kind, "by": known.made_by, "from": known.base()}
    else:
        document = parse(text, name)
    return decode_document(document, text, name, initial, known)


def parse(text: str, name: str) -> dict[str, Any]:
    """The first row of a stored record, without its parts and additions; see decode().

    Raises FormatError if this version does not know them.
    """
    document = document_in_first_row(text)
    if not isinstance(document, dict):
        raise not_ours(text, name)
    kind = document.get("kind")
    if document.get("format") in EARLIER:
        raise FormatError(
            f"the record of {shown(name)} has the format {document['format']}, of an earlier version of holdfast (here "
            f"it is {FORMAT}). End the programs with that version, then remove the record, or use another namespace; "
            "nothing was changed"
        )
    if document.get("format") != FORMAT or not isinstance(kind, str) or not kind.startswith(KNOWN):
        raise FormatError(
            f"the record of {shown(name)} has the format {document.get('format')!r} and the kind {kind!r}, which this "
            f"version of holdfast does not know (format {FORMAT}). Upgrade holdfast here; nothing was changed"
        )
    return document


def decode_document(
    document: Mapping[str, Any],
    text: str,
    name: str,
    initial: R,
    known: R | None = None,
) -> R:
    """As decode(), for a text that parse() has read."""
    kind = document["kind"]
    fresh = initial if kind == initial.kind else initial.of_kind(kind)
    if fresh is None:
        maker = shortened(str(document.get("by")))
        raise NameConflict(
            f"{shown(name)} is {with_article(kind)}, made by {maker}, and is used here as "
            f"{with_article(initial.kind)}. Use another name; nothing was changed"
        )
    made_by: Any = document.get("by")
    base = document.get("from", 0)
    end_of_head = text.find("\n")
    if end_of_head < 0:
        raise not_ours(text, name)
    answers, end_of_answers = answers_in(text, end_of_head)
    end_of_line = text.find(f"\n{_STATE}", end_of_answers)
    if not (end_of_line >= 0 and shapes.text(made_by) and shapes.number(base)):
        raise not_ours(text, name)
    names, fits = _fields_of(type(initial))
    state_row, *rest = text[end_of_line + len(_STATE) + 1 :].split("\n")
    state: Any = document_in_first_row(_STATE[1:] + state_row)
    line = line_in(text[end_of_answers:end_of_line], initial.MOST_ASKED)
    if not fits(state) or line is None or state[:2] != [len(line), len(answers)]:
        raise not_ours(text, name)
    if text.count("\n", end_of_head, end_of_answers) != len(answers):  # there are two of one session
        raise not_ours(text, name)
    values = state[2:]
    fields = dict(zip(names, values, strict=True))
    fields["from"], changed = base, fields["changed"]
    record = fresh.but(made_by=made_by, changed=changed, line=line, answers=answers, **fresh.fields_from(fields))
    return _with_the_rest(record, rest, text, name, known) if rest else record


def _with_the_rest(record: R, stored: list[str], text: str, name: str, known: R | None) -> R:
    """The record with its parts, and with what was added to it. stored: the rows of both."""
    parts = [row for row in stored if row.startswith("{")]
    added = stored[len(parts) :]
    if parts and parts[0].startswith(ROW):
        closed = from_row(parts.pop(0))
        if closed is None:
            raise not_ours(text, name)
        record = record.but(closings=closed[0], turned_away=closed[1])
    whole = record.with_parts(parts, known)
    if whole is not None and added:
        whole = with_additions(whole, added)
    if whole is None:
        raise not_ours(text, name)
    return whole


@cache
def _fields_of(kind: type[Record]) -> tuple[tuple[str, ...], Shape]:
    """The names of the fields in the state of a record of this kind; and the shape of the state, which begins with how
    many rows of the line and of answers there are."""
    of_each = {**_SHAPES, **kind.SHAPES}
    return (*of_each,), shapes.row(shapes.number, shapes.number, *of_each.values())


def not_ours(text: str, name: str) -> FormatError:
    return FormatError(f"the record of {shown(name)} is not one of holdfast's: {text[:80]!r}. Nothing was changed")
