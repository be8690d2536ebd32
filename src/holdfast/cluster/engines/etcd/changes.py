"""How a text is changed: by comparing.

The change is made here, on the text that this session knows. One transaction keeps the result if nobody has changed the
text meanwhile, if this session is alive and has numbered no newer try (`link`), if the incarnation and the floor are
the known ones (`history`), and if all sessions that are to be buried are dead. Otherwise it gets what is there now, and
the change is made on that. So a change costs one round trip where nobody else has used the name since, and two where
somebody has. The same transaction puts the wake-ups.

A change that an addition can stand for costs one round trip, whatever others do at the same time: where the change
cannot be made, the same transaction makes the addition, if the text is open to it. Then the session itself sends the
wake-ups that come of its addition. The additions to a text are keys of their own, in the order of their making. Whoever
changes the text next writes them into it; if they become many, the session that has added the last one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import count
from operator import attrgetter

from holdfast.cluster.engines.contract import Addition, Change, Notices, Opening, Stored, T, to_wake
from holdfast.cluster.engines.far_link import PAUSE, Unreachable
from holdfast.cluster.errors import EngineError, SessionLost

from .keys import Keys
from .knowledge import NOTHING, SPREAD, Knowledge, Version
from .link import Link
from .reading import Reading, all_of, as_known, saw, version
from .transactions import (
    Outcome,
    Part,
    delete,
    delete_all,
    exists,
    get,
    get_version,
    if_,
    put,
    revision_is,
    transaction,
    value_is,
    version_is,
)
from .wake_ups import WakeUps

_MOST_BURIED = 60
"""Sessions whose deaths are compared in one change, at most. Death is final, so the others need it less."""
_MOST_ADDED = 32
"""How many additions a text gets before it is written anew."""
_MOST_DELETED = 60
"""Additions that are deleted one by one in one change, at most. If there are more, none that is not known may stay."""
_age = attrgetter("as_of")
Opens = Callable[[T], Opening | None]


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
        self._numbers = count(1)  # of its additions

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str],
        notices: Notices[T] | None,
        addition: Addition | None,
        opens: Opens[T] | None,
    ) -> T:
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
                before = max(sure or NOTHING, known.version(name), key=_age)
                now, floor = known.clock.now(), self._floor(before)
                try:
                    text, result = change(Stored(before.text, now, floor))
                except Exception:
                    if before is sure:
                        raise
                    # A wake-up may have brought a later text since `sure`. It leaves out the additions that its sender
                    # had not seen, and this session's own may be among them.
                    sure = await self._reading.fetch(name)
                    continue
                opening = opens(result) if opens is not None else None
                asked, todo, after = self._swap(name, before, text, now, opening)
                told = notices(result) if notices is not None else ()
                woken, later = self._wake_ups.of_change(name, after, told)
                asked += [version_is(session, 0) for session in buried]
                otherwise = [get(self._keys.state), get_version(link.key), *all_of(self._keys, name)]
                otherwise += [get_version(session) for session in buried]
                if addition is not None:
                    otherwise = [self._add(name, addition, otherwise)]
                made = await link.transact(transaction(asked, [*todo, *woken], otherwise), changes=True)
                if incarnation != known.state.incarnation:  # found while the answer was on its way
                    continue
                if made.succeeded:
                    known.saw(known.state, made.revision)
                    known.note(name, after._replace(revision=made.revision, as_of=made.revision))
                    self._wake_ups.send_all(later)
                    return result
                if addition is not None:
                    nested: Outcome = made.found[0]
                    made = nested._replace(revision=made.revision)
                    if made.succeeded:
                        return self._added(name, version(made, 2), change, notices, opens)
                await self._check(made)
                if any(made.found[4:]):
                    raise EngineError(f"{link.server} may have lost data: a session that was dead is there again")
                sure = version(made, 2)
                known.note(name, sure)
            except Unreachable:
                sure = None
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    # A change

    def _floor(self, before: Version) -> int:
        """Where tokens begin, at least. If the record was removed by hand: above all that it may have given out."""
        if not before.name_revision:
            return self._known.state.floor
        latest = max(int(self._known.clock.now() * 1_000_000), before.began)
        return max(self._known.state.floor, latest + int(SPREAD * 1_000_000))

    def _swap(
        self, name: str, before: Version, text: str, now: float, opening: Opening | None
    ) -> tuple[list[Part], list[Part], Version]:
        """What puts a text in the place of the known one: the comparisons, what is to be done, and what is there
        then, but for its revision, and for additions that may stay.
        """
        keys, micros = self._keys, int(now * 1_000_000)
        kind = opening.kind if opening is not None else "-"
        with_others = opening is not None and opening.is_alike and len(before.added) <= _MOST_DELETED
        asked = [*self._is_current(), *as_known(keys, name, before, with_others)]
        todo = [put(keys.record(name), b"%d %b" % (micros, text.encode()))]
        if not before.revision:
            asked.append(revision_is(keys.index(name), before.name_revision))
            todo += [put(keys.index(name), b"%d" % max(micros, self._floor(before))), delete_all(keys.additions(name))]
            todo.append(delete(keys.count(name)))
        elif with_others:
            todo += [delete(key) for key in before.added]
        elif before.added:
            todo.append(delete_all(keys.additions(name)))
        told = (opening.told if opening is not None else None) or "-"
        for key, known, new in (
            (keys.opened(name), before.kind, kind),
            (keys.told(name), before.told, told),
        ):
            if known != new or not before.revision:
                todo.append(delete(key) if new == "-" else put(key, new.encode()))
        return asked, todo, Version(text, kind=kind, counted=before.counted if before.revision else 0, told=told)

    def _is_current(self) -> list[Part]:
        """The comparisons of each change: the state, and that this session is alive and tries nothing newer."""
        return [
            value_is(self._keys.state, self._known.state.encode()),
            version_is(self._link.key, self._link.number),
        ]

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

    # An addition

    def _add(self, name: str, addition: Addition, otherwise: list[Part]) -> Part:
        """Makes an addition if the text is open to it."""
        keys, link = self._keys, self._link
        asked = [
            *self._is_current(),
            exists(keys.record(name)),
            value_is(keys.opened(name), addition.kind.encode()),
        ]
        key = keys.additions(name) + f"{link.session}-{next(self._numbers)}".encode()
        row = f"{int(self._known.clock.now() * 1_000_000)} {link.session}{addition.text}"
        todo = [put(key, row.encode()), put(keys.count(name), b""), *all_of(keys, name)]
        for session in self._known.told(name):
            if session != link.session:
                is_told = value_is(keys.told(name), session.encode())
                todo.append(self._wake_ups.of_addition(session, name, key, row, is_told))
        return if_(asked, todo, otherwise)

    def _added(
        self, name: str, stored: Version, change: Change[T], notices: Notices[T] | None, opens: Opens[T] | None
    ) -> T:
        """The result of a change for which an addition was made. stored: the text; its last row is that addition."""
        known = self._known
        known.saw(known.state, stored.as_of)
        if stored.told not in ("-", self._link.session, *known.told(name)):
            self._wake_ups.tell(stored, name)
        known.note(name, stored)
        before, _, row = (stored.text or "").rpartition("\n")
        micros, _, _ = row.partition(" ")
        text, result = change(Stored(before, int(micros) / 1_000_000, known.state.floor))
        for session, message in to_wake(notices, result):
            self._wake_ups.send(session, name, message)
        if len(stored.added) % _MOST_ADDED == 0:
            opening = opens(result) if opens is not None else None
            self._link.begin(partial(self._write_anew, name, stored, text, opening))
        return result

    async def _write_anew(self, name: str, before: Version, text: str, opening: Opening | None) -> None:
        """Replace a text with additions by one that says the same without. What was added since stays behind it.

        If it fails, somebody will do it later.
        """
        opening = None if opening is None else opening._replace(is_alike=True)
        incarnation = self._known.state.incarnation
        asked, todo, after = self._swap(name, before, text, self._known.clock.now(), opening)
        try:
            made = await self._link.transact(transaction(asked, todo), changes=True)
        except EngineError:
            return
        if made.succeeded and incarnation == self._known.state.incarnation and name in self._known.versions:
            self._known.note(name, after._replace(revision=made.revision, as_of=made.revision))

    # The end of a text

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """See `contract.Engine.remove`."""
        before = await self._link.insist(partial(self._reading.fetch, name))
        self._known.forget(name)
        if before.text != text:
            return False
        return await self._link.insist(partial(self._remove, name, before, floor))

    async def _remove(self, name: str, before: Version, floor: int) -> bool:
        keys, link = self._keys, self._link
        await link.settle()
        state = self._known.state
        raised = state._replace(floor=max(state.floor, floor))
        todo = [delete(keys.record(name)), delete_all(keys.of(name))]
        if raised != state:
            todo.append(put(keys.state, raised.encode()))
        asked = [*self._is_current(), *as_known(keys, name, before)]
        instead = [get(keys.state), get_version(link.key), *all_of(keys, name)]
        found = await link.transact(transaction(asked, todo, instead), changes=True)
        if found.succeeded:
            self._known.saw(raised, found.revision)
            return True
        await self._check(found)
        now = version(found, 2)
        if (now.revision, now.counted) != (before.revision, before.counted):
            return before.text is None and now.text is None
        raise Unreachable(f"{link.server} has raised the floor")  # or numbered a newer try; the next one succeeds
