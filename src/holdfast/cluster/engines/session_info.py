"""What an engine keeps of each session, so that others can see who holds a name: its name, its process, its age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from holdfast.cluster.errors import FormatError


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session, as others see it."""

    id: str
    name: str
    """The session's `connect(name=)`; by default its host and pid."""
    host: str
    pid: int
    since: datetime
    """When the session was opened."""
    command: str = ""
    """The first 200 characters of its process's command line, without the passwords in URLs."""
    alive: bool = True
    """Whether the session was alive when the engine was asked."""
    stopped: bool = False
    """Whether its process was stopped at that time, as by Ctrl-Z, as far as this machine can tell."""

    @classmethod
    def read(cls, id: str, name: object, host: object, pid: Any, since: Any, command: object, alive: bool) -> Self:
        """Check what an engine has stored.

        Raises FormatError if it was not written by holdfast.
        """
        try:
            moment = datetime.fromtimestamp(since, UTC)
            return cls(id, str(name), str(host), int(pid), moment, str(command), alive)
        except (TypeError, ValueError, OverflowError, OSError) as exc:
            raise FormatError(f"the record of session {id} is not one of holdfast's. Nothing was changed") from exc
