"""The processes of one machine: a directory with an SQLite database, a lock file and a socket for each session.

    state.db        the texts, and the sessions
    s/ID.lock       locked by the session's process as long as that lives (`session_files`)
    s/ID.sock       where the session is woken (`doorbell`)

A session's file is locked before its row is written, so a row without a locked file is a dead session, and who buries
it deletes the row in the transaction that buries it. The kernel drops the lock when a process ends, in whatever
way. A pidfd tells when to look (`watching`); where there is none, those who wait look now and then. A session with a
ttl is dead as well when its row has not been renewed for so long; who finds that deletes the row, so it stays dead.

Linux, and other POSIX systems without pidfd. Not on network file systems, whose locks and mappings SQLite and flock()
cannot rely on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, ref

from holdfast.cluster.errors import EngineError, FormatError, SessionLost

from .clock import monotonic
from .contract import MOST_OLD, Addition, Change, Notice, OnGap, OnWake, Opening, Seen, SessionInfo, Stored, T
from .directory import DATABASE, default_directory, prepare
from .doorbell import Doorbell
from .private_tmp import warn_if_private
from .session_files import SessionFiles
from .watching import Life, Watching

SCHEMA = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, label TEXT, pid INTEGER, host TEXT, since REAL, ttl REAL, renewed REAL
);
CREATE TABLE IF NOT EXISTS texts (namespace TEXT, name TEXT, text TEXT, changed REAL, PRIMARY KEY (namespace, name));
CREATE INDEX IF NOT EXISTS texts_by_age ON texts (namespace, changed);
CREATE TABLE IF NOT EXISTS floors (namespace TEXT PRIMARY KEY, floor INTEGER);
CREATE TABLE IF NOT EXISTS boots (boot TEXT, floor INTEGER);
"""
_KEEP = """
INSERT INTO texts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text, changed = excluded.changed
"""
_TRIES = 8
"""How often a transaction is tried in successive turns of the loop while another process is in one: as long as that
takes, where the shortest pause of an event loop may be a millisecond."""
_BUSY_PAUSE = 0.0002, 0.002
"""Seconds, at least and at most, before it is tried again after that."""
_CHECKPOINT_EVERY = 200
"""After so many of its transactions a session looks how long the write-ahead log is."""
_LONGEST_LOG = 16 << 20
"""Bytes of the write-ahead log from which on it is copied into the database."""
_HIGHEST = (1 << 63) - 1
"""SQLite has no higher integers. No token that was given out comes near it."""
_PROTECTED = 3600.0, 1.0
"""Seconds until the files of a session are kept from cleaners anew; and until then if one is at work just now."""


