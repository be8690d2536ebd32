"""One connection to Redis or Valkey, on which the requests of many tasks are under way at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


class Connection:
    """A connection of a pool, kept until it is closed or breaks. Answers come in the order of the requests.

    A task that is cancelled leaves its answer to be thrown away. (With one connection for each request, as redis-py's
    client has it, a cancellation costs a connection, and a thousand names need a thousand.)
    """

    def __init__(self, pool: Any) -> None:
        """pool: redis-py's, which has no types for what is used of it here."""
        self._pool = pool
        self._connection: AbstractConnection | None = None
        self._outbox: list[bytes] = []
        self._filled = asyncio.Event()
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self.broken = False

    async def open(self) -> None:
        """Raises redis-py's errors."""
        self._connection = await self._pool.get_connection()
        loop = asyncio.get_running_loop()
        for work in (self._write, self._read):
            task = loop.create_task(work(self._connection), name=f"holdfast connection, {work.__name__}")
            self._tasks.append(task)
            task.add_done_callback(self._break)

    def request(self, *arguments: bytes | str | int) -> asyncio.Future[Any]:
        """Send a request; return a future of the answer: bytes, int, list, or an exception."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._connection is None or self.broken:
            future.set_exception(RedisConnectionError("the connection was lost"))
        else:
            self._outbox += self._connection.pack_command(*arguments)
            self._asked.append(future)
            self._filled.set()
        return future

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
                answer = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except ResponseError as exc:
                answer = exc
            future = self._asked.popleft()
            if future.done():
                continue  # nobody waits for it any more
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _break(self, task: asyncio.Task[None]) -> None:
        """Reader or writer has ended: no answer will come any more."""
        self.broken = True
        exc = None if task.cancelled() else task.exception()
        for future in self._asked:
            if not future.done():
                lost = RedisConnectionError(f"the connection was lost: {exc}" if exc else "the connection was lost")
                lost.__cause__ = exc
                future.set_exception(lost)
        self._asked.clear()

    async def close(self) -> None:
        """Disconnect, and give the connection back to its pool. May be called again."""
        self.broken = True
        for task in self._tasks:
            task.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                with contextlib.suppress(Exception):  # what it says while it is torn down is of no use to anybody
                    await connection.disconnect(nowait=True)
            finally:
                await self._pool.release(connection)
