"""What holdfast says to its user, on stderr: stdout is CMD's."""

from __future__ import annotations

import sys
import warnings

_LONGEST = 60
"""Characters of a name in a message."""


def complain(message: str) -> None:
    """A line."""
    if sys.stderr is not None:
        print(f"holdfast: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)  # noqa: T201


def show_warnings_as_lines() -> None:
    """What the library warns of is for the user of the command as well, but not where in the code it was said."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(str(message))

    warnings.showwarning = show


def shortened(text: str) -> str:
    """For a message."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
