"""What the log and the hooks of the program are told of a session's life. The log is quiet unless it is read."""

from __future__ import annotations

import logging

from holdfast.cluster.errors import LeaseLost, SessionLost
from holdfast.cluster.values_in_messages import shown
from holdfast.instrumentation import installed

from .identity import Identity

log = logging.getLogger("holdfast.cluster")
log.addHandler(logging.NullHandler())  # else Python prints the warnings of a program that has set up no logging
SLOW = 1.0
"""Seconds. A change or a renewal that takes longer is logged, once for each session."""


def opened(session: Identity) -> None:
    """A session was opened for the first time."""
    installed.tell(installed.hooks, lambda hook: hook.session_opened(session.label))


def reopened(session: Identity) -> None:
    """A session has opened again after a loss."""
    log.info("%s was opened, in place of one that was lost", session)
    installed.tell(installed.hooks, lambda hook: hook.session_reopened(session.label))


def lost(session: Identity, exc: SessionLost) -> None:
    """A session that was open is lost."""
    log.warning("%s was lost: %s", session, exc)
    installed.tell(installed.hooks, lambda hook: hook.session_lost(session.label, exc))


def closed(session: Identity) -> None:
    """A session was closed."""
    installed.tell(installed.hooks, lambda hook: hook.session_closed(session.label))


def evicted(session: Identity, id: str, by: str, reason: str) -> None:
    """A session has evicted another one."""
    log.warning("%s has evicted session %s for %s: %s", session, shown(id), shown(by), shown(reason))
    installed.tell(installed.hooks, lambda hook: hook.session_evicted(id, by))


def slow(session: Identity, what: str, seconds: float) -> None:
    """A request to the engine has taken longer than `SLOW`. what: it was to do, as in "renew it"."""
    if not session.is_told_slow:
        session.is_told_slow = True
        log.warning(
            "%s has waited %.1f s for %r to %s: that is slow, or the event loop was blocked; later requests of it that "
            "take long are not told",
            session,
            seconds,
            session.bare_engine,
            what,
        )


def lease_lost(session: Identity, kind: str, name: str, why: LeaseLost) -> None:
    """A holding was lost. If its session is, the log has that already."""
    if session.over is None:
        log.warning("%s", why)
    installed.tell(installed.hooks, lambda hook: hook.lease_lost(kind, name))
