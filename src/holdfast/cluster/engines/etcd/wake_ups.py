"""How sessions wake each other: each has an inbox, a key that it watches. A wake-up is put there over the one before.

A watch tells each put, so none is missed while the watch is open, and nothing piles up. The put is a transaction within
the change's: it is made only if the session to wake is alive, and goes with its lease.

A wake-up is a list in JSON: the beginning of the incarnation, the name, the messages, the text that the change has
made, or null, and the kind of the additions that this text may have. The wake-up's revision is then the text's as well,
as one transaction has put both.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from functools import partial

from holdfast.cluster.engines.contract import Notice, OnGap, OnWake
from holdfast.cluster.errors import EngineError, SessionLost

from .keys import lease_of
from .knowledge import Version
from .link import Link
from .transactions import Kept, Part, exists, if_, put, transaction, watched
from .watches import Watch

SMALL = 8192
"""Characters of a text that is sent along with a wake-up, at most."""
_MOST_AT_ONCE = 16
"""Sessions that are woken in the same transaction as the change, at most. The others are woken right after it."""
_AFTERWARDS = 50
"""Sessions that are woken in one transaction then."""
_INCARNATION = 8
"""So many characters of an incarnation tell it from others."""


class WakeUps:
    """The wake-ups that one session sends and receives."""

    def __init__(self, link: Link, on_wake: OnWake, on_gap: OnGap) -> None:
        self._link = link
        self._on_wake = on_wake
        inbox = watched(link.keys.inbox(link.session), False, "NODELETE")
        self._on_gap = on_gap
        self._watch = Watch(link, inbox, self._has_begun, self._receive)

    async def begun(self) -> None:
        """Wait until the session can be woken. Raises EngineError if it cannot."""
        await self._watch.begun()

    def _has_begun(self, is_first: bool) -> None:
        """Where the watch has ended, the server may have: then its data may have gone back, which a request finds."""
        if not is_first:
            self._on_gap(False)
            self._link.begin(self._look_around)

    async def _look_around(self) -> None:
        with contextlib.suppress(EngineError, SessionLost):  # then the next request finds it
            await self._link.insist(partial(self._link.transact, transaction([], [])))

    def send(self, session: str, name: str, message: str) -> None:
        """Send a message to a session. Never raises."""
        self._send([self._put(session, name, [message])])

    def send_all(self, puts: Sequence[Part]) -> None:
        """Send what `of_change` has left over. Never raises."""
        for start in range(0, len(puts), _AFTERWARDS):
            self._send(puts[start : start + _AFTERWARDS])

    def of_change(self, name: str, text: str, kind: str, notices: Iterable[Notice]) -> tuple[list[Part], list[Part]]:
        """What wakes the sessions of a change: a part of its transaction, and what is to be sent afterwards.

        kind: of the additions that the text may have.
        """
        is_small = len(text) <= SMALL
        messages: dict[str, list[str]] = {}
        for session, message in notices:
            if message is not None:
                messages.setdefault(session, []).append(message)
            elif is_small:
                messages.setdefault(session, [])
        sessions = [*messages]
        at_once, later = sessions[:_MOST_AT_ONCE], sessions[_MOST_AT_ONCE:]
        sent = text if is_small else None
        return (
            [self._put(session, name, messages[session], sent, kind) for session in at_once],
            [self._put(session, name, messages[session]) for session in later if messages[session]],
        )

    def _put(self, session: str, name: str, messages: Sequence[str], text: str | None = None, kind: str = "-") -> Part:
        incarnation = self._link.known.state.incarnation[:_INCARNATION]
        value = json.dumps([incarnation, name, messages, text, kind], separators=(",", ":")).encode()
        keys = self._link.keys
        return if_([exists(keys.session(session))], [put(keys.inbox(session), value, lease_of(session))])

    def _send(self, puts: Sequence[Part]) -> None:
        async def send() -> None:
            with contextlib.suppress(EngineError):  # a wake-up is a hint
                await self._link.transact(transaction([], puts))

        if not self._link.is_closed:
            self._link.begin(partial(send))

    def _receive(self, found: Kept) -> None:
        try:
            incarnation, name, messages, text, kind = json.loads(found.value)
            said = [str(message) for message in messages]
        except (ValueError, TypeError):
            return  # somebody else has put it there, and the next wake-up must still be heard
        known = self._link.known
        if not isinstance(name, str) or incarnation != known.state.incarnation[:_INCARNATION]:
            return  # it was sent in another incarnation, whose data may be lost
        sent = text if isinstance(text, str) else None
        if sent is not None and name in known.versions:
            known.note(name, Version(sent, found.revision, found.revision, kind=str(kind)))
        for message in said:
            self._on_wake(name, message, sent)
