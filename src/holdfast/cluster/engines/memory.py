"""An engine for the sessions of one process, in any number of event loops and threads.

It is for tests, and for programs that will need more processes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from holdfast.cluster.command_line import command_line
from holdfast.cluster.errors import SessionLost

from .clock import monotonic
from .contract import (
    LATER,
    MOST_LATER,
    MOST_OLD,
    Addition,
    Change,
    Keeper,
    Notices,
    OnGap,
    OnWake,
    Opening,
    Seen,
    Stored,
    T,
    to_wake,
)
from .eviction_note import KEPT, MOST, Eviction
from .session_info import SessionInfo


class _Store:
    """What the sessions of a namespace share."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew. In a forked child, a thread of the parent may have been in here; so the lock is a new one."""
        self.mutex = threading.RLock()
        self.texts: dict[str, str] = {}
        self.changed: dict[str, float] = {}
        """When each text was last changed, in seconds since 1970; the oldest first."""
        self.floor = 0
        self.sessions: dict[str, MemoryEngine] = {}
        self.evictions: list[Eviction] = []
        self.watchers: dict[str, list[Callable[[], None]]] = {}
        """Callbacks by watched session. Each runs in its watcher's event loop."""


_stores: dict[str, _Store] = {}
_ids = itertools.count(1)


@contextlib.contextmanager
def memory_of_its_own() -> Iterator[None]:
    """Inside, sessions of `memory:` that are made share nothing with those that were made outside."""
    outside = dict(_stores)
    _stores.clear()
    try:
        yield
    finally:
        _stores.clear()
        _stores.update(outside)


class MemoryEngine:
    """An engine in this process; see `contract.Engine`."""

    vouches = True
    sends_texts = 0
    makes_additions = False
    polls: float | None = None
    begins_at_once = True

    def __init__(self, namespace: str, ttl: float | None = None) -> None:
        self.ttl = ttl
        self._store = _stores.setdefault(namespace, _Store())
        self._id = ""

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._id = f"m{next(_ids)}"
        here = socket.gethostname(), os.getpid(), datetime.now(UTC), command_line()
        self._info = SessionInfo(self._id, label, *here)
        self._renewed = monotonic()
        with self._store.mutex:
            self._store.sessions[self._id] = self
        return self._id

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Notices[T] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T:
        with self._store.mutex:
            self._check_alive()
            now = time.time()
            text, result = change(Stored(self._store.texts.get(name), now, self._store.floor))
            self._store.texts[name] = text
            self._store.changed.pop(name, None)
            self._store.changed[name] = now
        for session, message in to_wake(notices, result):
            self.wake(session, name, message)
        return result

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        self._live_on()
        return await self.look(names, sessions)

    def _live_on(self) -> None:
        """Called in any thread."""
        with self._store.mutex:
            self._check_alive()
            self._renewed = monotonic()

    def keeper(self) -> Keeper:
        return _Keeper(self)

    def _check_alive(self) -> None:
        if self._id not in self._store.sessions or self._has_died():
            self._end()
            eviction = next((each for each in self._store.evictions if each.session.id == self._id), "has ended")
            raise SessionLost(f"session {self._id} {eviction}")

    def _has_died(self) -> bool:
        """Whether its event loop is closed, so that nobody can close it any more, or its ttl is over."""
        return self._loop.is_closed() or (self.ttl is not None and self._renewed + self.ttl < monotonic())

    async def read(self, name: str) -> str | None:
        return self._store.texts.get(name)

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        with self._store.mutex:
            dead = await self.dead(sessions)
            return Seen({name: self._store.texts.get(name) for name in names}, dead)

    async def names(self) -> list[str]:
        return sorted(self._store.texts)

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        with self._store.mutex:
            latest = time.time() - seconds
            old = itertools.takewhile(lambda entry: entry[1] < latest, self._store.changed.items())
            return [name for name, _ in itertools.islice(old, skip, skip + MOST_OLD)]

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        with self._store.mutex:
            if self._store.texts.get(name) != text:
                return False
            self._store.texts.pop(name, None)
            self._store.changed.pop(name, None)
            self._store.floor = max(self._store.floor, floor)
            return True

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        with self._store.mutex:
            found = {id: self._store.sessions[id] for id in sessions if id in self._store.sessions}
            return {id: replace(each._info, alive=not each._has_died()) for id, each in found.items()}

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        with self._store.mutex:
            self._check_alive()
            if await self.dead([session]):
                return False
            other, now = self._store.sessions[session], datetime.now(UTC)
            note = Eviction(replace(other._info, alive=False), by, reason, now, tuple(held))
            earliest = now - timedelta(seconds=KEPT)
            kept = [each for each in self._store.evictions if each.at > earliest]
            self._store.evictions = [*kept, note][-MOST:]
            other._end()
        _call(other._loop, other._on_wake, "", "")
        return True

    async def evictions(self) -> list[Eviction]:
        return [*self._store.evictions]

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        asked = frozenset(sessions)
        with self._store.mutex:
            for session in asked:
                other = self._store.sessions.get(session)
                if other is not None and other._has_died():
                    other._end()
            return asked - self._store.sessions.keys()

    def wake(self, session: str, name: str, message: str) -> None:
        other = self._store.sessions.get(session)
        if other is not None:
            _call(other._loop, other._on_wake, name, message)

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        tell = partial(_call, self._loop, on_death)
        expiry: asyncio.Handle | None = None
        with self._store.mutex:
            other = self._store.sessions.get(session)
            if other is None or other._has_died():
                expiry = self._loop.call_soon(on_death)
            elif other.ttl is not None:
                seconds = other._renewed + other.ttl - monotonic() + LATER
                expiry = self._loop.call_later(min(seconds, MOST_LATER), on_death)
            watches = self._store.watchers.setdefault(session, [])
            watches.append(tell)

        def stop() -> None:
            if expiry is not None:
                expiry.cancel()
            with self._store.mutex:
                if tell in watches:
                    watches.remove(tell)
                if not watches:
                    self._store.watchers.pop(session, None)

        return stop

    async def close(self) -> None:
        self._end()

    def _end(self) -> None:
        with self._store.mutex:
            if self._store.sessions.pop(self._id, None) is not None:
                for tell in self._store.watchers.get(self._id, ()):
                    tell()


class _Keeper:
    """Renews a session from another thread; see `contract.Keeper`."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def renew(self) -> None:
        self._engine._live_on()

    async def close(self) -> None:
        """There is nothing that it has for itself."""


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Call a function in its loop; do nothing if that loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _clear_in_child() -> None:
    """The parent's sessions live on in the parent. In the child, nobody would ever release what they hold."""
    for store in _stores.values():
        store.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clear_in_child)
