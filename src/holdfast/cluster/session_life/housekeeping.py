"""When a session looks for old records, and which of its registers it lets go.

Which records are old, and how they are removed, is in `old_records.py`.
"""

from __future__ import annotations

import asyncio
import contextlib

from holdfast.cluster.background import begin
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.errors import EngineError, SessionLost
from holdfast.cluster.many_at_once import AT_ONCE, each, slices
from holdfast.cluster.values_in_messages import shown

from .identity import Identity
from .old_records import remove_old, remove_some
from .registers import Registers

KEPT = 3600.0
"""Seconds that a record is kept in which nothing is held, waited for or set; and between two searches for such ones."""
IDLE = 10.0
"""Seconds that the register of a name is kept, at least, after the user has dropped all objects of that name."""
MANY = 1000
"""The number of registers from which on a session looks sooner which of them may go."""
AT_CLOSE = 200
"""The number of old names that a closing session looks at. Short sessions thus remove more names than they make."""
GOING_ON = 0.2
"""Seconds that a closing session goes on with more names, at most, as long as it could remove half of them."""


class Housekeeping:
    """The housekeeping of one session."""

    def __init__(self, session: Identity, registers: Registers) -> None:
        self._session = session
        self._registers = registers
        self._many = MANY
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0  # the loop's time of the last search

    def start(self) -> None:
        """The session opens."""
        self._began = self._session.loop.time()

    def look(self) -> None:
        """Begin a search if it is time for one."""
        session = self._session
        if session.id and session.over is None and (self._task is None or self._task.done()):
            pause = IDLE if len(self._registers.in_use) > self._many else KEPT
            if session.loop.time() > self._began + pause:
                self._task = begin(session.loop, self._search, f"tidying of session {shown(session.label)}")

    async def _search(self) -> None:
        with contextlib.suppress(EngineError, SessionLost):  # then another session will do it
            await self.tidy(KEPT)

    async def tidy(self, seconds: float) -> int:
        """Let go the registers that are not used, and remove old records; see `Session.tidy()`."""
        self._began = self._session.loop.time()
        in_use = self._registers.in_use
        idle = [entry for entry in in_use.items() if entry[1].is_idle_for(min(seconds, IDLE))]
        for some in slices(idle, AT_ONCE):
            await each(some, lambda entry: entry[1].forget())
            self._registers.let_go(some)
        self._many = max(MANY, 2 * len(in_use))
        self._session.check_alive()
        return await remove_old(self._session.engine, seconds)

    async def before_closing(self) -> None:
        """Remove some old records."""
        until = monotonic() + GOING_ON
        while True:
            removed = await remove_some(self._session.engine, KEPT, AT_CLOSE)
            if removed < AT_CLOSE // 2 or monotonic() >= until:
                return

    def stop(self) -> None:
        """The session is over."""
        if self._task is not None:
            self._task.cancel()
