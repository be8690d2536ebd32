"""Redis or Valkey: processes on any machines that reach one server.

A text is changed by comparing: the change is made here, on the text that this session knows, and a script keeps it if
nobody has changed that meanwhile, this session lives, and all are dead that are to be buried (`redis_scripts`). If not,
it returns what is there now, and the change is made on that. So a change costs one round trip where nobody else has
used the name since, and two where somebody has. The same step publishes the wake-ups, with the new text where it is
small, so that who is woken need not ask for it.

A change that an addition can stand for is one round trip whatever others do at the same time: the script appends it if
the text is open to that. Where that is better than the change, it does so at once, and tells who will change the text
next, which need not know of all that was added; else it does so if the text is another one than the session knows, and
the session itself wakes whom its addition has woken. Whose addition makes the text long enough writes it anew.

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
import re
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit
from weakref import WeakSet

from redis import ConnectionPool as BlockingClientsPool
from redis.asyncio import ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from holdfast._refusals import shown
from holdfast.cluster.background import begin
from holdfast.cluster.command_line import command_line
from holdfast.cluster.errors import EngineError, SessionLost

from .clock import monotonic
from .contract import (
    LATER,
    MOST_LATER,
    MOST_OLD,
    Addition,
    Change,
    Notice,
    OnGap,
    OnWake,
    Opening,
    Seen,
    SessionInfo,
    Stored,
    T,
)
from .evictions import KEPT, MOST, Eviction
from .evictions import decode as decode_eviction
from .evictions import encode as encode_eviction
from .redis_connection import Connection, blank_socket, connect, greet
from .redis_scripts import EVICT, LOOK, SMALL, SWAP, TRY, Script

if TYPE_CHECKING:
    from redis.asyncio import Redis

R = TypeVar("R")
TTL = 10.0
"""Seconds, by default."""
OLDEST = 6, 2
"""The first version that has all that is used here."""
PAUSE = 0.01, 1.0
"""Seconds, the first and the longest, until a server that is away is asked again."""
MOST_KNOWN = 10_000
"""Texts that a session remembers, those that have changed last. Of another one it asks before it changes it."""
OPENING = 2
"""How many times as long as for an answer the server may take until a session can ask it for something."""
SETTLED = 1.0
"""Seconds, or a tenth of the ttl if that is less, until a session that is watched is looked after for the first time.
Most are not waited for that long."""
MOST_ADDED = 32
"""How many additions a text gets until it is written anew."""
LEAVING = 1.0
"""Seconds that the end of a session may take, at most."""
_TRANSIENT = "READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "UNBLOCKED", "CLUSTERDOWN"
"""Answers of a server that will answer differently, or another one in its place, before long."""
_STORED = re.compile(rb"(\d+\.\S*) \S+ \S+ (.*)", re.DOTALL)
"""What is kept under a name, as `redis_scripts` has it."""


class Unreachable(EngineError):  # noqa: N818  # see errors.py
    """Not now. Whether it happened is not known."""


class _Version(NamedTuple):
    """What is kept under a name, as far as is known."""

    revision: str = ""
    text: str | None = None
    """With all additions that are known."""

    @property
    def number(self) -> int:
        """Of two revisions of a record the later has the higher one."""
        return int(self.revision.partition(".")[0] or 0)

    @property
    def length(self) -> int:
        """In bytes. Of one revision the later version is the longer one."""
        return len((self.text or "").encode())

    def with_added(self, additions: bytes) -> _Version:
        return self._replace(text=(self.text or "") + additions.decode())


@dataclass(slots=True, eq=False)
class _Attempt(Generic[T]):
    """A request that is under way."""

    arguments: list[bytes | str | int]
    makes: _Version
    """What is kept if it succeeds, but for additions that are not known."""
    result: T
    answer: bytes | Exception | None = None


class RedisEngine:
    """An engine on a server; see `contract.Engine`."""

    vouches = True

    def __init__(self, server: str | Redis, namespace: str, ttl: float | None = None) -> None:
        """server: a URL as redis-py reads it, or a client, which stays the caller's."""
        self._life = TTL if ttl is None else ttl
        self.ttl: float | None = self._life
        if isinstance(server, str):
            self._pool: Any = self._pool_for(server)
        else:
            self._pool = getattr(server, "connection_pool", None)
            if not isinstance(self._pool, ConnectionPool):
                blocks = isinstance(server, BlockingClientsPool) or isinstance(self._pool, BlockingClientsPool)
                given = "one of redis, which blocks; write redis.asyncio.Redis(...)" if blocks else shown(server)
                raise TypeError(
                    "connect() needs a client of redis.asyncio for one server, as Redis(...) or what "
                    f"Sentinel(...).master_for() returns, or a URL, not {given}"
                )
        self._is_ours = isinstance(server, str)
        self._patience = self._life / 3  # seconds until an answer is given up
        self._prefix = f"holdfast:{{{quote(namespace, safe=' !$&()*+,;=@')}}}"
        self._id = ""
        self._connection: Connection | None = None
        self._connections = 0  # how many there have been
        self._who = ""  # what the server is to know of the session, once it has been told
        self._subscription: Any = None  # redis-py's connection on which this session is woken
        self._connecting = asyncio.Lock()
        self._closed = False
        self._reach_until = 0.0  # of monotonic(): when it is of no use any more to have connected
        self._incarnation = ""
        self._floor = 0
        self._time = 0, 0.0  # the server's, in µs, and when that was here
        self._versions: dict[str, _Version] = {}
        self._revisions = itertools.count(1)
        self._bells: dict[str, set[asyncio.Future[None]]] = {}  # by name; rung for each answer and each newer text
        self._watched: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def _pool_for(self, url: str) -> Any:
        _check_url(url)
        pool: Any = ConnectionPool.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=max(self._life, LEAVING),  # see connect()
            socket_timeout=None,  # see _patience
            redis_connect_func=greet,
            protocol=2,
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
        options = pool.connection_kwargs
        if issubclass(pool.connection_class, UnixDomainSocketConnection) and not options.get("path"):
            raise ValueError("the URL names no socket; write its path after three slashes: unix:///run/redis.sock")
        try:
            pool.make_connection()  # which does not connect, and is the first to look at the options
        except TypeError as exc:
            raise ValueError(f"the URL has an option after '?' that redis-py does not know: {exc}") from exc
        return pool

    def __repr__(self) -> str:
        options = self._pool.connection_kwargs
        if service := getattr(self._pool, "service_name", None):
            return f"the server that Sentinel names for {service!r}, database {options.get('db') or 0}"
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return f"the server at {where}, database {options.get('db') or 0}"

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._on_gap = on_gap
        self._id = secrets.token_hex(8)
        self._closed = False
        _open.add(self)
        self._reach_until = monotonic() + OPENING * self._patience
        subscribed = self._loop.create_future()
        self._begin_to_listen(subscribed)
        try:
            _check_server(await self._ask("INFO"), repr(self))
            _, late = await asyncio.wait(
                [subscribed, self._listening], timeout=self._limit(), return_when=asyncio.FIRST_COMPLETED
            )
            if self._listening.done():
                self._listening.result()
            elif subscribed in late:
                raise EngineError(f"{self!r} has not answered within {self._patience:.3g} s")
            await asyncio.gather(self._look(), self._check_rights())
            who = {"name": label, "host": socket.gethostname(), "pid": os.getpid(), "since": self._now()}
            who["command"] = command_line()
            self._who = json.dumps(who)
            self._reach_until = monotonic() + self._life
            life = math.ceil(self._life * 1000)
            await asyncio.gather(
                self._ask("SET", self._session_key(self._id), self._row(), "PX", life, "NX"),
                self._ask("PUBLISH", self._channel(self._id), self._packet("", "")),
            )
        except BaseException:
            self._closed = True
            await self._let_go()
            if not self._listening.cancelled():
                self._listening.exception()  # the other one is raised
            raise
        return self._id

    async def _check_rights(self) -> None:
        """Raise EngineError if the user has not all rights: not only when the first of them is missed."""
        keys = [self._prefix, self._session_key(self._id), self._record_key(""), self._names_key]
        denied = await self._ask("EVAL", TRY.source, len(keys), *keys, self._channel(self._id))
        if denied:
            raise self._forbidden("; ".join(dict.fromkeys(each.decode() for each in denied)))

    def _forbidden(self, why: str) -> EngineError:
        return EngineError(
            f"{self!r} does not permit this user all that is needed ('Rights' in docs/connect.md has the list): {why}"
        )

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

    def close_in_child(self) -> None:
        """After a fork: whatever the child does with what it has of this, it reaches neither server nor parent."""
        self._closed = True
        if self._connection is not None:
            self._connection.close_in_child()
        if self._subscription is not None:
            blank_socket(self._subscription)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, R]]) -> asyncio.Task[R]:
        """In a task that ends with the session."""
        task = begin(self._loop, work, f"holdfast session {self._id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Requests

    async def _ask(self, *arguments: bytes | str | int) -> Any:
        """The answer to one request, tried once."""
        connection = await self._connected()
        try:
            return await connection.request(*arguments)
        except NoScriptError:
            raise
        except (RedisError, OSError) as exc:
            raise await self._explained(exc, connection) from exc

    async def _run(self, script: Script, keys: Iterable[str], arguments: Iterable[bytes | str | int]) -> Any:
        names = [*keys]
        rest = [len(names), *names, *arguments]
        try:
            return await self._ask("EVALSHA", script.digest, *rest)
        except NoScriptError:  # the server is new, or somebody has flushed its scripts
            return await self._ask("EVAL", script.source, *rest)

    async def _explained(self, exc: BaseException, connection: Connection | None) -> EngineError:
        """What a request has failed with, and gives up the connection if another one may do better."""
        if isinstance(exc, TimeoutError):
            if self._subscription is not None:
                await self._subscription.disconnect(nowait=True)  # it may be as dead, and would never say so
            await self._hang_up(connection)
            return Unreachable(f"{self!r} has not answered within {self._patience:.3g} s")
        if isinstance(exc, NoPermissionError) or "ACL failure" in str(exc):
            return self._forbidden(str(exc))
        if isinstance(exc, AuthenticationError):
            await self._hang_up(connection)
            return Unreachable(
                f"{self!r} does not let this user in; the URL needs the right name and password, as in "
                f"redis://USER:PASSWORD@HOST: {exc}"
            )
        if isinstance(exc, (BusyLoadingError, RedisConnectionError, RedisTimeoutError, OSError)):
            await self._hang_up(connection)
            return Unreachable(f"{self!r} cannot be reached: {exc}")
        if isinstance(exc, ResponseError) and any(
            word in str(exc) or word in type(exc).__name__.upper() for word in _TRANSIENT
        ):
            await self._hang_up(connection)  # another server may be in its place
            return Unreachable(f"{self!r} cannot do it now: {exc}")
        return EngineError(f"{self!r}: {exc}")

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
        """The connection, made anew if it is broken. Raises EngineError."""
        if self._connection is not None and not self._connection.broken:
            return self._connection
        try:
            async with asyncio.timeout(self._limit()), self._connecting:
                if self._connection is None or self._connection.broken:
                    await self._hang_up(self._connection)
                    self._connection = None
                    connection = Connection(self._pool, self._patience, self._reconnect)
                    await connection.open(self._limit())
                    self._connections += 1
                    self._connection = connection
                    if self._who:  # before anything is asked for; see redis_scripts
                        connection.request("SET", self._session_key(self._id), self._row(), "XX", "KEEPTTL")
                return self._connection
        except (RedisError, OSError) as exc:
            raise await self._explained(exc, None) from exc

    def _limit(self) -> float:
        """Seconds that a connection may take to come about: what is left of the ttl, if that is more than an answer."""
        return max(self._patience, self._reach_until - monotonic())

    def _reconnect(self) -> None:
        """At once, and not with the next request: it may take several round trips, and a renewal has to come after."""

        async def reconnect() -> None:
            with contextlib.suppress(EngineError, SessionLost):  # then the next request tells
                await self._insist(self._connected)
                if self._on_gap is not None:
                    self._on_gap(False)

        if self._who and not (self._closed or self._loop.is_closed()):
            self._begin(reconnect)

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
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T:
        incarnation = self._incarnation
        dead = [self._session_key(session) for session in evicted]
        keys = [self._prefix, self._record_key(name), self._names_key, self._session_key(self._id), *dead]
        is_better = addition is not None and addition.is_better
        added = ["", "", "", ""]
        if addition is not None:
            added = [addition.text, addition.kind, self._packet(name, ""), "better" if is_better else ""]
        pause, longest = PAUSE
        sure: _Version | None = None  # what the server has said just now
        attempts: list[_Attempt[T]] = []

        def send(connection: Connection, attempt: _Attempt[T], *script: str) -> None:
            def then(answer: bytes | Exception) -> None:
                attempt.answer = answer
                self._ring(name)

            attempts.append(attempt)
            connection.send(then, *script, *attempt.arguments)

        while True:
            self._check_open()
            if incarnation != self._incarnation:
                raise EngineError(f"{self!r} may have lost data")  # the session is told to look
            try:
                connection = await self._connected()
                version = self._versions.get(name) or sure or _Version()
                try:
                    text, result = change(Stored(version.text, self._now(), self._floor))
                except Exception:
                    if version == sure:
                        raise
                    self._note(name, sure := await self._fetch(name), instead_of=version)
                    continue
                makes = self._next_version(version, text)
                opening = opens(result) if opens is not None else None
                is_alike = opening is not None and opening.is_alike
                arguments: list[bytes | str | int] = [len(keys), *keys, incarnation, self._connections, self._floor]
                arguments += self._replacing(name, version, makes, opening, is_alike)
                arguments += [*added, *self._messages(name, text, notices(result) if notices is not None else ())]
                send(connection, _Attempt(arguments, makes, result), "EVALSHA", SWAP.digest)
                while attempts and (addition is not None or self._may_succeed(name, version, is_alike)):
                    attempt = await self._next_answered(name, attempts)
                    if attempt is None:
                        continue  # but a newer text, for which the answer need not be waited for
                    attempts.remove(attempt)
                    try:
                        outcome, found = self._read_answer(attempt.answer)
                    except NoScriptError:  # the server is new, or somebody has flushed its scripts
                        attempt.answer = None
                        send(connection, attempt, "EVAL", SWAP.source)
                        continue
                    except (RedisError, OSError) as exc:
                        raise await self._explained(exc, connection) from exc
                    if outcome == b"dead":
                        raise await self._lost()
                    if outcome == b"done" and incarnation == self._incarnation:
                        self._note(name, attempt.makes.with_added(found))
                        return attempt.result
                    if outcome == b"added" and incarnation == self._incarnation:
                        stored = _decode(found)
                        self._note(name, stored)
                        before, _, _ = (stored.text or "").rpartition("\n")
                        text, result = change(Stored(before, self._time[0] / 1_000_000, self._floor))
                        for session, message in notices(result) if notices is not None else ():
                            if message is not None:
                                self.wake(session, name, message)
                        opening = opens(result) if opens is not None else None
                        if not is_better and (stored.text or "").count("\n") % MOST_ADDED == 0:
                            self._write_anew(name, keys[:4], stored, text, opening)
                        return result
                    if outcome == b"changed":
                        self._note(name, sure := _decode(found), instead_of=version)
            except Unreachable:
                attempts.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    def _replacing(
        self, name: str, version: _Version, makes: _Version, opening: Opening | None, is_alike: bool
    ) -> list[bytes | str | int]:
        """The arguments of a swap that say what is to be in the place of what is known."""
        kind, told = (opening.kind, opening.told or "-") if opening is not None else ("-", "-")
        known = version.revision, version.length, name
        return [*known, makes.revision, makes.text or "", kind, told, "alike" if is_alike else "", ""]

    def _write_anew(self, name: str, keys: list[str], version: _Version, text: str, opening: Opening | None) -> None:
        """Have a text in the place of one that says the same with its additions. What was added since stays behind it.

        Nobody waits for that: if it is not done, somebody will do it later.
        """
        makes = self._next_version(version, text)

        def then(answer: bytes | Exception) -> None:
            if isinstance(answer, bytes):
                outcome, unknown = self._learn_from(answer)
                if outcome == b"done" and incarnation == self._incarnation and name in self._versions:
                    self._note(name, makes.with_added(unknown))

        incarnation = self._incarnation
        arguments: list[bytes | str | int] = [len(keys), *keys, incarnation, self._connections, self._floor]
        arguments += [*self._replacing(name, version, makes, opening, True), "", "", "", ""]
        if self._connection is not None:
            self._connection.send(then, "EVALSHA", SWAP.digest, *arguments)

    def _next_version(self, version: _Version, text: str) -> _Version:
        return _Version(f"{version.number + 1}.{self._id}.{next(self._revisions)}", text)

    def _learn_from(self, answer: bytes) -> tuple[bytes, bytes]:
        """What has come of a swap, and what is to be known besides."""
        outcome, here, floor, time, found = answer.split(b"\n", 4)
        self._learn(here, floor, time)
        return outcome, found

    def _read_answer(self, answer: bytes | Exception | None) -> tuple[bytes, bytes]:
        """The same, of an answer that may be none, or that the swap could not be tried."""
        if not isinstance(answer, bytes):
            raise answer or RedisConnectionError("there is no answer")
        outcome, found = self._learn_from(answer)
        if outcome == b"not all dead":
            raise EngineError(f"{self!r} may have lost data: a session that was dead is there again")
        if outcome == b"another connection":  # it could not say that it is the one now
            raise RedisConnectionError("it has not been told of this connection")
        return outcome, found

    def _may_succeed(self, name: str, version: _Version, is_alike: bool) -> bool:
        """Whether a change of this version may still be made, as far as is known."""
        current = self._versions.get(name, version)
        return current == version or (is_alike and current.revision == version.revision)

    async def _next_answered(self, name: str, attempts: list[_Attempt[T]]) -> _Attempt[T] | None:
        """The first attempt that is answered; None if a newer text has come first, by a wake-up."""
        if all(attempt.answer is None for attempt in attempts):
            bell: asyncio.Future[None] = self._loop.create_future()
            bells = self._bells.setdefault(name, set())
            bells.add(bell)
            try:
                await bell
            finally:
                bells.discard(bell)
                if not bells:
                    self._bells.pop(name, None)
        return next((attempt for attempt in attempts if attempt.answer is not None), None)

    def _ring(self, name: str) -> None:
        for bell in self._bells.get(name, ()):
            if not bell.done():
                bell.set_result(None)

    def _messages(self, name: str, text: str, notices: Iterable[Notice]) -> list[str]:
        """The last arguments of a swap."""
        messages = []
        for session, message in notices:
            if message is not None or len(text) <= SMALL:
                messages += [session, self._packet(name, message or "")]
        return messages

    def _packet(self, name: str, message: str) -> str:
        """What goes to a session, but for what is stored, which may follow."""
        return json.dumps([self._incarnation, name, message]) + "\n"

    def _note(self, name: str, version: _Version, instead_of: _Version | None = None) -> None:
        """A newer text may be known already, from who has changed it since.

        instead_of: what has turned out not to be there, and may have been newer: a record that is made anew begins low.
        """
        known = self._versions.get(name, _Version())
        if known == instead_of or (version.number, version.length) >= (known.number, known.length):
            self._remember(name, version)

    def _remember(self, name: str, version: _Version) -> None:
        self._versions.pop(name, None)
        self._versions[name] = version  # as the latest
        while len(self._versions) > MOST_KNOWN:
            del self._versions[next(iter(self._versions))]

    async def _lost(self) -> SessionLost:
        with contextlib.suppress(EngineError):  # then nobody can say
            for eviction in await self.evictions():
                if eviction.session.id == self._id:
                    return SessionLost(f"session {self._id} {eviction}")
        return SessionLost(f"session {self._id} was not renewed for its ttl of {self.ttl} s, or {self!r} has lost it")

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        self._check_open()
        return await self._look(names, sessions, math.ceil(self._life * 1000))

    async def read(self, name: str) -> str | None:
        return (await self._insist(lambda: self._look([name]))).texts[name]

    async def _fetch(self, name: str) -> _Version:
        """What is kept under the name now."""
        _, here, floor, time, [stored], _ = await self._run(
            LOOK, [self._prefix, self._session_key(self._id), self._record_key(name)], [0, "?", 0]
        )
        self._learn(here, floor, time)
        return _decode(stored)

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        known, others = [*names], [*sessions]
        return await self._insist(lambda: self._look(known, others))

    async def _look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), live_on: int = 0) -> Seen:
        """At the texts and the lives, in one request."""
        known = {name: self._versions.get(name, _Version()) for name in names}
        others = [*sessions]
        keys = [self._prefix, self._session_key(self._id), *map(self._record_key, known)]
        keys += map(self._session_key, others)
        arguments: list[str | int] = [live_on]
        for version in known.values():
            arguments += [version.revision, version.length]
        asked = monotonic()
        alive, here, floor, time, texts, lives = await self._run(LOOK, keys, arguments)
        self._learn(here, floor, time)
        if live_on and alive:
            self._reach_until = asked + self._life
        if live_on and not alive:
            raise await self._lost()
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
        return sorted(_names(found))

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        latest = f"({(self._now() - seconds) * 1_000_000:.0f}"
        bounds = "-inf", latest, "BYSCORE", "LIMIT", skip, MOST_OLD
        return _names(await self._insist(lambda: self._ask("ZRANGE", self._names_key, *bounds)))

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        keys = [self._prefix, self._record_key(name), self._names_key, self._session_key(self._id)]
        version = await self._insist(lambda: self._fetch(name))
        self._versions.pop(name, None)
        if version.text != text:
            return False

        async def remove() -> bytes:
            await self._connected()
            arguments: list[str | int] = [self._incarnation, self._connections, self._floor]
            arguments += [version.revision, version.length, name, "", "", "-", "-", "", floor, "", "", "", ""]
            answer: bytes = await self._run(SWAP, keys, arguments)
            return answer

        outcome, found = self._learn_from(await self._insist(remove))
        return outcome == b"done" or (text is None and not found)

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        asked = [*sessions]
        if not asked:
            return {}
        rows = await self._insist(lambda: self._ask("MGET", *map(self._session_key, asked)))
        return {session: _describe(session, row) for session, row in zip(asked, rows, strict=True) if row is not None}

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        found = (await self.describe([session])).get(session)
        if found is None:
            return False
        keys = [self._prefix, self._session_key(self._id), self._session_key(session), self._evictions_key]
        note = encode_eviction(found, by, reason, held)
        arguments: list[str | int] = [note, math.ceil(KEPT * 1_000_000), MOST, self._channel(session)]
        outcome, *learned = await self._insist(lambda: self._run(EVICT, keys, arguments))
        self._learn(*learned)
        if outcome == b"dead":
            raise await self._lost()
        return bool(outcome == b"done")

    async def evictions(self) -> list[Eviction]:
        earliest = (self._now() - KEPT) * 1_000_000
        bounds = self._evictions_key, f"{earliest:.0f}", "+inf", "BYSCORE"
        notes = [_evicted(kept) for kept in await self._insist(lambda: self._ask("ZRANGE", *bounds))]
        return [note for note in notes if note is not None]

    # Life and death

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        return (await self._insist(lambda: self._look(sessions=others))).dead if others else frozenset()

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        watch = self._watched.setdefault(session, _Watch())
        entry = (on_death,)  # one of its own, though the same may be given twice
        watch.callbacks.append(entry)
        if watch.timer is None:
            self._watch_for(session, min(SETTLED, self._life / 10))  # then it is known how long it lives

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
        pause = min(max(seconds, LATER), MOST_LATER)
        watch.timer = self._loop.call_later(pause, self._look_after_all)

    def _look_after_all(self) -> None:
        """In one request, whoever of them is due: then it is known how long each will live."""
        for watch in self._watched.values():
            watch.cancel()
        self._begin(self._look_after)

    async def _look_after(self) -> None:
        with contextlib.suppress(EngineError, SessionLost):  # then the next look tells
            for dead in await self.dead(self._watched):
                watch = self._watched.pop(dead, None)
                for (on_death,) in watch.callbacks if watch is not None else ():
                    on_death()

    # Wake-ups

    def wake(self, session: str, name: str, message: str) -> None:
        if self._connection is not None and not self._closed:
            self._connection.request("PUBLISH", self._channel(session), self._packet(name, message))

    def _begin_to_listen(self, subscribed: asyncio.Future[None]) -> None:
        """And again where a program has cancelled all tasks there are, this one too."""

        def ended(listening: asyncio.Task[None]) -> None:
            if listening.cancelled() and subscribed.done() and not (self._closed or self._loop.is_closed()):
                self._loop.call_later(PAUSE[0], again)

        def again() -> None:
            if not self._closed:
                self._begin_to_listen(subscribed)

        self._listening = self._begin(partial(self._listen, subscribed))
        self._listening.add_done_callback(ended)

    async def _listen(self, subscribed: asyncio.Future[None]) -> None:
        """Keep a connection on which this session is woken. What was sent while there was none is lost."""
        pause, longest = PAUSE
        while True:
            try:
                connection = await connect(self._pool, self._patience, self._limit())
                self._subscription = connection
                try:
                    await connection.send_command("SUBSCRIBE", self._channel(self._id))
                    while True:
                        kind, _, packet = await connection.read_response(
                            disable_decoding=True, timeout=math.inf, push_request=True, disconnect_on_error=False
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
                    if not self._loop.is_closed():  # else nothing can be awaited
                        await connection.disconnect(nowait=True)
                        await self._pool.release(connection)
            except (RedisError, OSError, TimeoutError) as exc:
                if not subscribed.done() and isinstance(exc, NoPermissionError):
                    raise self._forbidden(f"{exc} (SUBSCRIBE)") from exc
                if not subscribed.done():
                    raise EngineError(f"{self!r}: cannot subscribe: {exc}") from exc
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _receive(self, packet: bytes) -> None:
        head, _, stored = packet.partition(b"\n")
        try:
            incarnation, name, message = json.loads(head)
        except (TypeError, ValueError, RecursionError):
            return  # anybody can publish there, and the next wake-up is to be heard all the same
        if not (isinstance(name, str) and isinstance(message, str)):
            return
        if incarnation != self._incarnation:
            return  # another server said so, and its data may be lost
        if stored and name in self._versions:
            self._note(name, _decode(stored))
            self._ring(name)
        if message:
            self._on_wake(name, message)

    # Keys

    @property
    def _names_key(self) -> str:
        return f"{self._prefix}:names"

    @property
    def _evictions_key(self) -> str:
        return f"{self._prefix}:evicted"

    def _record_key(self, name: str) -> str:
        return f"{self._prefix}:record:{name}"

    def _session_key(self, session: str) -> str:
        return f"{self._prefix}:session:{session}"

    def _row(self) -> str:
        """What is kept under the session's own key."""
        return f"{self._connections} {self._who}"

    def _channel(self, session: str) -> str:
        return f"{self._prefix}:wake:{session}"


class _Watch:
    """Who wants to know of a session's death, and when it is looked after."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[[], None]]] = []
        self.timer: asyncio.Handle | None = None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


def _names(found: Iterable[bytes]) -> list[str]:
    """Without what somebody else has put there, as far as that can be told."""
    names = []
    for name in found:
        with contextlib.suppress(UnicodeDecodeError):
            names.append(name.decode())
    return names


def _decode(stored: bytes) -> _Version:
    if not stored:
        return _Version()
    found = _STORED.fullmatch(stored)
    if found is None:  # somebody else's; who reads the text will see that it is no record
        return _Version(text=stored.decode(errors="backslashreplace"))
    revision, text = found.groups()
    return _Version(revision.decode(), text.decode(errors="backslashreplace"))


def _describe(session: str, row: bytes) -> SessionInfo:
    """It lives, as its key is there; what that says, somebody else may have written."""
    try:
        who = json.loads(row.partition(b" ")[2])
        name, host, pid, since, command = (who[each] for each in ("name", "host", "pid", "since", "command"))
    except (KeyError, TypeError, ValueError, RecursionError):
        name = host = pid = since = command = None
    return SessionInfo.read(session, name, host, pid, since, command, alive=True)


def _evicted(kept: bytes) -> Eviction | None:
    micros, _, note = kept.partition(b" ")
    return decode_eviction(note, int(micros) / 1_000_000) if micros.isdigit() else None


def _check_url(url: str) -> None:
    """Raise ValueError if redis-py would pass something over. No message shows what may be a part of the password."""
    parts = urlsplit(url)
    database = unquote(parts.path).strip("/")
    try:
        parts.port  # noqa: B018  # looks whether it is a number
    except ValueError:
        wrong = "a port that is none, after the host and ':'"
    else:
        if parts.fragment:
            wrong = "a '#', where nothing belongs"
        elif parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
            wrong = "a database that is not a number, after the host and '/'"
        else:
            return
    raise ValueError(
        f"the URL has {wrong}; write redis://HOST:PORT/NUMBER, and %23, %2F and %3F for '#', '/' and '?' in a password"
    ) from None


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


_open: WeakSet[RedisEngine] = WeakSet()
"""Those of this process that have been opened."""


def _close_after_fork() -> None:
    for engine in [*_open]:
        engine.close_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)
