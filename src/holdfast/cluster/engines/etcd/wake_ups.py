"""How sessions wake each other: each has an inbox, a key that it watches. A wake-up is put there over the one before.

A watch tells each put, so none is missed while the watch is open, and nothing piles up. The put is a transaction within
the change's: it is made only if the session to wake is alive, and goes with its lease.

A wake-up is a list in JSON: the beginning of the incarnation, the name, and what is said. That is one of two things:

 - The messages, in a list; the text that the change has made, or null; the kind of its additions, who is told of them,
   and their count. The wake-up's revision is then the text's as well, as one transaction has put both.
 - An addition: its key, its row, and the revision at which it was made; 0: at that of the wake-up.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from functools import partial

from holdfast.cluster.engines.contract import Notice, OnGap, OnWake
from holdfast.cluster.errors import EngineError, SessionLost

from .keys import lease_of
from .knowledge import NOTHING, Knowledge, Version
from .link import Link
from .transactions import Kept, Part, exists, get, if_, put, transaction, watched
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
            await self._link.insist(partial(self._link.find, get(self._link.keys.state)))

    def send(self, session: str, name: str, said: str) -> None:
        """Send a message to a session. Never raises."""
        self._send([self._put(session, message(self._link.known, name, [said]))])

    def send_all(self, puts: Sequence[Part]) -> None:
        """Send what `of_change` has left over. Never raises."""
        for start in range(0, len(puts), _AFTERWARDS):
            self._send(puts[start : start + _AFTERWARDS])

    def of_change(self, name: str, made: Version, notices: Iterable[Notice]) -> tuple[list[Part], list[Part]]:
        """What wakes the sessions of a change: a part of its transaction, and what is to be sent afterwards."""
        is_small = len(made.text or "") <= SMALL
        messages: dict[str, list[str]] = {}
        for session, said in notices:
            if said is not None:
                messages.setdefault(session, []).append(said)
            elif is_small:
                messages.setdefault(session, [])
        sessions = [*messages]
        at_once, later = sessions[:_MOST_AT_ONCE], sessions[_MOST_AT_ONCE:]
        sent = made if is_small else NOTHING
        return (
            [self._put(session, message(self._link.known, name, messages[session], sent)) for session in at_once],
            [
                self._put(session, message(self._link.known, name, messages[session]))
                for session in later
                if messages[session]
            ],
        )

    def of_addition(self, session: str, name: str, key: bytes, row: str, is_told: Part) -> Part:
        """What tells a session of an addition, as a part of its transaction. is_told: whether it is to be told."""
        return self._put(session, _message_of(self._link.known, name, key, row, 0), is_told)

    def tell(self, stored: Version, name: str) -> None:
        """Tell the session that is to be told of the last addition to a text. Never raises."""
        _, _, row = (stored.text or "").rpartition("\n")
        self._send([self._put(stored.told, _message_of(self._link.known, name, stored.added[-1], row, stored.as_of))])

    def _put(self, session: str, said: bytes, *conditions: Part) -> Part:
        keys = self._link.keys
        return if_([exists(keys.session(session)), *conditions], [put(keys.inbox(session), said, lease_of(session))])

    def _send(self, puts: Sequence[Part]) -> None:
        async def send() -> None:
            with contextlib.suppress(EngineError):  # a wake-up is a hint
                await self._link.transact(transaction([], puts))

        if not self._link.is_closed:
            self._link.begin(partial(send))

    def _receive(self, found: Kept) -> None:
        known = self._link.known
        try:
            incarnation, name, *said = json.loads(found.value)
            if not isinstance(name, str) or incarnation != known.state.incarnation[:_INCARNATION]:
                return  # it was sent in another incarnation, whose data may be lost
            if len(said) == 3:
                key, row, revision = said
                known.note_added(name, str(key).encode(), str(row), int(revision) or found.revision)
                return
            messages, text, kind, told, count = said
            messages = [str(each) for each in messages]
            made = Version(text, found.revision, found.revision, kind=str(kind), counted=int(count), told=str(told))
        except (ValueError, TypeError):
            return  # somebody else has put it there, and the next wake-up must still be heard
        sent = text if isinstance(text, str) else None
        if sent is not None and name in known.versions:
            known.note(name, made)
        for each in messages:
            self._on_wake(name, each, sent)


def message(known: Knowledge, name: str, messages: Sequence[str], made: Version = NOTHING) -> bytes:
    """What is put in an inbox for these messages, with what a change has made."""
    said = [known.state.incarnation[:_INCARNATION], name, messages, made.text, made.kind, made.told, made.counted]
    return json.dumps(said, separators=(",", ":")).encode()


def _message_of(known: Knowledge, name: str, key: bytes, row: str, revision: int) -> bytes:
    """What is put in an inbox to tell of an addition. The keys of additions are ASCII."""
    said = [known.state.incarnation[:_INCARNATION], name, key.decode("ascii"), row, revision]
    return json.dumps(said, separators=(",", ":")).encode()
