"""A session's link to its server: its connection, made again when it breaks, and its tasks.

One connection is enough for requests and wake-ups, as the server sends a notification between two answers. Statements
run one after another, in a task of the link's. So the cancellation of a task that waits for an answer never reaches
asyncpg, which would raise before the server has cancelled the statement: that may be done all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from asyncpg import InterfaceError, PostgresError

from holdfast.cluster.background import begin, begin_at_once
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.inherited import blank
from holdfast.cluster.errors import EngineError, SessionLost

from .failures import Missing, Unreachable, explained, keeps_connection
from .server import Server, check, settings

if TYPE_CHECKING:
    from asyncpg import Connection, Record

R = TypeVar("R")
PAUSE = 0.01, 1.0
"""Seconds, the first and the longest, until a server that is away is asked again."""
_HANG_UP = 1.0
"""Seconds that a connection may take to close."""
_SCRIPT = 60.0
"""Seconds that a script may take, at most."""
_BLOCKED = 0.05
"""Seconds that a loop which was blocked needs to read what has come meanwhile."""
Statement = tuple[Any, ...]
"""A statement, in which SCHEMA. stands for the schema and a dot, and its arguments."""


class Script(str):
    """Several statements, which have no arguments and no rows. They may take longer than others."""


class _Request(NamedTuple):
    make: Callable[[], Statement]
    answer: asyncio.Future[list[Record]]


class Link:
    """The link of one session. Its methods are called in the session's event loop."""

    def __init__(self, server: Server, patience: float) -> None:
        """patience: seconds until an answer is given up."""
        self.server = server
        self.patience = patience
        self.name = server.name
        """What messages call the server."""
        self.connection: Connection | None = None
        self.number = 0
        """How many connections there have been."""
        self.session = ""
        self.has_begun = False
        """Whether the server knows of the session."""
        self.reach_until = 0.0
        """The time, by monotonic(), after which a new connection comes too late."""
        self.is_closed = True
        self.on_connect: Callable[[Connection], Coroutine[Any, Any, None]] | None = None
        """Called with each new connection before anything else is asked for."""
        self.on_leave: Callable[[Connection], Coroutine[Any, Any, None]] | None = None
        """Called before a connection is let go of, to undo what `on_connect` has done."""
        self.on_reconnect: Callable[[], None] = lambda: None
        """Called when a connection that was lost has been made again."""
        self.is_pooled = False
        """Whether something may be between us and the server, such as a pooler."""
        self.is_settled = False
        """Whether that can be relied on."""
        self._asked: deque[_Request] = deque()
        self._is_pumping = False
        self._is_reconnecting = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self, session: str, reach_until: float) -> None:
        """Let a session use the link; the first request connects."""
        self._loop = asyncio.get_running_loop()
        self.session, self.has_begun = session, False
        self.reach_until = reach_until
        self.is_closed = False

    # Requests

    def put(self, make: Callable[[], Statement]) -> asyncio.Future[list[Record]]:
        """Let a statement be done after those before it; return a future of the rows, which need not be awaited.

        make: is called when its turn has come, so that it knows what the answers to the others have told. If the future
        has been cancelled by then, nothing is asked for. What it raises is raised to who awaits the future; else that
        raises EngineError.
        """
        request = _Request(make, self._loop.create_future())
        self._asked.append(request)
        self._wake_pump()
        return request.answer

    async def ask(self, *statement: Any) -> list[Record]:
        """The rows of one statement, which is tried once. Raises EngineError."""
        return await self.put(lambda: statement)

    async def insist(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Repeat a call until the server answers or the session is over. Raises SessionLost, EngineError."""
        pause, longest = PAUSE
        while True:
            self.check_open()
            try:
                return await call()
            except Unreachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    def check_open(self) -> None:
        """Raise SessionLost if the session was closed."""
        if self.is_closed:
            raise SessionLost(f"session {self.session} was closed")

    def _wake_pump(self) -> None:
        """Begin with what is asked for, in this step of the loop where the connection is there."""
        if self._is_pumping or not self._asked:
            return
        self._is_pumping = True
        if self.is_connected:
            pumping = begin_at_once(self._loop, self._pump, self._task_name)
        else:  # connecting takes a timeout, which belongs to a task
            pumping = begin(self._loop, self._pump, self._task_name)
        if pumping is not None:
            self._keep(pumping)
            pumping.add_done_callback(self._pump_ended)

    def _pump_ended(self, pumping: asyncio.Task[None]) -> None:
        """It goes on where a program has cancelled all tasks there are, this one included."""
        if pumping.cancelled() and not (self.is_closed or self._loop.is_closed()):
            self._is_pumping = False
            self._loop.call_soon(self._wake_pump)

    async def _pump(self) -> None:
        try:
            while self._asked:
                request = self._asked.popleft()
                if not request.answer.done():
                    await self._answer(request)
        finally:
            self._is_pumping = False

    async def _answer(self, request: _Request) -> None:
        answer = request.answer
        try:
            connection = await self._connected()
            rows = await self._run(connection, *request.make())
        except asyncio.CancelledError:
            self.hang_up()  # what the server does now is not known
            _fail(answer, Unreachable("the connection was lost"))
            raise
        except Missing as exc:
            _fail(answer, self._emptied(exc) if self.has_begun else exc)
        except Exception as exc:
            _fail(answer, exc)
        else:
            if not answer.done():
                answer.set_result(rows)

    async def _run(self, connection: Connection, statement: str, *arguments: Any) -> list[Record]:
        """Raises EngineError."""
        is_late = False
        timer: asyncio.TimerHandle

        def look_at_clock() -> None:  # if the loop was blocked, the answer may be there, and is read in its next turns
            nonlocal timer
            timer = self._loop.call_later(_BLOCKED, give_up)

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            _terminate(connection)

        patience = _SCRIPT if isinstance(statement, Script) else self.patience
        timer = self._loop.call_later(patience, look_at_clock)
        try:
            text = statement.replace("SCHEMA.", f"{self.server.schema}.")
            if isinstance(statement, Script):
                limit = settings(self.server, self.patience)["statement_timeout"]
                await connection.execute(f"SET statement_timeout = 0; {text}; SET statement_timeout = {limit}")
                return []
            rows: list[Record] = await connection.fetch(text, *arguments)
            return rows
        except Exception as exc:
            if not keeps_connection(exc):
                self.hang_up()
            raise explained(TimeoutError() if is_late else exc, self.name, patience) from exc
        finally:
            timer.cancel()

    def _emptied(self, exc: Missing) -> SessionLost:
        """The error to raise where the tables have gone, and the session's row with them."""
        return SessionLost(f"session {self.session} is over: {self.name} has lost it. {exc}")

    # The connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self.connection is not None and not _is_closed(self.connection)

    async def _connected(self) -> Connection:
        """The connection, made again if it is broken. Raises EngineError."""
        if self.connection is not None and self.is_connected:
            return self.connection
        try:
            async with asyncio.timeout(self.limit()):
                self.hang_up()
                self.connection = await self._new_connection()
                return self.connection
        except Exception as exc:
            raise explained(exc, self.name, self.patience) from exc

    async def _new_connection(self) -> Connection:
        connection = await self.server.connect(self.limit())
        try:
            self.is_pooled = await check(connection, self.name)
            if self.is_settled or not self.is_pooled:  # else they might become somebody else's settings
                await connection.execute(self._setting_up())
            self.number += 1
            if self.has_begun:  # before anything else is asked for; see tables
                statement = f"SELECT {self.server.schema}.reconnected($1, $2)"
                await connection.execute(statement, self.session, self.number)
            if self.on_connect is not None:
                await self.on_connect(connection)
            connection.add_termination_listener(self._lost)
        except BaseException:
            _terminate(connection)
            await self._let_go(connection)
            raise
        return connection

    async def from_another_connection(self, statement: str, *arguments: Any) -> None:
        """Run a statement on a connection that is made for it. Raises EngineError."""

        async def run() -> None:
            connection = await self.server.connect(self.patience)
            try:
                await connection.fetch(statement, *arguments)
            finally:
                await self._let_go(connection)

        try:
            await self.begin(run)
        except Exception as exc:
            raise explained(exc, self.name, self.patience) from exc

    async def settle(self) -> None:
        """A pooler is in between, and can be relied on. Raises EngineError."""
        self.is_settled = True
        await self.put(lambda: (Script(self._setting_up()),))

    def _setting_up(self) -> str:
        """The statement that sets a connection to what is needed."""
        wanted = settings(self.server, self.patience).items()
        pairs = ", ".join(f"('{name}', '{value}')" for name, value in wanted)  # no value has quotes
        return (
            f"SELECT set_config(name, value, false) FROM (VALUES {pairs}) AS wanted (name, value) "
            "WHERE current_setting(name, true) IS NOT NULL"
        )

    def limit(self) -> float:
        """Seconds that connecting may take: the rest of the ttl, but at least as long as an answer."""
        return max(self.patience, self.reach_until - monotonic())

    def _lost(self, connection: Connection) -> None:
        """Connect at once, not with the next request: it takes several round trips, and what was missed is read."""

        async def reconnect() -> None:
            try:
                with contextlib.suppress(EngineError, SessionLost):  # the next request tells
                    await self.insist(lambda: self.ask("SELECT"))
            finally:
                self._is_reconnecting = False
            if not self.is_closed:
                self.on_reconnect()

        if self.has_begun and not (self.is_closed or self._loop.is_closed() or self._is_reconnecting):
            self._is_reconnecting = True
            self.begin(reconnect)

    # Its end

    def begin(self, work: Callable[[], Coroutine[Any, Any, R]]) -> asyncio.Task[R]:
        """Run a coroutine function in a task that ends with the link."""
        return self._keep(begin(self._loop, work, self._task_name))

    @property
    def _task_name(self) -> str:
        return f"holdfast session {self.session}"

    def _keep(self, task: asyncio.Task[R]) -> asyncio.Task[R]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def hang_up(self) -> None:
        """Break the connection, without waiting."""
        connection, self.connection = self.connection, None
        if connection is not None:
            _terminate(connection)
            if not self._loop.is_closed():
                self.begin(lambda: self._let_go(connection))

    async def _let_go(self, connection: Connection) -> None:
        """Close it, or give it back to the pool that it is from, which takes none that still listens."""
        try:
            async with asyncio.timeout(_HANG_UP):
                if not _is_closed(connection):
                    connection.remove_termination_listener(self._lost)
                    if self.on_leave is not None:
                        await self.on_leave(connection)
                await self.server.let_go(connection)
        except (PostgresError, InterfaceError, OSError):  # nobody uses it any more, whatever becomes of it
            _terminate(connection)

    async def close(self) -> None:
        """Cancel the link's tasks, and close its connection."""
        self.is_closed = True
        current = asyncio.current_task()
        connection, self.connection = self.connection, None
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for request in self._asked:
                _fail(request.answer, SessionLost(f"session {self.session} was closed"))
            self._asked.clear()
            if connection is not None:
                await self._let_go(connection)

    def close_in_child(self) -> None:
        """After a fork: whatever the child does with the link, it reaches neither the server nor the parent."""
        self.is_closed = True
        connection = self.connection
        transport = getattr(connection, "_transport", None)  # there is no public way to it
        socket = None if transport is None else transport.get_extra_info("socket")
        if socket is not None and socket.fileno() >= 0:
            blank(socket.fileno())


def _terminate(connection: Connection) -> None:
    with contextlib.suppress(InterfaceError):  # a pool has taken it back, as it does with one that is lost
        connection.terminate()


def _is_closed(connection: Connection) -> bool:
    try:
        return bool(connection.is_closed())
    except InterfaceError:
        return True


def _fail(answer: asyncio.Future[Any], exc: Exception) -> None:
    if not answer.done():
        answer.set_exception(exc)
        answer.exception()  # so that the loop does not complain if nobody looks at it
