"""Redis or Valkey: processes on any machines that reach one server.

A session has a key on the server, which expires by the server's clock and is never made again (`keys`). It has one
connection for its requests (`link`) and one on which it is woken (`wake_ups`). It remembers the texts that it has seen
(`knowledge`), and changes a text by comparing (`changes`).

docs/guarantees.md says what may go wrong with a server and its data.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import string
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import (
    MOST_OLD,
    Keeper,
    OnGap,
    OnWake,
    Seen,
)
from holdfast.cluster.engines.eviction_note import KEPT, MOST, Eviction
from holdfast.cluster.engines.eviction_note import decode as decode_eviction
from holdfast.cluster.engines.eviction_note import encode as encode_eviction
from holdfast.cluster.engines.far_engine import LEAVING, OPENING, TTL, FarEngine, readable, why_lost
from holdfast.cluster.engines.knowledge import Knowledge
from holdfast.cluster.engines.session_info import SessionInfo, describe_this, described
from holdfast.cluster.engines.watching import Watching
from holdfast.cluster.errors import EngineError, SessionLost

from . import rights
from . import server as servers
from .changes import Changes
from .keys import Keys
from .link import Link
from .reading import Reading
from .scripts import EVICT, FACTS, SMALL, TRY
from .wake_ups import WakeUps

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ALPHABET, _LENGTH = string.ascii_letters + string.digits, 10
"""Of a session's id: 60 bits. It is short because each request and each wake-up has it several times."""


class RedisEngine(FarEngine):
    """An engine on a server; see `contract.Engine`."""

    sends_texts = SMALL
    _link: Link
    _keepers_link: Link | None
    _changes: Changes
    _watching: Watching
    _wake_ups: WakeUps

    def __init__(self, server: str | Redis, namespace: str, ttl: float | None = None) -> None:
        """server: a URL as redis-py reads it, or a client, which stays the caller's. ttl: seconds, 10 by default.

        Raises ValueError for a URL that is wrong, TypeError for anything but a client of redis.asyncio.
        """
        self._life = TTL if ttl is None else ttl
        self.ttl: float | None = self._life
        self._server = server
        self._keys = Keys(namespace)
        self._link = self._new_link()
        self._keepers_link: Link | None = None
        self._known = Knowledge()
        self._reading = Reading(self._link, self._keys, self._known)
        self._id = ""

    def _new_link(self) -> Link:
        if isinstance(self._server, str):
            pool = servers.pool_for_url(self._server, connect_timeout=max(self._life, LEAVING))
        else:
            pool = servers.pool_of_client(self._server)
        how_to_permit = rights.how_to_permit(pool, self._keys)
        return Link(pool, isinstance(self._server, str), self._life / 3, how_to_permit)

    def __repr__(self) -> str:
        return self._link.name

    @property
    def begins_at_once(self) -> bool:
        """While it is connected: connecting takes a timeout, which belongs to a task."""
        return self._link.is_connected

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        tell = on_gap if on_gap is not None else lambda _: None
        link, known = self._link, self._known
        self._id = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        self._close_in_forks()
        link.open(self._id, self._keys.session(self._id), monotonic() + OPENING * link.patience)
        link.on_reconnect = lambda: tell(False)
        known.on_loss = lambda: tell(True)
        self._wake_ups = WakeUps(link, self._keys, known, on_wake, link.on_reconnect)
        self._watching = Watching(link.begin, self._life, self.dead)
        self._changes = Changes(link, self._keys, known, self._reading, self._wake_ups, self._lost)
        try:
            servers.check(await link.ask("EVAL", FACTS, 0), repr(self))
            await self._wake_ups.subscribed()
            await asyncio.gather(self._look(), self._check_rights())
            link.description = describe_this(label, known.now())
            link.reach_until = monotonic() + self._life
            life = math.ceil(self._life * 1000)
            await asyncio.gather(
                link.ask("SET", link.key, link.row(), "PX", life, "NX"),
                link.ask("PUBLISH", self._keys.channel(self._id), self._wake_ups.packet("", "")),
            )
        except BaseException:
            await self._let_go()
            self._wake_ups.forget_failure()
            raise
        return self._id

    async def _check_rights(self) -> None:
        """Raise EngineError if the user lacks a right: else that would show only when it is needed."""
        keys = [self._keys.namespace, self._link.key, self._keys.record(""), self._keys.names, self._keys.evictions]
        denied = await self._link.run(TRY, keys, [self._keys.channel(self._id)])
        if denied:
            raise self._link.forbidden("; ".join(dict.fromkeys(each.decode() for each in denied)))

    async def close(self) -> None:
        if self._link.is_closed:
            return
        self._link.is_closed = True
        try:
            with contextlib.suppress(EngineError, TimeoutError):  # then the key expires
                async with asyncio.timeout(LEAVING):
                    await self._link.ask("DEL", self._link.key)
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        self._watching.close()
        await self._link.close()

    # Texts

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        self._link.check_open()
        return await self._look(names, sessions, math.ceil(self._life * 1000))

    def keeper(self) -> Keeper:
        """See `contract.Engine.keeper`. Only an engine that was given a URL has one, as a client is of one loop."""
        self._keepers_link = self._new_link()
        return _Keeper(self._keepers_link, self._keys, self._id, self._life)

    async def read(self, name: str) -> str | None:
        return (await self._link.insist(lambda: self._look([name]))).texts[name]

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        known, others = [*names], [*sessions]
        return await self._link.insist(lambda: self._look(known, others))

    async def _look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), live_on: int = 0) -> Seen:
        asked = monotonic()
        found = await self._reading.look(names, sessions, live_on)
        if live_on and not found.is_alive:
            raise await self._lost()
        if live_on:
            self._link.reach_until = asked + self._life
        for session, life in found.lives.items():
            self._watching.learned(session, life)
        return Seen(found.texts, frozenset(session for session, life in found.lives.items() if life < 0))

    async def names(self) -> list[str]:
        return sorted(readable(await self._link.insist(lambda: self._link.ask("ZRANGE", self._keys.names, 0, -1))))

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        async def ask() -> Any:
            # Not every answer says what time it is there, so what is known of that may be some milliseconds behind.
            now, micros = await self._link.ask("TIME")
            latest = int(now) * 1_000_000 + int(micros) - seconds * 1_000_000
            bounds = "-inf", f"({latest:.0f}", "BYSCORE", "LIMIT", skip, MOST_OLD
            return await self._link.ask("ZRANGE", self._keys.names, *bounds)

        return readable(await self._link.insist(ask))

    # Life and death

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        asked = [*sessions]
        if not asked:
            return {}
        rows = await self._link.insist(lambda: self._link.ask("MGET", *map(self._keys.session, asked)))
        found = {session: row for session, row in zip(asked, rows, strict=True) if row is not None}
        # A session is alive if its key is there. Somebody else may have written it.
        return {session: described(session, row.partition(b" ")[2], alive=True) for session, row in found.items()}

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        return (await self._link.insist(lambda: self._look(sessions=others))).dead if others else frozenset()

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        found = (await self.describe([session])).get(session)
        if found is None:
            return False
        keys = [self._keys.namespace, self._link.key, self._keys.session(session), self._keys.evictions]
        note = encode_eviction(found, by, reason, held)
        arguments: list[str | int] = [note, math.ceil(KEPT * 1_000_000), MOST, session]
        outcome, *learned = await self._link.insist(lambda: self._link.run(EVICT, keys, arguments))
        self._known.learn(learned[0].decode(), *map(int, learned[1:]))
        if outcome == b"dead":
            raise await self._lost()
        return bool(outcome == b"done")

    async def evictions(self) -> list[Eviction]:
        return await self._link.insist(lambda: _evictions(self._link, self._keys, self._known))

    async def _lost(self) -> SessionLost:
        return await _lost(self._link, self._keys, self._known, self._life)


