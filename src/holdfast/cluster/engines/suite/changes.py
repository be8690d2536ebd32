"""The changes that the tests make to a text."""

from __future__ import annotations

import time

from holdfast.cluster.engines.contract import Addition, Change, Stored


def put(text: str) -> Change[str | None]:
    """Return a change that stores the text, and whose result is the text that was there."""
    return lambda stored: (text, stored.text)


def append(mark: str) -> Change[str]:
    """Return a change that does what an addition of this mark does: it adds the mark unless the text has it.

    Its result is the new text.
    """

    def change(stored: Stored) -> tuple[str, str]:
        text = marks(stored.text)
        text = text if mark in text else text + mark
        return text, text

    return change


def addition(kind: str, mark: str, is_better: bool = False, is_known: bool = False) -> Addition:
    """Return an addition that marks() reads as this mark. A tab tells it from the session's id."""
    return Addition(kind, f"\t{mark}", is_better, is_known)


def marks(text: str | None) -> str:
    """Return a text with the additions to it, as if it had been written in one."""
    first, *rows = (text or "").split("\n")
    times, added = zip(*(row.split(" ", 1) for row in rows), strict=True) if rows else ((), ())
    now = time.time() * 1_000_000
    assert all(now - 3.6e9 < int(moment) < now + 3.6e9 for moment in times), f"not microseconds since 1970: {times}"
    sessions, found = zip(*(row.split("\t", 1) for row in added), strict=True) if rows else ((), ())
    assert all(sessions), f"not the sessions that have added: {sessions}"
    return first + "".join(found)


def count(stored: Stored) -> tuple[str, int]:
    """The change that adds 1 to the number in the text. Its result is the sum."""
    number = int(stored.text or 0) + 1
    return str(number), number
