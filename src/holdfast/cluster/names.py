"""Which texts can be the name of a primitive, a session or a namespace."""

from __future__ import annotations

from .values_in_messages import shown

LONGEST_NAME = 200
"""Characters."""


def checked(name: str, what: str = "a name") -> str:
    """Return the name. Raises ValueError if it cannot be one."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        length = f", which has {len(name)}" if isinstance(name, str) else ""
        raise ValueError(f"{what} is a text of 1 to {LONGEST_NAME} characters, not {shown(name)}{length}")
    check_encoding(name, what)
    return name


def check_encoding(text: str, what: str) -> None:
    """Raises ValueError if the text has no encoding in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"{what} must have an encoding in UTF-8, and {shown(text)} has none") from exc