class EmbeddedEngine:
    """An engine in a directory; see `contract.Engine`."""

    vouches = False

    def __init__(self, directory: Path, namespace: str, ttl: float | None = None) -> None:
        self.ttl = ttl
        self._directory = directory
        self._path = str(directory / DATABASE)
        self._namespace = namespace
        self._id = ""
        self._closed = False
        self._transactions = 0
        self._checkpointing: threading.Thread | None = None
        self._protection: asyncio.TimerHandle | None = None
        self._undo = contextlib.ExitStack()

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._closed = False
        try:
            await self._open(label)
        except (EngineError, SessionLost):
            raise
        except (OSError, sqlite3.Error) as exc:
            raise EngineError(f"cannot use the directory {self._directory}: {exc}") from exc
        return self._id

    async def _open(self, label: str) -> None:
        if self._directory == default_directory():
            warn_if_private(self._directory)
        prepare(self._directory)
        with contextlib.ExitStack() as undo:
            self._files = SessionFiles(self._directory)
            undo.callback(self._files.close)
            self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            undo.callback(self._database.close)
            await self._prepare()
            self._id = self._files.lock()
            self._bell = Doorbell(self._files, self._namespace, self._on_wake, self._is_dead)
            undo.callback(self._bell.close)
            self._watching = Watching(self._loop, self._life, self._is_dead)
            undo.callback(self._watching.close)
            _open[self._id] = self
            undo.callback(_open.pop, self._id, None)
            await self._sweep()
            row = (self._id, label, os.getpid(), socket.gethostname(), time.time(), self.ttl, monotonic())
            insert = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)"
            await self._transact(lambda: self._database.execute(insert, row))
            self._bell.listen()
            _protect(ref(self))
            self._undo = undo.pop_all()

    async def _prepare(self) -> None:
        await self._retrying(lambda: self._database.execute("PRAGMA journal_mode = WAL"))
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA wal_autocheckpoint = 0")  # see _checkpoint()

        def create() -> None:
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA):
                raise FormatError(
                    f"{self._path} has schema {version}, and this version of holdfast knows {SCHEMA}. "
                    "Upgrade holdfast here, or use another directory; nothing was changed"
                )
            for statement in _TABLES.split(";"):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {SCHEMA}")
            self._note_boot()

        await self._transact(create)
        self._inode = self._stat_database()

    def _note_boot(self) -> None:
        """In a transaction: if the machine was started anew, its last transactions may be lost, and tokens with them.

        Those that are given out from now on are above the microseconds since 1970, faster than which nobody grants.
        """
        row = self._database.execute("SELECT boot FROM boots").fetchone()
        if row is None:
            self._database.execute("INSERT INTO boots VALUES (?, 0)", (_boot(),))
        elif row[0] != _boot():
            values = _boot(), int(time.time() * 1_000_000)
            self._database.execute("UPDATE boots SET boot = ?, floor = max(floor, ?)", values)

    async def close(self) -> None:
        if _open.get(self._id) is not self or self._closed:
            return
        if self._protection is not None:
            self._protection.cancel()
        self._bell.close()
        try:
            with contextlib.suppress(EngineError):  # then the next one who looks finds it dead
                await self._transact(lambda: self._delete([self._id]))
        finally:
            self._closed = True
            self._undo.close()

    async def _sweep(self) -> None:
        """Remove what sessions have left that ended without closing, and that nobody has met in a record."""
        rows = await self._retrying(lambda: self._database.execute("SELECT id FROM sessions").fetchall())
        known = {session for (session,) in rows}
        dead = await self.dead(known)
        if dead:
            await self._transact(lambda: self._delete(dead))
            self._files.remove(dead)
        self._files.sweep(known - dead)

    def _delete(self, sessions: Iterable[str]) -> None:
        self._database.executemany("DELETE FROM sessions WHERE id = ?", [(session,) for session in sessions])

    def close_in_child(self) -> None:
        """After a fork: what would look like the parent's life its files let go of; all else is left alone."""
        self._closed = True
        self._watching.let_go()
        self._undo.pop_all()

    # Texts

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Callable[[T], Iterable[Notice]] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T:
        def transaction() -> T:
            self._check_alive()
            self._delete(evicted)
            now = time.time()
            text, result = change(Stored(self._text(name), now, self._floor()))
            row = (self._namespace, name, text, now)
            self._database.execute(_KEEP, row)
            return result

        result = await self._transact(transaction)
        self._files.remove(evicted)
        for session, message in notices(result) if notices is not None else ():
            if message is not None:
                self.wake(session, name, message)
        return result

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        def transaction() -> None:
            self._check_alive()
            self._database.execute("UPDATE sessions SET renewed = ? WHERE id = ?", (monotonic(), self._id))

        await (self._retrying(self._check_alive) if self.ttl is None else self._transact(transaction))
        texts = await self._retrying(lambda: {name: self._text(name) for name in names})
        return Seen(texts, await self.dead(sessions))

    def _check_alive(self) -> None:
        """Raise SessionLost if this session is dead, be it that nobody has noticed yet."""
        if self._files.is_removed():
            raise SessionLost(f"the file of session {self._id} in {self._files.path} has been removed")
        if self._stat_database() != self._inode:
            raise SessionLost(f"{self._path} has been removed or replaced while session {self._id} used it")
        alive = "SELECT 1 FROM sessions WHERE id = ? AND (ttl IS NULL OR renewed + ttl >= ?)"
        if not self._database.execute(alive, (self._id, monotonic())).fetchone():
            raise SessionLost(f"session {self._id} has been evicted, or was not renewed for its ttl of {self.ttl} s")

    async def read(self, name: str) -> str | None:
        return await self._retrying(lambda: self._text(name))

    async def names(self) -> list[str]:
        query = "SELECT name FROM texts WHERE namespace = ? ORDER BY name"
        rows = await self._retrying(lambda: self._database.execute(query, (self._namespace,)).fetchall())
        return [name for (name,) in rows]

    async def old(self, seconds: float) -> list[str]:
        query = f"SELECT name FROM texts WHERE namespace = ? AND changed < ? ORDER BY changed LIMIT {MOST_OLD}"
        values = (self._namespace, time.time() - seconds)
        return [name for (name,) in await self._retrying(lambda: self._database.execute(query, values).fetchall())]

    async def remove(self, name: str, text: str, floor: int) -> bool:
        def transaction() -> bool:
            if self._text(name) != text:
                return False
            row = (self._namespace, max(min(floor, _HIGHEST), self._floor()))
            self._database.execute("INSERT OR REPLACE INTO floors VALUES (?, ?)", row)
            self._database.execute("DELETE FROM texts WHERE namespace = ? AND name = ?", (self._namespace, name))
            return True

        return await self._transact(transaction)

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        rows = await self._rows("id, label, host, pid, since", sessions)
        return {
            id: SessionInfo(id, label, host, pid, datetime.fromtimestamp(since, UTC))
            for id, label, host, pid, since in rows
        }

    async def _rows(self, columns: str, sessions: Iterable[str]) -> list[tuple[Any, ...]]:
        """What is known of these sessions."""
        ids = tuple(sessions)
        query = f"SELECT {columns} FROM sessions WHERE id IN ({', '.join('?' * len(ids))})"
        return await self._retrying(lambda: self._database.execute(query, ids).fetchall())

    def _floor(self) -> int:
        query = "SELECT max(floor, ifnull((SELECT floor FROM floors WHERE namespace = ?), 0)) FROM boots"
        (floor,) = self._database.execute(query, (self._namespace,)).fetchone()
        return int(floor)

    def _stat_database(self) -> tuple[int, int] | None:
        """Which file it is."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _text(self, name: str) -> str | None:
        query = "SELECT text FROM texts WHERE namespace = ? AND name = ?"
        row = self._database.execute(query, (self._namespace, name)).fetchone()
        return None if row is None else str(row[0])  # if somebody else has put something there, that is no record

    async def _transact(self, function: Callable[[], T]) -> T:
        """Run it in a transaction of its own. It takes some 50 µs, so it runs on the loop; another process's is
        waited for."""

        def transaction() -> T:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                result = function()
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            return result

        result = await self._retrying(transaction)
        self._transactions += 1
        if self._transactions % _CHECKPOINT_EVERY == 0:
            self._loop.call_soon(self._checkpoint_if_due)  # whoever is to be woken comes first
        return result

    def _checkpoint_if_due(self) -> None:
        """Have the write-ahead log begin anew, if it is long, by a thread.

        SQLite would do so in the COMMIT that makes it too long, which waits for the disk, several milliseconds, and the
        loop with it.
        """
        busy = self._checkpointing is not None and self._checkpointing.is_alive()
        with contextlib.suppress(OSError):  # it was removed; the next transaction says so
            if not busy and os.stat(f"{self._path}-wal").st_size > _LONGEST_LOG:
                self._checkpointing = threading.Thread(target=self._checkpoint, name="holdfast checkpoint", daemon=True)
                self._checkpointing.start()

    def _checkpoint(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # another process is at it, or the disk is full: later, then
            address = f"{Path(self._path).as_uri()}?mode=rw"  # it shall not make a file that somebody has removed
            with contextlib.closing(sqlite3.connect(address, timeout=1, uri=True)) as database:
                # Most of it while others write; then, with writers shut out, what they have written meanwhile: there
                # is no other moment at which all of the log is in the database.
                database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    async def _retrying(self, function: Callable[[], T]) -> T:
        tries = 0
        while not self._closed:
            try:
                return function()
            except sqlite3.Error as exc:
                if getattr(exc, "sqlite_errorcode", None) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT):
                    raise EngineError(f"{self._path}: {exc}") from exc
            tries += 1
            await asyncio.sleep(0 if tries < _TRIES else random.uniform(*_BUSY_PAUSE))
        raise SessionLost(f"session {self._id} was closed")

    # Life and death

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        rows = await self._rows("id, ttl, renewed", others)
        alive = {session for session, _, _ in rows if not self._is_dead(session)}
        expired = {id for id, ttl, renewed in rows if id in alive and ttl is not None and renewed + ttl < monotonic()}
        if expired:
            alive -= await self._transact(lambda: self._expire(expired))
        return others - alive

    def _expire(self, sessions: Iterable[str]) -> set[str]:
        """In a transaction: delete those that were not renewed meanwhile either; return which those are."""
        statement = "DELETE FROM sessions WHERE id = ? AND renewed + ttl < ?"
        now = monotonic()
        return {session for session in sessions if self._database.execute(statement, (session, now)).rowcount}

    def _is_dead(self, session: str) -> bool:
        here = _open.get(session)
        if here is not None and not here._closed:
            return here._loop.is_closed()  # then it holds its lock still, and nobody can use it
        return self._files.is_dead(session)

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        return self._watching.watch(session, on_death)

    def _life(self, session: str) -> Life | None:
        query = "SELECT pid, ttl, renewed FROM sessions WHERE id = ?"
        try:
            row = self._database.execute(query, (session,)).fetchone()
        except sqlite3.Error as exc:
            raise EngineError(f"{self._path}: {exc}") from exc
        return None if row is None else Life(*row)

    # Wake-ups

    def wake(self, session: str, name: str, message: str) -> None:
        self._bell.ring(session, name, message)


def _boot() -> str:
    """Tells apart the times since the machine was started, or "" where the system does not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _protect(engine: ref[EmbeddedEngine]) -> None:
    """Keep cleaners away from its files, now and from time to time: this timer does not keep it alive."""
    here = engine()
    if here is None or here._closed:
        return
    with contextlib.suppress(OSError):  # somebody has removed them: the next change says so
        here._files.protect()
    seconds, soon = _PROTECTED
    here._protection = here._loop.call_later(soon if here._files.needs_guard else seconds, _protect, engine)


_open: WeakValueDictionary[str, EmbeddedEngine] = WeakValueDictionary()
"""Those of this process, by session."""


def _close_after_fork() -> None:
    """The child must not keep its parent's sessions alive; closing its own descriptors does not unlock the file."""
    for engine in [*_open.values()]:
        engine.close_in_child()


os.register_at_fork(after_in_child=_close_after_fork)
