"""The rule that kills a session: one that could not be renewed within its ttl is over.

The other sessions may take a session for dead once its ttl has passed since the last renewal. A session must never
believe that it holds something that another one may have been granted. It therefore gives up a little sooner, counted
from the moment at which it sent the renewal (`MARGIN`). An alarm in the event loop ends it, and it also looks at the
clock whenever it is used, because a loop that is blocked runs no alarms.

A session ends sooner if its engine says that it is dead, because somebody has evicted it or its data is gone
(`renewal.py`). A session without a ttl has no deadline: it lives as long as its process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.errors import SessionLost

MARGIN = 0.05
"""The part of the ttl by which a session gives up before the engine does."""
SHORTEST_TIMER, LONGEST_TIMER = 0.001, 86400.0
"""Seconds. Many loops count in milliseconds, and some in a number of 32 bits. A timer that is called before its time is
set again."""


class Expiry:
    """The deadline of one session, and the alarm at it."""

    def __init__(self, kill: Callable[[SessionLost], None], whose: object) -> None:
        """kill: ends the session. whose: the session, for messages."""
        self._kill = kill
        self._whose = whose
        self.deadline = math.inf
        """Of monotonic(): from then on the others may take the session for dead."""
        self.renewed = -math.inf
        """When the last renewal that has succeeded was sent, by monotonic()."""
        self.failure: Exception | None = None
        """Why the last renewal failed, if it did."""
        self.found: SessionLost | None = None
        """Why the session is dead, if another thread has found that it is."""
        self._ttl = math.inf
        self._alarm: asyncio.Handle | None = None
        self._is_stopped = False

    def has_passed(self) -> bool:
        """Whether the others may take the session for dead already. Any thread may ask."""
        return monotonic() >= self.deadline and not self._is_stopped

    def has_nothing_to_do(self) -> bool:
        """Whether look() would do nothing, of a session that is not over."""
        return self.found is None and (self.deadline == math.inf or monotonic() < self.deadline)

    def look(self) -> None:
        """End the session if the others may take it for dead already."""
        if self._is_stopped:
            return
        if self.found is not None:
            self._kill(self.found)
        elif self.has_passed():
            why = f": {self.failure}" if self.failure is not None else ""
            self._kill(SessionLost(f"{self._whose} could not be renewed within its ttl of {self._ttl} s{why}"))

    def extend(self, loop: asyncio.AbstractEventLoop, asked: float, ttl: float) -> None:
        """Put off the deadline, after a renewal that was sent at `asked`."""
        self.look()  # an answer that comes too late is not believed
        self._ttl = ttl
        self._put_off(asked)
        self._set_alarm(loop)

    def extend_elsewhere(self, asked: float) -> None:
        """The same in another thread, after a renewal there. It leaves the alarm, which rings too early then."""
        if not self.has_passed():
            self._put_off(asked)

    def _put_off(self, asked: float) -> None:
        if asked > self.renewed:  # two threads may be here; then the earlier renewal may win, which is on the safe side
            self.renewed = asked
            self.deadline = asked + self._ttl * (1 - MARGIN)
        self.failure = None

    def stop(self) -> None:
        """The session is over."""
        self._is_stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    def on_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the clock. A loop may call this before the time; then set the alarm again."""
        self.look()
        self._set_alarm(loop)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if not self._is_stopped:
            seconds = min(max(self.deadline - monotonic(), SHORTEST_TIMER), LONGEST_TIMER)
            self._alarm = loop.call_later(seconds, self.on_alarm, loop)
