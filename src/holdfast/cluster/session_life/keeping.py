"""A thread that renews a session while the session's event loop is blocked.

It is there only if the user has said how long the loop may block (`loop_may_block` of connect()). While the loop runs,
it renews in time (`renewal`), and the thread renews nothing. When the last renewal is half a ttl old, the thread renews
in the loop's place, for as long as the loop may block. Each time that the thread looks, it asks the loop for a sign of
life.

The thread never ends a session, as the tasks to be told are the loop's. It notes what it has found (`expiry`), and the
loop ends the session as soon as it runs. Once the deadline has passed, the session is over, and the thread renews no
more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math

from holdfast.cluster.background import begin
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import Keeper
from holdfast.cluster.errors import EngineError, SessionLost
from holdfast.cluster.loop_in_thread.loop_thread import LoopThread
from holdfast.cluster.values_in_messages import shown

from .identity import Identity
from .renewal import RENEWALS, RETRY_RENEWAL

OVERDUE = 0.5
"""The part of the ttl after which the thread renews. A loop that runs has renewed by then (`RENEWALS`, `JITTER`)."""


class Keeping:
    """The thread of one session, from the session's opening to its end."""

    def __init__(self, session: Identity, loop_may_block: float) -> None:
        """loop_may_block: seconds."""
        self._session = session
        self._longest = loop_may_block
        self._thread = LoopThread()
        self._work: asyncio.Task[None] | None = None
        self._ran = math.inf
        """When the loop has run last, as far as the thread knows, by monotonic()."""

    def start(self) -> None:
        """Called in the session's loop, once the session is open and has its deadline."""
        self._note_that_it_runs()
        keeper = self._session.engine.keeper()
        self._thread.begin(f"holdfast renews session {self._session.label}", keeper.close)
        self._thread.soon(lambda: self._begin(keeper))

    def stop(self) -> None:
        """The session is over. Does not wait for the thread, which may be waiting for the engine."""
        self._thread.end()

    def _note_that_it_runs(self) -> None:
        self._ran = monotonic()

    # In the thread

    def _begin(self, keeper: Keeper) -> None:
        title = f"renewal of session {shown(self._session.label)} from a thread"
        self._work = begin(asyncio.get_running_loop(), lambda: self._keep(keeper), title)

    async def _keep(self, keeper: Keeper) -> None:
        session = self._session
        try:
            await self._renew_when_overdue(keeper)
        except SessionLost as exc:
            self._tell(exc)
        except Exception as exc:  # not foreseen; the session must not go on as if it were renewed
            lost = SessionLost(f"{session} failed: {exc!r}")
            lost.__cause__ = exc
            self._tell(lost)
        finally:
            self._thread.end()

    async def _renew_when_overdue(self, keeper: Keeper) -> None:
        session, ttl = self._session, self._session.engine.ttl
        assert ttl is not None
        while not (session.over is not None or session.expiry.has_passed() or session.loop.is_closed()):
            with contextlib.suppress(RuntimeError):  # it was closed meanwhile
                session.loop.call_soon_threadsafe(self._note_that_it_runs)
            now = monotonic()
            due = session.expiry.renewed + ttl * OVERDUE
            if now < due:
                await asyncio.sleep(due - now)
            elif now - self._ran > self._longest:
                await asyncio.sleep(ttl / RENEWALS)  # the loop may run again before the deadline
            else:
                try:
                    await keeper.renew()
                except EngineError as exc:
                    session.expiry.failure = exc
                    await asyncio.sleep(min(RETRY_RENEWAL, ttl / RENEWALS))
                else:
                    session.expiry.extend_elsewhere(now)

    def _tell(self, exc: SessionLost) -> None:
        """Tell the loop, which looks when it runs again, or when somebody uses the session."""
        self._session.expiry.found = exc
        with contextlib.suppress(RuntimeError):  # it is closed, and the session has ended with it
            self._session.loop.call_soon_threadsafe(self._session.expiry.look)
