"""What holdfast says to its user, on stderr: stdout is CMD's."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

_LONGEST = 60
"""Characters of a name in a message."""


def complain(message: str) -> None:
    """A line."""
    if sys.stderr is not None:
        with saying():
            print(f"holdfast: {printable(' '.join(message.splitlines()))}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def saying() -> Iterator[None]:
    """For what is written to stderr. If that is full, or nobody reads it any more, it is left unsaid: nothing else may
    fail for that, and the exit code tells."""
    try:
        yield
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # else it is tried once more when the interpreter ends


def show_warnings_as_lines() -> None:
    """What the library warns of is for the user of the command as well, but not where in the code it was said."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(str(message))

    warnings.showwarning = show


def printable(text: str) -> str:
    """With what would do something to a terminal as Python writes it: others have chosen their names and reasons."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def shortened(text: str) -> str:
    """For a message."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
