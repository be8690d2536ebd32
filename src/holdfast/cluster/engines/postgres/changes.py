"""How a text is changed: by comparing.

The change is made here, on the text that this session knows. A procedure keeps the result if nobody has changed the
text meanwhile, if this session is alive, and if all sessions that are to be buried are dead (`change` in `routines`).
Otherwise it returns what is there now, and the change is made on that. So a change costs one round trip where nobody
else has used the name since, and two where somebody has. When the procedure has committed, it sends the wake-ups, in
the same round trip. They carry the new text where it is small, so a session that is woken need not ask for it.

A change that an addition can stand for costs one round trip, whatever others do at the same time: the procedure appends
the addition if the text is open to it. Where the addition is better than the change, it is appended at once, and the
session that is likely to change the text next is told, which need not know of all additions. If the text was open to it
when this session last saw it, the change is not even tried. Otherwise the procedure appends the addition if the text is
not the one that the session knows. Then the session itself sends the wake-ups that come of its addition. The session
whose addition makes the text long enough writes the text anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic

from holdfast.cluster.engines.comparing import IN_TEXT, Comparing
from holdfast.cluster.engines.contract import Addition, Change, Notice, Notices, Opening, Stored, T
from holdfast.cluster.engines.far_link import PAUSE, Unreachable
from holdfast.cluster.engines.knowledge import Knowledge, Version
from holdfast.cluster.errors import EngineError, SessionLost

from .failures import NotTold
from .lane import Statement
from .link import Link
from .reading import Reading
from .reading import version as stored_version
from .wake_ups import SMALL, WakeUps, tail

if TYPE_CHECKING:
    from asyncpg import Record

_ARGUMENTS = ", ".join(f"${number}" for number in range(1, 23))
_CHANGE = f"CALL SCHEMA.change({_ARGUMENTS}, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
_REMOVE = "SELECT * FROM SCHEMA.remove($1, $2, $3, $4, $5, $6, $7, $8, $9)"


class _NotSure(Exception):  # noqa: N818  # it is no error
    """The change has raised something, on a text that may be an old one."""


@dataclass(slots=True, eq=False)
class _Attempt(Generic[T]):
    """A change that is asked for once."""

    version: Version
    """What the session knows."""
    makes: Version | None = None
    """What is kept if it succeeds, but for additions that are not known; None: only an addition is asked for."""
    result: T | None = None
    opening: Opening | None = None
    told: tuple[list[str], list[str]] = ([], [])
    """The sessions that are woken, and what each is sent."""


class Changes(Comparing):
    """The changes that one session makes."""

    _link: Link
    _wake_ups: WakeUps

    def __init__(
        self,
        link: Link,
        namespace: bytes,
        known: Knowledge,
        reading: Reading,
        wake_ups: WakeUps,
        lost: Callable[[], Awaitable[SessionLost]],
    ) -> None:
        """lost: makes the error to raise when the session is dead."""
        self._link = link
        self._namespace = namespace
        self._known = known
        self._reading = reading
        self._wake_ups = wake_ups
        self._lost = lost

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str],
        notices: Notices[T] | None,
        addition: Addition | None,
        opens: Callable[[T], Opening | None] | None,
    ) -> T | None:
        """See `contract.Engine.apply`."""
        link, known = self._link, self._known
        incarnation, buried = known.incarnation, [*evicted]
        is_better = addition is not None and addition.is_better
        pause, longest = PAUSE
        sure: Version | None = None  # what the server has said just now
        may_tell = True
        attempt: _Attempt[T]

        def make() -> Statement:
            nonlocal attempt
            attempt = _Attempt(known.versions.get(name) or sure or Version())
            if not (addition is not None and is_better and attempt.version.kind == addition.kind):
                self._make(attempt, name, change, notices, opens, attempt.version == sure)
            return self._statement(name, incarnation, buried, attempt, addition, may_tell)

        while True:
            link.check_open()
            if incarnation != known.incarnation:
                raise EngineError(f"{link.name} may have lost data")  # the session is told to look
            try:
                (row,) = await link.put(make)
            except _NotSure:
                known_version = known.versions.get(name)
                sure = await link.insist(lambda: self._reading.fetch(name))
                known.note(name, sure, instead_of=known_version)
                continue
            except Unreachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
                continue
            except NotTold:  # what it has made is found with the next attempt
                self._wake_ups.make_room()
                may_tell = False
                continue
            outcome = row["o_outcome"]
            if outcome == "done" and incarnation == known.incarnation and attempt.makes is not None:
                known.note(name, attempt.makes)
                return attempt.result
            self._learn(row)
            if outcome == "dead":
                raise await self._lost()
            if outcome == "not all dead":
                raise EngineError(f"{link.name} may have lost data: a session that was dead is there again")
            if outcome == "another connection":  # the server has not been told the number of this connection
                link.doubt()
            elif outcome == "added" and incarnation == known.incarnation:
                if row["o_text"] is None:
                    return None
                return self._added(name, _stored(row), change, notices, opens, not is_better)
            elif outcome == "changed":
                sure = _stored(row)
                known.note(name, sure, instead_of=attempt.version)

    def _make(
        self,
        attempt: _Attempt[T],
        name: str,
        change: Change[T],
        notices: Notices[T] | None,
        opens: Callable[[T], Opening | None] | None,
        is_sure: bool,
    ) -> None:
        """Make the change on what is known. Raises what that raises if the text is the last one for sure."""
        known, version = self._known, attempt.version
        try:
            text, result = change(Stored(version.text, known.now(), known.floor))
        except Exception as exc:
            if is_sure:
                raise
            raise _NotSure from exc
        opening = opens(result) if opens is not None else None
        attempt.makes, attempt.result, attempt.opening = self._next_version(version, text, opening), result, opening
        attempt.told = self._notified(name, text, notices(result) if notices is not None else ())

    def _statement(
        self,
        name: str,
        incarnation: str,
        buried: list[str],
        attempt: _Attempt[Any],
        addition: Addition | None,
        may_tell: bool,
    ) -> Statement:
        """The call of the procedure, with its arguments in the order that it has."""
        version, makes, opening = attempt.version, attempt.makes, attempt.opening
        woken, heads = attempt.told if may_tell else ([], [])
        change_to: tuple[Any, ...] = None, None, None, None, False
        behind = None
        if makes is not None:
            kind, told, is_alike = opening if opening is not None else (None, None, False)
            text = makes.text or ""
            change_to = makes.revision, kind, told, text.encode(), is_alike
            behind = tail(makes.revision, text) if woken else None
        flag: tuple[Any, ...] = None, None, None
        if addition is not None:
            # Who knows no text must be told of one: what comes of its addition cannot be told otherwise.
            is_known = addition.is_known and version.text is not None
            word = "-" if not addition.is_better else "!" if is_known else "+"
            flag = word, addition.kind, addition.text.encode()
        head = self._wake_ups.head(name, "") if may_tell else None
        return (
            *(_CHANGE, self._link.session, self._link.number, self._namespace, name.encode(), self._queue(name)),
            *(incarnation, self._known.floor, version.revision or None, version.length, buried),
            *(*change_to, *flag, woken, heads, behind, head),
        )

    def _write_anew(self, name: str, version: Version, text: str, opening: Opening | None) -> None:
        attempt: _Attempt[None] = _Attempt(version, self._next_version(version, text, opening))
        attempt.opening = opening
        incarnation, makes = self._known.incarnation, attempt.makes

        def then(asked: asyncio.Future[list[Record]]) -> None:
            if asked.cancelled() or asked.exception() is not None or makes is None:
                return
            (row,) = asked.result()
            if row["o_outcome"] != "done":
                self._learn(row)
            else:
                self._written_anew(name, incarnation, makes)

        asked = self._link.put(lambda: self._statement(name, incarnation, [], attempt, None, may_tell=True))
        asked.add_done_callback(then)

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """See `contract.Engine.remove`."""
        link, known = self._link, self._known
        version = await link.insist(lambda: self._reading.fetch(name))
        known.versions.pop(name, None)
        if version.text != text or text is None:
            return version.text is None and text is None

        async def remove() -> Record:
            (row,) = await link.put(
                lambda: (
                    *(_REMOVE, link.session, link.number, self._namespace, name.encode(), self._queue(name)),
                    *(known.incarnation, version.revision, version.length, floor),
                )
            )
            if row["o_outcome"] == "another connection":
                link.doubt()
                raise Unreachable("it has not been told of this connection")
            return row

        row = await link.insist(remove)
        self._learn(row)
        if row["o_outcome"] == "dead":
            raise await self._lost()
        return bool(row["o_outcome"] == "done")

    def _learn(self, row: Record) -> None:
        if row["o_here"] is not None:
            self._known.learn(row["o_here"], row["o_floor"], row["o_now"])

    def _queue(self, name: str) -> int:
        """The key of the lock in which changes of a name wait. Names that have the same by chance wait together."""
        digest = blake2b(name.encode(), key=self._namespace[:64], digest_size=8, person=b"holdfast")
        return int.from_bytes(digest.digest(), "big", signed=True)

    def _notified(self, name: str, text: str, notices: Iterable[Notice]) -> tuple[list[str], list[str]]:
        told = [
            (session, self._wake_ups.head(name, "" if message is None else message or IN_TEXT))
            for session, message in notices
            if message is not None or len(text) <= SMALL
        ]
        return [session for session, _ in told], [head for _, head in told]


def _stored(row: Record) -> Version:
    return stored_version(row["o_revision"], row["o_kind"], row["o_text"])
