"""Redis or Valkey: processes on any machines that reach one server.

A text is changed by comparing: the change is made here, on the text that this session knows, and a script keeps it if
nobody has changed that meanwhile, this session lives, and all are dead that are to be buried (`redis_scripts`). If not,
it returns what is there now, and the change is made on that. So a change costs one round trip where nobody else has
used the name since, and two where somebody has. The same step publishes the wake-ups, with the new text where it is
small, so that who is woken need not ask for it.

A session's key expires on the server, by its clock, and is never made again. What may go wrong with a server and its
data is in docs/safety.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from holdfast.cluster.errors import EngineError, SessionLost

from .clock import monotonic
from .contract import LATER, MOST_OLD, Change, Notice, OnGap, OnWake, Seen, SessionInfo, Stored, T
from .redis_connection import Connection
from .redis_scripts import LOOK, SWAP, Script

if TYPE_CHECKING:
    from redis.asyncio import Redis

R = TypeVar("R")
TTL = 10.0
"""Seconds, by default."""
OLDEST = 6, 2
"""The first version that has all that is used here."""
PAUSE = 0.01, 1.0
"""Seconds, the first and the longest, until a server that is away is asked again."""
LEAVING = 1.0
"""Seconds that the end of a session may take, at most."""
SMALL = 8192
"""Characters of a text that is sent along with a wake-up, at most."""
_TRANSIENT = "READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "UNBLOCKED", "CLUSTERDOWN"
"""Answers of a server that will answer differently, or another one in its place, before long."""


class Unreachable(EngineError):  # noqa: N818  # see errors.py
    """Not now. Whether it happened is not known."""


class _Version(NamedTuple):
    """What is kept under a name, as far as is known."""

    revision: str = ""
    text: str | None = None

    @property
    def number(self) -> int:
        """Of two versions of a record the later has the higher one."""
        return int(self.revision.partition(".")[0] or 0)


class RedisEngine:
    """An engine on a server; see `contract.Engine`."""

    def __init__(self, server: str | Redis, namespace: str, ttl: float | None = None) -> None:
        """server: a URL as redis-py reads it, or a client, which stays the caller's."""
        self._life = TTL if ttl is None else ttl
        self.ttl: float | None = self._life
        if isinstance(server, str):
            self._pool: Any = ConnectionPool.from_url(
                server,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=max(self._life / 3, LEAVING),
                **({} if server.startswith("unix:") else {"socket_keepalive": True}),
            )
        else:
            self._pool = server.connection_pool
        self._is_ours = isinstance(server, str)
        self._patience = self._life / 3  # seconds until an answer is given up
        self._prefix = f"holdfast:{{{quote(namespace, safe=' !$&()*+,;=@')}}}"
        self._id = ""
        self._connection: Connection | None = None
        self._subscription: Any = None  # redis-py's connection on which this session is woken
        self._connecting = asyncio.Lock()
        self._closed = False
        self._incarnation = ""
        self._floor = 0
        self._time = 0, 0.0  # the server's, in µs, and when that was here
        self._versions: dict[str, _Version] = {}
        self._revisions = itertools.count(1)
        self._news: dict[str, set[asyncio.Future[None]]] = {}  # who waits for a newer text
        self._watched: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        options = self._pool.connection_kwargs
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return f"the server at {where}, database {options.get('db') or 0}"

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._on_gap = on_gap
        self._id = secrets.token_hex(8)
        try:
            _check_server(await self._ask("INFO"), repr(self))
            subscribed = self._loop.create_future()
            self._listening = self._begin(self._listen(subscribed))
            _, late = await asyncio.wait(
                [subscribed, self._listening], timeout=self._patience, return_when=asyncio.FIRST_COMPLETED
            )
            if self._listening.done():
                self._listening.result()
            elif subscribed in late:
                raise EngineError(f"{self!r} has not answered within {self._patience:.3g} s")
            await self._look()
            who = {"name": label, "host": socket.gethostname(), "pid": os.getpid(), "since": self._now()}
            await self._ask(
                "SET", self._session_key(self._id), json.dumps(who), "PX", math.ceil(self._life * 1000), "NX"
            )
            await self._ask("PUBLISH", self._channel(self._id), json.dumps([self._incarnation, "", "", None]) + "\n")
        except BaseException:
            self._closed = True
            await self._let_go()
            raise
        return self._id

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(EngineError, TimeoutError):  # then its key expires
                async with asyncio.timeout(LEAVING):
                    await self._ask("DEL", self._session_key(self._id))
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        for watch in self._watched.values():
            watch.cancel()
        self._watched.clear()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            if self._connection is not None:
                await self._connection.close()
            if self._is_ours:
                await self._pool.disconnect()

    def _begin(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """In a task that ends with the session."""
        task = self._loop.create_task(work, name=f"holdfast session {self._id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Requests

    async def _ask(self, *arguments: bytes | str | int) -> Any:
        """The answer to one request, tried once."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._patience):
                connection = await self._connected()
                return await connection.request(*arguments)
        except NoScriptError:
            raise
        except TimeoutError:
            await self._hang_up(connection)
            if self._subscription is not None:
                await self._subscription.disconnect(nowait=True)  # it may be as dead, and would never say so
            raise Unreachable(f"{self!r} has not answered within {self._patience:.3g} s") from None
        except (BusyLoadingError, RedisConnectionError, RedisTimeoutError, OSError) as exc:
            await self._hang_up(connection)
            raise Unreachable(f"{self!r} cannot be reached: {exc}") from exc
        except ResponseError as exc:
            if any(word in str(exc) or word in type(exc).__name__.upper() for word in _TRANSIENT):
                await self._hang_up(connection)  # another server may be in its place
                raise Unreachable(f"{self!r} cannot do it now: {exc}") from exc
            raise EngineError(f"{self!r}: {exc}") from exc
        except RedisError as exc:
            raise EngineError(f"{self!r}: {exc}") from exc

    async def _run(self, script: Script, keys: Iterable[str], arguments: Iterable[bytes | str | int]) -> Any:
        names = [*keys]
        rest = [len(names), *names, *arguments]
        try:
            return await self._ask("EVALSHA", script.digest, *rest)
        except NoScriptError:  # the server is new, or somebody has flushed its scripts
            return await self._ask("EVAL", script.source, *rest)

    async def _insist(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Try until the server answers or the session is over."""
        pause, longest = PAUSE
        while True:
            self._check_open()
            try:
                return await call()
            except Unreachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.broken:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = Connection(self._pool)
                await self._connection.open()
            return self._connection

    async def _hang_up(self, connection: Connection | None) -> None:
        if connection is not None:
            await connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionLost(f"session {self._id} was closed")

    def _learn(self, incarnation: bytes, floor: bytes, time: bytes) -> None:
        """What each answer of a script says of the server."""
        self._floor = int(floor)
        self._time = int(time), monotonic()
        here = incarnation.decode()
        if here != self._incarnation:
            is_first, self._incarnation = not self._incarnation, here
            if not is_first:
                self._versions.clear()
                if self._on_gap is not None:
                    self._on_gap(True)

    def _now(self) -> float:
        """The server's time by now, in seconds since 1970."""
        micros, at = self._time
        return micros / 1_000_000 + monotonic() - at

    # Texts

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Callable[[T], Iterable[Notice]] | None = None,
    ) -> T:
        incarnation = self._incarnation
        dead = [self._session_key(session) for session in evicted]
        keys = [self._prefix, self._record_key(name), self._names_key, self._session_key(self._id), *dead]
        pause, longest = PAUSE
        is_sure = False  # that what is known of the text came from the server just now
        attempts: dict[asyncio.Task[Any], tuple[_Version, T]] = {}
        while True:
            self._check_open()
            if incarnation != self._incarnation:
                raise EngineError(f"{self!r} may have lost data")  # the session is told to look
            version, floor = self._versions.get(name, _Version()), self._floor
            try:
                text, result = change(Stored(version.text, self._now(), floor))
            except Exception:
                if is_sure or name not in self._versions:
                    raise
                await self._insist(lambda: self._look([name]))
                is_sure = True
                continue
            revision = f"{version.number + 1}.{self._id}.{next(self._revisions)}"
            told = self._messages(name, revision, text, notices(result) if notices is not None else ())
            arguments: list[str | int] = [incarnation, floor, version.revision, name, revision, text, "", *told]
            attempts[self._begin(self._run(SWAP, keys, arguments))] = _Version(revision, text), result
            try:
                while attempts and self._versions.get(name, _Version()) == version:
                    answered = await self._next_answer(name, attempts)
                    if answered is None:
                        continue  # but a newer text, for which the answer need not be waited for
                    mine, result = attempts.pop(answered)
                    outcome, here, *learned, stored = answered.result()
                    self._learn(here, *learned)
                    match outcome:
                        case b"done" if incarnation == self._incarnation:
                            self._note(name, mine)
                            return result
                        case b"changed":
                            if self._versions.get(name, _Version()) == version:
                                self._versions[name] = _decode(stored)
                            is_sure = True
                        case b"dead":
                            raise self._lost()
                        case b"not all dead":
                            raise EngineError(f"{self!r} may have lost data: a session that was dead is there again")
            except Unreachable:
                attempts.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    async def _next_answer(self, name: str, attempts: Iterable[asyncio.Task[Any]]) -> asyncio.Task[Any] | None:
        """The first attempt that is answered; None if a newer text has come first, by a wake-up."""
        news: asyncio.Future[None] = self._loop.create_future()
        waiting = self._news.setdefault(name, set())
        waiting.add(news)
        try:
            done, _ = await asyncio.wait([*attempts, news], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.discard(news)
            if not waiting:
                self._news.pop(name, None)
        return next((attempt for attempt in attempts if attempt in done), None)

    def _messages(self, name: str, revision: str, text: str, notices: Iterable[Notice]) -> list[str]:
        """The last arguments of a swap."""
        messages = ["with text" if len(text) <= SMALL else ""]
        for session, message in notices:
            if message is not None or messages[0]:
                messages += [
                    self._channel(session),
                    json.dumps([self._incarnation, name, message or "", revision if messages[0] else None]) + "\n",
                ]
        return messages

    def _note(self, name: str, version: _Version) -> None:
        """A newer text may be known already, from who has changed it since."""
        if version.number >= self._versions.get(name, _Version()).number:
            self._versions[name] = version

    def _lost(self) -> SessionLost:
        return SessionLost(
            f"session {self._id} has been evicted, was not renewed for its ttl of {self.ttl} s, or {self!r} has lost it"
        )

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        self._check_open()
        return await self._look(names, sessions, math.ceil(self._life * 1000))

    async def read(self, name: str) -> str | None:
        return (await self._insist(lambda: self._look([name]))).texts[name]

    async def _look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), live_on: int = 0) -> Seen:
        """At the texts and the lives, in one request."""
        known = {name: self._versions.get(name, _Version()) for name in names}
        others = [*sessions]
        keys = [self._prefix, self._session_key(self._id), *map(self._record_key, known)]
        keys += map(self._session_key, others)
        arguments: list[str | int] = [live_on, *(version.revision for version in known.values())]
        alive, here, floor, time, texts, lives = await self._run(LOOK, keys, arguments)
        self._learn(here, floor, time)
        if live_on and not alive:
            raise self._lost()
        seen = {}
        for (name, version), stored in zip(known.items(), texts, strict=True):
            found = version if stored is None else _decode(stored)
            seen[name] = found.text
            if stored is not None and name in self._versions:
                self._versions[name] = found
        for session, life in zip(others, lives, strict=True):
            if session in self._watched:
                self._watch_for(session, life / 1000 + LATER)
        return Seen(seen, frozenset(session for session, life in zip(others, lives, strict=True) if life < 0))

    async def names(self) -> list[str]:
        found = await self._insist(lambda: self._ask("ZRANGE", self._names_key, 0, -1))
        return sorted(name.decode() for name in found)

    async def old(self, seconds: float) -> list[str]:
        latest = f"({(self._now() - seconds) * 1_000_000:.0f}"
        bounds = "-inf", latest, "BYSCORE", "LIMIT", 0, MOST_OLD
        return [name.decode() for name in await self._insist(lambda: self._ask("ZRANGE", self._names_key, *bounds))]

    async def remove(self, name: str, text: str, floor: int) -> bool:
        keys = [self._prefix, self._record_key(name), self._names_key, self._session_key(self._id)]
        self._versions.setdefault(name, _Version())
        if (await self._insist(lambda: self._look([name]))).texts[name] != text:
            return False
        version = self._versions.pop(name)
        arguments: list[str | int] = [self._incarnation, self._floor, version.revision, name, "", "", floor, ""]
        outcome, *learned, _ = await self._insist(lambda: self._run(SWAP, keys, arguments))
        self._learn(*learned)
        return bool(outcome == b"done")

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        asked = [*sessions]
        if not asked:
            return {}
        rows = await self._insist(lambda: self._ask("MGET", *map(self._session_key, asked)))
        return {session: _describe(session, row) for session, row in zip(asked, rows, strict=True) if row is not None}

    # Life and death

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        return (await self._insist(lambda: self._look(sessions=others))).dead if others else frozenset()

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        watch = self._watched.setdefault(session, _Watch())
        entry = (on_death,)  # one of its own, though the same may be given twice
        watch.callbacks.append(entry)
        if watch.timer is None:
            self._watch_for(session, self._patience)  # who watches asks dead() next, and that tells how long it lives

        def stop() -> None:
            if entry in watch.callbacks:
                watch.callbacks.remove(entry)
            if not watch.callbacks and self._watched.get(session) is watch:
                del self._watched[session]
                watch.cancel()

        return stop

    def _watch_for(self, session: str, seconds: float) -> None:
        """Look after it when it should have died by then."""
        watch = self._watched[session]
        watch.cancel()
        watch.timer = self._loop.call_later(max(seconds, LATER), lambda: self._begin(self._look_after(session)))

    async def _look_after(self, session: str) -> None:
        with contextlib.suppress(EngineError, SessionLost):  # then the next look tells
            if session in await self.dead([session]):
                watch = self._watched.pop(session, None)
                for (on_death,) in watch.callbacks if watch is not None else ():
                    on_death()

    # Wake-ups

    def wake(self, session: str, name: str, message: str) -> None:
        if self._connection is not None and not self._closed:
            packet = json.dumps([self._incarnation, name, message, None]) + "\n"
            sent = self._connection.request("PUBLISH", self._channel(session), packet)
            sent.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is a hint

    async def _listen(self, subscribed: asyncio.Future[None]) -> None:
        """Keep a connection on which this session is woken. What was sent while there was none is lost."""
        pause, longest = PAUSE
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    connection = await self._pool.get_connection()
                self._subscription = connection
                try:
                    await connection.send_command("SUBSCRIBE", self._channel(self._id))
                    while True:
                        kind, _, packet = await connection.read_response(
                            disable_decoding=True, timeout=math.inf, push_request=True
                        )
                        if kind == b"subscribe":
                            pause, _ = PAUSE
                            if subscribed.done() and self._on_gap is not None:
                                self._on_gap(False)
                            elif not subscribed.done():
                                subscribed.set_result(None)
                        elif kind == b"message":
                            self._receive(packet)
                finally:
                    self._subscription = None
                    await connection.disconnect(nowait=True)
                    await self._pool.release(connection)
            except (RedisError, OSError, TimeoutError) as exc:
                if not subscribed.done():
                    raise EngineError(f"{self!r}: cannot subscribe: {exc}") from exc
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _receive(self, packet: bytes) -> None:
        head, _, text = packet.decode().partition("\n")
        incarnation, name, message, revision = json.loads(head)
        if incarnation != self._incarnation:
            return  # another server said so, and its data may be lost
        if revision is not None and name in self._versions:
            self._note(name, _Version(revision, text))
            for news in self._news.get(name, ()):
                if not news.done():
                    news.set_result(None)
        if message:
            self._on_wake(name, message)

    # Keys

    @property
    def _names_key(self) -> str:
        return f"{self._prefix}:names"

    def _record_key(self, name: str) -> str:
        return f"{self._prefix}:record:{name}"

    def _session_key(self, session: str) -> str:
        return f"{self._prefix}:session:{session}"

    def _channel(self, session: str) -> str:
        return f"{self._prefix}:wake:{session}"


