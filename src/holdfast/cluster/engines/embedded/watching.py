"""The sessions that this session watches. A watched session costs one descriptor and one timer, however many wait.

On Linux a pidfd tells when the session's process has ended. That is only when to look: the lock on the session's file
decides. The lock may last a little longer than the process, in a forked child that has not let go of it yet.

Sessions that contend for a lock wait for the same ones again and again, and to begin to watch one costs as much as a
change of a record. So a session that nobody watches any more is kept for a moment. If somebody watches it again, it was
alive a moment ago and is not looked at before the wait has lasted for `SOON`.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import LATER, MOST_LATER, NO_DESCRIPTOR
from holdfast.cluster.errors import EngineError

SOON, LATEST = 0.01, 3.0
"""Seconds, the first and the longest, until the next look at a session whose process has ended or cannot be seen."""
WITHOUT_DESCRIPTOR = 0.25
"""Seconds until the next look at a session if no descriptor is free for a pidfd, or if the last look has failed."""
KEPT = 1.0
"""Seconds for which a session that nobody watches any more is kept, at least; twice as long at most."""
FAILURES = 12
"""Looks that fail in succession before the watchers are told to look for themselves: they can say why it fails."""


class Life(NamedTuple):
    """What the database has of a session."""

    pid: int
    ttl: float | None
    renewed: float
    """When, by monotonic()."""


class _Watch:
    def __init__(self) -> None:
        self.callbacks: dict[object, Callable[[], None]] = {}
        self.pidfd: int | None = None
        self.has_ended = False
        """Whether a pidfd has told of the process's end. A second pidfd of a zombie would tell it again at once."""
        self.pause = SOON
        self.failures = 0
        self.timer: asyncio.Handle | None = None
        self.next_look = math.inf
        """The loop's time for which a look is planned."""
        self.stopped = 0.0
        """The loop's time since which nobody watches it, if so."""


class Watching:
    """The sessions that one session watches."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        life: Callable[[str], Life | None],
        is_dead: Callable[[str], bool],
    ) -> None:
        """life: what the database has of a session; None if nothing. is_dead: whether a session's lock is free.

        Both may raise EngineError.
        """
        self._loop = loop
        self._life = life
        self._is_dead = is_dead
        self._watches: dict[str, _Watch] = {}
        self._sweep_timer: asyncio.Handle | None = None
        self._is_over = False

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        """See `contract.Engine.watch`."""
        if self._is_over:
            return lambda: None
        watch = self._watches.get(session)
        key = object()
        if watch is not None and not watch.callbacks and not watch.has_ended:
            watch.callbacks[key] = on_death
            if watch.next_look > self._loop.time() + SOON:
                self._plan(watch, SOON, self._look, session)
        else:
            if watch is None:
                watch = self._watches[session] = _Watch()
            watch.callbacks[key] = on_death
            self._look(session, watch)
        return partial(self._stop, session, watch, key)

    def close(self) -> None:
        """Nobody is told of anything any more."""
        self._is_over = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        while self._watches:
            _, watch = self._watches.popitem()
            self._end(watch)

    def let_go(self) -> None:
        """In a forked child: the loop's epoll is the parent's as well, and is left alone."""
        self._is_over = True
        for watch in self._watches.values():
            if watch.pidfd is not None:
                os.close(watch.pidfd)
                watch.pidfd = None
        self._watches.clear()

    def _stop(self, session: str, watch: _Watch, key: object) -> None:
        watch.callbacks.pop(key, None)
        if not watch.callbacks and self._watches.get(session) is watch:
            watch.stopped = self._loop.time()
            if self._sweep_timer is None:
                self._sweep_timer = self._loop.call_later(KEPT, self._sweep, KEPT)

    def _sweep(self, seconds: float) -> None:
        """Let go of the sessions that nobody has watched for so long."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        unwatched = {session: watch for session, watch in self._watches.items() if not watch.callbacks}
        now = self._loop.time()
        for session, watch in unwatched.items():
            if watch.stopped <= now - seconds:
                del self._watches[session]
                self._end(watch)
            elif self._sweep_timer is None:
                self._sweep_timer = self._loop.call_later(KEPT, self._sweep, KEPT)

    def _end(self, watch: _Watch) -> None:
        self._forget_process(watch)
        if watch.timer is not None:
            watch.timer.cancel()

    def _forget_process(self, watch: _Watch) -> None:
        if watch.pidfd is not None:
            self._loop.remove_reader(watch.pidfd)
            os.close(watch.pidfd)
            watch.pidfd = None

    def _look(self, session: str, watch: _Watch) -> None:
        """Tell the watchers if the session may be dead; otherwise plan the next look."""
        watch.next_look = math.inf
        if not watch.callbacks:
            return  # whoever watches it again plans a look
        try:
            life = self._life(session)
            is_dead = life is None or self._is_dead(session)
        except EngineError:
            watch.failures += 1
            self._plan(watch, WITHOUT_DESCRIPTOR, self._look if watch.failures < FAILURES else self._tell, session)
            return
        watch.failures = 0
        left = life.renewed + life.ttl - monotonic() if life is not None and life.ttl is not None else math.inf
        if life is None or is_dead or left < 0:
            self._plan(watch, 0, self._tell, session)
            return
        expiry = min(left + LATER, MOST_LATER) if left < math.inf else math.inf
        pause = min(expiry, self._watch_process(session, watch, life.pid))
        if pause < math.inf:
            self._plan(watch, pause, self._look, session)

    def _watch_process(self, session: str, watch: _Watch, pid: int) -> float:
        """Have a pidfd tell of the process's end; return the seconds until the next look if that is not enough."""
        if watch.pidfd is not None:
            return math.inf
        try:
            pidfd = None if watch.has_ended else os.pidfd_open(pid)
        except AttributeError:  # this system has no pidfds: the waiting sessions look now and then
            return math.inf
        except ProcessLookupError:  # the process has ended, or is in another container
            pidfd = None
        except OSError as exc:
            if exc.errno not in NO_DESCRIPTOR:
                return math.inf
            self._sweep(0)  # what is kept has descriptors
            return WITHOUT_DESCRIPTOR
        if pidfd is None:
            watch.pause, pause = min(2 * watch.pause, LATEST), watch.pause
            return pause
        watch.pidfd = pidfd
        self._loop.add_reader(pidfd, self._ended, session, watch)
        return math.inf

    def _ended(self, session: str, watch: _Watch) -> None:
        if self._watches.get(session) is watch:
            watch.has_ended = True
            self._forget_process(watch)
            self._look(session, watch)

    def _tell(self, session: str, watch: _Watch) -> None:
        if self._watches.get(session) is watch:
            del self._watches[session]
        self._end(watch)
        for on_death in [*watch.callbacks.values()]:
            on_death()
        watch.callbacks.clear()

    def _plan(self, watch: _Watch, seconds: float, call: Callable[[str, _Watch], None], session: str) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        watch.timer, watch.next_look = self._loop.call_later(seconds, call, session, watch), self._loop.time() + seconds
