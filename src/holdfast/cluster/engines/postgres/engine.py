"""PostgreSQL: processes on any machines that reach one database.

A session has a row in the database, which expires by the server's clock and is never made again (`tables`). It has one
connection, for its requests and its wake-ups (`link`). It remembers the texts that it has seen (`knowledge`), and
changes a text by comparing (`changes`), in a procedure that runs in the server (`routines`).

docs/guarantees.md says what may go wrong with a server and its data.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import string
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

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

from . import pooler, schema
from .changes import Changes
from .link import Link
from .reading import Reading
from .server import Server, ServerOfFunction, ServerOfPool, ServerOfUrl
from .wake_ups import SMALL, WakeUps

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

_ALPHABET = string.ascii_letters + string.digits
_ID, _CHANNEL = 10, 20
"""Letters of a session's id, and of the random part of its channel: 60 and 119 bits."""


class PostgresEngine(FarEngine):
    """An engine in a database; see `contract.Engine`."""

    sends_texts = SMALL
    _link: Link
    _keepers_link: Link | None
    _changes: Changes
    _watching: Watching
    _wake_ups: WakeUps

    def __init__(
        self, server: str | Pool | Callable[[], Awaitable[Connection]], namespace: str, ttl: float | None = None
    ) -> None:
        """server: a URL as asyncpg reads it; or a pool, which stays the caller's; or a function that connects.

        ttl: seconds, 10 by default.

        Raises ValueError for a URL that is wrong, TypeError for what is none of these.
        """
        self._life = TTL if ttl is None else ttl
        self.ttl: float | None = self._life
        self._server: Server = _server(server)
        self.polls = self._server.poll
        self._namespace = namespace.encode()
        self._link = self._new_link()
        self._keepers_link: Link | None = None
        self._known = Knowledge()
        self._reading = Reading(self._link, self._namespace, self._known)
        self._id = ""

    def _new_link(self) -> Link:
        return Link(self._server, self._life / 3)

    def __repr__(self) -> str:
        return self._link.name

    @property
    def begins_at_once(self) -> bool:
        """A request is put into a line, which a task of the link's works off."""
        return True

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        tell = on_gap if on_gap is not None else lambda _: None
        link, known = self._link, self._known
        self._id = _random(_ID)
        channel = f"holdfast_{_random(_CHANNEL)}"
        self._close_in_forks()
        link.open(self._id, monotonic() + OPENING * link.patience)
        link.on_reconnect = lambda: tell(False)
        known.on_loss = lambda: tell(True)
        self._wake_ups = WakeUps(link, channel, known, on_wake)
        self._watching = Watching(link.begin, self._life, self.dead)
        self._changes = Changes(link, self._namespace, known, self._reading, self._wake_ups, self._lost)
        if self.polls is None:
            link.main.on_connect, link.main.on_leave = self._wake_ups.listen, self._wake_ups.stop_listening
        try:
            if self.polls is None:
                await pooler.refuse(link, channel, self._wake_ups)
            await schema.prepare(link)
            await self._look()
            who = describe_this(label, known.now(), polls=self.polls is not None).encode()
            link.reach_until = monotonic() + self._life
            begin = "SELECT SCHEMA.begin_session($1, $2, $3, $4, $5)"
            await link.ask(begin, self._id, link.number, self._life * 1000, channel, who)
            link.has_begun = True
        except BaseException:
            await self._let_go()
            raise
        return self._id

    async def close(self) -> None:
        if self._link.is_closed:
            return
        try:
            with contextlib.suppress(EngineError, TimeoutError):  # then it expires
                async with asyncio.timeout(LEAVING):
                    ending = self._link.put(lambda: ("SELECT SCHEMA.end_session($1)", self._id))
                    self._link.is_closed = True
                    await ending
        finally:
            self._link.is_closed = True
            await self._let_go()

    async def _let_go(self) -> None:
        self._watching.close()
        await self._link.close()

    # Texts

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        self._link.check_open()
        return await self._look(names, sessions, self._life)

    def keeper(self) -> Keeper:
        """See `contract.Engine.keeper`. Only an engine that was given a URL has one, as a pool is of one loop."""
        self._keepers_link = self._new_link()
        self._keepers_link.main.is_settled = True
        return _Keeper(self._keepers_link, self._namespace, self._id, self._life)

    async def read(self, name: str) -> str | None:
        return (await self._link.insist(lambda: self._look([name]))).texts[name]

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        known, others = [*names], [*sessions]
        return await self._link.insist(lambda: self._look(known, others))

    async def _look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), live_on: float = 0.0) -> Seen:
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
        statement = "SELECT name FROM SCHEMA.texts WHERE namespace = $1"
        rows = await self._link.insist(lambda: self._link.ask(statement, self._namespace))
        return sorted(readable(name for (name,) in rows))

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        statement = (
            "SELECT name FROM SCHEMA.texts WHERE namespace = $1 AND changed < clock_timestamp() - $2 * interval '1 s' "
            "ORDER BY changed OFFSET $3 LIMIT $4"
        )
        arguments = self._namespace, seconds, skip, MOST_OLD
        rows = await self._link.insist(lambda: self._link.ask(statement, *arguments))
        return readable(name for (name,) in rows)

    # Life and death

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        asked = [*sessions]
        statement = "SELECT id, who, expires > clock_timestamp() FROM SCHEMA.sessions WHERE id = ANY ($1::text[])"
        rows = await self._link.insist(lambda: self._link.ask(statement, asked)) if asked else []
        return {session: described(session, who, is_alive) for session, who, is_alive in rows}

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        return (await self._link.insist(lambda: self._look(sessions=others))).dead if others else frozenset()

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        found = (await self.describe([session])).get(session)
        if found is None:
            return False
        note = encode_eviction(found, by, reason, held).encode()
        head = self._wake_ups.head("", "look")
        statement = "CALL SCHEMA.evict($1, $2, $3, $4, $5, $6, $7, NULL)"
        arguments = self._id, self._namespace, session, note, KEPT, MOST, head
        ((outcome,),) = await self._link.insist(lambda: self._link.ask(statement, *arguments))
        if outcome == "dead":
            raise await self._lost()
        return bool(outcome == "done")

    async def evictions(self) -> list[Eviction]:
        return await self._link.insist(lambda: _evictions(self._link, self._namespace))

    async def _lost(self) -> SessionLost:
        return await _lost(self._link, self._namespace, self._life)


