"""asyncio's debug mode: a certain deadlock raises DeadlockError, as with HOLDFAST_DEBUG=1.

It needs no thread, which would make each program in debug mode one with threads: a fork warns of those. When a task
begins to wait in a loop in debug mode, the loop gets a timer, which looks. While somebody waits, it is set again. So a
loop that is blocked does not look: HOLDFAST_DEBUG=1 has a thread for that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from weakref import WeakKeyDictionary, WeakSet

from .breaking import break_deadlock
from .errors import DeadlockError
from .look import look
from .times import times
from .watching import SHARE, SOON, Watch

log = logging.getLogger("holdfast.debug")
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[asyncio.Future[int]]] = WeakKeyDictionary()
"""The loops that have a timer, and who has begun to wait in each. An entry of a loop that was closed means nothing."""


def look_soon(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[int]) -> None:
    """A task begins to wait in the running loop, which is in debug mode. Called in that loop's thread."""
    waiters = _waiting.get(loop)
    if waiters is None:
        _waiting[loop] = waiters = WeakSet()
        times.begin()
        _set_timer(loop, 0.0)
    waiters.add(waiter)


def _set_timer(loop: asyncio.AbstractEventLoop, took: float) -> None:
    loop.call_later(max(SOON, SHARE * took), partial(_look, loop))


def _look(loop: asyncio.AbstractEventLoop) -> None:
    began = time.monotonic()
    waiters = _waiting[loop]
    if all(waiter.done() for waiter in waiters):
        del _waiting[loop]
        times.end()
        return
    if not Watch.how_many_raise:  # else that one does it
        try:
            _break_deadlocks()
        except Exception:
            log.exception("a look at what waits has failed; asyncio's debug mode goes on looking")
    _set_timer(loop, time.monotonic() - began)


def _break_deadlocks() -> None:
    seen = look(_waiting.keys(), thorough=False)
    times.note(seen.parties)
    for deadlock, members in seen.deadlocks:
        if deadlock.certain and any(times.is_news(party, 0) for party in members):
            times.set_told(members)
            log.error("%s", deadlock)
            break_deadlock(sorted(members, key=times.seconds), DeadlockError(deadlock))
