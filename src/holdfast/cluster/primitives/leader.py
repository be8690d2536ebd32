"""Leader: a Lock with the vocabulary of elections. Of all who stand, one leads at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.errors import EngineError, SessionLost
from holdfast.cluster.only_async_with import OnlyAsyncWith

from .grant import Grant
from .lock import Lock

T = TypeVar("T")
log = logging.getLogger("holdfast.cluster")
PAUSE = 0.01, 1.0
"""Seconds, the first and the longest, until who has led stands again while the engine fails."""


class Leader(OnlyAsyncWith):
    """An election under one name: of the sessions that stand, one leads, and the next one follows it. Made by
    `Session.leader()`.

    It is the Lock of the same name. To stand is to wait for it, and a term is a grant of it. Its `token` is a fencing
    token, which is higher in each later term. When the leader's session ends, the next one leads.
    """

    def __init__(self, lock: Lock) -> None:
        """Called by `Session.leader()`."""
        self._lock = lock

    def __repr__(self) -> str:
        return f"<holdfast.cluster.Leader by {self._lock!r}>"

    def _how_to_enter(self) -> str:
        return "an election is entered with 'async with', not with 'with'"

    def __aenter__(self) -> Coroutine[Any, Any, Grant]:
        """Stand, and wait to be the leader; the `as` value is the term.

        If the term is lost, the body is cancelled, and LeaseLost comes out of it.
        """
        return self._lock.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Step down; the next one leads."""
        await self._lock.__aexit__(exc_type, exc, tb)

    async def run(self, function: Callable[[Grant], Awaitable[T]]) -> T:
        """Stand, call `await function(term)` as the leader, step down, and return the result.

        function: a coroutine function. If its term is lost, it is cancelled. Then this session stands again, and the
        function is called again, with the new term. That takes a session with `connect(reopen=True)`, since a term is
        lost with its session. While the engine fails, it tries to stand again, at most every second.

        Raises what the function raises, after it has stepped down. SessionLost if the session is over, or is lost and
        does not open again; EngineError if the engine fails before the session has led for the first time; what
        `Lock.acquire()` raises.

        Cancellation: the function is cancelled, and the session steps down.
        """
        has_led = False
        pause, longest = PAUSE
        while True:
            term: Grant | None = None
            try:
                async with self as term:
                    has_led, pause = True, PAUSE[0]
                    return await function(term)
            except SessionLost as exc:
                if term is None or not term.lost.is_set():
                    raise
                log.warning("%r has lost its leader: %s", self._lock, exc)
            except EngineError as exc:
                if term is not None or not has_led:
                    raise
                log.warning("%r cannot stand again: %s", self._lock, exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def who(self) -> SessionInfo | None:
        """The session that leads; None if none does.

        It may be over when the answer comes. One that is known to be dead is no leader.

        Raises SessionLost if this session is over; EngineError if the engine fails; NameConflict if the name is in use
        for something else.

        Cancellation: raises at once; nothing has been changed.
        """
        holder = (await self._lock._read_living()).holder
        if holder is None:
            return None
        return (await self._lock._session._life.engine.describe([holder.session])).get(holder.session)