class _Keeper:
    """Renews a session from another thread, by a connection of its own; see `contract.Keeper`."""

    def __init__(self, link: Link, namespace: bytes, session: str, ttl: float) -> None:
        self._link = link
        self._namespace = namespace
        self._session = session
        self._ttl = ttl
        self._reading = Reading(link, namespace, Knowledge())

    async def renew(self) -> None:
        asked = monotonic()
        if self._link.is_closed:
            self._link.open(self._session, asked + self._ttl)
        found = await self._reading.look(live_on=self._ttl)
        if not found.is_alive:
            raise await _lost(self._link, self._namespace, self._ttl)
        self._link.reach_until = asked + self._ttl

    async def close(self) -> None:
        await self._link.close()


def _server(server: str | Pool | Callable[[], Awaitable[Connection]]) -> Server:
    if isinstance(server, str):
        return ServerOfUrl(server)
    if callable(server):
        return ServerOfFunction(server)
    return ServerOfPool(server)


async def _evictions(link: Link, namespace: bytes) -> list[Eviction]:
    statement = (
        "SELECT extract(epoch FROM at)::double precision, note FROM SCHEMA.evictions "
        "WHERE namespace = $1 AND at > clock_timestamp() - $2 * interval '1 s' ORDER BY at"
    )
    notes = await link.ask(statement, namespace, KEPT)
    return [eviction for at, note in notes if (eviction := decode_eviction(note, at)) is not None]


async def _lost(link: Link, namespace: bytes, ttl: float) -> SessionLost:
    return await why_lost(link.session, link.name, str(ttl), link.insist(lambda: _evictions(link, namespace)))


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
