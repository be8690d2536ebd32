"""The sessions that this session watches, on a server. A session is looked at when it should have expired.

Then all that are watched are looked at, in one request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from holdfast.cluster.errors import EngineError, SessionLost

from .contract import LATER, MOST_LATER

SETTLED = 1.0
"""Seconds, or a tenth of the ttl if that is less, until a session that is watched is looked at for the first time. Most
are not waited for that long."""


class _Watch:
    """The callbacks for a session's death, and the timer of the next look."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[[], None]]] = []
        self.timer: asyncio.Handle | None = None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Watching:
    """The sessions that one session watches."""

    def __init__(
        self,
        begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
        ttl: float,
        dead: Callable[[Iterable[str]], Awaitable[frozenset[str]]],
    ) -> None:
        """begin: runs a coroutine function in a task that ends with the session.

        ttl: seconds.
        dead: tells which of these sessions are dead, and calls learned() for each of them.
        """
        self._loop = asyncio.get_running_loop()
        self._begin = begin
        self._ttl = ttl
        self._dead = dead
        self._watched: dict[str, _Watch] = {}

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        """See `contract.Engine.watch`."""
        watch = self._watched.setdefault(session, _Watch())
        entry = (on_death,)  # a new object, as the same function may be given twice
        watch.callbacks.append(entry)
        if watch.timer is None:
            self._look_at(session, min(SETTLED, self._ttl / 10))  # that look tells how long the session lives

        def stop() -> None:
            if entry in watch.callbacks:
                watch.callbacks.remove(entry)
            if not watch.callbacks and self._watched.get(session) is watch:
                del self._watched[session]
                watch.cancel()

        return stop

    def learned(self, session: str, seconds: float) -> None:
        """Somebody has looked: without a renewal, the session lives for so long."""
        if session in self._watched:
            self._look_at(session, seconds + LATER)

    def close(self) -> None:
        """Nobody is told of anything any more."""
        for watch in self._watched.values():
            watch.cancel()
        self._watched.clear()

    def _look_at(self, session: str, seconds: float) -> None:
        watch = self._watched[session]
        watch.cancel()
        pause = min(max(seconds, LATER), MOST_LATER)
        watch.timer = self._loop.call_later(pause, self._look_at_all)

    def _look_at_all(self) -> None:
        """Look at all sessions as soon as one of them is due; that tells how long each of them lives."""
        for watch in self._watched.values():
            watch.cancel()
        self._begin(self._look)

    async def _look(self) -> None:
        with contextlib.suppress(EngineError, SessionLost):  # then the next look tells
            for dead in await self._dead(self._watched):
                watch = self._watched.pop(dead, None)
                for (on_death,) in watch.callbacks if watch is not None else ():
                    on_death()
