"""Colours in a terminal."""

from __future__ import annotations

import os
import sys

BOLD, RED, GREEN = "1", "31", "32"


def paint(colour: str, text: str) -> str:
    """Return the text in a colour, or as it is where there is no terminal to show it."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\x1b[{colour}m{text}\x1b[0m"
    return text
