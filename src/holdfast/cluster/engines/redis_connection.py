"""One connection to Redis or Valkey, on which the requests of many tasks are under way at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from holdfast.cluster.background import begin

from .inherited import blank

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


Then = Callable[[Any], None]
_SHORTEST = 0.001
"""Seconds, of a timer: one of nothing could be called again and again before the time."""


async def greet(connection: Any) -> None:
    """In place of redis-py's own greeting: whatever it has to say, in one round trip, and nothing about the library."""
    if str(connection.protocol) == "3":  # somebody wants it so
        await connection.on_connect()
        return
    connection._parser.on_connect(connection)
    greeting: list[tuple[Any, ...]] = []
    if connection.credential_provider is not None:
        greeting.append(("AUTH", *await connection.credential_provider.get_credentials_async()))
    elif connection.username:
        greeting.append(("AUTH", connection.username, connection.password or ""))
    elif connection.password:
        greeting.append(("AUTH", connection.password))
    if connection.client_name:
        greeting.append(("CLIENT", "SETNAME", connection.client_name))
    if connection.db:
        greeting.append(("SELECT", connection.db))
    if greeting:
        await connection.send_packed_command(connection.pack_commands(greeting), check_health=False)
    for _ in greeting:
        await connection.read_response()


async def connect(pool: Any, patience: float, limit: float) -> Any:
    """A connection of the pool. One that has not come about in `patience` seconds may never do so: then another one is
    begun beside it, and the first that is there is taken. Raises redis-py's errors; TimeoutError after `limit`."""
    attempts: set[asyncio.Task[Any]] = set()
    try:
        async with asyncio.timeout(limit):
            is_full = False
            while True:
                if not is_full:
                    attempts.add(begin(asyncio.get_running_loop(), pool.get_connection, "holdfast connects"))
                done, _ = await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    attempts.discard(attempt)
                    exc = attempt.exception()
                    if exc is None:
                        return attempt.result()
                    is_full = bool(attempts) and "Too many connections" in str(exc)  # in a pool that the user has given
                    if not is_full:
                        raise exc
    except GeneratorExit:
        attempts.clear()  # the loop has ended in the middle of it: nothing can be awaited any more
        raise
    finally:
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts)
        for attempt in attempts:
            if not attempt.cancelled() and attempt.exception() is None:
                await attempt.result().disconnect(nowait=True)
                await pool.release(attempt.result())


class Connection:
    """A connection of a pool, kept until it is closed or breaks. Answers come in the order of the requests.

    A task that is cancelled leaves its answer to be thrown away. (With one connection for each request, as redis-py's
    client has it, a cancellation costs a connection, and a thousand names need a thousand.)
    """

    def __init__(self, pool: Any, patience: float, on_break: Callable[[], None] = lambda: None) -> None:
        """pool: redis-py's, which has no types for what is used of it here. patience: seconds to an answer. on_break:
        called when the connection has been lost, and not closed."""
        self._pool = pool
        self._patience = patience
        self._on_break = on_break
        self._connection: AbstractConnection | None = None
        self._outbox: list[bytes] = []
        self._filled = asyncio.Event()
        # What to do with each answer, and the loop's time when it is due.
        self._asked: deque[tuple[Then, float]] = deque()
        self._watchdog: asyncio.Handle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.broken = False

    async def open(self, limit: float) -> None:
        """limit: seconds that it may take. Raises redis-py's errors, and TimeoutError."""
        self._connection = await connect(self._pool, self._patience, limit)
        self._loop = asyncio.get_running_loop()
        for work in (self._write, self._read):
            task = begin(self._loop, partial(work, self._connection), f"holdfast connection, {work.__name__}")
            self._tasks.append(task)
            task.add_done_callback(self._break)

    def request(self, *arguments: bytes | str | int) -> asyncio.Future[Any]:
        """Send a request; return a future of the answer, which need not be awaited. Its exceptions: see send()."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def then(answer: Any) -> None:
            if future.done():
                return  # nobody waits for it any more
            if isinstance(answer, Exception):
                future.set_exception(answer)
                future.exception()  # so that the loop does not complain if nobody looks at it
            else:
                future.set_result(answer)

        self.send(then, *arguments)
        return future

    def send(self, then: Then, *arguments: bytes | str | int) -> None:
        """Send a request; call `then` with the answer: bytes, int, list, or an exception.

        TimeoutError, if there is none in time: then the connection is broken, and all that was asked has failed.
        """
        if self._connection is None or self.broken:
            then(RedisConnectionError("the connection was lost"))
            return
        # In UTF-8, in which all is read, whatever the encoding of a client that was given.
        parts = [each if isinstance(each, bytes) else str(each).encode() for each in arguments]
        self._outbox += self._connection.pack_command(*parts)
        self._asked.append((then, self._loop.time() + self._patience))
        self._filled.set()
        if self._watchdog is None:  # one for all that is asked: a timer for each would cost more than its sending
            self._watchdog = self._loop.call_later(self._patience, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._watchdog = None
        if self._asked:
            _, due = self._asked[0]
            left = due - self._loop.time()
            if left <= 0:
                self._fail(lambda: TimeoutError("no answer in time"))
            else:
                self._watchdog = self._loop.call_later(max(left, _SHORTEST), self._look_at_clock)

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            chunks, self._outbox = self._outbox, []
            await connection.send_packed_command(chunks, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            answer: Any
            try:
                answer = await connection.read_response(
                    disable_decoding=True, timeout=math.inf, disconnect_on_error=False
                )
            except (ResponseError, AuthenticationError) as exc:
                answer = exc
            if self.broken:
                return  # it is too late
            then, _ = self._asked.popleft()
            then(answer)

    def _break(self, task: asyncio.Task[None]) -> None:
        """Reader or writer has ended: no answer will come any more."""
        cause = None if task.cancelled() else task.exception()

        def lost() -> Exception:
            exc = RedisConnectionError(f"the connection was lost: {cause}" if cause else "the connection was lost")
            exc.__cause__ = cause
            return exc

        self._fail(lost)

    def _fail(self, make: Callable[[], Exception]) -> None:
        if not self.broken:
            self._loop.call_soon(self._on_break)
        self.broken = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        asked, self._asked = self._asked, deque()
        for then, _ in asked:
            then(make())

    def close_in_child(self) -> None:
        """After a fork: the connection is the parent's."""
        self.broken = True
        if self._connection is not None:
            blank_socket(self._connection)

    async def close(self) -> None:
        """Disconnect, and give the connection back to its pool. May be called again."""
        self.broken = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        for task in self._tasks:
            task.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                with contextlib.suppress(Exception):  # what it says while it is torn down is of no use to anybody
                    await connection.disconnect(nowait=True)
            finally:
                await self._pool.release(connection)


def blank_socket(connection: Any) -> None:
    """In a forked child: let the socket of redis-py's connection be nobody's."""
    writer = connection._writer  # there is no public way to it
    socket = None if writer is None else writer.get_extra_info("socket")
    if socket is not None and socket.fileno() >= 0:
        blank(socket.fileno())
