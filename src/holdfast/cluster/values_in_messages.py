"""How messages show a value that a user passed or a record has: shortened, and never the whole of an object."""

from __future__ import annotations

LONGEST = 60
"""The most characters of a text that a message repeats."""


def shown(text: object) -> str:
    """Return how messages show a value: a short text in quotes, a number, or only the type of anything else."""
    if isinstance(text, (float, type(None))) or (isinstance(text, int) and text.bit_length() <= LONGEST):
        return repr(text)
    if not isinstance(text, (str, bytes)):
        return f"a {type(text).__name__}"
    return repr(shortened(text) if isinstance(text, str) else text[:LONGEST])


def shortened(text: str) -> str:
    """Return a text without its middle, if it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"
