"""How a text is changed: by comparing.

The change is made here, on the text that this session knows. A script keeps the result if nobody has changed the text
meanwhile, if this session is alive, and if all sessions that are to be buried are dead (`scripts.SWAP`). Otherwise the
script returns what is there now, and the change is made on that. So a change costs one round trip where nobody else has
used the name since, and two where somebody has. The same step publishes the wake-ups. They carry the new text where it
is small, so a session that is woken need not ask for it.

A change that an addition can stand for costs one round trip, whatever others do at the same time: the script appends
the addition if the text is open to it. Where the addition is better than the change, the script appends it at once, and
tells the session that is likely to change the text next, which need not know of all additions. Otherwise the script
appends it if the text is not the one that the session knows. Then the session itself sends the wake-ups that come of
its addition. The session whose addition makes the text long enough writes the text anew.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from holdfast.cluster.engines.contract import Addition, Change, Notice, Notices, Opening, Stored, T, to_wake
from holdfast.cluster.errors import EngineError, SessionLost

from .connection import Connection
from .keys import Keys
from .knowledge import Knowledge, Version, decode
from .link import PAUSE, Link, Unreachable
from .reading import Reading
from .scripts import SMALL, SWAP
from .wake_ups import WakeUps

_MOST_ADDED = 32
"""How many additions a text gets before it is written anew."""
_NO_ADDITION = "", "", "", ""
"""The arguments of a swap that are about an addition, where there is none."""
Arguments = list[bytes | str | int]


@dataclass(slots=True, eq=False)
class _Attempt(Generic[T]):
    """A swap that is under way."""

    arguments: Arguments
    makes: Version
    """What is kept if it succeeds, but for additions that are not known."""
    result: T
    answer: bytes | Exception | None = None


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
        self._revisions = itertools.count(1)

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str],
        notices: Notices[T] | None,
        addition: Addition | None,
        opens: Callable[[T], Opening | None] | None,
    ) -> T:
        """See `contract.Engine.apply`.

        Several attempts may be under way at once: when a newer text arrives with a wake-up, the change is made again on
        that, and the answer to the older attempt is not waited for.
        """
        link, known = self._link, self._known
        incarnation = known.incarnation
        keys = [*self._swap_keys(name), *map(self._keys.session, evicted)]
        is_better = addition is not None and addition.is_better
        added = [*_NO_ADDITION]
        if addition is not None:
            added = [addition.text, addition.kind, self._wake_ups.head(name, ""), "better" if is_better else ""]
        pause, longest = PAUSE
        sure: Version | None = None  # what the server has said just now
        attempts: list[_Attempt[T]] = []

        def send(connection: Connection, attempt: _Attempt[T], *script: str) -> None:
            def then(answer: bytes | Exception) -> None:
                attempt.answer = answer
                known.ring(name)

            attempts.append(attempt)
            connection.send(then, *script, *attempt.arguments)

        while True:
            link.check_open()
            if incarnation != known.incarnation:
                raise EngineError(f"{link.name} may have lost data")  # the session is told to look
            try:
                connection = await link.connected()
                version = known.versions.get(name) or sure or Version()
                try:
                    text, result = change(Stored(version.text, known.now(), known.floor))
                except Exception:
                    if version == sure:
                        raise
                    known.note(name, sure := await self._reading.fetch(name), instead_of=version)
                    continue
                makes = self._next_version(version, text)
                opening = opens(result) if opens is not None else None
                is_alike = opening is not None and opening.is_alike
                arguments = self._swap(keys, incarnation, name, version, makes, opening, is_alike)
                arguments += [*added, *self._messages(name, text, notices(result) if notices is not None else ())]
                send(connection, _Attempt(arguments, makes, result), "EVALSHA", SWAP.digest)
                while attempts and (addition is not None or self._may_succeed(name, version, is_alike)):
                    attempt = await self._next_answered(name, attempts)
                    if attempt is None:
                        continue  # a newer text has come first, and the answer need not be waited for
                    attempts.remove(attempt)
                    try:
                        outcome, found = self._read_answer(attempt.answer)
                    except NoScriptError:  # the server is new, or somebody has flushed its scripts
                        attempt.answer = None
                        send(connection, attempt, "EVAL", SWAP.source)
                        continue
                    except (RedisError, OSError) as exc:
                        raise await link.explained(exc, connection) from exc
                    if outcome == b"dead":
                        raise await self._lost()
                    if outcome == b"done" and incarnation == known.incarnation:
                        known.note(name, attempt.makes.with_added(found))
                        return attempt.result
                    if outcome == b"added" and incarnation == known.incarnation:
                        return self._added(name, decode(found), change, notices, opens, not is_better)
                    if outcome == b"changed":
                        known.note(name, sure := decode(found), instead_of=version)
            except Unreachable:
                attempts.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    def _added(
        self,
        name: str,
        stored: Version,
        change: Change[T],
        notices: Notices[T] | None,
        opens: Callable[[T], Opening | None] | None,
        may_write_anew: bool,
    ) -> T:
        """The result of a change for which an addition was made. stored: the text; its last row is that addition."""
        known = self._known
        known.note(name, stored)
        before, _, _ = (stored.text or "").rpartition("\n")
        text, result = change(Stored(before, known.time[0] / 1_000_000, known.floor))
        for session, message in to_wake(notices, result):
            self._wake_ups.send(session, name, message)
        opening = opens(result) if opens is not None else None
        if may_write_anew and (stored.text or "").count("\n") % _MOST_ADDED == 0:
            self._write_anew(name, stored, text, opening)
        return result

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """See `contract.Engine.remove`."""
        link, known = self._link, self._known
        version = await link.insist(lambda: self._reading.fetch(name))
        known.versions.pop(name, None)
        if version.text != text:
            return False

        async def remove() -> bytes:
            await link.connected()
            arguments: list[str | int] = [known.incarnation, link.number, known.floor]
            arguments += [version.revision, version.length, name, "", "", "-", "-", "", floor, *_NO_ADDITION]
            answer: bytes = await link.run(SWAP, self._swap_keys(name), arguments)
            return answer

        outcome, found = self._learn_from(await link.insist(remove))
        return outcome == b"done" or (text is None and not found)

    def _write_anew(self, name: str, version: Version, text: str, opening: Opening | None) -> None:
        """Replace a text with additions by one that says the same without. What was added since stays behind it.

        Nobody waits for the answer: if it fails, somebody will do it later.
        """
        makes = self._next_version(version, text)

        def then(answer: bytes | Exception) -> None:
            if isinstance(answer, bytes):
                outcome, unknown = self._learn_from(answer)
                if outcome == b"done" and incarnation == self._known.incarnation and name in self._known.versions:
                    self._known.note(name, makes.with_added(unknown))

        incarnation = self._known.incarnation
        arguments = self._swap(self._swap_keys(name), incarnation, name, version, makes, opening, True)
        if self._link.requests is not None:
            self._link.requests.send(then, "EVALSHA", SWAP.digest, *arguments, *_NO_ADDITION)

    # The arguments of a swap, and its answer; see `scripts.SWAP`

    def _swap_keys(self, name: str) -> list[str]:
        return [self._keys.namespace, self._keys.record(name), self._keys.names, self._link.key]

    def _swap(
        self,
        keys: list[str],
        incarnation: str,
        name: str,
        version: Version,
        makes: Version,
        opening: Opening | None,
        is_alike: bool,
    ) -> Arguments:
        """All arguments up to those about an addition: `makes` is to be in the place of `version`."""
        kind, told = (opening.kind, opening.told or "-") if opening is not None else ("-", "-")
        arguments: Arguments = [len(keys), *keys, incarnation, self._link.number, self._known.floor]
        arguments += [version.revision, version.length, name, makes.revision, makes.text or "", kind, told]
        arguments += ["alike" if is_alike else "", ""]
        return arguments

    def _messages(self, name: str, text: str, notices: Iterable[Notice]) -> list[str]:
        """The last arguments: sessions, and the heads of their messages."""
        messages = []
        for session, message in notices:
            if message is not None or len(text) <= SMALL:
                messages += [session, self._wake_ups.head(name, message or "")]
        return messages

    def _next_version(self, version: Version, text: str) -> Version:
        return Version(f"{version.number + 1}.{self._link.session}.{next(self._revisions)}", text)

    def _may_succeed(self, name: str, version: Version, is_alike: bool) -> bool:
        """Whether a change of this version may still be made, as far as is known."""
        current = self._known.versions.get(name, version)
        return current == version or (is_alike and current.revision == version.revision)

    async def _next_answered(self, name: str, attempts: list[_Attempt[T]]) -> _Attempt[T] | None:
        """The first attempt that is answered; None if a newer text has come first, with a wake-up."""
        if all(attempt.answer is None for attempt in attempts):
            await self._known.news(name)
        return next((attempt for attempt in attempts if attempt.answer is not None), None)

    def _read_answer(self, answer: bytes | Exception | None) -> tuple[bytes, bytes]:
        """The outcome of a swap, and what is to be known besides. Raises if the swap could not be tried."""
        if not isinstance(answer, bytes):
            raise answer or RedisConnectionError("there is no answer")
        outcome, found = self._learn_from(answer)
        if outcome == b"not all dead":
            raise EngineError(f"{self._link.name} may have lost data: a session that was dead is there again")
        if outcome == b"another connection":  # the server has not been told the number of this connection
            raise RedisConnectionError("it has not been told of this connection")
        return outcome, found

    def _learn_from(self, answer: bytes) -> tuple[bytes, bytes]:
        outcome, here, floor, time, found = answer.split(b"\n", 4)
        self._known.learn(here, floor, time)
        return outcome, found
