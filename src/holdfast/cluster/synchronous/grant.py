"""A holding as threads see it: whether it is still held, and how a thread is told that it is lost.

Python cannot stop a thread. So the body of a `with` that has lost its grant goes on. It can look (`check()`, `lost`) or
be told (`on_lost`), and a fence refuses what it writes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from holdfast.cluster.errors import LeaseLost
from holdfast.cluster.loop_in_thread.loop_thread import LoopThread
from holdfast.cluster.primitives.grant import Grant

OnLost = Callable[["SyncGrant"], object]


class SyncGrant:
    """One holding of a Lock or of a permit, from the moment it was granted until it is released or lost. It is true."""

    def __init__(self, grant: Grant, home: LoopThread, thread: int, on_lost: OnLost | None) -> None:
        """Called in the loop, by what acquires. thread: the one that has asked."""
        self._grant = grant
        self._home = home
        self._thread = thread
        self._waits_in = 0  # the thread that is in Condition.wait() with it
        self._on_lost = on_lost
        self._is_over = False
        self._clock: asyncio.TimerHandle | None = None  # of hold_at_most
        grant._on_loss = self._tell

    def __repr__(self) -> str:
        return repr(self._grant).replace("Grant", "SyncGrant", 1)

    @property
    def name(self) -> str:
        """The name of what is held."""
        return self._grant.name

    @property
    def token(self) -> int:
        """The fencing token, or of a permit only its number here; see `Grant.token`."""
        return self._grant.token

    @property
    def permits(self) -> int:
        """How many permits it has; 1 of a Lock. A release of some of them makes it fewer."""
        return self._grant.permits

    @property
    def released(self) -> bool:
        """Whether its release has begun."""
        return self._grant.released

    @property
    def lost(self) -> threading.Event:
        """Set when the grant must not be relied on any more. Threads can wait for it."""
        event: threading.Event = self.__dict__.setdefault("_lost", threading.Event())  # two threads may be here
        if self._grant._why is not None:
            event.set()
        return event

    def check(self) -> None:
        """Do nothing if the grant is held. Any thread may call this.

        It looks at the clock, so it sees a ttl that has passed. It does not ask the engine, and does not wait. Another
        session may get the lock between this check and your write: writes need a fence.

        Raises LeaseLost if the grant was lost or released, and while its thread is in Condition.wait(); SessionLost in
        a forked child.
        """
        grant, life = self._grant, self._grant._life
        life.check_process()
        if grant._why is not None:
            raise LeaseLost(str(grant._why))
        if life.over is None and life.expiry.has_passed():
            self._home.soon(life.expiry.look)  # in the loop, which ends the session
            raise LeaseLost(f"{grant} was lost: its session could not be renewed within its ttl")
        grant._check_held()

    # In the loop

    def _tell(self) -> None:
        """It is lost."""
        self._end()
        event: threading.Event | None = self.__dict__.get("_lost")
        if event is not None:
            event.set()
        on_lost = self._on_lost
        if on_lost is not None and self._home.may_start_threads:
            thread = threading.Thread(target=on_lost, args=(self,), name=f"holdfast on_lost {self.name}", daemon=True)
            self._grant._life.loop.call_soon(thread.start)  # what ends the session goes on, whatever becomes of it

    def _end(self) -> None:
        """It is not held any more."""
        self._grant._on_loss = None  # which refers to this
        self._stop_clock()

    def _start_clock(self, seconds: float | None, overdue: Callable[[SyncGrant], None]) -> None:
        if seconds is not None:
            self._grant._ends_by_itself = True
            self._clock = self._grant._life.loop.call_later(seconds, overdue, self)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
