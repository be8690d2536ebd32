"""The note that an engine keeps of an eviction: a session was ended by somebody else; by whom, when, and why.

A note is stored as a text; the moment is stored beside it, by the engine's clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from .session_info import SessionInfo

KEPT = 86400.0
"""Seconds for which a note is kept."""
MOST = 1000
"""How many notes of a namespace are kept at most: the latest ones."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """A session was ended by somebody else."""

    session: SessionInfo
    """The session that was ended."""
    by: str
    """Who ended it."""
    reason: str
    """Why, in the words of that person or program; may be empty."""
    at: datetime
    """When, by the engine's clock."""
    held: tuple[str, ...]
    """The names of which the session held something."""

    def __str__(self) -> str:
        """What has happened to the session, as the end of a sentence."""
        why = f": {self.reason}" if self.reason else ""
        return f"was evicted by {self.by} at {self.at.astimezone():%Y-%m-%d %H:%M:%S}{why}"


def encode(session: SessionInfo, by: str, reason: str, held: Iterable[str]) -> str:
    """The text of a note, which has all of it but the moment."""
    who = [session.id, session.name, session.host, session.pid, session.since.timestamp(), session.command]
    return json.dumps([who, by, reason, [*held]])


def decode(text: str | bytes, at: float) -> Eviction | None:
    """Read a note back; `at` is the moment, in seconds since 1970. None if the text is not a note."""
    try:
        (id, name, host, pid, since, command), by, reason, held = json.loads(text)
        session = SessionInfo(id, name, host, pid, datetime.fromtimestamp(since, UTC), command, alive=False)
        return Eviction(session, by, reason, datetime.fromtimestamp(at, UTC), tuple(held))
    except (TypeError, ValueError, RecursionError, OverflowError, OSError):
        return None
