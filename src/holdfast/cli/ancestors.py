"""What the commands hold that this one was started by, at whatever distance: they wait for its end.

Each holdfast adds the id of its session to an environment variable of CMD. The ids are only where to look: what those
sessions hold says the engine. So it does not matter how a URL was written, and who was given back, evicted or lost
what it held does not count.
"""

from __future__ import annotations

import os

from holdfast.cluster import Inspection, Session

from .messages import shortened

VARIABLE = "HOLDFAST_SESSIONS"


def with_session(session: Session) -> dict[str, str]:
    """What CMD is told."""
    return {VARIABLE: " ".join([*_sessions(), session.id])}


def have_ancestors() -> bool:
    """Whether this command was started by another one of holdfast's."""
    return bool(_sessions())


def deadlock(found: Inspection) -> str | None:
    """Why nothing of it could ever be had here, if so. It counts how many permits there are now: what the command line
    says may be an older number."""
    n = found.state.get("value", 1)
    ancestors = _sessions()
    held = [holding for holding in found.holders if holding.session.id in ancestors]
    if not held or sum(holding.permits for holding in held) < n:
        return None
    who = ", ".join(dict.fromkeys(f"process {holding.session.pid}" for holding in held))
    name = shortened(found.name)
    what = f"{name!r} is" if n <= 1 else f"all {n} permits of {name!r} are"
    return (
        f"{what} held by {who}, of which this command is a part: it would wait for its own end. "
        "Use another name, or leave out the inner one"
    )


def _sessions() -> list[str]:
    return os.environ.get(VARIABLE, "").split()
