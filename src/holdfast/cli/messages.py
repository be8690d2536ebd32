"""Messages to the user: how they are written to stderr, as stdout belongs to CMD, and how they show names."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

_LONGEST = 60
"""Characters of a name in a message."""


def complain(message: str) -> None:
    """Print one line on stderr."""
    if sys.stderr is not None:
        with saying():
            print(f"holdfast: {printable(' '.join(message.splitlines()))}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def saying() -> Iterator[None]:
    """A context manager for writing to stderr. If stderr is full, or nobody reads it any more, the message is dropped.

    Nothing else fails because of that; the exit code still tells what happened.
    """
    try:
        yield
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # else the interpreter tries again at its end


def show_warnings_as_lines() -> None:
    """Print the library's warnings as lines: without the place in the code, which says nothing to a user.

    A coroutine that was never awaited is none of them: Ctrl-C came when it had been made and nothing ran it yet.
    """

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if not (isinstance(message, RuntimeWarning) and str(message).endswith("was never awaited")):
            complain(str(message))

    warnings.showwarning = show


def printable(text: str) -> str:
    """The text with control characters escaped as in Python: others choose names and reasons, and a terminal obeys."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def shortened(text: str) -> str:
    """The text, cut to the length that a message allows."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
