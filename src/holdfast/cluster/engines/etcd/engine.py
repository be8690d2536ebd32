"""etcd: processes on any machines that reach one cluster of etcd.

A session has a lease, and a key that goes with it and is never made again (`keys`). It has some connections for its
requests (`link`), one on which it is woken (`wake_ups`), and one on which it learns of deaths (`watching`). It
remembers the texts that it has seen (`knowledge`), and changes a text by comparing (`changes`).

docs/guarantees.md says what may go wrong with a server and its data.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable
from functools import partial

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import (
    MOST_OLD,
    Keeper,
    OnGap,
    OnWake,
    Seen,
)
from holdfast.cluster.engines.eviction_note import Eviction
from holdfast.cluster.engines.far_engine import LEAVING, OPENING, TTL, FarEngine, readable
from holdfast.cluster.engines.session_info import SessionInfo, describe_this, described
from holdfast.cluster.errors import EngineError, SessionLost

from .changes import Changes
from .evictions import Evictions
from .keys import Keys, new_lease, session_of
from .knowledge import Knowledge, changed_at
from .lease import alive_again, grant, revoke
from .link import Link
from .reading import Reading
from .server import server_for_url
from .transactions import MOST, get, get_all, look, put, transaction, version_is
from .wake_ups import SMALL, WakeUps
from .watching import Watching

_SHORTEST = 2
"""Seconds of a lease, at least, as etcd is configured by default."""
_PATIENCE = 1.0, 5.0
"""Seconds, the least and the most, that an answer may take: a third of the ttl between them."""


class EtcdEngine(FarEngine):
    """An engine on a cluster of etcd; see `contract.Engine`."""

    sends_texts = SMALL
    _link: Link
    _keepers_link: Link | None
    _changes: Changes
    _watching: Watching
    _wake_ups: WakeUps
    begins_at_once = False

    def __init__(self, url: str, namespace: str, ttl: float | None = None) -> None:
        """url: see `server.server_for_url`. ttl: seconds, 10 by default; etcd makes whole ones of them, 2 at least.

        Raises ValueError for a URL that is wrong.
        """
        self._life = float(max(math.ceil(TTL if ttl is None else ttl), _SHORTEST))
        self.ttl: float | None = self._life
        self._server = server_for_url(url)
        self._keys = Keys(namespace)
        self._known = Knowledge()
        self._link = self._new_link(self._known)
        self._keepers_link: Link | None = None
        self._reading = Reading(self._link, self._keys, self._known)
        self._evictions = Evictions(self._link, self._keys, self._known)
        self._id = ""

    def _new_link(self, known: Knowledge) -> Link:
        least, most = _PATIENCE
        return Link(self._server, self._keys, known, min(max(self._life / 3, least), most))

    def __repr__(self) -> str:
        return str(self._server)

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        tell = on_gap if on_gap is not None else lambda _: None
        link, known = self._link, self._known
        lease = new_lease()
        self._id = session_of(lease)
        self._close_in_forks()
        link.begin_session(self._id, monotonic() + OPENING * link.patience)
        known.on_loss = lambda: tell(True)
        try:
            asked = monotonic()
            self.ttl = self._life = await grant(link, lease, int(self._life))
            self._wake_ups = WakeUps(link, on_wake, tell)
            self._watching = Watching(link, self._life, self.dead)
            self._changes = Changes(link, self._keys, known, self._reading, self._wake_ups, self._lost)
            await self._wake_ups.begun()
            link.row = describe_this(label, known.clock.now()).encode()
            begun = await link.transact(
                transaction([version_is(link.key, 0)], [put(link.key, link.row, lease), get(link.key)])
            )
            if not begun.succeeded:
                raise EngineError(f"{self!r} has a session of this id already")
            link.number = begun.one(1).version
            link.reach_until = asked + self._life
        except BaseException:
            await self._let_go()
            raise
        return self._id

    async def close(self) -> None:
        if self._link.is_closed:
            return
        self._link.is_closed = True
        try:
            with contextlib.suppress(EngineError, TimeoutError):  # then the lease expires
                async with asyncio.timeout(LEAVING):
                    await revoke(self._link)
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        if hasattr(self, "_watching"):
            self._watching.close()
        await self._link.close()

    # Texts

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        asked = monotonic()
        self._link.check_open()
        is_alive = await alive_again(self._link)
        found = await self._reading.look(names, sessions, is_urgent=True)
        if not (is_alive and found.is_alive):
            raise await self._lost()
        self._link.reach_until = asked + self._life
        return Seen(found.texts, found.dead)

    def keeper(self) -> Keeper:
        self._keepers_link = self._new_link(Knowledge())
        return _Keeper(self._keepers_link, self._id, self._life)

    async def read(self, name: str) -> str | None:
        return (await self._link.insist(lambda: self._reading.look([name]))).texts[name]

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        known, others = [*names], [*sessions]
        found = await self._link.insist(partial(self._reading.look, known, others))
        return Seen(found.texts, found.dead)

    async def names(self) -> list[str]:
        found = await self._link.insist(partial(self._link.find, get_all(self._keys.records, keys_only=True)))
        return sorted(self._names(each.key for each in found))

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        order = {"sort_target": "MOD", "sort_order": "ASCEND", "limit": str(skip + MOST_OLD)}
        found = await self._link.insist(partial(self._link.find, get_all(self._keys.records, **order)))
        latest = self._known.clock.now() - seconds
        return self._names(each.key for each in found[skip:] if changed_at(each.value) < latest)

    def _names(self, records: Iterable[bytes]) -> list[str]:
        """Without what somebody else has put there, as far as that can be told."""
        return readable(record.removeprefix(self._keys.records) for record in records)

    # Life and death

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        asked = [*sessions]
        infos: dict[str, SessionInfo] = {}
        for start in range(0, len(asked), MOST):
            batch = asked[start : start + MOST]
            wanted = look([get(self._keys.session(session)) for session in batch])
            found = await self._link.insist(partial(self._link.transact, wanted))
            for index, session in enumerate(batch):
                if (kept := found.one(index)).revision:
                    infos[session] = described(session, kept.value, alive=True)
        return infos

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        return (await self._link.insist(partial(self._reading.look, (), others))).dead if others else frozenset()

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        found = (await self.describe([session])).get(session)
        if found is None:
            return False
        is_done = await self._evictions.evict(found, by, reason, held)
        if is_done is None:
            raise await self._lost()
        return is_done

    async def evictions(self) -> list[Eviction]:
        return await self._link.insist(self._evictions.kept)

    async def _lost(self) -> SessionLost:
        return await self._evictions.lost(self._life)


class _Keeper:
    """Renews a session from another thread, by connections of its own; see `contract.Keeper`."""

    def __init__(self, link: Link, session: str, ttl: float) -> None:
        self._link = link
        self._session = session
        self._ttl = ttl
        self._reading = Reading(link, link.keys, link.known)
        self._evictions = Evictions(link, link.keys, link.known)

    async def renew(self) -> None:
        asked = monotonic()
        if self._link.is_closed:
            self._link.begin_session(self._session, asked + self._ttl)
        is_alive = await alive_again(self._link)
        found = await self._reading.look()
        if not (is_alive and found.is_alive):
            raise await self._evictions.lost(self._ttl)
        self._link.reach_until = asked + self._ttl

    async def close(self) -> None:
        await self._link.close()
