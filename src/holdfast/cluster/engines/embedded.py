"""The processes of one machine: a directory with an SQLite database, a lock file and a socket for each session.

    state.db        the texts, and the sessions
    s/ID.lock       flock()ed by the session's process as long as that lives: whoever can lock it has found it dead;
                    it says which files of the database the session has open
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
import re
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

from holdfast.cluster.errors import EngineError, SessionLost

from .clock import monotonic
from .contract import LATER, MOST_OLD, Addition, Change, Notice, OnGap, OnWake, Opening, Seen, SessionInfo, Stored, T
from .database import HIGHEST, Database

_KEEP = """
INSERT INTO texts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text, changed = excluded.changed
"""
_LEAVING = 1.0
"""Seconds that a session which closes waits for another process that is in a change, at most."""
_EVICTION = 2.0
"""Seconds that is waited for sessions to go whose files were removed: they look once a second."""
_EVICTION_PAUSE = 0.005
"""Seconds until it is looked again whether they have gone."""
_LAST_WORDS = 0.1
"""Seconds from when a session is told that its files were removed until its lock is dropped, whatever it does."""
_FULL_SOCKET_PAUSE = 0.001
"""Seconds until a wake-up is sent again to a session whose socket is full."""
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
        self._database = Database(directory / "state.db")
        self._namespace = namespace
        self._id = ""
        self._closed = False
        self._unsent: dict[str, deque[bytes]] = {}  # wake-ups, by the session whose socket was full
        self._undo = contextlib.ExitStack()

    # The session

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        self._loop = asyncio.get_running_loop()
        self._on_wake = on_wake
        self._on_gap = on_gap
        self._closed = False
        try:
            await self._open(label)
        except (EngineError, SessionLost):
            raise
        except OSError as exc:
            raise EngineError(f"cannot use the directory {self._directory}: {exc}") from exc
        return self._id

    async def _open(self, label: str) -> None:
        _make_directory(self._directory)
        self._sessions = self._directory / "s"
        self._sessions.mkdir(exist_ok=True)
        with contextlib.ExitStack() as undo:
            self._folder = os.open(self._sessions, os.O_RDONLY | os.O_DIRECTORY)
            undo.callback(os.close, self._folder)
            undo.callback(self._database.close)
            with _Eviction(self) as eviction:
                await self._database.open(eviction.make_way)
            self._id = secrets.token_hex(8)
            undo.callback(self._unlink, [self._id])
            self._socket = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._socket.setblocking(False)
            self._socket.bind(self._socket_path(self._id))
            hidden = self._sessions / f".{self._id}"
            # Closed with the last reference to it, so that a session that nobody can use or close any more is dead.
            self._lock = undo.enter_context(io.FileIO(os.open(hidden, _NEW_FILE, 0o600), "r+"))
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock.write(self._database.files.encode())
            hidden.rename(self._sessions / f"{self._id}.lock")  # locked before anybody can see it
            _open[self._id] = self
            undo.callback(_open.pop, self._id, None)
            others = await self._sweep()
            row = (self._id, label, os.getpid(), socket.gethostname(), time.time(), self.ttl, monotonic())
            insert = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)"

            def begin() -> None:
                self._database.begin(goes_on=bool(others))
                self._database.execute(insert, row)

            await self._database.transact(begin)
            self._database.shorten_log_if_due()
            self._loop.add_reader(self._socket, self._receive)
            self._undo = undo.pop_all()

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
            # If not, the next one who looks finds it dead.
            with contextlib.suppress(EngineError, SessionLost, TimeoutError):
                async with asyncio.timeout(_LEAVING):
                    await self._database.transact(lambda: self._delete([self._id]))
                    await self._database.shorten_log()
        finally:
            self._closed = True
            self._undo.close()

    async def _sweep(self) -> frozenset[str]:
        """Remove what sessions have left that ended without closing, and that nobody has met in a record; return who
        else is there."""
        rows = await self._database.read(lambda: self._database.execute("SELECT id FROM sessions"))
        sessions = frozenset(session for (session,) in rows)
        dead = await self.dead(sessions)
        if dead:
            await self._database.transact(lambda: self._delete(dead))
            self._unlink(dead)
        return sessions - dead

    def _delete(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            self._database.execute("DELETE FROM sessions WHERE id = ?", (session,))

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
        found: Stored | None = None
        made: tuple[str, T] | None = None

        def transaction() -> T:
            nonlocal found, made
            self._check_alive()
            self._delete(evicted)
            stored = Stored(self._text(name), time.time(), self._floor())
            # After a fork it is all done again; what the change has made of the same is good, as it may fork itself.
            if made is None or found is None or (found.text, found.floor) != (stored.text, stored.floor):
                made = change(stored)
                found = stored
            text, result = made
            self._database.execute(_KEEP, (self._namespace, name, text, found.now))
            return result

        result = await self._database.transact(transaction)
        self._unlink(evicted)
        for session, message in notices(result) if notices is not None else ():
            if message is not None:
                self.wake(session, name, message)
        return result

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        def transaction() -> None:
            self._check_alive()
            self._database.execute("UPDATE sessions SET renewed = ? WHERE id = ?", (monotonic(), self._id))

        await (self._database.read(self._check_alive) if self.ttl is None else self._database.transact(transaction))
        texts = await self._database.read(lambda: {name: self._text(name) for name in names})
        return Seen(texts, await self.dead(sessions))

    def _check_alive(self) -> None:
        """Raise SessionLost if this session is dead, be it that nobody has noticed yet."""
        self._check_file()
        alive = "SELECT 1 FROM sessions WHERE id = ? AND (ttl IS NULL OR renewed + ttl >= ?)"
        if not self._database.execute(alive, (self._id, monotonic())):
            raise SessionLost(f"session {self._id} has been evicted, or was not renewed for its ttl of {self.ttl} s")

    def _check_file(self) -> None:
        if os.fstat(self._lock.fileno()).st_nlink == 0:
            raise SessionLost(f"the file of session {self._id} in {self._sessions} has been removed")

    async def read(self, name: str) -> str | None:
        return await self._database.read(lambda: self._text(name))

    async def names(self) -> list[str]:
        query = "SELECT name FROM texts WHERE namespace = ? ORDER BY name"
        rows = await self._database.read(lambda: self._database.execute(query, (self._namespace,)))
        return [name for (name,) in rows]

    async def old(self, seconds: float) -> list[str]:
        query = f"SELECT name FROM texts WHERE namespace = ? AND changed < ? ORDER BY changed LIMIT {MOST_OLD}"
        values = (self._namespace, time.time() - seconds)
        return [name for (name,) in await self._database.read(lambda: self._database.execute(query, values))]

    async def remove(self, name: str, text: str, floor: int) -> bool:
        def transaction() -> bool:
            if self._text(name) != text:
                return False
            row = (self._namespace, max(min(floor, HIGHEST), self._floor()))
            self._database.execute("INSERT OR REPLACE INTO floors VALUES (?, ?)", row)
            self._database.execute("DELETE FROM texts WHERE namespace = ? AND name = ?", (self._namespace, name))
            return True

        return await self._database.transact(transaction)

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
        return await self._database.read(lambda: self._database.execute(query, ids))

    def _floor(self) -> int:
        query = "SELECT max(floor, ifnull((SELECT floor FROM floors WHERE namespace = ?), 0)) FROM boots"
        [(floor,)] = self._database.execute(query, (self._namespace,))
        return int(floor)

    def _text(self, name: str) -> str | None:
        query = "SELECT text FROM texts WHERE namespace = ? AND name = ?"
        rows = self._database.execute(query, (self._namespace, name))
        return str(rows[0][0]) if rows else None  # if somebody else has put something there, that is no record

    # Life and death

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        rows = await self._rows("id, ttl, renewed", others)
        alive = {session for session, _, _ in rows if not self._is_dead(session)}
        expired = {id for id, ttl, renewed in rows if id in alive and ttl is not None and renewed + ttl < monotonic()}
        if expired:
            alive -= await self._database.transact(lambda: self._expire(expired))
        return others - alive

    def _expire(self, sessions: Iterable[str]) -> set[str]:
        """In a transaction: delete those that were not renewed meanwhile either; return which those are."""
        statement = "DELETE FROM sessions WHERE id = ? AND renewed + ttl < ?"
        now = monotonic()
        return {session for session in sessions if self._database.change(statement, (session, now))}

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

        query = "SELECT pid, ttl, renewed FROM sessions WHERE id = ?"
        rows = self._database.glance(lambda: self._database.execute(query, (session,)))
        if rows is not None:  # else, whoever waits looks now and then
            if rows:
                self._watch_process(watching, died, *rows[0])
            with contextlib.suppress(EngineError):
                if not rows or self._is_dead(session):
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
            elif namespace is None:
                self._look_after_files()

    # Files that were removed under living sessions

    def _look_after_files(self) -> None:
        """Somebody says that they are not this session's any more: if so, have it end soon, also if it is idle."""
        try:
            self._check_file()
            self._database.check_files()
        except SessionLost:
            if self._on_gap is not None:
                self._on_gap(True)  # if it holds something, it looks now
            self._loop.call_later(_LAST_WORDS, self._end)

    def _end(self) -> None:
        if not self._closed:
            self._loop.remove_reader(self._socket)
            self._closed = True
            self._undo.close()


