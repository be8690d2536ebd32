"""The SQLite database of a directory: how it is opened, and how a transaction is run in it.

Each transaction and each reading is made in the files that are under the database's paths at that time. If one of them
was removed or replaced, SessionLost says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import T
from holdfast.cluster.errors import EngineError, SessionLost

from . import database_files, schema
from .connection import Connection, Interrupted, is_busy, kind
from .write_ahead_log import CHECKPOINT_EVERY, PAGE, PRAGMAS, WriteAheadLog

P = ParamSpec("P")
_TRIES = 4
"""How often a transaction is tried in a row while another process is in one. Then the kernel may let that one run."""
_ROWS = 8
"""How often this is repeated in one turn of the loop: all of it takes about as long as a transaction or two."""
_TURNS = 32
"""In how many turns of the loop that is repeated, one right after the other."""
_BUSY_PAUSE = 0.001
"""Seconds between the turns after that: the other process has been stopped, or its disk is slow."""
_OPENING_PAUSE = 0.005, 0.02
"""Seconds, at least and at most, before a database that was found broken is opened again."""
PATIENCE = 2.0
"""Seconds for which a database may look broken while it is opened, as another process may be opening or closing it."""
_DAMAGED = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB
_BROKEN = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, *_DAMAGED)
"""The errors that may come of a file that is being removed at this moment, by SQLite or by somebody else."""


class Database:
    """One session's way to the database. Its methods are called in the session's event loop."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.files = ""
        """Which files it is, as a text: two sessions whose texts differ do not share a state."""
        self.log = WriteAheadLog(path)
        self._hold: database_files.Hold | None = None
        self._use(Connection(path, PRAGMAS))
        self._is_locked = False
        self._opened = database_files.Unchanged()  # what was under the paths when they were opened
        self._closed = True
        self._transactions = 0

    def _use(self, connection: Connection) -> None:
        self._connection = connection
        self.execute = connection.execute
        """Run a statement, in a function that one of the methods below calls; return all rows."""
        self.change = connection.change
        """The same; return how many rows were changed."""

    # Opening and closing

    async def open(self, make_way: Callable[[str], Awaitable[bool]], is_used: Callable[[], bool]) -> None:
        """Open the database, or make it if it is missing. One of an earlier version is made anew if nobody uses it.

        make_way: ends the sessions that use other files than these, and waits a little for them to go. It returns
        whether some of them are still there; nothing may be shared with those.
        is_used: whether any other session lives.

        Raises EngineError if the database is not usable, FormatError if another version made it.
        Cancellation: the database is closed again.
        """
        if not self._connection.is_of_this_process:  # the session was made before a fork, and not opened
            self._use(Connection(Path(self.path), PRAGMAS))
        self._loop = asyncio.get_running_loop()
        self._is_used = is_used
        self._closed = False
        until = monotonic() + PATIENCE
        while True:
            failure: sqlite3.Error | None = None
            try:
                await self._open()
                files, usable = self._note_files()
            except sqlite3.Error as exc:
                if kind(exc) not in _BROKEN:
                    self.close()
                    raise self._failed(exc) from exc
                failure = exc
                files, usable = self._describe(database_files.look(self.path)), False
            except BaseException:
                self.close()
                raise
            try:
                in_the_way = await make_way(files)
                if usable and self.has_its_files():
                    self.files = files
                    return
                if in_the_way:
                    until = monotonic() + PATIENCE
                elif monotonic() > until:
                    raise self._unusable(failure) from failure
            except BaseException:
                self.close()
                raise
            self._let_go()
            await asyncio.sleep(random.uniform(*_OPENING_PAUSE))

    async def _open(self) -> None:
        self._opened = database_files.Unchanged()
        self._hold = database_files.hold(self.path)
        await self._insisting(self._connection.execute, f"PRAGMA page_size = {PAGE}")
        mode = await self._insisting(self._connection.execute, "PRAGMA journal_mode = WAL")
        if mode != [("wal",)]:
            raise EngineError(f"{self.path} is on a file system without shared memory for SQLite; name a local one")
        if await self._insisting(schema.version, self._connection.execute, self.path) != schema.SCHEMA:
            create = partial(schema.create, self._connection.execute, self.path, self._is_used)
            await self._insisting(self._transaction, create)

    def _note_files(self) -> tuple[str, bool]:
        """Note which files these are; return their description, and whether the connection has just them open."""
        hold = self._hold
        assert hold is not None
        self._is_locked = True
        stay = hold.lock()
        found = database_files.look(self.path)
        # Where the files do not stay, they may be others after a fork: if this process was the last to have them open.
        kept = found if stay else found[:1]
        self._opened = database_files.Unchanged(self.path, kept)
        return self._describe(kept), hold.file == found[0] and database_files.are_open(found)

    def _describe(self, files: tuple[tuple[int, int] | None, ...]) -> str:
        """By their inodes: a device may have another number in a container."""
        return "".join(f"{file[1]} " if file else "- " for file in files)

    def has_its_files(self) -> bool:
        """Whether the files under the paths are those that this session has open."""
        return self._opened.changed() is None

    def _unusable(self, exc: sqlite3.Error | None) -> EngineError:
        if exc is None:
            return EngineError(
                f"{self.path} or its log has been removed while this process had it open; close what uses it here"
            )
        return self._failed(exc)

    def close(self) -> None:
        """Close the database. Does nothing if it is closed, or in a child of the process that has opened it."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._hold is None or not self._connection.is_of_this_process:
            return
        hold, self._hold = self._hold, None
        lock, self._is_locked = self._is_locked, False
        if lock and self.has_its_files():
            hold.unlock()
            lock = False
        try:
            self._connection.close()  # the last one to close copies the log into the database and removes it
        finally:
            if lock:  # the log under the path is somebody else's: only now may this process be the last one
                hold.unlock()
            hold.release()

    def __del__(self) -> None:
        self._let_go()

    # Transactions

    async def transact(self, function: Callable[[], T]) -> T:
        """Run a function in a transaction of its own. It is run again if the process forks meanwhile.

        A transaction takes some 50 µs, so it runs on the loop. Another process's transaction is waited for.
        """
        result = await self._insisting(self._transaction, function)
        self._transactions += 1
        if self._transactions % CHECKPOINT_EVERY == 0:
            self._loop.call_soon(self.log.shorten_if_due)  # later: the sessions that are to be woken come first
        return result

    async def transact_elsewhere(self, function: Callable[[], T]) -> T:
        """As transact(), from the event loop of another thread. The log is left to the session's own changes."""

        def transaction() -> T:
            if self._closed:  # asked while no other thread uses the connection: closed now, it stays so
                raise _closed()
            return self._transaction(function)

        return await self._insisting(transaction)

    async def read(self, function: Callable[[], T]) -> T:
        """Run a function that sees what was committed."""
        return await self._insisting(self._reading, function)

    def glance(self, function: Callable[[], T]) -> T | None:
        """Run a function at once. None if somebody is in the way, or if the session is over."""
        with contextlib.suppress(sqlite3.Error, Interrupted, EngineError, SessionLost):
            return self._connection.run(self._reading, function)
        return None

    def check_files(self) -> None:
        """Raise SessionLost if the files under the paths are not those that this session has open."""
        path = self._opened.changed()
        if path is not None:
            raise SessionLost(f"{path} has been removed or replaced while this session used it")

    def _transaction(self, function: Callable[[], T]) -> T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Inside of the transaction: a session that opens other files later either finds what is done here, or
            # evicts this one before.
            self.check_files()
            result = function()
            connection.check_process()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _reading(self, function: Callable[[], T]) -> T:
        result = function()
        self.check_files()
        return result

    async def _insisting(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it, again while somebody else is in the way, or if a fork has come in between.

        While the database is being opened, SQLite's errors come out as they are; `open()` judges them.
        """
        tries = 0
        while not self._closed:
            try:
                return self._connection.run(function, *args, **kwargs)
            except Interrupted:
                continue
            except sqlite3.Error as exc:
                if not is_busy(exc):
                    if not self.files:
                        raise
                    self.check_files()
                    raise self._failed(exc) from exc
            tries += 1
            if not tries % (_TRIES * _ROWS):
                await asyncio.sleep(0 if tries < _TRIES * _ROWS * _TURNS else _BUSY_PAUSE)
            elif not tries % _TRIES:
                os.sched_yield()
        raise _closed()

    def _failed(self, exc: sqlite3.Error) -> EngineError:
        if kind(exc) in _DAMAGED:
            return EngineError(
                f"{self.path} is damaged ({exc}): end the programs that use it, and remove its directory; the next one "
                "begins with a new one"
            )
        return EngineError(f"{self.path}: {exc}")


def _closed() -> SessionLost:
    return SessionLost("the session was closed")
