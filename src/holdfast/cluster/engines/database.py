"""The SQLite database of a directory: its tables, its transactions, and its write-ahead log.

Whoever has it open is sure of three things. Each transaction and each reading is made in the files that are under the
database's paths then, or SessionLost says which was removed or replaced. No token is given out twice, though the log
was lost with the power or removed: who begins where no living session goes on raises the floor above all. And the
log stays short, without anybody having to wait for the disk or for a reader that stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from holdfast.cluster.errors import EngineError, FormatError, SessionLost

from . import database_files
from .clock import monotonic
from .connection import Connection, Interrupted
from .contract import T

SCHEMA = 4
_TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, label TEXT, pid INTEGER, host TEXT, since REAL, ttl REAL, renewed REAL,
    command TEXT
);
CREATE TABLE IF NOT EXISTS texts (namespace TEXT, name TEXT, text TEXT, changed REAL, PRIMARY KEY (namespace, name));
CREATE INDEX IF NOT EXISTS texts_by_age ON texts (namespace, changed);
CREATE TABLE IF NOT EXISTS floors (namespace TEXT PRIMARY KEY, floor INTEGER);
CREATE TABLE IF NOT EXISTS boots (boot TEXT, floor INTEGER);
CREATE TABLE IF NOT EXISTS evictions (number INTEGER PRIMARY KEY, session TEXT, namespace TEXT, at REAL, note TEXT);
"""
HIGHEST = (1 << 63) - 1
"""SQLite has no higher integers. No token that was given out comes near it."""
_TRIES = 8
"""How often a transaction is tried in successive turns of the loop while another process is in one: as long as that
takes, where the shortest pause of an event loop may be a millisecond."""
_BUSY_PAUSE = 0.0002, 0.002
"""Seconds, at least and at most, before it is tried again after that."""
_OPENING_PAUSE = 0.005, 0.02
"""The same, before a database that was found broken is opened again."""
PATIENCE = 2.0
"""Seconds that a database may look broken to who opens it, as somebody may be opening or closing it."""
_CHECKPOINT_EVERY = 200
"""After so many of its transactions a session looks how long the write-ahead log is."""
_LONGEST_LOG = 16 << 20
"""Bytes of the write-ahead log from which on it is copied into the database."""
_KEPT_LOG = 1 << 20
"""Bytes of its file that stay when it begins anew."""
_CHECKPOINT_PAUSE = 1.0
"""Seconds between two attempts of a session: while somebody goes on reading an old state, none can succeed."""
_INSISTENCE = 1.0
"""Seconds that a checkpoint waits for its moment alone, at most."""
_SHORT_REST = 256
"""Pages of 4 KiB that are copied while nobody may write, at most: less than a millisecond, and a sync of the disk."""
_PRAGMAS = (
    "synchronous = NORMAL",
    "wal_autocheckpoint = 0",  # see _checkpoint()
    f"journal_size_limit = {_KEPT_LOG}",
)
_AGAIN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""Somebody else is at it, in whatever way: the kind is in the lowest byte."""
_BROKEN = (
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT),
    *(sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY),
)
"""A file may have been removed in this moment, rightly or not."""


class Database:
    """One session's way to the database. Its methods are called in the session's event loop."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.files = ""
        """Which files it is, as a text: two sessions whose texts differ do not share a state."""
        self._hold: database_files.Hold | None = None
        self._connection = Connection(path, _PRAGMAS)
        self.execute = self._connection.execute
        """For a function that one of the methods below calls."""
        self.change = self._connection.change
        self._is_locked = False
        self._paths: list[str] = []
        self._found: tuple[tuple[int, int] | None, ...] = ()  # what was there when they were opened
        self._closed = True
        self._transactions = 0
        self._checkpoint: _Checkpoint | None = None  # the last one

    # Opening and closing

    async def open(self, make_way: Callable[[str], Awaitable[bool]], is_used: Callable[[], bool]) -> None:
        """Open it, and make it if it is missing; or anew, if an earlier version has made it and nobody uses it now.

        make_way: ends the sessions that use other files than these, and waits a little for them to go; returns
        whether there are still some, whom nothing is to be shared with.
        is_used: whether any other session lives.

        Raises EngineError if it is not usable, FormatError if another version made it.
        Cancellation: it is closed again.
        """
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
                if _kind(exc) not in _BROKEN:
                    self.close()
                    raise self._failed(exc) from exc
                failure = exc
                files, usable = self._describe(database_files.look(self.path)), False
            except BaseException:
                self.close()
                raise
            try:
                in_the_way = await make_way(files)
                if usable and self._is_as_found():
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
        self._paths, self._found = [], ()
        self._hold = database_files.hold(self.path)
        mode = await self._insisting(lambda: self._connection.execute("PRAGMA journal_mode = WAL"))
        if mode != [("wal",)]:
            raise EngineError(f"{self.path} is on a file system without shared memory for SQLite; name a local one")
        if await self._insisting(self._version) != SCHEMA:
            await self._insisting(partial(self._transaction, self._create))

    def _version(self) -> int:
        [(version,)] = self._connection.execute("PRAGMA user_version")
        if version > SCHEMA:
            raise FormatError(
                f"{self.path} has schema {version}, and this version of holdfast knows {SCHEMA}. "
                "Upgrade holdfast here, or use another directory; nothing was changed"
            )
        return int(version)

    def _create(self) -> None:
        version = self._version()
        if version == SCHEMA:
            return  # by now
        if version:
            self._drop(version)
        for statement in _TABLES.split(";"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _drop(self, version: int) -> None:
        """What an earlier version has kept. Nobody lives who held or waited for anything there."""
        if self._is_used():
            raise FormatError(
                f"{self.path} has schema {version}, of an earlier version of holdfast, and programs with that version "
                "use it: end them first, or use another directory; nothing was changed"
            )
        for (table,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            self._connection.execute(f'DROP TABLE "{table}"')

    def _note_files(self) -> tuple[str, bool]:
        """What they are, and whether they are what the connection has open."""
        hold = self._hold
        assert hold is not None
        self._is_locked = True
        stay = hold.lock()
        found = database_files.look(self.path)
        # Where they do not stay the same, they are others after a fork, if we were the last ones who had them open.
        self._found = found if stay else found[:1]
        self._paths = [self.path + suffix for suffix in database_files.SUFFIXES[: len(self._found)]]
        return self._describe(self._found), hold.file == found[0] and database_files.are_open(found)

    def _describe(self, files: tuple[tuple[int, int] | None, ...]) -> str:
        """By their inodes: the number of a device may be another one in a container."""
        return "".join(f"{file[1]} " if file else "- " for file in files)

    def _is_as_found(self) -> bool:
        return database_files.changed(self._paths, self._found) is None

    def _unusable(self, exc: sqlite3.Error | None) -> EngineError:
        if exc is None:
            return EngineError(
                f"{self.path} or its log has been removed while this process had it open; close what uses it here"
            )
        return self._failed(exc)

    def begin(self, goes_on: bool) -> None:
        """In the transaction in which a session begins: see to it that no token is given out again.

        goes_on: whether some session that lives has these files open. If not, the log may be lost: with the power, or
        as somebody has removed it. Tokens that are given out from now on are then above the microseconds since 1970,
        faster than which nobody grants.
        """
        boot = _boot()
        rows = self._connection.execute("SELECT boot FROM boots")
        if rows != [(boot,)] or not goes_on:
            [(floor,)] = self._connection.execute("SELECT ifnull(max(floor), 0) FROM boots")
            self._connection.execute("DELETE FROM boots")
            values = boot, max(floor, int(time.time() * 1_000_000))
            self._connection.execute("INSERT INTO boots VALUES (?, ?)", values)

    def close(self) -> None:
        """Does nothing if it is closed, or in a child of the process that has opened it."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._hold is None or not self._connection.is_of_this_process:
            return
        hold, self._hold = self._hold, None
        lock, self._is_locked = self._is_locked, False
        if lock and self._is_as_found():
            hold.unlock()
            lock = False
        try:
            self._connection.close()  # the last one copies the log into the database and removes it
        finally:
            if lock:  # the log under the path is somebody else's: only now might we have been the last
                hold.unlock()
            hold.release()

    def __del__(self) -> None:
        self._let_go()

    # Transactions

    async def transact(self, function: Callable[[], T]) -> T:
        """Run it in a transaction of its own. It takes some 50 µs, so it runs on the loop; another process's is
        waited for. It is run again if a fork comes in between."""
        result = await self._insisting(partial(self._transaction, function))
        self._transactions += 1
        if self._transactions % _CHECKPOINT_EVERY == 0:
            self._loop.call_soon(self.shorten_log_if_due)  # whoever is to be woken comes first
        return result

    async def read(self, function: Callable[[], T]) -> T:
        """Run it where it sees what was committed."""
        return await self._insisting(partial(self._reading, function))

    def glance(self, function: Callable[[], T]) -> T | None:
        """Run it at once, or return None: somebody is in the way, or the session is over."""
        with contextlib.suppress(sqlite3.Error, Interrupted, EngineError, SessionLost):
            return self._connection.run(partial(self._reading, function))
        return None

    def check_files(self) -> None:
        """Raise SessionLost if the files under the paths are not those that this session has open."""
        path = database_files.changed(self._paths, self._found)
        if path is not None:
            raise SessionLost(f"{path} has been removed or replaced while this session used it")

    def _transaction(self, function: Callable[[], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self.check_files()  # here, as who comes later finds what is done in this transaction, or evicts us before
            result = function()
            self._connection.check_process()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def _reading(self, function: Callable[[], T]) -> T:
        result = function()
        self.check_files()
        return result

    async def _insisting(self, function: Callable[[], T]) -> T:
        """As often as somebody else is in the way, or a fork has come in between. Opening it has errors of its own."""
        tries = 0
        while not self._closed:
            try:
                return self._connection.run(function)
            except Interrupted:
                continue
            except sqlite3.Error as exc:
                if _kind(exc) not in _AGAIN:
                    if not self.files:
                        raise
                    self.check_files()
                    raise self._failed(exc) from exc
            tries += 1
            await asyncio.sleep(0 if tries < _TRIES else random.uniform(*_BUSY_PAUSE))
        raise SessionLost("the session was closed")

    def _failed(self, exc: sqlite3.Error) -> EngineError:
        if _kind(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return EngineError(
                f"{self.path} is damaged ({exc}): end the programs that use it, and remove its directory; the next one "
                "begins with a new one"
            )
        return EngineError(f"{self.path}: {exc}")

    # The log

    def shorten_log_if_due(self) -> None:
        """Have the write-ahead log begin anew, if it is long, by a thread.

        SQLite would do so in the COMMIT that makes it too long, which waits for the disk, several milliseconds, and the
        loop with it.
        """
        last = self._checkpoint
        if last is not None and (last.is_alive() or (last.has_failed and monotonic() < last.began + _CHECKPOINT_PAUSE)):
            return
        with contextlib.suppress(OSError):  # it was removed; the next transaction says so
            if os.stat(f"{self.path}-wal").st_size > _LONGEST_LOG:
                self._checkpoint = _Checkpoint(self.path)
                try:
                    self._checkpoint.start()
                except RuntimeError:  # there are too many, or the main thread has ended (Python 3.12)
                    self._checkpoint.run()

    async def shorten_log(self) -> None:
        """The same, and wait until it is done: where all sessions are short, nobody else does it.

        Cancellation: it is done all the same.
        """
        self.shorten_log_if_due()
        while self._checkpoint is not None and self._checkpoint.is_alive():  # noqa: ASYNC110  # a thread's end
            await asyncio.sleep(_BUSY_PAUSE[1])


class _Checkpoint(threading.Thread):
    """Copies the log into the database: the next one who writes begins it anew, if nobody reads an old state then.

    Nobody is waited for who reads. Most is copied while others write; then the rest, with writers shut out, as there is
    no other moment at which all of the log is in the database.
    """

    def __init__(self, path: str) -> None:
        super().__init__(name="holdfast checkpoint", daemon=True)
        self.has_failed = True
        self.began = monotonic()
        self._path = Path(path)

    def run(self) -> None:
        copier, writer = (Connection(self._path, _PRAGMAS) for _ in range(2))
        try:
            with contextlib.suppress(sqlite3.Error, Interrupted, EngineError):  # later, then
                for _ in range(2):
                    rest = _copy(copier)
                if rest <= _SHORT_REST and _begin(writer):
                    try:
                        tries = 0
                        while (rest := _copy(copier)) and tries < _TRIES:
                            tries += 1
                            time.sleep(_BUSY_PAUSE[0])  # somebody is just about to see that he may not write
                        self.has_failed = rest > 0
                    finally:
                        writer.run(lambda: writer.execute("ROLLBACK"))
        finally:
            copier.close()
            writer.close()


def _copy(connection: Connection) -> int:
    """How many pages of the log could not be copied: all, where somebody else is copying."""
    [(busy, pages, copied)] = connection.run(lambda: connection.execute("PRAGMA wal_checkpoint(PASSIVE)"))
    return sys.maxsize if busy or pages < 0 else int(pages - copied)


def _begin(connection: Connection) -> bool:
    """Shut out all who write; return whether that has succeeded."""
    until = monotonic() + _INSISTENCE
    while monotonic() < until:
        try:
            connection.run(lambda: connection.execute("BEGIN IMMEDIATE"))
            return True
        except sqlite3.Error as exc:
            if _kind(exc) not in _AGAIN:
                raise
        time.sleep(_BUSY_PAUSE[0])
    return False


def _kind(exc: sqlite3.Error) -> int:
    """What it is an instance of: SQLite tells the particulars in the higher bytes."""
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF


def _boot() -> str:
    """Tells apart the times since the machine was started, or "" where the system does not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