class _Watch:
    """Who wants to know of a session's death, and when it is looked after."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[[], None]]] = []
        self.timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


def _decode(stored: bytes) -> _Version:
    if not stored:
        return _Version()
    revision, _, text = stored.decode().partition(" ")
    return _Version(revision, text)


def _describe(session: str, row: bytes) -> SessionInfo:
    who = json.loads(row)
    return SessionInfo(session, who["name"], who["host"], who["pid"], datetime.fromtimestamp(who["since"], UTC))


def _check_server(info: bytes, where: str) -> None:
    """Raise EngineError if it cannot be relied on."""
    facts: Mapping[str, str] = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    version = facts.get("redis_version", "0")
    policy = facts.get("maxmemory_policy", "noeviction")
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise EngineError(f"{where} is Redis {version}; holdfast needs Redis 6.2 or Valkey 8, or later")
    if policy != "noeviction":
        raise EngineError(
            f"{where} has maxmemory-policy {policy}: it may forget who holds a lock. Set it to noeviction, or use "
            "another server"
        )
    if facts.get("cluster_enabled") == "1":
        raise EngineError(
            f"{where} belongs to a Redis Cluster, which holdfast does not support: use a server of its own, or "
            "one that Sentinel looks after"
        )
    if facts.get("role") in ("slave", "replica"):
        raise EngineError(f"{where} is a replica; connect to the primary, or through redis-py's Sentinel")
