"""How a text is changed: by comparing.

The change is made here, on the text that this session knows. A script keeps the result if nobody has changed the text
meanwhile, if this session is alive, and if all sessions that are to be buried are dead (`scripts.SWAP`). Otherwise the
script returns what is there now, and the change is made on that. So a change costs one round trip where nobody else has
used the name since, and two where somebody has. Only the middle of the new text is sent: what it has in common with the
known one, at the head and at the tail, is there already. The same step publishes the wake-ups. They carry the new text
where it is small, so a session that is woken need not ask for it.

A change that an addition can stand for costs one round trip, whatever others do at the same time: the script appends
the addition if the text is open to it. Where the addition is better than the change, the script appends it at once, and
tells the session that is likely to change the text next, which need not know of all additions. If the text was open to
it when this session last saw it, the change is not even tried. Otherwise the script appends the addition if the text is
not the one that the session knows. Then the session itself sends the wake-ups that come of its addition. The session
whose addition makes the text long enough writes the text anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from holdfast.cluster.engines.bell import Bell
from holdfast.cluster.engines.comparing import IN_TEXT, Comparing
from holdfast.cluster.engines.contract import Addition, Change, Notice, Notices, Opening, Stored, T
from holdfast.cluster.engines.far_link import PAUSE, Unreachable
from holdfast.cluster.engines.knowledge import Knowledge, Version
from holdfast.cluster.errors import EngineError, SessionLost

from .connection import Connection
from .keys import Keys, decode
from .link import Link
from .reading import Reading
from .scripts import ADDED, DIGITS, DONE, INCARNATION, REMOVE, SMALL, SWAP
from .wake_ups import WakeUps

Arguments = list[bytes | str | int]


@dataclass(slots=True, eq=False)
class _Attempt(Generic[T]):
    """A swap that is under way, or an addition without one."""

    arguments: Arguments
    changes: Version
    makes: Version | None
    """What is kept if the swap succeeds, but for additions that are not known; None: there is no swap."""
    result: T | None
    answer: bytes | int | Exception | None = None


class _Attempts(Generic[T]):
    """The attempts of one change that are under way at once."""

    def __init__(self) -> None:
        self.unread = 0
        """How many of them have been sent, and their answers not been read."""
        self._answered: deque[_Attempt[T]] = deque()
        self._bell: Bell | None = None

    def send(self, connection: Connection, attempt: _Attempt[T], *script: str) -> None:
        self.unread += 1
        connection.send(partial(self._answer, attempt), *script, *attempt.arguments)

    def _answer(self, attempt: _Attempt[T], answer: bytes | int | Exception) -> None:
        attempt.answer = answer
        self._answered.append(attempt)
        if self._bell is not None:  # an error may have come to many at once, and each is to hear of it
            self._bell.ring(at_once=not isinstance(answer, Exception))

    async def next_answered(self, known: Knowledge, name: str) -> _Attempt[T] | None:
        """The first attempt that is answered; None if a newer text has come first, with a wake-up."""
        if not self._answered:
            self._bell = Bell(loop=asyncio.get_running_loop())
            await known.news(name, self._bell)
            if not self._answered:
                return None
        self.unread -= 1
        return self._answered.popleft()


class Changes(Comparing):
    """The changes that one session makes."""

    _link: Link
    _wake_ups: WakeUps

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
        """See `contract.Engine.apply`.

        Several attempts may be under way at once: when a newer text arrives with a wake-up, the change is made again on
        that, and the answer to the older attempt is not waited for.
        """
        link, known = self._link, self._known
        incarnation = known.incarnation
        keys = [self._keys.record(name), *map(self._keys.session, evicted)]
        is_better = addition is not None and addition.is_better
        pause, longest = PAUSE
        sure: Version | None = None  # what the server has said just now
        attempts: _Attempts[T] = _Attempts()
        while True:
            link.check_open()
            if incarnation != known.incarnation:
                raise EngineError(f"{link.name} may have lost data")  # the session is told to look
            try:
                connection = link.requests
                if connection is None or connection.broken:
                    connection = await link.connected()
                version = known.versions.get(name) or sure or Version()
                knows = self._knows(incarnation, version)
                added = [] if addition is None else [self._addition(addition, version)]
                arguments: Arguments = [len(keys), *keys, knows, *added]
                is_alike = False
                attempt: _Attempt[T] | None
                if addition is not None and is_better and version.kind == addition.kind:
                    attempt = _Attempt(arguments, version, None, None)
                else:
                    try:
                        text, result = change(Stored(version.text, known.now(), known.floor))
                    except Exception:
                        if version == sure:
                            raise
                        known.note(name, sure := await self._reading.fetch(name), instead_of=version)
                        continue
                    opening = opens(result) if opens is not None else None
                    told = self._messages(text, notices(result) if notices is not None else ())
                    is_alike = opening is not None and opening.is_alike
                    makes = self._next_version(version, text, opening)
                    change_to, middle = self._swap(version, makes, opening, told, "+" if added else "")
                    arguments = [len(keys), *keys, f"{knows} {change_to}", middle, *added, *told]
                    attempt = _Attempt(arguments, version, makes, result)
                attempts.send(connection, attempt, "EVALSHA", SWAP.digest)
                while attempts.unread and (addition is not None or self._may_succeed(name, version, is_alike)):
                    attempt = await attempts.next_answered(known, name)
                    if attempt is None:
                        continue  # a newer text has come first, and the answer need not be waited for
                    answer = attempt.answer
                    if answer == ADDED and incarnation == known.incarnation:
                        return None
                    if answer == DONE and incarnation == known.incarnation and attempt.makes is not None:
                        known.note(name, attempt.makes, instead_of=attempt.changes)
                        return attempt.result
                    try:
                        outcome, found = self._read_answer(answer)
                    except NoScriptError:  # the server is new, or somebody has flushed its scripts
                        attempts.send(connection, attempt, "EVAL", SWAP.source)
                        continue
                    except (RedisError, OSError) as exc:
                        raise await link.explained(exc, connection) from exc
                    if outcome == b"dead":
                        raise await self._lost()
                    if outcome == b"added" and incarnation == known.incarnation:
                        return self._added(name, decode(found), change, notices, opens, not is_better)
                    if outcome == b"changed":
                        known.note(name, sure := decode(found), instead_of=version)
            except Unreachable:
                attempts = _Attempts()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """See `contract.Engine.remove`."""
        link, known = self._link, self._known
        version = await link.insist(lambda: self._reading.fetch(name))
        known.versions.pop(name, None)
        if version.text != text:
            return False

        async def remove() -> Any:
            await link.connected()
            knows = self._knows(known.incarnation, version)
            arguments: Arguments = [knows, version.revision or "-", version.length, floor]
            return await link.run(REMOVE, [self._keys.record(name)], arguments)

        answer = await link.insist(remove)
        if answer == DONE:
            return True
        _, found = self._learn_from(answer)
        return text is None and not found

    def _write_anew(self, name: str, version: Version, text: str, opening: Opening | None) -> None:
        makes = self._next_version(version, text, opening)

        def then(answer: bytes | int | Exception) -> None:
            if isinstance(answer, bytes):
                self._learn_from(answer)
            if answer == DONE:
                self._written_anew(name, incarnation, makes)

        incarnation = self._known.incarnation
        change_to, middle = self._swap(version, makes, opening, ())
        arguments = 1, self._keys.record(name), f"{self._knows(incarnation, version)} {change_to}", middle
        if self._link.requests is not None:
            self._link.requests.send(then, "EVALSHA", SWAP.digest, *arguments)

    # The arguments of a swap, and its answer; see `scripts`

    def _knows(self, incarnation: str, version: Version) -> str:
        """The first argument of a script that changes a record."""
        floor = str(self._known.floor)
        digits = floor if version.text is None else floor[-DIGITS:]
        return f"{incarnation[:INCARNATION]} {digits} {self._link.number} {self._link.session} {self._keys.length}"

    def _addition(self, addition: Addition, version: Version) -> str:
        """Who knows no text must be told of one: wake-ups leave out its first row."""
        is_known = addition.is_known and version.text is not None
        flag = "-" if not addition.is_better else "!" if is_known else "+"
        return f"{flag}{addition.kind} {addition.text}"

    def _swap(
        self, version: Version, makes: Version, opening: Opening | None, messages: Sequence[str], plus: str = ""
    ) -> tuple[str, str]:
        """The change, and the part of the new text that is sent: `makes` is to be in the place of `version`.

        messages: as `_messages()` returns them. plus: "+" if there is an addition.
        """
        me, text, first = self._link.session, makes.text or "", messages[0] if messages else "-"
        told = (opening.told if opening is not None else None) or "-"
        told = "=" if told == me else ">" if told == first != "-" else told
        head, tail, middle = _spliced(version.text or "", text)
        flags = f"{int(opening is not None and opening.is_alike)}{plus}"
        if messages and not ("\1" in text or "\2" in text) and all(map(str.isalnum, messages[::2])):
            flags += "~"
            middle = middle.replace(me, "\1").replace(first, "\2")
        known = f"{version.revision or '-'} {version.length}"
        return f"{known} {makes.number} {makes.kind} {told} {head} {tail} {flags}", middle

    def _messages(self, text: str, notices: Iterable[Notice]) -> list[str]:
        """The last arguments: sessions, and the messages for them."""
        messages = []
        for session, message in notices:
            if message is not None or len(text) <= SMALL:
                messages += [session, "" if message is None else message or IN_TEXT]
        return messages

    def _may_succeed(self, name: str, version: Version, is_alike: bool) -> bool:
        """Whether a change of this version may still be made, as far as is known."""
        current = self._known.versions.get(name, version)
        return current == version or (is_alike and current.revision == version.revision)

    def _read_answer(self, answer: bytes | int | Exception | None) -> tuple[bytes, bytes]:
        """The outcome of a swap, and what is to be known besides. Raises if the swap could not be tried."""
        if isinstance(answer, int):
            return b"", b""  # it was done in another incarnation
        if not isinstance(answer, bytes):
            raise answer if isinstance(answer, Exception) else RedisConnectionError("there is no answer")
        outcome, found = self._learn_from(answer)
        if outcome == b"not all dead":
            raise EngineError(f"{self._link.name} may have lost data: a session that was dead is there again")
        if outcome == b"another connection":  # the server has not been told the number of this connection
            raise RedisConnectionError("it has not been told of this connection")
        return outcome, found

    def _learn_from(self, answer: bytes) -> tuple[bytes, bytes]:
        outcome, here, floor, time, found = answer.split(b"\n", 4)
        self._known.learn(here.decode(), int(floor), int(time))
        return outcome, found


def _spliced(old: str, new: str) -> tuple[int, int, str]:
    """How many characters of `old` are the head of `new`, how many are its tail; and what stands in between.

    They are counted in ASCII, where a character is a byte. Of other texts, all is sent.
    """
    if not (old.isascii() and new.isascii()):
        return 0, 0, new
    least = min(len(old), len(new))
    head = _alike(old[:least], new[:least], "big")
    rest = least - head
    tail = _alike(old[len(old) - rest :], new[len(new) - rest :], "little")
    return head, tail, new[head : len(new) - tail]


def _alike(one: str, other: str, order: Literal["big", "little"]) -> int:
    """How many characters two texts of one length, in ASCII, have in common: at the head ("big"), or at the tail.

    The texts are taken as numbers of that byte order, so what they have in common is the zeros before their difference.
    """
    difference = int.from_bytes(one.encode(), order) ^ int.from_bytes(other.encode(), order)
    return len(one) - (difference.bit_length() + 7) // 8
