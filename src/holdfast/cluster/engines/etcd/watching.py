"""The sessions that this session watches: a watch of all sessions' own keys tells which one is deleted.

The watch begins when the first session is to be watched. A session that was dead by then is found by looking.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from holdfast.cluster.errors import EngineError, SessionLost

from .link import Link
from .transactions import Kept, watched
from .watches import Watch

SETTLED = 1.0
"""Seconds, or a tenth of the ttl if that is less, until a session that is watched is looked at. Most are not waited for
that long."""
_AGAIN = 1.0
"""Seconds until another look, where one has failed."""


class Watching:
    """The sessions that one session watches."""

    def __init__(self, link: Link, ttl: float, dead: Callable[[Iterable[str]], Awaitable[frozenset[str]]]) -> None:
        """ttl: seconds. dead: tells which of these sessions are dead."""
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._pause = min(SETTLED, ttl / 10)
        self._dead = dead
        self._watched: dict[str, list[tuple[Callable[[], None]]]] = {}
        self._watch: Watch | None = None
        self._timer: asyncio.Handle | None = None

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        """See `contract.Engine.watch`."""
        callbacks = self._watched.setdefault(session, [])
        entry = (on_death,)  # a new object, as the same function may be given twice
        callbacks.append(entry)
        if self._watch is None and not self._link.is_closed:
            prefix = self._link.keys.sessions
            self._watch = Watch(self._link, watched(prefix, True, "NOPUT"), self._look_after_a_gap, self._died)
        self._look_within(self._pause)

        def stop() -> None:
            if entry in callbacks:
                callbacks.remove(entry)
            if not callbacks and self._watched.get(session) is callbacks:
                del self._watched[session]

        return stop

    def close(self) -> None:
        """Nobody is told of anything any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._watched.clear()

    def _look_within(self, seconds: float) -> None:
        if self._timer is None and not self._link.is_closed:
            self._timer = self._loop.call_later(seconds, self._look_now)

    def _look_after_a_gap(self, is_first: bool) -> None:
        self._look_within(0 if not is_first else self._pause)

    def _look_now(self) -> None:
        self._timer = None
        if self._watched and not self._link.is_closed:
            self._link.begin(self._look)

    async def _look(self) -> None:
        try:
            dead = await self._dead([*self._watched])
        except (EngineError, SessionLost):
            self._look_within(_AGAIN)
            return
        for session in dead:
            self._tell(session)

    def _died(self, found: Kept) -> None:
        """The key of a session was deleted."""
        with contextlib.suppress(UnicodeDecodeError):  # it is somebody else's
            self._tell(found.key.removeprefix(self._link.keys.sessions).decode("ascii"))

    def _tell(self, session: str) -> None:
        for (on_death,) in self._watched.pop(session, ()):
            on_death()
