"""The connections to Redis or Valkey: one on which the requests of many tasks are under way at the same time, and one
on which the server publishes."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from holdfast.cluster.background import begin
from holdfast.cluster.engines.inherited import blank

from .answers import Answers

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


Then = Callable[[Any], None]
_CHUNK = 1 << 16
"""Bytes that are read at once, at most."""
_SHORTEST = 0.001
"""Seconds of a timer, at least. A loop may call a timer of 0 s again and again before the time has come."""


async def greet(connection: Any) -> None:
    """Log in on a new connection of redis-py's, in place of its own greeting.

    It takes one round trip, and does not tell the server about the library.
    """
    if str(connection.protocol) == "3":  # a client that was given asks for it
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
    """Take a connection from redis-py's pool.

    An attempt that has not succeeded in `patience` seconds may never do so. Then another attempt is begun beside it,
    and the first connection that is there is taken.

    Raises redis-py's errors; TimeoutError after `limit` seconds.
    """
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
                    is_full = bool(attempts) and "Too many connections" in str(
                        exc
                    )  # a pool that the user has given may have a limit
                    if not is_full:
                        raise exc
    except GeneratorExit:
        attempts.clear()  # the loop has ended meanwhile: nothing can be awaited any more
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


class Line(asyncio.Protocol, ABC):
    """A connection of a pool, kept until it is closed or breaks; what the server says is read in the step that gets it.

    redis-py connects and greets. From then on the line is the protocol of the transport, in the place of asyncio's
    streams: no task reads or writes. Where the transport does not allow that, a task reads.
    """

    def __init__(self, pool: Any, patience: float) -> None:
        """pool: redis-py's, which has no types for what is used of it here.

        patience: seconds until another attempt to connect is begun.
        """
        self._pool = pool
        self._patience = patience
        self._connection: AbstractConnection | None = None
        self._transport: asyncio.Transport
        self._reading: asyncio.Task[None] | None = None  # where the transport keeps its protocol
        self.broken = False

    async def open(self, limit: float) -> None:
        """Connect. limit: seconds that it may take. Raises redis-py's errors, or TimeoutError."""
        self._connection = await connect(self._pool, self._patience, limit)
        self._loop = asyncio.get_running_loop()
        connection: Any = self._connection  # there is no public way to what follows
        reader, writer = connection._reader, connection._writer
        if reader is None or writer is None:
            raise RedisConnectionError("the connection was lost")
        self._answers = Answers(self._said, connection._parser.parse_error, self._said_unasked)
        self._transport = writer.transport
        self._streams: asyncio.BaseProtocol = self._transport.get_protocol()
        try:
            self._transport.set_protocol(self)
        except NotImplementedError:  # rloop's transports keep the one that they have
            self._reading = begin(self._loop, partial(self._read, reader), "holdfast reads a server's answers")
            return
        if early := bytes(reader._buffer):  # a server that takes no connection says why, and closes it
            self.data_received(early)
        if (reader._eof or self._transport.is_closing()) and not self.broken:
            raise RedisConnectionError("the connection was lost")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """In place of being the protocol of the transport."""
        try:
            while data := await reader.read(_CHUNK):
                self.data_received(data)
        except OSError as exc:
            self._lose(exc)
        finally:
            self._lose(None)

    # What the transport says

    def data_received(self, data: bytes) -> None:
        try:
            self._answers.feed(data)
        except ValueError as exc:
            self._lose(exc)
            self._transport.abort()
        except BaseException:  # a signal handler has raised it, and what has come with this is read all the same
            self._loop.call_soon(self.data_received, b"")
            raise

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.connection_lost(exc)  # redis-py may be waiting for that, as when its pool is closed
        self._lose(exc)

    def _lose(self, cause: Exception | None) -> None:
        """Nothing will be said any more."""

        def lost() -> Exception:
            exc = RedisConnectionError(f"the connection was lost: {cause}" if cause else "the connection was lost")
            exc.__cause__ = cause
            return exc

        self._fail(lost)

    @abstractmethod
    def _said(self, said: Any) -> None:
        """The server has said something: see `Answers`."""

    def _said_unasked(self, said: Any) -> None:
        """The server has said something unasked, as it does in RESP3 only."""

    @abstractmethod
    def _fail(self, make: Callable[[], Exception]) -> None:
        """The line is broken. make: makes the error that says why."""

    # Its end

    def close_in_child(self) -> None:
        """After a fork: leave the connection to the parent."""
        self.broken = True
        writer = getattr(self._connection, "_writer", None)  # there is no public way to it
        socket = None if writer is None else writer.get_extra_info("socket")
        if socket is not None and socket.fileno() >= 0:
            blank(socket.fileno())

    async def close(self) -> None:
        """Disconnect, and give the connection back to its pool. May be called again."""
        self.broken = True
        if self._reading is not None:
            self._reading.cancel()
        self._lose(None)  # the transport may be long in saying so, or never say it
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                with contextlib.suppress(Exception):  # nobody can use an error of the disconnecting
                    await connection.disconnect(nowait=True)
            finally:
                await self._pool.release(connection)


