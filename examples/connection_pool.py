"""A connection pool built on Condition, and a program that sends many lines to a server through it.

    seq 100 | python examples/connection_pool.py 127.0.0.1 7 --size 4

It sends each line of its input to the server in a task of its own, and prints the replies in the order of the lines.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Self

from holdfast import Condition, Lock

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ConnectionPool:
    """At most `size` connections to one server. One task at a time uses a connection, and then another task does."""

    def __init__(self, host: str, port: int, size: int) -> None:
        self._address = (host, port)
        self._size = size
        self._idle: list[Connection] = []
        self._open = 0  # idle, in use, or being opened
        # Tasks wait for two things that the same lock protects. With a condition for each, notify() wakes the right
        # tasks. No task awaits anything else while it holds the lock, so the lock is free whenever another task runs.
        # So _put_back() never has to wait, and a cancelled task cannot be interrupted there and leak a connection.
        lock = Lock()
        self._available = Condition(lock)
        self._all_back = Condition(lock)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for an `async with` block. If the block raises, the connection is not used again."""
        connection = await self._take()
        try:
            yield connection
        except BaseException:  # also CancelledError: a late reply would be taken for that of the next request
            connection[1].transport.abort()
            await self._put_back(None)
            raise
        await self._put_back(connection)

    async def _take(self) -> Connection:
        async with self._available:
            # wait() alone would not do: between notify() and here, another task may have taken the connection.
            await self._available.wait_for(lambda: self._idle or self._open < self._size)
            while self._idle:
                reader, writer = self._idle.pop()  # the last one used is the least likely to have timed out
                if not (reader.at_eof() or writer.is_closing()):
                    return reader, writer
                writer.close()
                self._open -= 1
            self._open += 1
        # Opening takes time, so the lock is released first. `_open` has reserved the place.
        try:
            return await asyncio.open_connection(*self._address)
        except BaseException:
            await self._put_back(None)
            raise

    async def _put_back(self, connection: Connection | None) -> None:
        """Give the connection to other tasks; None gives them its place."""
        async with self._available:
            if connection is None:
                self._open -= 1
            else:
                self._idle.append(connection)
            self._available.notify()
            self._all_back.notify()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait until all connections are back, and close them."""
        async with self._all_back:
            await self._all_back.wait_for(lambda: len(self._idle) == self._open)
            writers = [writer for _, writer in self._idle]
        for writer in writers:
            writer.close()
        for writer in writers:
            with contextlib.suppress(OSError):  # the server has closed it first
                await writer.wait_closed()


async def ask(pool: ConnectionPool, line: str, patience: float) -> str:
    """Return the server's reply to `line`, or a text that says why there is none."""
    try:
        async with asyncio.timeout(patience), pool.connection() as (reader, writer):
            writer.write(f"{line}\n".encode())
            await writer.drain()
            reply = await reader.readuntil(b"\n")
    except TimeoutError:
        return "(no reply in time)"
    except (OSError, asyncio.IncompleteReadError) as error:
        return f"(failed: {error})"
    return reply.decode().rstrip("\n")


async def ask_all(host: str, port: int, size: int, lines: list[str], patience: float) -> list[str]:
    """Send all lines through at most `size` connections; return the replies in the order of the lines."""
    async with ConnectionPool(host, port, size) as pool:
        return await asyncio.gather(*(ask(pool, line, patience) for line in lines))


def main() -> int:
    parser = argparse.ArgumentParser(description="Send each line of the input to a line server, print the replies.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--size", type=int, default=4, metavar="N", help="connections at a time (4)")
    parser.add_argument("--patience", type=float, default=10, metavar="SECONDS", help="wait for a reply (10)")
    args = parser.parse_args()
    if args.size < 1:
        parser.error("with a --size below 1, there would never be a connection")
    lines = sys.stdin.read().splitlines()
    try:
        replies = asyncio.run(ask_all(args.host, args.port, args.size, lines, args.patience))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    for line, reply in zip(lines, replies, strict=True):
        print(f"{line} -> {reply}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
