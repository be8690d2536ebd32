"""The JSON in which records are stored. Pure."""

from __future__ import annotations

import json
from typing import Any

EARLIER = 1, 2, 3
"""The versions of what earlier versions of holdfast have stored."""
FORMAT = 4
"""The version of what is stored: of the records and of what stands behind them."""
ENCODER = json.JSONEncoder(separators=(",", ":"))


def document_of(text: str) -> Any:
    """The value that a text stands for; None also if the text is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