class _Eviction:
    """Ends the sessions that live on with other files than those that are under the database's paths now.

    What they do, nobody else sees. So nothing is granted to anybody else before they have gone.
    """

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._evicted: list[io.FileIO] = []  # their files, as long as they are locked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._evicted:
            file.close()

    async def make_way(self, files: str) -> bool:
        """See `Database.open()`."""
        for name in os.listdir(self._engine._folder):
            if name.endswith(".lock"):
                self._evict(name.removesuffix(".lock"), files)
        until = monotonic() + _EVICTION
        while self._look_again() and monotonic() < until:  # noqa: ASYNC110  # flock() wakes nobody
            await asyncio.sleep(_EVICTION_PAUSE)
        return bool(self._evicted)

    def _evict(self, session: str, files: str) -> None:
        """If it lives, and uses other files, remove its own one, and tell it to look."""
        try:
            file = io.FileIO(os.open(f"{session}.lock", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._engine._folder))
        except FileNotFoundError:
            return
        if _is_locked(file) and not files.startswith(file.read().decode(errors="replace")):
            self._evicted.append(file)
            with contextlib.suppress(FileNotFoundError):  # another newcomer has done so
                os.unlink(f"{session}.lock", dir_fd=self._engine._folder)
            here = _open.get(session)
            if here is not None and here._loop.is_closed():
                here._closed = True  # nobody else can do this any more
                here._undo.close()
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telling:
                telling.setblocking(False)
                telling.sendto(json.dumps([None, "", ""]).encode(), self._engine._socket_path(session))
        else:
            file.close()

    def _look_again(self) -> bool:
        """Whether some have not gone."""
        for file in [*self._evicted]:
            if not _is_locked(file):
                file.close()
                self._evicted.remove(file)
        return bool(self._evicted)


def _is_locked(file: io.FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


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
