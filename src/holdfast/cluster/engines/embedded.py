"""The processes of one machine: a directory with an SQLite database, a lock file and a socket for each session.

    state.db        the texts, and the sessions
    s/ID.lock       flock()ed by the session's process as long as that lives: whoever can lock it has found it dead
    s/ID.sock       a datagram socket, where the session is woken

A session's file is locked before its row is written, so a row without a locked file is a dead session, and who buries
it deletes the row in the transaction that buries it. The kernel drops the lock when a process ends, in whatever
way. A pidfd tells when to look; where there is none, those who wait look now and then. A session with a ttl is dead
as well when its row has not been renewed for so long; who finds that deletes the row, so it stays dead.

Linux, and other POSIX systems without pidfd. Not on network file systems, whose locks and mappings SQLite and flock()
cannot rely on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import random
import re
import secrets
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from holdfast.cluster.errors import EngineError, FormatError, SessionLost

from .clock import monotonic
from .contract import LATER, MOST_OLD, Addition, Change, Notice, OnGap, OnWake, Opening, Seen, SessionInfo, Stored, T

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
_FULL_SOCKET_PAUSE = 0.001
"""Seconds until a wake-up is sent again to a session whose socket is full."""
_CHECKPOINT_EVERY = 200
"""After so many of its transactions a session looks how long the write-ahead log is."""
_LONGEST_LOG = 16 << 20
"""Bytes of the write-ahead log from which on it is copied into the database."""
_HIGHEST = (1 << 63) - 1
"""SQLite has no higher integers. No token that was given out comes near it."""
_LONGEST_SOCKET_PATH = 100
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NETWORK_FILE_SYSTEMS = (
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs"),
    *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "orangefs", "ocfs2", "gfs2"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.cephfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse"),
)
_MOUNTS = Path("/proc/self/mountinfo")


def default_directory() -> Path:
    """Depends on the user only: an environment variable would split what cron starts from what a shell starts."""
    return Path(f"/tmp/holdfast-{os.getuid()}")


class EmbeddedEngine:
    """An engine in a directory; see `contract.Engine`."""

    def __init__(self, directory: Path, namespace: str, ttl: float | None = None) -> None:
        self.ttl = ttl
        self._directory = directory
        self._path = str(directory / "state.db")
        self._namespace = namespace
        self._id = ""
        self._closed = False
        self._transactions = 0
        self._checkpointing: threading.Thread | None = None
        self._unsent: dict[str, deque[bytes]] = {}  # wake-ups, by the session whose socket was full
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
        _make_directory(self._directory)
        self._sessions = self._directory / "s"
        self._sessions.mkdir(exist_ok=True)
        with contextlib.ExitStack() as undo:
            self._folder = os.open(self._sessions, os.O_RDONLY | os.O_DIRECTORY)
            undo.callback(os.close, self._folder)
            self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            undo.callback(self._database.close)
            await self._prepare()
            self._id = secrets.token_hex(8)
            undo.callback(self._unlink, [self._id])
            self._socket = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._socket.setblocking(False)
            self._socket.bind(self._socket_path(self._id))
            hidden = self._sessions / f".{self._id}"
            # Closed with the last reference to it, so that a session that nobody can use or close any more is dead.
            self._lock = undo.enter_context(io.FileIO(os.open(hidden, _NEW_FILE, 0o600), "r+"))
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(self._sessions / f"{self._id}.lock")  # locked before anybody can see it
            _open[self._id] = self
            undo.callback(_open.pop, self._id, None)
            await self._sweep()
            row = (self._id, label, os.getpid(), socket.gethostname(), time.time(), self.ttl, monotonic())
            insert = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)"
            await self._transact(lambda: self._database.execute(insert, row))
            self._loop.add_reader(self._socket, self._receive)
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

    def _socket_path(self, session: str) -> str:
        path = f"{self._sessions}/{session}.sock"
        return (
            path if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH else f"/proc/self/fd/{self._folder}/{session}.sock"
        )

    async def close(self) -> None:
        if _open.get(self._id) is not self or self._closed:
            return
        self._loop.remove_reader(self._socket)
        try:
            with contextlib.suppress(EngineError):  # then the next one who looks finds it dead
                await self._transact(lambda: self._delete([self._id]))
        finally:
            self._closed = True
            self._undo.close()

    async def _sweep(self) -> None:
        """Remove what sessions have left that ended without closing, and that nobody has met in a record."""
        rows = await self._retrying(lambda: self._database.execute("SELECT id FROM sessions").fetchall())
        dead = await self.dead(session for (session,) in rows)
        if dead:
            await self._transact(lambda: self._delete(dead))
            self._unlink(dead)

    def _delete(self, sessions: Iterable[str]) -> None:
        self._database.executemany("DELETE FROM sessions WHERE id = ?", [(session,) for session in sessions])

    def _unlink(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            for suffix in ("sock", "lock"):
                (self._sessions / f"{session}.{suffix}").unlink(missing_ok=True)

    def close_in_child(self) -> None:
        """After a fork: let go of what would look like the parent's life, and leave all else alone."""
        self._closed = True
        self._lock.close()
        self._socket.close()
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
        self._unlink(evicted)
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
        if os.fstat(self._lock.fileno()).st_nlink == 0:
            raise SessionLost(f"the file of session {self._id} in {self._sessions} has been removed")
        if self._stat_database() != self._inode:
            raise SessionLost(f"{self._path} has been removed or replaced while session {self._id} used it")
        alive = "SELECT 1 FROM sessions WHERE id = ? AND (ttl IS NULL OR renewed + ttl >= ?)"
        if not self._database.execute(alive, (self._id, monotonic())).fetchone():
            raise SessionLost(f"session {self._id} has been evicted, or was not renewed for its ttl of {self.ttl} s")

    async def read(self, name: str) -> str | None:
        return await self._retrying(lambda: self._text(name))

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        dead = await self.dead(sessions)
        return Seen(await self._retrying(lambda: {name: self._text(name) for name in names}), dead)

    async def names(self) -> list[str]:
        query = "SELECT name FROM texts WHERE namespace = ? ORDER BY name"
        rows = await self._retrying(lambda: self._database.execute(query, (self._namespace,)).fetchall())
        return [name for (name,) in rows]

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        query = f"SELECT name FROM texts WHERE namespace = ? AND changed < ? ORDER BY changed LIMIT {MOST_OLD} OFFSET ?"
        values = (self._namespace, time.time() - seconds, skip)
        return [name for (name,) in await self._retrying(lambda: self._database.execute(query, values).fetchall())]

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
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
        if here is not None and here._loop.is_closed():
            return True  # it holds its lock still, and nobody can use it
        try:
            file = os.open(f"{session}.lock", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return True
        except OSError as exc:
            raise EngineError(f"cannot look after session {session}: {exc}") from exc
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        watching = contextlib.ExitStack()

        def died() -> None:
            watching.close()
            on_death()

        with contextlib.suppress(sqlite3.Error, EngineError):  # whoever waits looks now and then
            query = "SELECT pid, ttl, renewed FROM sessions WHERE id = ?"
            row = self._database.execute(query, (session,)).fetchone()
            if row is not None:
                self._watch_process(watching, died, *row)
            if row is None or self._is_dead(session):
                watching.callback(self._loop.call_soon(died).cancel)
        return watching.close

    def _watch_process(
        self, watching: contextlib.ExitStack, died: Callable[[], None], pid: int, ttl: float | None, renewed: float
    ) -> None:
        if ttl is not None:
            watching.callback(self._loop.call_later(renewed + ttl - monotonic() + LATER, died).cancel)
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # none on this system, or that process cannot be seen from this container
            return
        watching.callback(os.close, pidfd)
        watching.callback(self._loop.remove_reader, pidfd)
        self._loop.add_reader(pidfd, died)

    # Wake-ups

    def wake(self, session: str, name: str, message: str) -> None:
        packet = json.dumps([self._namespace, name, message]).encode()
        unsent = self._unsent.get(session)
        if unsent is None:
            self._send(session, deque([packet]))
        else:
            unsent.append(packet)

    def _send(self, session: str, packets: deque[bytes]) -> None:
        """Send what fits into the socket, the rest a little later. (Each packet by itself, thousands of them would keep
        the loop so busy with trying that a session in the same loop does not get to read its own.)"""
        try:
            while packets and self._socket.fileno() >= 0:  # closed meanwhile? The other one looks for itself
                self._socket.sendto(packets[0], self._socket_path(session))
                packets.popleft()
        except BlockingIOError:
            with contextlib.suppress(EngineError):  # it may be alive, then
                if self._is_dead(session):
                    packets.clear()
            if packets:
                self._unsent[session] = packets
                self._loop.call_later(_FULL_SOCKET_PAUSE, self._send, session, packets)
                return
        except OSError:
            pass  # nobody is there any more, or looks for itself
        self._unsent.pop(session, None)

    def _receive(self) -> None:
        """One packet: to see that there is no other takes as long as to be called again if there is."""
        with contextlib.suppress(BlockingIOError):
            namespace, name, message = json.loads(self._socket.recv(1 << 16))
            if namespace == self._namespace:
                self._on_wake(name, message)


def _make_directory(path: Path) -> None:
    """Make it if it is missing. It must be the user's own: two users could not look after each other's sessions."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise PermissionError(
            f"it belongs to user {owner}, not to {os.geteuid()}; run as that user, or name another one: "
            "sqlite:///DIRECTORY"
        )
    kind = _file_system(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise OSError(f"it is on a network file system ({kind}), where locks cannot be relied on; name a local one")


def _boot() -> str:
    """Tells apart the times since the machine was started, or "" where the system does not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _file_system(path: Path) -> str:
    """The kind of the file system that a path is on, or "" where the system does not tell."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    real, kind, longest = path.resolve(), "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4]))
        if real.is_relative_to(point) and len(point.parts) >= longest:  # of two at one place, the later is on top
            kind, longest = after.split()[0], len(point.parts)
    return kind


_open: WeakValueDictionary[str, EmbeddedEngine] = WeakValueDictionary()
"""Those of this process, by session."""


def _close_after_fork() -> None:
    """The child must not keep its parent's sessions alive; closing its own descriptors does not unlock the file."""
    for engine in [*_open.values()]:
        engine.close_in_child()


os.register_at_fork(after_in_child=_close_after_fork)
