"""The files by which the sessions of a directory see whether the others are alive, and wake each other.

    s/ID.lock       flock()ed by the session's process as long as that lives; another that can lock it finds it dead
    s/ID.sock       a datagram socket, where the session is woken

A session makes its lock file first, locks it, and looks whether it is still there; only then can others learn of the
session. A session that sweeps unlinks a file while it holds its lock. So either the sweeper meets the lock of the new
session, or the new session finds its file unlinked, and takes another id. The lock file goes last: no other file of a
session is ever there without it.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import secrets
import socket
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from weakref import WeakSet

from holdfast.cluster.errors import EngineError

from .directory import SESSIONS
from .open_directory import OpenDirectory

_LONGEST_SOCKET_PATH = 100
_LONGEST_STATE = 1000
"""Bytes."""
_TRIES = 100
"""How often another id is taken because somebody was sweeping at that moment."""
_SETTLED = 60.0
"""Seconds after which a file that an earlier version has made without a lock belongs to nobody."""
_OURS = re.compile(r"(\.?)([0-9a-f]{16})(\.lock|\.sock|)")


class SessionFiles:
    """The files of one session, and its view of the files of the others."""

    def __init__(self, directory: Path) -> None:
        """directory: one that `directory.prepare()` has checked."""
        self.path = directory / SESSIONS
        self.id = ""
        self._sockets = f"{self.path}/"
        self._length = len(os.fsencode(f"{self._sockets}.sock"))
        """Bytes of a socket's path without the session's id, which is in ASCII."""
        self._lock: io.FileIO | None = None  # closed with the last reference: a session that nobody can use is dead
        self._socket: socket.socket | None = None
        self._directory = OpenDirectory(directory)
        _all.add(self)
        self.protect()

    # Its own

    def lock(self, state: str) -> str:
        """Make the lock file, and lock it; return the session's id.

        state: which files the database has; `evict()` compares it.

        Raises EngineError if somebody removes each new file.
        """
        for _ in range(_TRIES):
            session = secrets.token_hex(8)
            lock = io.FileIO(self._directory.create(_name(session, "lock")), "r+")
            self._lock = lock
            self.id = session
            try:
                os.fchmod(lock.fileno(), 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody is sweeping it away
                pass
            except OSError:
                self.remove([session])
                raise
            else:
                if not self.is_removed():
                    lock.write(state.encode())
                    return session
            lock.close()
            self.remove([session])
        raise EngineError(f"somebody has removed each new file from {self.path}, {_TRIES} times")

    def bind(self) -> socket.socket:
        """Make the socket; return it."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.socket_path(self.id))
        os.chmod(self.path / f"{self.id}.sock", 0o600)
        return self._socket

    def is_removed(self) -> bool:
        """Whether somebody has removed the lock file, or the session was closed."""
        return self._lock is None or self._lock.closed or os.fstat(self._lock.fileno()).st_nlink == 0

    def protect(self) -> None:
        """Keep cleaners of /tmp away. To be repeated now and then, and soon if `needs_guard` stays true."""
        self._directory.protect(*(_name(self.id, suffix) for suffix in ("lock", "sock") if self.id))

    @property
    def needs_guard(self) -> bool:
        """Whether the directory has yet to be locked against cleaners."""
        return self._directory.needs_guard

    def close(self) -> None:
        """Remove the files and close what is open. From now on, a session that looks finds this one dead."""
        try:
            with contextlib.suppress(OSError):  # what cannot be removed is swept later
                self.remove([self.id] if self.id else [])
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Close what is open, and remove nothing. In a child it would make a dead parent look alive."""
        for each in (self._lock, self._socket, self._directory):
            if each is not None:
                each.close()

    # Those of the others

    def socket_path(self, session: str) -> str:
        """Where the session is woken, in a form that is short enough for a socket's address."""
        if self._length + len(session) <= _LONGEST_SOCKET_PATH:
            return f"{self._sockets}{session}.sock"
        return f"/proc/self/fd/{self._directory.number}/{_name(session, 'sock')}"

    def is_dead(self, session: str) -> bool:
        """Whether nobody has the session's file locked. Raises EngineError if that cannot be told."""
        try:
            file = self._directory.open(_name(session, "lock"))
        except FileNotFoundError:
            return True
        except OSError as exc:
            raise EngineError(exc.errno, f"cannot tell whether session {session} is alive: {exc.strerror}") from exc
        try:
            return _can_lock(file, fcntl.LOCK_SH)
        finally:
            os.close(file)
            self._directory.keep_spare()

    def remove(self, sessions: Iterable[str]) -> None:
        """Remove the files of sessions that are dead."""
        for session in sessions:
            for suffix in ("sock", "lock"):
                self._directory.unlink(_name(session, suffix))

    def others(self) -> list[str]:
        """The other sessions that have a lock file."""
        found = map(_OURS.fullmatch, os.listdir(self.path))
        return [parts[2] for parts in found if parts is not None and parts[3] == ".lock" and parts[2] != self.id]

    def have_company(self) -> bool:
        """Whether any other session is alive. Raises EngineError if that cannot be told."""
        return not all(map(self.is_dead, self.others()))

    def evict(self, session: str, state: str) -> LockedFile | None:
        """Remove a session's lock file, if the session is alive and uses other files of the database.

        state: the files of the database that this session uses.

        Return the lock file, which tells when the session has let go of it; None if nothing was removed.
        """
        try:
            file = LockedFile(self._directory.open(_name(session, "lock")))
        except FileNotFoundError:
            return None
        if file.is_locked() and not state.startswith(file.read()):
            self._directory.unlink(_name(session, "lock"))
            return file
        file.close()
        return None

    def sweep(self, known: Collection[str]) -> None:
        """Remove the files of dead sessions of which nothing else is left.

        known: the sessions whose files are left alone.
        """
        names = os.listdir(self.path)
        locked = {name for name in names if name.endswith(".lock")}
        for name in names:
            parts = _OURS.fullmatch(name)
            if parts is None or parts[2] == self.id or parts[2] in known:
                continue
            if name in locked:
                self._sweep(parts[2])
            elif f"{parts[2]}.lock" not in locked:
                self._sweep_old(name)

    def _sweep(self, session: str) -> None:
        try:
            file = self._directory.open(_name(session, "lock"))
        except OSError:  # it is gone, or cannot be opened now: a session that is opened later sweeps it
            return
        try:
            if _can_lock(file, fcntl.LOCK_EX):
                self.remove([session])  # while it is locked: see above
        finally:
            os.close(file)
            self._directory.keep_spare()

    def _sweep_old(self, name: str) -> None:
        """Earlier versions made a hidden file, and the socket, before the lock file."""
        with contextlib.suppress(FileNotFoundError):
            path = self.path / name
            if abs(time.time() - os.lstat(path).st_mtime) > _SETTLED:
                path.unlink()


class LockedFile:
    """The lock file of a session that is alive, or was a moment ago."""

    def __init__(self, number: int) -> None:
        """number: its descriptor."""
        self._number = number

    def is_locked(self) -> bool:
        if _can_lock(self._number, fcntl.LOCK_SH):
            fcntl.flock(self._number, fcntl.LOCK_UN)
            return False
        return True

    def read(self) -> str:
        """The state that the session has written into it."""
        return os.pread(self._number, _LONGEST_STATE, 0).decode(errors="replace")

    def close(self) -> None:
        os.close(self._number)


def _name(session: str, suffix: str) -> str:
    """Relative to the directory."""
    return f"{SESSIONS}/{session}.{suffix}"


def _can_lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_all: WeakSet[SessionFiles] = WeakSet()
"""Those of this process."""


def _let_go_in_child() -> None:
    for files in [*_all]:
        files.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)
