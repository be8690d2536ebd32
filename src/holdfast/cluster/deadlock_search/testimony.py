"""What a session says of its tasks and threads that hold something, and how that is sent. Pure.

A session may be asked by any other one, so what comes is checked before it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from holdfast.cluster.records import shapes

_PLACE = shapes.maybe(shapes.row(shapes.text, shapes.number, shapes.text))
_TICKET = shapes.row(shapes.session, shapes.text, shapes.number)
_HELD = shapes.row(shapes.session, shapes.text, shapes.number, shapes.positive, shapes.number, _PLACE)
_STATEMENTS = shapes.each(
    shapes.row(
        shapes.text,
        shapes.text,
        _PLACE,
        shapes.maybe(_TICKET),
        shapes.each(shapes.text),
        shapes.truth,
        shapes.each(_HELD),
    )
)
_TICKETS = shapes.each(shapes.row(shapes.text, shapes.number))


class Spot(NamedTuple):
    """A line of a program; see `holdfast.debug.Place`."""

    file: str
    line: int
    function: str


class Ticket(NamedTuple):
    """What somebody waits with. No other wait ever has the same."""

    session: str
    name: str
    number: int


class Held(NamedTuple):
    """A grant, whose `async with` or `with` body its holder is in."""

    session: str
    name: str
    token: int
    permits: int
    number: int
    """It tells the grant from others with the same token, as readers have."""
    place: Spot | None


class Statement(NamedTuple):
    """What one task or thread waits for and holds at one moment."""

    key: str
    """It tells the task or thread from all others, wherever they run."""
    name: str
    """As of `DeadlockStep`."""
    place: Spot | None
    """Where it waits."""
    ticket: Ticket | None
    """What it waits with."""
    awaited: tuple[str, ...]
    """The keys of the tasks whose end it waits for, if it has no ticket."""
    has_timeout: bool
    """Whether its wait ends by itself."""
    held: tuple[Held, ...]


class Question(NamedTuple):
    """What a session is asked: of all that hold one of these names, and of those that wait with these tickets."""

    names: tuple[str, ...]
    tickets: tuple[tuple[str, int], ...]
    """Tickets of the session that is asked, each with its name."""

    def encode(self) -> str:
        """In JSON, ASCII."""
        return json.dumps([self.names, self.tickets], separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Question | None:
        """The inverse of encode(). None if the text is no question."""
        match _document(text):
            case [list(names), list(tickets)] if all(map(shapes.text, names)) and _TICKETS(tickets):
                return cls((*names,), tuple((name, number) for name, number in tickets))
        return None


def encode(statements: Iterable[Statement]) -> str:
    """Statements in JSON, ASCII."""
    return json.dumps([*statements], separators=(",", ":"))


def decode(text: str) -> list[Statement] | None:
    """The inverse of encode(). None if the text has no statements."""
    document = _document(text)
    if not _STATEMENTS(document):
        return None
    assert isinstance(document, list)
    return [
        Statement(
            key,
            name,
            _spot(place),
            None if ticket is None else Ticket(*ticket),
            (*awaited,),
            has_timeout,
            tuple(Held(*each)._replace(place=_spot(each[5])) for each in held),
        )
        for key, name, place, ticket, awaited, has_timeout, held in document
    ]


def _document(text: str) -> object:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document


def _spot(place: list[object] | None) -> Spot | None:
    return None if place is None else Spot(*place)  # type: ignore[arg-type]
