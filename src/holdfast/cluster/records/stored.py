"""How a record is stored: a head of JSON, then rows: the line, the answers, its parts, and what was added. Pure.

Nothing that is read is believed before its shape was checked (`shapes.py`): another program, or another version of
holdfast, may have written it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from holdfast.cluster.errors import FormatError, NameConflict
from holdfast.cluster.values_in_messages import shortened, shown

from . import rows, shapes
from .additions import with_additions
from .json_text import EARLIER, FORMAT, document_in_first_row, quoted
from .record import Record, with_article
from .shapes import Shape

KNOWN = "lock", "semaphore", "bounded semaphore", "event", "barrier"
"""The beginnings of the kinds that this version knows. Each is that of a class in `any_kind.KINDS`, which imports this
file; a test compares the two."""
_IS_HOW_MANY = shapes.row(shapes.number, shapes.number)
_SHAPES: Mapping[str, Shape] = {
    "made_by": shapes.text,
    "changed": shapes.moment,
}
R = TypeVar("R", bound=Record)


def encode(record: Record) -> str:
    """The record as it is stored."""
    line, answers = record.line, record.answers
    fields = f"{quoted(record.made_by)},{record.changed!r},{record.state_text()}"
    how_many = f"{len(line)},{len(answers)}"
    head = f'{{"format":{FORMAT},"kind":{quoted(record.kind)},"rows":[{how_many}],"fields":[{fields}]}}'
    return "\n".join((head, *rows.of_line(line), *rows.of_answers(answers), *record.parts()))


def decode(
    text: str | None, name: str, initial: R, known: R | None = None, seen: tuple[str | None, R] | None = None
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
    return decode_document(parse(text, name), text, name, initial, known)


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


def decode_document(document: dict[str, Any], text: str, name: str, initial: R, known: R | None = None) -> R:
    """As decode(), for a text that parse() has read."""
    kind = document["kind"]
    fresh = initial if kind == initial.kind else initial.of_kind(kind)
    if fresh is None:
        fields = document.get("fields")
        made_by = shortened(str(fields[0] if type(fields) is list and fields else None))
        raise NameConflict(
            f"{shown(name)} is {with_article(kind)}, made by {made_by}, and is used here as "
            f"{with_article(initial.kind)}. Use another name; nothing was changed"
        )
    names, fits = _fields_of(type(initial))
    values: Any = document.get("fields")
    if not fits(values):
        raise not_ours(text, name)
    fields = dict(zip(names, values, strict=True))
    how_many: Any = document.get("rows")
    _, *stored = text.split("\n")
    if not _IS_HOW_MANY(how_many) or sum(how_many) > len(stored):
        raise not_ours(text, name)
    runs, end = how_many[0], sum(how_many)
    line, answers = rows.line_in(stored[:runs]), rows.answers_in(stored[runs:end])
    if line is None or answers is None:
        raise not_ours(text, name)
    made_by, changed = fields["made_by"], fields["changed"]
    record = fresh.but(made_by=made_by, changed=changed, line=line, answers=answers, **fresh.fields_from(fields))
    return record if len(stored) == end else _with_the_rest(record, stored[end:], text, name, known)


def _with_the_rest(record: R, stored: list[str], text: str, name: str, known: R | None) -> R:
    """The record with its parts, and with what was added to it. stored: the rows of both."""
    parts = [row for row in stored if row.startswith("{")]
    whole = record.with_parts(parts, known)
    if whole is not None and len(stored) > len(parts):
        whole = with_additions(whole, stored[len(parts) :])
    if whole is None:
        raise not_ours(text, name)
    return whole


@cache
def _fields_of(kind: type[Record]) -> tuple[tuple[str, ...], Shape]:
    """The names of the fields in the head of a record of this kind, and the shape of their values."""
    of_each = {**_SHAPES, **kind.SHAPES}
    return (*of_each,), shapes.row(*of_each.values())


def not_ours(text: str, name: str) -> FormatError:
    return FormatError(f"the record of {shown(name)} is not one of holdfast's: {text[:80]!r}. Nothing was changed")
