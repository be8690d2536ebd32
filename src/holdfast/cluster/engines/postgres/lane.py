"""One connection of a link, made again when it breaks. Statements run on it one after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from asyncpg import InterfaceError, PostgresError

from .failures import explained, keeps_connection
from .server import Server, check, check_isolation, setting_up, settings

if TYPE_CHECKING:
    from asyncpg import Connection, Record

_HANG_UP = 1.0
"""Seconds that a connection may take to close."""
_SCRIPT = 60.0
"""Seconds that a script may take, at most."""
_BLOCKED = 0.05
"""Seconds that a loop which was blocked needs to read what has come meanwhile."""
Statement = tuple[Any, ...]
"""A statement, in which SCHEMA. stands for the schema and a dot, and its arguments."""
WithConnection = Callable[["Connection"], Coroutine[Any, Any, None]]


class Script(str):
    """Several statements, which have no arguments and no rows. They may take longer than others."""


class Lane:
    """A connection, or none yet. Its methods are called in the session's event loop."""

    def __init__(
        self,
        server: Server,
        patience: float,
        begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
        on_break: Callable[[], None],
    ) -> None:
        """patience: seconds until an answer is given up.

        begin: runs a coroutine function in a task that ends with the session.
        on_break: called when a connection was lost, or has been broken because it may have been.
        """
        self._server = server
        self._patience = patience
        self._begin = begin
        self._on_break = on_break
        self.connection: Connection | None = None
        self.is_busy = False
        """Whether somebody runs statements on it."""
        self.is_pooled = False
        """Whether something may be between us and the server, such as a pooler."""
        self.is_settled = False
        """Whether that can be relied on."""
        self.on_connect: WithConnection | None = None
        """Called with each new connection before anything else is asked for."""
        self.on_leave: WithConnection | None = None
        """Called before a connection is let go of, to undo what `on_connect` has done."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self.connection is not None and not _is_closed(self.connection)

    async def connected(self, limit: float) -> None:
        """Connect, if there is no connection that works. limit: seconds. Raises EngineError."""
        if self.is_connected:
            return
        try:
            async with asyncio.timeout(limit):
                self.hang_up()
                self.connection = await self._new_connection(limit)
        except Exception as exc:
            raise explained(exc, self._server.name, self._patience) from exc

    async def _new_connection(self, limit: float) -> Connection:
        connection = await self._server.connect(limit)
        try:
            self.is_pooled = await check(connection, self._server.name)
            if self._may_set:
                await connection.execute(setting_up(self._server, self._patience))
            elif self._server.poll is not None:
                await check_isolation(connection, self._server.name)
            if self.on_connect is not None:
                await self.on_connect(connection)
            connection.add_termination_listener(self._lost)
        except BaseException:
            _terminate(connection)
            await self._let_go(connection)
            raise
        return connection

    @property
    def _may_set(self) -> bool:
        """Whether the connection's settings are ours alone. Those of a pooler's might become somebody else's."""
        return self.is_settled or not self.is_pooled

    def _lost(self, connection: Connection) -> None:
        self._on_break()

    async def run(self, statement: str, *arguments: Any) -> list[Record]:
        """The rows of a statement, once it is connected. Raises EngineError.

        Cancellation: the connection has to be broken, as what the server does is not known.
        """
        connection, loop, is_late = self.connection, asyncio.get_running_loop(), False
        assert connection is not None
        timer: asyncio.TimerHandle

        def look_at_clock() -> None:  # if the loop was blocked, the answer may be there, and is read in its next turns
            nonlocal timer
            timer = loop.call_later(_BLOCKED, give_up)

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            _terminate(connection)

        patience = _SCRIPT if isinstance(statement, Script) else self._patience
        timer = loop.call_later(patience, look_at_clock)
        try:
            text = statement.replace("SCHEMA.", f"{self._server.schema}.")
            if isinstance(statement, Script):
                limit = settings(self._server, self._patience)["statement_timeout"] if self._may_set else "DEFAULT"
                await connection.execute(f"SET statement_timeout = 0; {text}; SET statement_timeout = {limit}")
                return []
            rows: list[Record] = await connection.fetch(text, *arguments)
            return rows
        except Exception as exc:
            if not keeps_connection(exc):
                self.hang_up()
            raise explained(TimeoutError() if is_late else exc, self._server.name, patience) from exc
        finally:
            timer.cancel()

    def hang_up(self) -> None:
        """Break the connection, without waiting."""
        connection, self.connection = self.connection, None
        if connection is not None:
            _terminate(connection)
            self._begin(lambda: self._let_go(connection))

    async def close(self) -> None:
        """Let go of the connection in order. It may be made again."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await self._let_go(connection)

    async def _let_go(self, connection: Connection) -> None:
        """Close it, or give it back to the pool that it is from, which takes none that still listens."""
        try:
            async with asyncio.timeout(_HANG_UP):
                if not _is_closed(connection):
                    connection.remove_termination_listener(self._lost)
                    if self.on_leave is not None:
                        await self.on_leave(connection)
                await self._server.let_go(connection)
        except (PostgresError, InterfaceError, OSError):  # nobody uses it any more, whatever becomes of it
            _terminate(connection)


def _terminate(connection: Connection) -> None:
    with contextlib.suppress(InterfaceError):  # a pool has taken it back, as it does with one that is lost
        connection.terminate()


def _is_closed(connection: Connection) -> bool:
    try:
        return bool(connection.is_closed())
    except InterfaceError:
        return True
