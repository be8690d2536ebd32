"""What a command has waited for in vain."""

from __future__ import annotations

import asyncio

from holdfast.cluster import Holding, Inspection, Session

from .messages import shortened

MOMENT = 0.5
"""Seconds that it may take to find out who holds it, at most: the time of --timeout has passed already."""
_MOST = 3
"""Holders that are named."""


async def what_it_waited_for(session: Session, name: str | None, seconds: float | None) -> str:
    """For the message: what was not there in time, and whose it is.

    seconds: what --timeout said.
    """
    within = "at once" if not seconds else f"within {seconds:g} s"
    if name is None:
        return f"the engine has not answered {within}"
    try:
        async with asyncio.timeout(MOMENT):
            found = await session.inspect(name)
    except Exception:  # it has timed out, and that is what is said; that nobody can say whose it is, is no news
        return f"{shortened(name)!r} was not free {within}"
    kind = found.kind.partition(" of ")[0]
    if kind == "event":
        return f"the event {shortened(name)!r} was not set {within}"
    if kind == "barrier":
        arrived, parties = found.state["arrived"], found.state["parties"]
        return f"at the barrier {shortened(name)!r} not all {parties} have come {within}; {arrived} still wait"
    return f"{shortened(name)!r} was not free {within}{_holders(found)}"


def _holders(found: Inspection) -> str:
    named = [_holder(holding) for holding in found.holders[:_MOST]]
    if not named:
        return ""
    others = len(found.holders) - len(named)
    return f"; held by {', by '.join(named)}{f', and by {others} more' if others else ''}"


def _holder(holding: Holding) -> str:
    session = holding.session
    command = f" ({shortened(what_it_runs(session.command))})" if session.command else ""
    since = "" if holding.since is None else f" since {holding.since.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{shortened(session.name)}{command}{since}"


def what_it_runs(command: str) -> str:
    """Of a command line of holdfast's CMD, of another one all."""
    return command.partition(" -- ")[2] or command