class _Keeper:
    """Renews a session from another thread, by a connection of its own; see `contract.Keeper`."""

    def __init__(self, link: Link, keys: Keys, session: str, ttl: float) -> None:
        self._link = link
        self._keys = keys
        self._session = session
        self._ttl = ttl
        self._known = Knowledge()
        self._reading = Reading(link, keys, self._known)

    async def renew(self) -> None:
        asked = monotonic()
        if self._link.is_closed:
            self._link.open(self._session, self._keys.session(self._session), asked + self._ttl)
        found = await self._reading.look(live_on=math.ceil(self._ttl * 1000))
        if not found.is_alive:
            raise await _lost(self._link, self._keys, self._known, self._ttl)
        self._link.reach_until = asked + self._ttl

    async def close(self) -> None:
        await self._link.close()


async def _evictions(link: Link, keys: Keys, known: Knowledge) -> list[Eviction]:
    earliest = (known.now() - KEPT) * 1_000_000
    notes = await link.ask("ZRANGE", keys.evictions, f"{earliest:.0f}", "+inf", "BYSCORE")
    return [eviction for note in notes if (eviction := _evicted(note)) is not None]


async def _lost(link: Link, keys: Keys, known: Knowledge, ttl: float) -> SessionLost:
    return await why_lost(link.session, link.name, str(ttl), link.insist(lambda: _evictions(link, keys, known)))


def _evicted(kept: bytes) -> Eviction | None:
    micros, _, note = kept.partition(b" ")
    return decode_eviction(note, int(micros) / 1_000_000) if micros.isdigit() else None
