"""How sessions wake each other: by notifications, on a channel for each session.

A channel has a random name, which those know who may read the table of the sessions. So nobody else can wake a session.

A notification is ASCII. It has a head: in JSON, the beginning of the server's incarnation, the name, and what is said
about it. Behind the head there may be one of two things:

 - A text: an equals sign, its revision, and the text in the next line.
 - An addition: a plus, the number of the revision, the length of the text in bytes, and the row that is now behind it.

Equal notifications of one transaction are merged by the server, which does no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.cluster.engines.comparing import IN_TEXT
from holdfast.cluster.engines.contract import OnWake
from holdfast.cluster.engines.knowledge import Knowledge, Version

from .failures import NotTold
from .link import Link

if TYPE_CHECKING:
    import asyncio

    from asyncpg import Connection

SMALL = 6000
"""Characters of a text that is sent along with a wake-up, at most. A notification has room for that and a head."""
_INCARNATION = 8
"""So many characters of an incarnation tell it from others: 32 bits, which are drawn anew for each."""
_TELL = "SELECT SCHEMA.tell($1, $2, '', '')"
_EMPTY_QUEUE = "SELECT pg_notification_queue_usage()"
"""Besides what it returns, it takes what everybody has read out of the queue. Otherwise a full one may stay full."""
_ADDED = re.compile(r"\+(\d{1,18}) (\d{1,18})(\n.*)", re.DOTALL)
_TEXT = re.compile(r"=(\d{1,18}\.[!-~]+)\n(.*)", re.DOTALL)
_json = json.JSONDecoder()


class WakeUps:
    """The wake-ups that one session sends and receives."""

    def __init__(self, link: Link, channel: str, known: Knowledge, on_wake: OnWake) -> None:
        self._link = link
        self._channel = channel
        self._known = known
        self._on_wake = on_wake
        self.on_probe: Callable[[], None] = lambda: None
        """Called with a notification that is none of ours, as one that tries whether notifications arrive."""

    async def listen(self, connection: Connection) -> None:
        """On a new connection. Raises what asyncpg raises."""
        await connection.add_listener(self._channel, self._received)

    async def stop_listening(self, connection: Connection) -> None:
        """On a connection that others will use. Raises what asyncpg raises."""
        await connection.remove_listener(self._channel, self._received)

    def send(self, session: str, name: str, message: str) -> None:
        """Send a message to a session. Never raises."""
        if not self._link.is_closed and self._link.is_connected:
            asked = self._link.put(lambda: (_TELL, session, self.head(name, message)))
            asked.add_done_callback(self._sent)

    def _sent(self, asked: asyncio.Future[Any]) -> None:
        if not asked.cancelled() and isinstance(asked.exception(), NotTold):
            self.make_room()

    def make_room(self) -> None:
        """The queue of notifications is full."""
        if not self._link.is_closed:
            self._link.put(lambda: (_EMPTY_QUEUE,))

    def head(self, name: str, message: str) -> str:
        """What a notification begins with."""
        return json.dumps([self._known.incarnation[:_INCARNATION], name, message])

    def _received(self, connection: Connection, pid: int, channel: str, payload: object) -> None:
        if self._link.is_closed:
            return
        try:
            (incarnation, name, message), end = _json.raw_decode(str(payload))
        except (ValueError, TypeError, RecursionError):
            self.on_probe()
            return
        if incarnation != self._known.incarnation[:_INCARNATION] or not isinstance(name, str):
            return  # it was sent in another incarnation of the server, whose data may be lost
        rest = str(payload)[end:]
        known, text = self._known.versions.get(name), None
        if added := _ADDED.fullmatch(rest):
            # If the number is that of another revision, the next change will find another text, and nothing else.
            if known is not None and (int(added[1]), int(added[2])) == (known.number, known.length):
                self._known.note(name, known.with_added(added[3].encode()))
        elif sent := _TEXT.fullmatch(rest):
            # Whether it is open to additions is not said, as who is woken will change it.
            text = sent[2]
            self._known.note(name, Version(sent[1], text))
        if message == IN_TEXT:
            self._on_wake(name, "", text)
        elif message:
            self._on_wake(name, str(message))


def tail(revision: str, text: str) -> str | None:
    """What a notification has behind its head if a text comes along; None if that cannot be."""
    if len(text) > SMALL or not text.isascii() or "\0" in text:
        return None
    return f"={revision}\n{text}"
