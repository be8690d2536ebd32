"""How a text is changed: by comparing.

The change is made here, on the text that this session knows. One transaction keeps the result if nobody has changed the
text meanwhile, if this session is alive and has numbered no newer try (`link`), if the incarnation and the floor are
the known ones (`history`), and if all sessions that are to be buried are dead. Otherwise it gets what is there now, and
the change is made on that. So a change costs one round trip where nobody else has used the name since, and two where
somebody has. The same transaction puts the wake-ups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from holdfast.cluster.engines.contract import Change, Notices, Stored, T
from holdfast.cluster.engines.far_link import PAUSE, Unreachable
from holdfast.cluster.errors import EngineError, SessionLost

from .keys import Keys
from .knowledge import SPREAD, Knowledge, Version
from .link import Link
from .reading import Reading, get_version, saw, version
from .transactions import Outcome, Part, delete, get, put, revision_is, transaction, value_is, version_is
from .wake_ups import WakeUps

_MOST_BURIED = 60
"""Sessions whose deaths are compared in one change, at most. Death is final, so the others need it less."""


class Changes:
    """The changes that one session makes."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        known: Knowledge,
        reading: Reading,
        wake_ups: WakeUps,
        lost: Callable[[], Awaitable[SessionLost]],
    ) -> None:
        """lost: makes the error to raise when the session is dead."""
        self._link = link
        self._keys = keys
        self._known = known
        self._reading = reading
        self._wake_ups = wake_ups
        self._lost = lost

    async def apply(self, name: str, change: Change[T], *, evicted: Iterable[str], notices: Notices[T] | None) -> T:
        """See `contract.Engine.apply`."""
        link, known = self._link, self._known
        incarnation = known.state.incarnation
        buried = [self._keys.session(session) for session in evicted][:_MOST_BURIED]
        pause, longest = PAUSE
        sure: Version | None = None  # what the server has said just now
        while True:
            link.check_open()
            if incarnation != known.state.incarnation:
                raise EngineError(f"{link.server} may have lost data")  # the session is told to look
            try:
                await link.settle()
                before = sure or known.version(name)
                now, floor = known.clock.now(), self._floor(before)
                try:
                    text, result = change(Stored(before.text, now, floor))
                except Exception:
                    if before is sure:
                        raise
                    sure = await self._reading.fetch(name)
                    continue
                woken, later = self._wake_ups.of_change(name, text, notices(result) if notices is not None else ())
                made = await self._swap(name, before, text, now, buried, woken)
                if made.succeeded:
                    self._made(name, incarnation, Version(text, made.revision, made.revision))
                    self._wake_ups.send_all(later)
                    return result
                sure = await self._found(name, made, buried)
            except Unreachable:
                sure = None
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    def _floor(self, before: Version) -> int:
        """Where tokens begin, at least. If the record was removed by hand: above all that it may have given out."""
        if not before.name_revision:
            return self._known.state.floor
        latest = max(int(self._known.clock.now() * 1_000_000), before.began)
        return max(self._known.state.floor, latest + int(SPREAD * 1_000_000))

    async def _swap(
        self, name: str, before: Version, text: str, now: float, buried: list[bytes], woken: list[Part]
    ) -> Outcome:
        """Put a text in the place of the one that is known."""
        keys, link = self._keys, self._link
        record, index = keys.record(name), keys.index(name)
        micros = int(now * 1_000_000)
        asked = [*self._as_known(), revision_is(record, before.revision)]
        asked += [version_is(session, 0) for session in buried]
        todo = [put(record, b"%d %b" % (micros, text.encode()))]
        if not before.revision:
            asked.append(revision_is(index, before.name_revision))
            todo.append(put(index, b"%d" % max(micros, self._floor(before))))
        instead = [get(keys.state), get_version(link.key), get(record), get(index), *map(get_version, buried)]
        return await link.transact(transaction(asked, [*todo, *woken], instead), changes=True)

    def _as_known(self) -> list[Part]:
        """The comparisons of each change: the state, and that this session is alive and tries nothing newer."""
        return [
            value_is(self._keys.state, self._known.state.encode()),
            version_is(self._link.key, self._link.number),
        ]

    def _made(self, name: str, incarnation: str, now: Version) -> None:
        """A change was made. Its answer may come after another incarnation was found."""
        if incarnation != self._known.state.incarnation:
            raise EngineError(f"{self._link.server} may have lost data")
        self._known.saw(self._known.state, now.as_of)
        self._known.note(name, now)

    async def _found(self, name: str, found: Outcome, buried: list[bytes]) -> Version:
        """Why a change was not made, by what the transaction has found instead; what is there now. Raises if none is
        made at all.
        """
        await self._check(found)
        if any(found.found[4 : 4 + len(buried)]):
            raise EngineError(f"{self._link.server} may have lost data: a session that was dead is there again")
        now = version(found.one(2), found.one(3), found.revision)
        self._known.note(name, now)
        return now

    async def _check(self, found: Outcome) -> None:
        """Look at the state and at this session's own key, which a transaction has found in place of a change."""
        if not saw(self._known, found.one(0), found.revision):
            self._link.doubt()
            raise Unreachable(f"{self._link.server} may have lost data")  # the next try finds out
        number = found.one(1).version
        if number == 0:
            raise await self._lost()
        if number != self._link.number:
            self._link.is_sure = False

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """See `contract.Engine.remove`."""
        before = await self._link.insist(lambda: self._reading.fetch(name))
        self._known.versions.pop(name, None)
        if before.text != text:
            return False
        return await self._link.insist(lambda: self._remove(name, before, floor))

    async def _remove(self, name: str, before: Version, floor: int) -> bool:
        keys, link = self._keys, self._link
        await link.settle()
        state = self._known.state
        raised = state._replace(floor=max(state.floor, floor))
        record, index = keys.record(name), keys.index(name)
        todo = [delete(record), delete(index)]
        if raised != state:
            todo.append(put(keys.state, raised.encode()))
        asked = [*self._as_known(), revision_is(record, before.revision)]
        instead = [get(keys.state), get_version(link.key), get(record)]
        found = await link.transact(transaction(asked, todo, instead), changes=True)
        if found.succeeded:
            self._known.saw(raised, found.revision)
            return True
        await self._check(found)
        if found.one(2).revision != before.revision:
            return before.text is None and not found.one(2).revision
        raise Unreachable(f"{link.server} has raised the floor")  # or numbered a newer try; the next one succeeds
