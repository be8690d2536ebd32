"""What an engine keeps of each session, so that others can see who holds a name: its name, its process, its age."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from holdfast.cluster.command_line import command_line
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


def encode(label: str, since: float) -> str:
    """What a server keeps of a session of this process, in JSON. since: in seconds since 1970."""
    return json.dumps(
        {
            "name": label,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": since,
            "command": command_line(),
        }
    )


def decode(session: str, row: bytes) -> SessionInfo:
    """Read back what encode() has made, of a session that is alive. Somebody else may have written it.

    Raises FormatError if so.
    """
    try:
        who = json.loads(row)
        name, host, pid, since, command = (who[each] for each in ("name", "host", "pid", "since", "command"))
    except (KeyError, TypeError, ValueError, RecursionError):
        name = host = pid = since = command = None
    return SessionInfo.read(session, name, host, pid, since, command, alive=True)
