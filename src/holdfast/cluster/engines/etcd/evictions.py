"""How a session is ended by another one, and the notes of it, which etcd keeps for a day."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from holdfast.cluster.engines.eviction_note import KEPT, MOST, Eviction, decode, encode
from holdfast.cluster.engines.far_engine import why_lost
from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.errors import SessionLost

from .keys import Keys, lease_of, new_lease
from .knowledge import Knowledge
from .lease import grant
from .link import Link
from .transactions import delete, delete_until, exists, get_all, get_version, put, transaction, version_is
from .wake_ups import message


class Evictions:
    """The evictions that one session makes, or reads of."""

    def __init__(self, link: Link, keys: Keys, known: Knowledge) -> None:
        self._link = link
        self._keys = keys
        self._known = known

    async def evict(self, session: SessionInfo, by: str, reason: str, held: Iterable[str]) -> bool | None:
        """End a session; return whether it was alive, or None if this session is dead. Raises EngineError."""
        note = encode(session, by, reason, held)
        done = await self._link.insist(partial(self._evict, session.id, note))
        if done:
            await self._link.insist(self._forget_the_first)
        return done

    async def _evict(self, session: str, note: str) -> bool | None:
        link, keys = self._link, self._keys
        await link.settle()
        lease = new_lease()
        await grant(link, lease, int(KEPT))
        ended = keys.session(session)
        look = message(self._known, "", ["look"])
        asked = [version_is(link.key, link.number), exists(ended)]
        todo = [
            put(keys.eviction(int(self._known.clock.now() * 1_000_000), session), note.encode(), lease),
            put(keys.inbox(session), look, lease_of(session)),
            delete(ended),
        ]
        found = await link.transact(transaction(asked, todo, [get_version(link.key), get_version(ended)]), changes=True)
        if found.succeeded:
            return True
        if not found.found[0]:
            return None
        if found.one(0).version != link.number:
            link.is_sure = False
            return await self._evict(session, note)
        return False

    async def _forget_the_first(self) -> None:
        """Keep no more notes than there may be."""
        notes = await self._link.find(get_all(self._keys.evictions, keys_only=True))
        if len(notes) > MOST:
            await self._link.transact(transaction([], [delete_until(self._keys.evictions, notes[-MOST].key)]))

    async def kept(self) -> list[Eviction]:
        """The notes that are kept, the earliest first. Tried once; raises EngineError."""
        notes = []
        for kept in await self._link.find(get_all(self._keys.evictions)):
            micros, _, _ = kept.key.removeprefix(self._keys.evictions).partition(b"-")
            note = decode(kept.value, int(micros) / 1_000_000) if micros.isdigit() else None
            if note is not None:
                notes.append(note)
        return notes

    async def lost(self, ttl: float) -> SessionLost:
        """The error to raise when the link's session is dead; it says who has ended it, if somebody has."""
        link = self._link
        return await why_lost(link.session, str(link.server), f"{ttl:g}", link.insist(self.kept))
