"""Which commands this command is a part of. If one of them holds what it asks for, it would wait for its own end.

Each holdfast adds the id of its session to an environment variable of CMD. The ids only tell where to look; the engine
tells what those sessions hold. So it does not matter how a URL was written, and what a session has released or lost
does not count.
"""

from __future__ import annotations

import os

from holdfast.cluster import Inspection, Session

from .messages import shortened

VARIABLE = "HOLDFAST_SESSIONS"


def with_session(session: Session) -> dict[str, str]:
    """The environment variable for CMD, with this session added."""
    return {VARIABLE: " ".join([*_sessions(), session.id])}


def have_ancestors() -> bool:
    """Whether this command is a part of another holdfast command."""
    return bool(_sessions())


def deadlock(found: Inspection, permits: int = 1) -> str | None:
    """Why this command could never be granted so many permits; None if it could.

    What counts is how many permits there are now: the number on the command line may be an older one.
    """
    n = found.state.get("value", 1)
    ancestors = _sessions()
    held = [holding for holding in found.holders if holding.session.id in ancestors]
    taken = sum(holding.permits for holding in held)
    if not held or taken + permits <= n:
        return None
    who = ", ".join(dict.fromkeys(f"process {holding.session.pid}" for holding in held))
    name = shortened(found.name)
    share = f"all {n}" if taken >= n else f"{taken} of the {n}"
    what = f"{name!r} is" if n <= 1 else f"{share} permits of {name!r} are"
    return (
        f"{what} held by {who}, of which this command is a part: it would wait for its own end. "
        "Use another name, or leave out the inner one"
    )


def _sessions() -> list[str]:
    return os.environ.get(VARIABLE, "").split()
