"""The message for a command that has waited in vain: what it waited for, and the holders."""

from __future__ import annotations

import asyncio

from holdfast.cluster import Holding, Inspection, Session, SessionInfo

from .messages import shortened

MOMENT = 0.5
"""The most seconds that finding the holders may take: the time of --timeout has passed already."""
_MOST = 3
"""How many holders are named, at most."""


async def what_it_waited_for(session: Session, kind: str, name: str, seconds: float | None) -> str:
    """What was not there in time, and its holders.

    seconds: what --timeout said.
    """
    within = "at once" if not seconds else f"within {seconds:g} s"
    match kind:
        case "event":
            return f"the event {shortened(name)!r} was not set {within}"
        case "barrier":
            return f"not all have come to the barrier {shortened(name)!r} {within}"
        case _:
            return f"{shortened(name)!r} was not free {within}{_holders(await _find(session, name))}"


async def _find(session: Session, name: str) -> Inspection | None:
    try:
        async with asyncio.timeout(MOMENT):
            return await session.inspect(name)
    except Exception:  # the message is about the time that has passed; without an answer it does not name the holders
        return None


def _holders(found: Inspection | None) -> str:
    if found is None:
        return ""
    named = [_holder(holding) for holding in found.holders[:_MOST]]
    if not named:
        return ""
    others = len(found.holders) - len(named)
    return f"; held by {', by '.join(named)}{f', and by {others} more' if others else ''}"


def _holder(holding: Holding) -> str:
    since = "" if holding.since is None else f" since {holding.since.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{who_it_is(holding.session)}{since}"


def who_it_is(session: SessionInfo) -> str:
    """A session's name and its command, for a message."""
    command = f" ({shortened(what_it_runs(session.command))})" if session.command else ""
    return f"{shortened(session.name)}{command}"


def what_it_runs(command: str) -> str:
    """CMD, if this is a command line of holdfast; else the whole command line."""
    return command.partition(" -- ")[2] or command
