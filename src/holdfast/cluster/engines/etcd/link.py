"""A session's link to its server: connections to one of its members, and how a request on them is tried.

A request is tried once. If it is not known what came of it, another try may come to the server before it does. So the
session's own key is put again before anything else is asked for, which raises its version; and each change compares
that version. From then on, what is still on its way is not done any more.

A new connection is looked at before it is used (`history`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.far_link import FarLink, Unreachable
from holdfast.cluster.errors import EngineError

from . import history
from .connection import Connection, Refused
from .history import RANGE, TXN
from .keys import Keys, lease_of
from .knowledge import Knowledge
from .server import Server
from .transactions import Kept, Outcome, Part, exists, get, in_range, outcome, put, transaction

_MOST_CONNECTIONS = 4
"""For requests, at the same time. HTTP/1.1 has one request at a time on each."""
_WATCH = "/v3/watch"
_UNKNOWN, _INVALID, _DEADLINE, _NOT_FOUND, _FORBIDDEN, _EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = (
    *(2, 3, 4, 5, 7, 8, 14, 16),
)
"""gRPC's codes."""
_BAD_TOKEN = "invalid auth token", "auth store is old", "user name is empty"


class Link(FarLink):
    """The link of one session."""

    def __init__(self, server: Server, keys: Keys, known: Knowledge, patience: float) -> None:
        super().__init__(patience)
        self.server = server
        self.keys = keys
        self.known = known
        self.row = b""
        """What the session's own key has, once the session has begun."""
        self.number = 0
        """The version of the session's own key."""
        self.is_sure = True
        """Whether it is known of each request what came of it."""
        self.streams: set[Connection] = set()
        """The connections of the watches."""
        self._connections: set[Connection] = set()
        self._at = 0  # the member that is asked, by its index
        self._token = ""
        self._slots = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._connecting = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._has_ended = False

    @property
    def key(self) -> bytes:
        """The session's own key."""
        return self.keys.session(self.session)

    @property
    def lease(self) -> int:
        return lease_of(self.session)

    # Requests

    async def ask(
        self, path: str, body: Mapping[str, Any], changes: bool = False, is_urgent: bool = False
    ) -> Mapping[str, Any]:
        """The answer to one request, which is tried once. Raises EngineError.

        changes: whether it matters if the request is made later than anybody knows of. is_urgent: it does not wait
        until others are done.
        """
        async with contextlib.nullcontext() if is_urgent else self._slots:
            connection = await self._connected()
            is_known = False
            try:
                answer = await self._on(connection, path, body)
                is_known = True
                return answer
            except EngineError as exc:
                is_known = not isinstance(exc, Unreachable)
                raise
            finally:
                if changes and not is_known:
                    self.is_sure = False
                if connection.is_broken:
                    self._connections.discard(connection)
                elif connection not in self._connections:  # its member was left meanwhile
                    connection.break_off()

    async def transact(self, body: Part, changes: bool = False, is_urgent: bool = False) -> Outcome:
        """The outcome of a transaction, which is tried once. Raises EngineError."""
        return outcome(await self.ask(TXN, body, changes, is_urgent))

    async def find(self, part: Part) -> list[Kept]:
        """What is found by one get() or get_all(), which is tried once. Raises EngineError."""
        return in_range(await self.ask(RANGE, part["requestRange"]))

    async def settle(self) -> None:
        """See to it that nothing is under way of which the session does not know what comes of it.

        Tried once. Raises EngineError. If the session is dead, that need not be found here.
        """
        if self.is_sure:
            return
        async with self._settling:
            if not self.is_sure:
                asked = transaction([exists(self.key)], [put(self.key, self.row, self.lease), get(self.key)])
                found = await self.transact(asked)
                if found.succeeded:
                    self.number = found.one(1).version
                self.is_sure = True

    async def _on(self, connection: Connection, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask on a connection, with the token of who has logged in. Raises EngineError."""
        try:
            return await self._once(connection, path, body)
        except Refused as exc:
            if not any(word in str(exc) for word in _BAD_TOKEN) or not self.server.user:
                raise self._explained(exc, connection) from exc
        try:  # the token is too old: etcd keeps it for some minutes
            await self._log_in(connection)
            return await self._once(connection, path, body)
        except Refused as exc:
            raise self._explained(exc, connection) from exc

    async def _once(self, connection: Connection, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        sent = monotonic()
        try:
            async with asyncio.timeout(self.patience):
                answer = await connection.request(path, body, self._headers())
        except TimeoutError as exc:
            self._leave_member_of(connection)
            raise Unreachable(f"{self.server} has not answered within {self.patience:.3g} s") from exc
        except OSError as exc:
            self._leave_member_of(connection)
            raise Unreachable(f"{self.server} cannot be reached: {exc}") from exc
        if answer.date is not None:
            self.known.clock.learn(answer.date, sent, monotonic())
        return answer.body

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    async def _log_in(self, connection: Connection) -> None:
        """Raises Refused, EngineError."""
        self._token = ""
        who = {"name": self.server.user, "password": self.server.password}
        self._token = str((await self._once(connection, "/v3/auth/authenticate", who)).get("token", ""))

    def _explained(self, exc: Refused, connection: Connection) -> EngineError:
        """The error to raise for a request that was refused."""
        said = str(exc)
        if "authentication failed" in said or any(word in said for word in _BAD_TOKEN):
            return EngineError(
                f"{self.server} does not let this user in; the URL needs the right name and password, as in "
                f"etcd://USER:PASSWORD@HOST: {said}"
            )
        if exc.code == _FORBIDDEN:
            return EngineError(
                f"{self.server} does not permit this user all that is needed: {said}. An administrator of the server "
                "permits it by: etcdctl role grant-permission ROLE readwrite --prefix=true "
                f"{self.keys.prefix.decode()!r}"
            )
        if (exc.code == -1 and exc.status == 404) or (exc.code in (_NOT_FOUND, 12) and "etcdserver" not in said):
            return EngineError(
                f"{connection.where} is not etcd 3.4 or later, or its gateway is switched off "
                f"(enable-grpc-gateway): {said}"
            )
        if "database space exceeded" in said:
            return EngineError(
                f"{self.server} is full: {said}. Compact its history, defragment it and disarm its alarm, with etcdctl;"
                " and let it compact by itself (auto-compaction-retention)"
            )
        if exc.code in (_UNKNOWN, _DEADLINE, _EXHAUSTED, _UNAVAILABLE) or (exc.code == -1 and exc.status >= 500):
            self._leave_member_of(connection)
            return Unreachable(f"{self.server} cannot do it now: {said}")
        return EngineError(f"{self.server}: {said}")

    # Connections

    async def _connected(self) -> Connection:
        """A connection that no request is under way on. Raises EngineError."""
        while True:
            for connection in self._connections:
                if connection.is_idle:
                    connection.is_busy = True
                    return connection
            async with self._connecting:
                if not any(each.is_idle for each in self._connections):
                    await self._connect()

    async def _connect(self) -> None:
        """Connect to one of the members, from the current one on. Raises EngineError if there is none."""
        bound = self.limit() / len(self.server.members)
        for rest in reversed(range(len(self.server.members))):
            at = self._at
            connection = self._new_connection()
            try:
                async with asyncio.timeout(bound):
                    await connection.open()
                    if self.server.user and not self._token:
                        await self._log_in(connection)
                    await history.find(
                        lambda path, body, on=connection: self._on(on, path, body),  # type: ignore[misc]
                        self.keys,
                        self.known,
                        str(self.server),
                    )
                if self._has_ended:
                    raise Unreachable("the session was closed")
                self._connections.add(connection)
                return
            except Refused as exc:
                connection.break_off()
                raise self._explained(exc, connection) from exc
            except (OSError, TimeoutError) as exc:
                connection.break_off()
                if isinstance(exc, EngineError) and not isinstance(exc, Unreachable):
                    raise
                if at == self._at:
                    self._leave_member()
                if not rest:
                    if isinstance(exc, Unreachable):
                        raise
                    why = f"no answer within {bound:.3g} s" if isinstance(exc, TimeoutError) else exc
                    raise Unreachable(f"{self.server} cannot be reached: {why}") from exc
            except BaseException:
                connection.break_off()
                raise

    def _new_connection(self) -> Connection:
        host, port = self.server.members[self._at]
        return Connection(host, port, self.server.tls)

    def _leave_member_of(self, connection: Connection) -> None:
        """As _leave_member(), unless that was done already, for another connection."""
        if connection in self._connections or connection in self.streams:
            self._leave_member()

    def _leave_member(self) -> None:
        """It does not answer: another one is asked from now on. What is under way there has its own time to fail."""
        for connection in self._connections | self.streams:
            if not connection.is_busy or connection in self.streams:
                connection.break_off()
        self._connections.clear()
        self.streams.clear()
        self._at = (self._at + 1) % len(self.server.members)

    def doubt(self) -> None:
        """What was found on the connections does not hold any more: look again before anything is asked for."""
        for connection in self._connections:
            connection.break_off()
        self._connections.clear()

    # Watches

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any]]:
        """What a watch says, from now on, on a connection of its own. Raises EngineError when it ends."""
        connection = self._new_connection()
        self.streams.add(connection)
        try:
            async with asyncio.timeout(self.patience):
                await connection.open()
                if self.server.user and not self._token:
                    await self._log_in(connection)
            headers = {**self._headers(), "Grpc-Metadata-hasleader": "true"}  # else it is silent without a majority
            async with contextlib.aclosing(connection.stream(_WATCH, body, headers)) as messages:
                # Some members take a request that they never answer, as while they start.
                async with asyncio.timeout(self.patience):
                    first = await anext(messages)
                async for message in _after(first, messages):
                    result = message.get("result", {})
                    if "error" in message or result.get("canceled"):
                        break
                    yield result
            raise Unreachable(f"{self.server} has ended a watch")
        except Refused as exc:
            if any(word in str(exc) for word in _BAD_TOKEN):
                self._token = ""
            raise self._explained(exc, connection) from exc
        except (OSError, TimeoutError, StopAsyncIteration) as exc:
            if isinstance(exc, EngineError):
                raise
            self._leave_member_of(connection)
            raise Unreachable(f"{self.server} cannot be reached: {exc}") from exc
        finally:
            connection.break_off()
            self.streams.discard(connection)

    # Its end

    async def close(self) -> None:
        """Cancel the link's tasks, and close its connections."""
        self.is_closed = self._has_ended = True
        try:
            await self.end_tasks()
        finally:
            self.doubt()
            await asyncio.sleep(0)  # only then the transports close their sockets, and the loop may be closed next

    def close_in_child(self) -> None:
        """After a fork: whatever the child does with the link, it reaches neither the server nor the parent."""
        self.is_closed = True
        for connection in self._connections | self.streams:
            connection.close_in_child()


async def _after(
    first: Mapping[str, Any], messages: AsyncGenerator[Mapping[str, Any]]
) -> AsyncGenerator[Mapping[str, Any]]:
    yield first
    async for message in messages:
        yield message
