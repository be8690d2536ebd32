"""How sessions wake each other: by messages that the server publishes, on a channel for each session.

A message has a head: the incarnation of the server, the name, and what is said about it, in JSON and a line break. The
text under the name may follow, as it is stored.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from functools import partial

from redis.exceptions import NoPermissionError, RedisError

from holdfast.cluster.engines.contract import OnWake
from holdfast.cluster.errors import EngineError

from .connection import connect
from .keys import Keys
from .knowledge import Knowledge, decode
from .link import PAUSE, Link


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
        self._begin_to_listen()

    def send(self, session: str, name: str, message: str) -> None:
        """Send a message to a session. Never raises."""
        if self._link.requests is not None and not self._link.is_closed:
            self._link.requests.request("PUBLISH", self._keys.channel(session), self.head(name, message))

    def head(self, name: str, message: str) -> str:
        """The head of a message. "" as the message: only the text is told."""
        return json.dumps([self._known.incarnation, name, message]) + "\n"

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
        pause, longest = PAUSE
        while True:
            try:
                connection = await connect(link.pool, link.patience, link.limit())
                link.wake_ups = connection
                try:
                    await connection.send_command("SUBSCRIBE", self._keys.channel(link.session))
                    while True:
                        kind, _, packet = await connection.read_response(
                            disable_decoding=True, timeout=math.inf, push_request=True, disconnect_on_error=False
                        )
                        if kind == b"subscribe":
                            pause, _ = PAUSE
                            if subscribed.done():
                                self._on_reconnect()
                            else:
                                subscribed.set_result(None)
                        elif kind == b"message":
                            self._receive(packet)
                finally:
                    link.wake_ups = None
                    if not self._loop.is_closed():  # else nothing can be awaited
                        await connection.disconnect(nowait=True)
                        await link.pool.release(connection)
            except (RedisError, OSError, TimeoutError) as exc:
                if not subscribed.done() and isinstance(exc, NoPermissionError):
                    raise link.forbidden(f"{exc} (SUBSCRIBE)") from exc
                if not subscribed.done():
                    raise EngineError(f"{link.name}: cannot subscribe: {exc}") from exc
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _receive(self, packet: bytes) -> None:
        head, _, stored = packet.partition(b"\n")
        try:
            incarnation, name, message = json.loads(head)
        except (TypeError, ValueError, RecursionError):
            return  # anybody can publish there, and the next wake-up must still be heard
        if not (isinstance(name, str) and isinstance(message, str)):
            return
        if incarnation != self._known.incarnation:
            return  # it was sent in another incarnation of the server, whose data may be lost
        if stored and name in self._known.versions:
            self._known.note(name, decode(stored))
            self._known.ring(name)
        if message:
            self._on_wake(name, message)
