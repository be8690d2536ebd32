"""The JSON in which records are stored. Pure."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

EARLIER = 1, 2, 3
"""The versions of what earlier versions of holdfast have stored."""
FORMAT = 4
"""The version of what is stored: of the records and of what stands behind them."""
ENCODER = json.JSONEncoder(separators=(",", ":"))
_DECODER = json.JSONDecoder()
_REMEMBERED = 1024


@lru_cache(_REMEMBERED)
def quoted(text: str) -> str:
    """The JSON of a text that is needed again and again, as is the name of a kind or of a session."""
    return ENCODER.encode(text)


def document_of(text: str) -> Any:
    """The value that a text stands for; None also if the text is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def document_in_first_row(text: str) -> Any:
    """The value that the first row of a text stands for; None also if that is no JSON, or has blanks around it.

    It takes half as long as document_of(), which also looks for blanks.
    """
    try:
        document, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    newline = text.find("\n")
    return document if end == (len(text) if newline < 0 else newline) else None
