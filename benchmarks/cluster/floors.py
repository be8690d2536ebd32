"""What a hand-off costs any Python process, without any logic of a lock: there is nothing to win below this."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from .entrance import Entrance, Seat

RECORD = "x" * 200
"""What a change writes: a text of the size that a short line of waiters takes."""
PATIENCE = 0.001
"""Seconds between two looks whether another process has made the database, or opened its socket."""
DATABASE = "floor.db"


class Ring:
    """Processes in a ring: a datagram goes round, and whoever has got it changes a database twice.

    One process alone has the turn always, and gets no datagram.
    """

    def __init__(self, seat: Seat) -> None:
        self._loop = asyncio.get_running_loop()
        self._database = sqlite3.connect(seat.directory / DATABASE, timeout=5, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._is_alone = seat.processes == 1
        self._next = str(_address(seat.directory, (seat.index + 1) % seat.processes))
        self._out, self._bell = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in "12")
        self._bell.bind(str(_address(seat.directory, seat.index)))
        self._has_turn = seat.index == 0
        self._waiter: asyncio.Future[None] | None = None
        self._loop.add_reader(self._bell, self._rung)

    def close(self) -> None:
        self._loop.remove_reader(self._bell)
        for each in (self._bell, self._out, self._database):
            each.close()

    def _rung(self) -> None:
        self._bell.recv(1)
        self._has_turn = True
        if self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None

    async def acquire(self) -> None:
        if not self._has_turn:
            self._waiter = self._loop.create_future()
            await self._waiter
        self._change()

    async def release(self) -> None:
        self._change()
        if self._is_alone:
            return
        self._has_turn = False
        while True:
            try:
                self._out.sendto(b"x", self._next)
            except (FileNotFoundError, ConnectionRefusedError):  # not there yet, or at the end not any more
                await asyncio.sleep(PATIENCE)
            else:
                return

    def _change(self) -> None:
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        execute("SELECT text FROM texts WHERE name = 'x'").fetchone()
        execute("UPDATE texts SET text = ? WHERE name = 'x'", (RECORD,))
        execute("COMMIT")


def _address(directory: Path, index: int) -> Path:
    return directory / f"floor-{index}.sock"


def _make_database(directory: Path) -> None:
    """Whole when it has its name: processes that make it write-ahead at the same time would get in each other's way."""
    unfinished = directory / f"{DATABASE}.new"
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE texts (name TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID")
        database.execute("INSERT INTO texts VALUES ('x', ?)", [RECORD])
    unfinished.rename(directory / DATABASE)


@asynccontextmanager
async def two_changes(seat: Seat) -> AsyncIterator[Entrance]:
    if seat.index == 0:
        _make_database(seat.directory)
    while not (seat.directory / DATABASE).exists():
        await asyncio.sleep(PATIENCE)
    with closing(Ring(seat)) as ring:
        yield Entrance(lambda: ring)


class TwoScripts:
    """One request for a script that does nothing to acquire, and one to release, over a connection without a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, digest: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._request = _command(b"EVALSHA", digest, b"1", b"x", RECORD.encode())

    async def acquire(self) -> None:
        self._writer.write(self._request)
        await self._reader.readline()

    release = acquire


@asynccontextmanager
async def two_round_trips(seat: Seat) -> AsyncIterator[Entrance]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(seat.place("redis")))
    writer.write(_command(b"SCRIPT", b"LOAD", b"return 1"))
    await reader.readline()
    digest = (await reader.readline()).strip()
    yield Entrance(lambda: TwoScripts(reader, writer, digest))
    writer.close()


def _command(*words: bytes) -> bytes:
    """As the Redis protocol has it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
