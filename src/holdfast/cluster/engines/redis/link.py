"""A session's link to its server: the connection for its requests, made again when it breaks, and its tasks.

A request that fails is explained: as an `Unreachable`, after which another try may succeed, or as another EngineError.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

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

from holdfast.cluster.engines.far_link import FarLink, Unreachable
from holdfast.cluster.errors import EngineError, SessionLost

from .connection import Channel, Connection, Line
from .scripts import Script
from .server import name_of

_TRANSIENT = "READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "UNBLOCKED", "CLUSTERDOWN"
"""Answers of a server that will soon answer differently, or that another one will soon replace."""


class Link(FarLink):
    """The link of one session. Its methods are called in the session's event loop."""

    def __init__(self, pool: Any, is_ours: bool, patience: float, how_to_permit: str) -> None:
        """pool: redis-py's, which has no types for what is used of it here.

        is_ours: whether the pool is closed with the link.
        patience: seconds until an answer is given up.
        how_to_permit: the command that gives the user all rights that are needed.
        """
        super().__init__(patience)
        self.pool = pool
        self.name = name_of(pool)
        """What messages call the server."""
        self.requests: Connection | None = None
        """The connection for requests, perhaps a broken one."""
        self.wake_ups: Channel | None = None
        """The connection on which the session is woken, if there is one; `wake_ups` makes it."""
        self.number = 0
        """How many connections for requests there have been."""
        self.key = ""
        """The session's own key."""
        self.description = ""
        """What the key has after the connection's number, once the session has begun."""
        self.on_reconnect: Callable[[], None] = lambda: None
        """Called when a connection that was lost has been made again."""
        self._is_ours = is_ours
        self._how_to_permit = how_to_permit
        self._connecting = asyncio.Lock()

    def open(self, session: str, key: str, reach_until: float) -> None:
        """Let a session use the link; the first request connects."""
        self.begin_session(session, reach_until)
        self.key, self.description = key, ""

    # Requests

    async def ask(self, *arguments: bytes | str | int) -> Any:
        """The answer to one request, which is tried once. Raises EngineError, or NoScriptError."""
        connection = await self.connected()
        try:
            return await connection.request(*arguments)
        except NoScriptError:
            raise
        except (RedisError, OSError) as exc:
            raise await self.explained(exc, connection) from exc

    async def run(self, script: Script, keys: Iterable[str], arguments: Iterable[bytes | str | int]) -> Any:
        """The answer of a script, which is tried once. Raises EngineError."""
        names = [*keys]
        rest = [len(names), *names, *arguments]
        try:
            return await self.ask("EVALSHA", script.digest, *rest)
        except NoScriptError:  # the server is new, or somebody has flushed its scripts
            return await self.ask("EVAL", script.source, *rest)

    async def explained(self, exc: BaseException, connection: Connection | None) -> EngineError:
        """The error to raise for a request that has failed. Drops the connection if another one may do better."""
        if isinstance(exc, TimeoutError):
            await _hang_up(self.wake_ups)  # it may be just as dead, and would never say so
            await _hang_up(connection)
            return Unreachable(f"{self.name} has not answered within {self.patience:.3g} s")
        if isinstance(exc, NoPermissionError) or "ACL failure" in str(exc):
            return self.forbidden(str(exc))
        if isinstance(exc, AuthenticationError):
            await _hang_up(connection)
            return Unreachable(
                f"{self.name} does not let this user in; the URL needs the right name and password, as in "
                f"redis://USER:PASSWORD@HOST: {exc}"
            )
        if isinstance(exc, (BusyLoadingError, RedisConnectionError, RedisTimeoutError, OSError)):
            await _hang_up(connection)
            return Unreachable(f"{self.name} cannot be reached: {exc}")
        if isinstance(exc, ResponseError) and any(
            word in str(exc) or word in type(exc).__name__.upper() for word in _TRANSIENT
        ):
            await _hang_up(connection)  # another server may be in its place
            return Unreachable(f"{self.name} cannot do it now: {exc}")
        return EngineError(f"{self.name}: {exc}")

    def forbidden(self, why: str) -> EngineError:
        """The error to raise when the user lacks a right."""
        return EngineError(
            f"{self.name} does not permit this user all that is needed: {why}. An administrator of the server permits "
            f"it by: {self._how_to_permit}"
        )

    # The connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection for requests that is not known to be broken."""
        return self.requests is not None and not self.requests.broken

    async def connected(self) -> Connection:
        """The connection for requests, made again if it is broken. Raises EngineError."""
        if self.requests is not None and self.is_connected:
            return self.requests
        try:
            async with asyncio.timeout(self.limit()), self._connecting:
                if self.requests is None or self.requests.broken:
                    await _hang_up(self.requests)
                    self.requests = None
                    connection = Connection(self.pool, self.patience, self._reconnect)
                    await connection.open(self.limit())
                    self.number += 1
                    self.requests = connection
                    if self.description:  # before anything else is asked for; see keys
                        connection.request("SET", self.key, self.row(), "XX", "KEEPTTL")
                return self.requests
        except (RedisError, OSError) as exc:
            raise await self.explained(exc, None) from exc

    def row(self) -> str:
        """What is kept under the session's own key."""
        return f"{self.number} {self.description}"

    def _reconnect(self) -> None:
        """Connect at once, not with the next request: it may take several round trips, and a renewal comes after."""

        async def reconnect() -> None:
            with contextlib.suppress(EngineError, SessionLost):  # then the next request tells
                await self.insist(self.connected)
                self.on_reconnect()

        if self.description and not (self.is_closed or self.loop is None or self.loop.is_closed()):
            self.begin(reconnect)

    # Its end

    async def close(self) -> None:
        """Cancel the link's tasks, and close its connections."""
        self.is_closed = True
        try:
            await self.end_tasks()
        finally:
            await _hang_up(self.requests)
            if self._is_ours:
                await self.pool.disconnect()

    def close_in_child(self) -> None:
        """After a fork: whatever the child does with the link, it reaches neither the server nor the parent."""
        self.is_closed = True
        if self.requests is not None:
            self.requests.close_in_child()
        if self.wake_ups is not None:
            self.wake_ups.close_in_child()


async def _hang_up(connection: Line | None) -> None:
    if connection is not None:
        await connection.close()