class Channel(Line):
    """A line on which the server publishes what comes on one channel."""

    def __init__(self, pool: Any, patience: float, hear: Callable[[bytes, Any], None]) -> None:
        """hear: is called with b"subscribe" when the server publishes here from now on, and with b"message" and what
        that is.
        """
        super().__init__(pool, patience)
        self._hear = hear
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def subscribe(self, channel: str, limit: float) -> None:
        """Connect, and have the server publish. Raises as open() does; lost() says the rest."""
        await self.open(limit)
        if not self.broken:
            self._transport.write(_packed(("SUBSCRIBE", channel)))

    async def lost(self) -> None:
        """Wait until it is lost; raise why: redis-py's errors."""
        await self._lost

    def _said(self, said: Any) -> None:
        if isinstance(said, list) and len(said) == 3:
            self._hear(said[0], said[2])
        elif isinstance(said, Exception):
            self._fail(lambda: said)

    _said_unasked = _said

    def _fail(self, make: Callable[[], Exception]) -> None:
        self.broken = True
        if not self._lost.done():
            self._lost.set_exception(make())
            self._lost.exception()  # so that the loop does not complain if nobody looks at it


class Connection(Line):
    """A line for requests. Answers come in the order of the requests.

    The answer to a task that was cancelled is thrown away when it comes. With one connection for each request, as in
    redis-py's client, a cancellation would cost a connection, and a thousand names would need a thousand.
    """

    def __init__(self, pool: Any, patience: float, on_break: Callable[[], None] = lambda: None) -> None:
        """patience: seconds until an answer is given up, and as of `Line`.

        on_break: called when the connection was lost, but not when it was closed.
        """
        super().__init__(pool, patience)
        self._on_break = on_break
        self._outbox: list[bytes] = []
        self._gathers = False  # whether a request has to wait for those before it
        self._is_full = False  # whether the transport has enough to send
        # For each answer that is still to come: the function to call with it, and the loop's time when it is due.
        self._asked: deque[tuple[Then, float]] = deque()
        self._watchdog: asyncio.Handle | None = None
        self._reason: Exception | None = None  # what the server has said unasked, if that has broken it

    def request(self, *arguments: bytes | str | int) -> asyncio.Future[Any]:
        """Send a request; return a future of the answer, which need not be awaited. send() says how it fails."""
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
        """Send a request, and call `then` with the answer: bytes, int, list, or an exception.

        If the answer does not come in time, the connection is broken, and every request on it fails with TimeoutError.
        """
        if self._connection is None or self.broken:
            then(self._reason or RedisConnectionError("the connection was lost"))
            return
        self._asked.append((then, self._loop.time() + self._patience))
        self._put(_packed(arguments))
        if self._watchdog is None:  # one for all: a timer for each request would cost more than sending it
            self._watchdog = self._loop.call_later(self._patience, self._look_at_clock)

    def _put(self, request: bytes) -> None:
        """A request that no other one is under way with is written at once, and so is the next one of an iteration of
        the loop. More of them gather, and go together.

        Most requests are alone, and it would cost such a one a turn of the loop to have others gather behind it.
        """
        if self._gathers or self._is_full:
            self._outbox.append(request)
        else:
            self._transport.write(request)
            if len(self._asked) > 1:
                self._gathers = True
                self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """The next iteration has begun: write what has gathered."""
        self._gathers = False
        if self._outbox and not self._is_full and not self.broken:
            requests, self._outbox = self._outbox, []
            self._transport.write(b"".join(requests))
            self._gathers = True
            self._loop.call_soon(self._go_on)

    def _look_at_clock(self) -> None:
        self._watchdog = None
        if self._asked:
            _, due = self._asked[0]
            left = due - self._loop.time()
            if left <= 0:
                self._fail(lambda: TimeoutError("no answer in time"))
            else:
                self._watchdog = self._loop.call_later(max(left, _SHORTEST), self._look_at_clock)

    # What the transport says

    def _said(self, said: Any) -> None:
        if self._asked:
            then, _ = self._asked.popleft()
            then(said)
        elif isinstance(said, Exception) and not self.broken:  # unasked: it does not take this connection
            self._reason = said
            self._fail(lambda: said)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if not self._gathers:
            self._go_on()

    def _fail(self, make: Callable[[], Exception]) -> None:
        if not self.broken:
            self._loop.call_soon(self._on_break)
        self.broken = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        asked, self._asked = self._asked, deque()
        for then, _ in asked:
            then(make())

    async def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        await super().close()


def _packed(arguments: Sequence[bytes | str | int]) -> bytes:
    """A request as the server reads it. Always in UTF-8, as answers are read, whatever encoding a given client has."""
    parts = [b"*%d\r\n" % len(arguments)]
    for each in arguments:
        part = each if isinstance(each, bytes) else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(parts)
