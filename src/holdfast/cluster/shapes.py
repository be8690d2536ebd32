"""What may stand where in a record as it is stored: what has another shape was not written by holdfast. Pure.

A shape tells whether a value has it that was read from JSON. Each change of a record asks, so they are written out
where a line or an answer may have many of them.
"""

from __future__ import annotations

from collections.abc import Callable

Shape = Callable[[object], bool]

YEAR_10000 = 253402300800
"""In seconds since 1970. What comes before is a date."""


def text(value: object) -> bool:
    return type(value) is str


def truth(value: object) -> bool:
    return type(value) is bool


def number(value: object) -> bool:
    """How many, or which ticket, batch or token."""
    return type(value) is int and value >= 0  # the type of True is another one


def moment(value: object) -> bool:
    """In seconds since 1970; neither NaN nor Infinity, which Python's JSON knows."""
    return isinstance(value, (int, float)) and type(value) is not bool and 0 <= value < YEAR_10000


def session(value: object) -> bool:
    """An id. Engines put it into the names of files and keys."""
    return type(value) is str and value.isascii() and value.isprintable()


def row(*shapes: Shape) -> Shape:
    """Exactly these, one after the other."""

    def fits(value: object) -> bool:
        return (
            type(value) is list
            and len(value) == len(shapes)
            and all(shape(part) for shape, part in zip(shapes, value, strict=True))
        )

    return fits


def each(shape: Shape) -> Shape:
    """Any number of these."""
    return lambda value: type(value) is list and all(map(shape, value))


def by_name(shape: Shape) -> Shape:
    """These, by any names."""
    return lambda value: type(value) is dict and all(map(shape, value.values()))


def by_session(shape: Shape) -> Shape:
    """These, by sessions."""
    return lambda value: type(value) is dict and all(map(session, value)) and all(map(shape, value.values()))


def maybe(shape: Shape) -> Shape:
    """This, or nothing."""
    return lambda value: value is None or shape(value)


def answer(value: object) -> bool:
    """The number of a batch, and its outcomes."""
    if type(value) is not list or len(value) != 2:
        return False
    batch, outcomes = value
    return type(batch) is int and batch >= 0 and type(outcomes) is list and all(type(each) is int for each in outcomes)


def run(value: object) -> bool:
    """A session, its first ticket of several in succession, and the one behind the last."""
    if type(value) is not list or len(value) != 3:
        return False
    who, first, end = value
    return session(who) and type(first) is int and type(end) is int and 0 <= first < end


line = each(run)


def joined(value: object) -> bool:
    """A session, a batch of it, and which of its tickets joined a line with that: of each run the first, and the one
    behind the last."""
    if type(value) is not list or len(value) != 3:
        return False
    who, batch, spans = value
    if not (session(who) and number(batch) and type(spans) is list):
        return False
    return all(type(span) is list and run([who, *span]) for span in spans)
