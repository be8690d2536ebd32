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
    polls: bool = False
    """Whether it is told of nothing and looks again and again instead, as with `?poll=`. It answers no
    `find_deadlocks()` of another session."""

    @classmethod
    def read(
        cls,
        id: str,
        name: object,
        host: object,
        pid: Any,
        since: Any,
        command: object,
        alive: bool,
        polls: bool = False,
    ) -> Self:
        """Check what an engine has stored.

        Raises FormatError if it was not written by holdfast.
        """
        try:
            moment = datetime.fromtimestamp(since, UTC)
            return cls(id, str(name), str(host), int(pid), moment, str(command), alive, polls=polls)
        except (TypeError, ValueError, OverflowError, OSError) as exc:
            raise FormatError(f"the record of session {id} is not one of holdfast's. Nothing was changed") from exc


def describe_this(name: str, since: float, polls: bool = False) -> str:
    """What an engine keeps of a session of this process, as `described()` reads it back. since: seconds since 1970."""
    here = {"host": socket.gethostname(), "pid": os.getpid(), "command": command_line()}
    return json.dumps({"name": name, "since": since, **here, **({"polls": True} if polls else {})})


def described(session: str, kept: bytes, alive: bool) -> SessionInfo:
    """Read what `describe_this()` has made.

    Raises FormatError if it was not written by holdfast.
    """
    try:
        who = json.loads(kept)
        name, host, pid, since, command = (who[each] for each in ("name", "host", "pid", "since", "command"))
        polls = who.get("polls") is True
    except (KeyError, TypeError, ValueError, RecursionError):
        name = host = pid = since = command = None
        polls = False
    return SessionInfo.read(session, name, host, pid, since, command, alive, polls)
