"""What an engine keeps of a session that somebody has ended: who, when and why. As a text, besides the moment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from .contract import SessionInfo

KEPT = 86400.0
"""Seconds."""
MOST = 1000
"""So many of a namespace are kept, the latest."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """That a session was ended by another one."""

    session: SessionInfo
    """Who it was."""
    by: str
    """Who has ended it."""
    reason: str
    """Why, in the words of that; perhaps empty."""
    at: datetime
    """When, by the engine's clock."""
    held: tuple[str, ...]
    """Names of which it held something."""

    def __str__(self) -> str:
        """What has happened to the session, as the end of a sentence."""
        why = f": {self.reason}" if self.reason else ""
        return f"was evicted by {self.by} at {self.at.astimezone():%Y-%m-%d %H:%M:%S}{why}"


def encode(session: SessionInfo, by: str, reason: str, held: Iterable[str]) -> str:
    """All of it but the moment."""
    who = [session.id, session.name, session.host, session.pid, session.since.timestamp(), session.command]
    return json.dumps([who, by, reason, [*held]])


def decode(text: str | bytes, at: float) -> Eviction | None:
    """The inverse, with the moment in seconds since 1970; None for what is not one of these texts."""
    try:
        (id, name, host, pid, since, command), by, reason, held = json.loads(text)
        session = SessionInfo(id, name, host, pid, datetime.fromtimestamp(since, UTC), command, alive=False)
        return Eviction(session, by, reason, datetime.fromtimestamp(at, UTC), tuple(held))
    except (TypeError, ValueError, RecursionError, OverflowError, OSError):
        return None
