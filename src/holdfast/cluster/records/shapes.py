"""The shapes of what a stored record has in each place. A value of another shape was not written by holdfast. Pure.

A shape is a function that tells whether a value that was read from JSON has it. Each change of a record calls them, so
the shapes that a line or an answer has many of are written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import lt
from typing import Any

Shape = Callable[[object], bool]

YEAR_10000 = 253402300800
"""In seconds since 1970. Python's dates end there."""
LONGEST_NUMBER = 4000
"""Digits. Python refuses to read longer numbers."""
_LARGEST = 10**LONGEST_NUMBER
MANY = 100_000_000
"""Tasks. No session has this many."""
FEW = 4
"""The highest number of rows of a line, or of answers, that are all read at once: then each look at them is quicker."""
BETWEEN = "\t"
"""What stands between the values in a row of a record. A session's id has none, as it is printable."""


def text(value: object) -> bool:
    return type(value) is str


def truth(value: object) -> bool:
    return type(value) is bool


def is_decimal(text: str) -> bool:
    """Whether the text is a number as Python writes it, and short enough to be read."""
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) < LONGEST_NUMBER


def number(value: object) -> bool:
    """A count, or the number of a ticket, a batch or a token."""
    return type(value) is int and 0 <= value < _LARGEST  # True is of another type


def positive(value: object) -> bool:
    """A number of permits, one or more."""
    return type(value) is int and 0 < value < _LARGEST


def some_tickets(value: object) -> bool:
    """How many tickets there are, one or more."""
    return type(value) is int and 0 < value < MANY


def moment(value: object) -> bool:
    """A time in seconds since 1970; neither NaN nor Infinity, which Python's JSON can read."""
    return isinstance(value, (int, float)) and type(value) is not bool and 0 <= value < YEAR_10000


def session(value: object) -> bool:
    """A session's id. Engines put it into the names of files and keys."""
    return type(value) is str and value.isascii() and value.isprintable()


def row(*shapes: Shape) -> Shape:
    """A list of exactly these shapes, in order."""
    how_many = len(shapes)

    def fits(value: object) -> bool:
        if type(value) is not list or len(value) != how_many:
            return False
        for shape, part in zip(shapes, value, strict=True):  # noqa: SIM110  # a generator takes twice as long
            if not shape(part):
                return False
        return True

    return fits


def each(shape: Shape) -> Shape:
    """A list of any number of values of this shape."""
    return lambda value: type(value) is list and all(map(shape, value))


def some(shape: Shape) -> Shape:
    """A list of one or more values of this shape."""
    return lambda value: type(value) is list and bool(value) and all(map(shape, value))


def by_session(shape: Shape) -> Shape:
    """Values of this shape by session."""
    return lambda value: type(value) is dict and all(map(session, value)) and all(map(shape, value.values()))


def maybe(shape: Shape) -> Shape:
    """This shape, or None."""
    return lambda value: value is None or shape(value)


def either(one: Shape, other: Shape) -> Shape:
    """One of two shapes."""
    return lambda value: one(value) or other(value)


def integer(value: object) -> bool:
    return type(value) is int


def answer(value: object) -> bool:
    """The number of a batch, and its outcomes, each followed by how many times it comes in succession."""
    if type(value) is not list or len(value) != 2:
        return False
    batch, packed = value
    return (
        number(batch)
        and type(packed) is list
        and len(packed) % 2 == 0
        and all(type(each) is int for each in packed)
        and all(0 < times < MANY for times in packed[1::2])
    )


def spans(value: object) -> bool:
    """Tickets in rising order: the first ticket of each span, and the one behind its last."""
    if type(value) is not list or not value or len(value) % 2:
        return False
    if len(value) == 2:
        first, end = value
        return type(first) is int and type(end) is int and 0 <= first < end
    return {*map(type, value)} == {int} and value[0] >= 0 and all(map(lt, value, value[1:]))


def run(value: object) -> bool:
    """A session, the spans of its tickets, and the time since which they wait."""
    return type(value) is list and len(value) == 3 and session(value[0]) and spans(value[1]) and moment(value[2])


def span(value: list[object]) -> bool:
    """A ticket; or the first of some tickets in succession, and the one behind their last."""
    if len(value) == 1:
        return number(value[0])
    if len(value) != 2:
        return False
    first, end = value
    return type(first) is int and type(end) is int and 0 <= first < end < first + MANY


_FIELDS: Mapping[str, Shape] = {
    "alive": each(session),
    "value": number,
    "ticket": number,
    "permits": positive,
    "tokens": positive,
    "elapsed": number,
}


def operations(value: object, named: Mapping[str, Any]) -> bool:
    """A row for each operation of a batch that stands behind a record.

    A row begins with the name of one of `named`. If that operation has a ticket only, the row has a span of them.
    """
    return type(value) is list and all(_operation(row, named) for row in value)


def _operation(row: object, operations: Mapping[str, Any]) -> bool:
    if type(row) is not list or not row or type(row[0]) is not str or row[0] not in operations:
        return False
    name, *values = row
    fields = operations[name]._fields
    if fields == ("ticket",):
        return span(values)
    return len(values) == len(fields) and all(_FIELDS[of](each) for of, each in zip(fields, values, strict=True))
