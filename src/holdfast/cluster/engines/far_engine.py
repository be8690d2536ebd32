"""What the engines on servers have in common: what they pass on to their parts, and what they do in a forked child."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol
from weakref import WeakSet

from holdfast.cluster.errors import EngineError, SessionLost

from .contract import Addition, Change, Notices, Opening, T
from .eviction_note import Eviction

LEAVING = 1.0
"""Seconds that the end of a session may take, at most."""
OPENING = 2
"""How many times as long as for an answer the server may take until a session can ask it for something."""
TTL = 10.0
"""Seconds, by default."""


class _Link(Protocol):
    def close_in_child(self) -> None: ...


class _Changes(Protocol):
    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str],
        notices: Notices[T] | None,
        addition: Addition | None,
        opens: Callable[[T], Opening | None] | None,
    ) -> T | None: ...

    async def remove(self, name: str, text: str | None, floor: int) -> bool: ...


class _Watching(Protocol):
    def watch(self, session: str, on_death: Callable[[], None], /) -> Callable[[], None]: ...


class _WakeUps(Protocol):
    def send(self, session: str, name: str, message: str, /) -> None: ...


class FarEngine:
    """The base of the engines on servers; see `contract.Engine` for the methods."""

    vouches = True
    makes_additions = True
    polls: float | None = None
    _link: _Link
    _keepers_link: _Link | None
    _changes: _Changes
    _watching: _Watching
    _wake_ups: _WakeUps

    def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Notices[T] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> Coroutine[Any, Any, T | None]:
        return self._changes.apply(name, change, evicted=evicted, notices=notices, addition=addition, opens=opens)

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        return await self._changes.remove(name, text, floor)

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        return self._watching.watch(session, on_death)

    def wake(self, session: str, name: str, message: str) -> None:
        self._wake_ups.send(session, name, message)

    def _close_in_forks(self) -> None:
        """See to it that a child of this process reaches neither the server nor the parent by this engine."""
        _open.add(self)

    def close_in_child(self) -> None:
        """After a fork: whatever the child does with this engine, it reaches neither the server nor the parent."""
        self._link.close_in_child()
        if self._keepers_link is not None:
            self._keepers_link.close_in_child()


async def why_lost(session: str, server: str, ttl: str, evictions: Awaitable[Iterable[Eviction]]) -> SessionLost:
    """The error to raise when a session is dead; it says who has ended it, if somebody has.

    server: its name. ttl: as it is shown. evictions: asks for the notes that are kept.
    """
    with contextlib.suppress(EngineError):  # then nobody can say
        for eviction in await evictions:
            if eviction.session.id == session:
                return SessionLost(f"session {session} {eviction}")
    return SessionLost(f"session {session} was not renewed for its ttl of {ttl} s, or {server} has lost it")


def readable(names: Iterable[bytes]) -> list[str]:
    """The names without what somebody else has put there, as far as that can be told."""
    found = []
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            found.append(name.decode())
    return found


_open: WeakSet[FarEngine] = WeakSet()
"""Those of this process that have been opened."""


def _close_after_fork() -> None:
    for engine in [*_open]:
        engine.close_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)
