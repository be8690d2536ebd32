"""When a session is renewed, and what it looks at in the same request: the records that it waits for or holds.

A renewal puts off the session's expiry, and finds what the session may have missed: a lost wake-up, a death that nobody
told, an eviction, or a record that was removed. A session without a ttl has nothing to put off, and looks while it
waits or holds something. One that nobody can wake looks more often while it waits (`Engine.polls`).
"""

from __future__ import annotations

import asyncio
import random
from functools import partial

from holdfast.cluster.background import begin
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import Seen
from holdfast.cluster.errors import EngineError, SessionLost
from holdfast.cluster.values_in_messages import shown

from . import told
from .expiry import LONGEST_TIMER
from .identity import Identity
from .registers import Registers

RENEWALS = 3
"""The number of renewals in each ttl."""
JITTER = 1.0, 1.2
"""The time between two renewals is multiplied by this: sessions that were opened together do not look together."""
CHECKED = 1.0
"""Seconds after which a session without a ttl that holds something looks whether it is still alive."""
LOOK_AGAIN = 3.0
"""Seconds after which a session without a ttl that waits looks whether it has missed a wake-up or a death."""
RETRY_RENEWAL = 0.1
"""Seconds until a renewal that has failed is tried again, at most."""


class Renewal:
    """The renewals of one session."""

    def __init__(self, session: Identity, registers: Registers) -> None:
        self._session = session
        self._registers = registers
        self.task: asyncio.Task[Seen] | None = None
        """The renewal under way, if one is."""
        self._again = False  # whether to renew once more as soon as that is done
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0  # the loop's time at which it rings: not every loop's timers tell it
        self._planned = 0.0  # the seconds that were asked for when it was set

    def within(self, seconds: float) -> None:
        """Renew after this time, or before, if that is planned already."""
        if self.task is not None:
            return
        now = self._session.loop.time()
        if self._timer is not None and self._timer_at <= now + seconds:
            return
        pause = min(seconds * random.uniform(*JITTER), LONGEST_TIMER)
        if self._timer is not None:
            if self._timer_at <= now + pause:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._session.loop.call_later(pause, self.begin), now + pause
        self._planned = seconds

    def keep_checking(self) -> None:
        """Something is held: see to it that the session looks now and then whether it is still alive."""
        if self._session.bare_engine.ttl is None and not (self._timer is not None and self._planned <= CHECKED):
            self.within(CHECKED)

    def keep_looking(self) -> None:
        """A task waits: see to it that the session looks now and then for what it may have missed."""
        if self._session.polls is not None:
            self.within(self._session.polls)
        elif self._session.engine.ttl is None:
            self.within(LOOK_AGAIN)

    def at_once(self) -> None:
        """Renew now. A renewal that is under way may have seen too little; then once more right after it."""
        self._again = self.task is not None
        self.within(0)

    def begin(self) -> None:
        """Start a renewal, in a task of its own: a timer goes on even if a program cancels all its tasks."""
        self._timer = None
        session = self._session
        if session.over is not None:
            return  # in a forked child, which has its parent's timers
        waiting = self._registers.waiting()
        if session.engine.ttl is None and not session.leases and not waiting:
            return
        in_use = self._registers.in_use
        looked_at = {*waiting, *(name for name in session.leases.some_names() if name in in_use)}
        at_rest = {name: rest for name in looked_at if (rest := in_use[name].at_rest) is not None}
        asked = monotonic()
        watched = frozenset[str]().union(*(sessions for _, sessions in at_rest.values()))
        self.task = begin(
            session.loop, partial(session.engine.renew, at_rest, watched), f"renewal of session {shown(session.label)}"
        )
        self.task.add_done_callback(partial(self._done, asked, {name: batch for name, (batch, _) in at_rest.items()}))

    def _done(self, asked: float, batches: dict[str, int], renewal: asyncio.Task[Seen]) -> None:
        """batches: for each name that was looked at, the last batch before."""
        session, ttl = self._session, self._session.engine.ttl
        pause = ttl / RENEWALS if ttl is not None else CHECKED if session.leases else LOOK_AGAIN
        if session.polls is not None and self._registers.waiting():
            pause = min(pause, session.polls)
        self.task = None
        exc = asyncio.CancelledError() if renewal.cancelled() else renewal.exception()
        if session.over is not None:
            return
        if (seconds := monotonic() - asked) > told.SLOW:
            told.slow(session, "renew it", seconds)
        if exc is None:
            if ttl is not None:
                session.expiry.extend(session.loop, asked, ttl)
                pause = max(pause - (monotonic() - asked), 0)  # an answer that takes long does not put off the next
            texts, dead = renewal.result()
            for name, batch in batches.items():
                if (register := self._registers.in_use.get(name)) is not None:  # else nobody waits there any more
                    register.see(batch, texts[name], dead)
            self.within(0 if self._again else pause)
            self._again = False
        elif isinstance(exc, asyncio.CancelledError):  # by a program that cancels all its tasks
            self.within(0)
        elif isinstance(exc, EngineError):
            session.expiry.failure = exc
            self.within(min(RETRY_RENEWAL, pause))  # until the session expires
        elif isinstance(exc, SessionLost):
            session.lose(exc)
        else:
            lost = SessionLost(f"{session} failed: {exc!r}")
            lost.__cause__ = exc
            session.lose(lost)

    async def look_if_idle(self) -> None:
        """End a session without a ttl that is dead and holds nothing: nothing else looks after it then."""
        session = self._session
        if session.over is None and session.engine.ttl is None and not session.leases:
            try:
                await session.engine.renew()
            except SessionLost as exc:
                session.lose(exc)
            except EngineError:
                return  # the next request tells

    def stop(self) -> None:
        """The session is over."""
        if self._timer is not None:
            self._timer.cancel()
        if self.task is not None:
            self.task.cancel()
