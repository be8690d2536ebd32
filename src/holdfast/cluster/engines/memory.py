"""The sessions of one process, for tests and for programs that grow later. Any number of event loops and threads."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable
from functools import partial

from holdfast.cluster.errors import SessionLost

from .contract import Change, OnWake, T


class _Store:
    """What the sessions of a namespace share."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.texts: dict[str, str] = {}
        self.sessions: dict[str, MemoryEngine] = {}
        self.watchers: dict[str, list[Callable[[], None]]] = {}
        """By the session that they watch: each tells somebody, in their own event loop."""


_stores: dict[str, _Store] = {}
_ids = itertools.count(1)


class MemoryEngine:
    """An engine in this process; see `contract.Engine`."""

    def __init__(self, namespace: str) -> None:
        self._store = _stores.setdefault(namespace, _Store())
        self._id = ""

    async def open(self, label: str, on_wake: OnWake) -> str:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._id = f"m{next(_ids)}"
        with self._store.mutex:
            self._store.sessions[self._id] = self
        return self._id

    async def apply(self, name: str, change: Change[T], *, evicted: Iterable[str] = ()) -> T:
        with self._store.mutex:
            if self._id not in self._store.sessions:
                raise SessionLost(f"session {self._id} has ended")
            text, result = change(self._store.texts.get(name))
            self._store.texts[name] = text
            return result

    async def read(self, name: str) -> str | None:
        return self._store.texts.get(name)

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        with self._store.mutex:
            for session in sessions:
                other = self._store.sessions.get(session)
                if other is not None and other._loop.is_closed():  # nobody can close it any more
                    other._end()
            return frozenset(session for session in sessions if session not in self._store.sessions)

    def wake(self, session: str, name: str, message: str) -> None:
        other = self._store.sessions.get(session)
        if other is not None:
            _call(other._loop, other._on_wake, name, message)

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        tell = partial(_call, self._loop, on_death)
        with self._store.mutex:
            watches = self._store.watchers.setdefault(session, [])
            watches.append(tell)
            if session not in self._store.sessions:
                tell()

        def stop() -> None:
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


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Call it in its loop, unless that is closed: then nobody is there to care."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
