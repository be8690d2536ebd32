"""How sessions wake each other: by messages that the server publishes, on a channel for each session.

A message has a head: the beginning of the server's incarnation, the name, and what is said about it. The last two have
their length in bytes and a space in front. Behind the head there may be one of two things:

 - A text: its revision; the length of its first row, and the beginning of the digest of that; perhaps a tilde; and the
   other rows. The first row stays the same for long, so who is woken knows it. With a tilde, \\1 stands for the id of
   who is woken.
 - An addition: a plus, the number of the revision, the length of the text in bytes, and the row that is now behind it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha1

from redis.exceptions import NoPermissionError, RedisError

from holdfast.cluster.engines.comparing import IN_TEXT
from holdfast.cluster.engines.contract import OnWake
from holdfast.cluster.engines.far_link import PAUSE
from holdfast.cluster.engines.knowledge import Knowledge, Version
from holdfast.cluster.errors import EngineError

from .connection import Channel
from .keys import Keys
from .link import Link
from .scripts import INCARNATION

_LENGTH = re.compile(rb"(\d{1,9}) ")
_ADDED = re.compile(rb"\+(\d{1,18}) (\d{1,18})(\n.*)", re.DOTALL)
_TEXT = re.compile(rb"(\d{1,18}\.[!-~]+) (\d{1,18}) ([0-9a-f]{8})(~?)(.*)", re.DOTALL)


class WakeUps:
    """The wake-ups that one session sends and receives."""

    def __init__(
        self, link: Link, keys: Keys, known: Knowledge, on_wake: OnWake, on_reconnect: Callable[[], None]
    ) -> None:
        """on_reconnect: called when wake-ups may have been missed."""
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._keys = keys
        self._known = known
        self._on_wake = on_wake
        self._on_reconnect = on_reconnect
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._pause = PAUSE[0]  # until the next attempt to listen
        self._begin_to_listen()

    def send(self, session: str, name: str, message: str) -> None:
        """Send a message to a session. Never raises."""
        if self._link.requests is not None and not self._link.is_closed:
            self._link.requests.request("PUBLISH", self._keys.channel(session), self.packet(name, message))

    def packet(self, name: str, message: str) -> bytes:
        """A message without a text. The scripts make the others."""
        parts = name.encode(), message.encode(errors="replace")
        said = b"".join([b"%d %b" % (len(each), each) for each in parts])
        return self._known.incarnation[:INCARNATION].encode() + b" " + said

    async def subscribed(self) -> None:
        """Wait until the session can be woken for the first time. Raises EngineError if it cannot."""
        _, late = await asyncio.wait(
            [self._subscribed, self._listening], timeout=self._link.limit(), return_when=asyncio.FIRST_COMPLETED
        )
        if self._listening.done():
            self._listening.result()
        elif self._subscribed in late:
            raise EngineError(f"{self._link.name} has not answered within {self._link.patience:.3g} s")

    def forget_failure(self) -> None:
        """When the session could not be opened, another error is raised; the loop is not to complain of this one."""
        if not self._listening.cancelled():
            self._listening.exception()

    def _begin_to_listen(self) -> None:
        """Listen, and begin again where a program has cancelled all tasks there are, this one included."""

        def ended(listening: asyncio.Task[None]) -> None:
            if listening.cancelled() and self._subscribed.done() and self._goes_on():
                self._loop.call_later(PAUSE[0], again)

        def again() -> None:
            if not self._link.is_closed:
                self._begin_to_listen()

        self._listening = self._link.begin(partial(self._listen, self._subscribed))
        self._listening.add_done_callback(ended)

    def _goes_on(self) -> bool:
        return not (self._link.is_closed or self._loop.is_closed())

    async def _listen(self, subscribed: asyncio.Future[None]) -> None:
        """Keep a connection on which the session is woken. What is sent while there is none is lost."""
        link = self._link
        while True:
            channel = Channel(link.pool, link.patience, self._heard)
            try:
                try:
                    await channel.subscribe(self._keys.channel(link.session), link.limit())
                    link.wake_ups = channel
                    await channel.lost()
                finally:
                    link.wake_ups = None
                    if not self._loop.is_closed():  # else nothing can be awaited
                        await channel.close()
            except (RedisError, OSError, TimeoutError) as exc:
                if not subscribed.done() and isinstance(exc, NoPermissionError):
                    raise link.forbidden(f"{exc} (SUBSCRIBE)") from exc
                if not subscribed.done():
                    raise EngineError(f"{link.name}: cannot subscribe: {exc}") from exc
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, PAUSE[1])

    def _heard(self, kind: bytes, said: bytes) -> None:
        if kind == b"message":
            self._receive(said)
        elif kind == b"subscribe":
            self._pause = PAUSE[0]
            if self._subscribed.done():
                self._on_reconnect()
            else:
                self._subscribed.set_result(None)

    def _receive(self, packet: bytes) -> None:
        incarnation, _, rest = packet.partition(b" ")
        try:
            name, rest = _first(rest)
            message, stored = _first(rest)
        except ValueError:
            return  # anybody can publish there, and the next wake-up must still be heard
        if not incarnation or incarnation != self._known.incarnation[:INCARNATION].encode():
            return  # it was sent in another incarnation of the server, whose data may be lost
        known, text = self._known.versions.get(name), None
        if stored:
            if added := _ADDED.fullmatch(stored):
                # If the number is that of another revision, the next swap will fail, and nothing else.
                if known is not None and (int(added[1]), int(added[2])) == (known.number, known.length):
                    self._known.note(name, known.with_added(added[3]))
                    self._known.ring(name)
            elif known is not None and (version := _sent(stored, known, self._link.session)) is not None:
                text = version.text
                self._known.note(name, version)
                self._known.ring(name)
        if message == IN_TEXT:
            self._on_wake(name, "", text)
        elif message:
            self._on_wake(name, message)


def _sent(stored: bytes, known: Version, me: str) -> Version | None:
    """The text that a wake-up has brought. None if its first row, which is left out, is not that of the known text.

    Whether it is open to additions is not said, as who is woken will change it.
    """
    found = _TEXT.fullmatch(stored)
    row, _, _ = (known.text or "").partition("\n")
    if found is None or int(found[2]) != len(row.encode()) or _digest(row) != found[3]:
        return None
    rest = found[5].decode(errors="backslashreplace")
    return Version(found[1].decode(), row + (rest.replace("\1", me) if found[4] else rest))


@lru_cache(1024)
def _digest(row: str) -> bytes:
    """It tells a first row from others, and is no secret."""
    return sha1(row.encode(), usedforsecurity=False).hexdigest()[:8].encode()


def _first(packet: bytes) -> tuple[str, bytes]:
    """The first text of a packet, and the rest. Raises ValueError if there is none."""
    found = _LENGTH.match(packet)
    if found is None:
        raise ValueError("there is no length")
    end = found.end() + int(found[1])
    if end > len(packet):
        raise ValueError("it is cut off")
    return packet[found.end() : end].decode(), packet[end:]
