"""The files by which the sessions of a directory see whether the others live, and wake each other.

    s/ID.lock       flock()ed by the session's process as long as that lives: whoever can lock it has found it dead
    s/ID.sock       a datagram socket, where the session is woken

A session makes its lock file first, locks it, and looks whether it is still there; only then others get to know of the
session. Who sweeps unlinks a file while holding its lock. So of the two, one finds the other's lock or finds the file
unlinked, and takes another id. The lock file goes last, so no other file is ever there without it.

While a session is open it has the directory itself locked, shared with the others: systemd-tmpfiles removes nothing
below a directory that it cannot lock for itself. For cleaners that go by age alone, all is touched now and then.
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

from .contract import NO_DESCRIPTOR
from .directory import SESSIONS, touch

_LONGEST_SOCKET_PATH = 100
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OLD_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LONGEST_STATE = 1000
"""Bytes."""
_TRIES = 100
"""How often an id is taken anew because somebody was sweeping at that moment."""
_SETTLED = 60.0
"""Seconds after which a file that an earlier version has made without a lock belongs to nobody."""
_OURS = re.compile(r"(\.?)([0-9a-f]{16})(\.lock|\.sock|)")


class SessionFiles:
    """Those of one session, and its way to those of the others."""

    def __init__(self, directory: Path) -> None:
        """directory: one that `directory.prepare()` has seen."""
        self.path = directory / SESSIONS
        self.id = ""
        self._directory_path = directory
        self._lock: io.FileIO | None = None  # closed with the last reference: who cannot be used any more is dead
        self._socket: socket.socket | None = None
        self._directory = _Descriptor(os.open(directory, _DIRECTORY))
        self.needs_guard = True
        """Whether the directory is yet to be locked."""
        self._spare: _Descriptor | None = None
        _all.add(self)
        self._keep_spare()
        self.protect()

    # Its own

    def lock(self, state: str) -> str:
        """Make the lock file, locked; return the session's id. state: which files the database has, for evict()."""
        for _ in range(_TRIES):
            session = secrets.token_hex(8)
            name = _name(session, "lock")
            lock = io.FileIO(os.open(name, _NEW_FILE, 0o600, dir_fd=self._directory.number), "r+")
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
        """Keep cleaners of /tmp away: to be repeated now and then."""
        touch(self._directory_path)
        for suffix in ("lock", "sock") if self.id else ():
            with contextlib.suppress(FileNotFoundError):
                os.utime(_name(self.id, suffix), dir_fd=self._directory.number)
        if self.needs_guard:
            try:
                fcntl.flock(self._directory.number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # a cleaner is in there, and sees that all has just been touched
                return
            except OSError:  # not on this file system: touching has to do
                pass
            self.needs_guard = False

    def close(self) -> None:
        """Let all of it go; who looks from now on finds the session dead."""
        try:
            with contextlib.suppress(OSError):  # what cannot be removed is swept later
                self.remove([self.id] if self.id else [])
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Close what is open, and remove nothing. In a child after a fork it looked like the parent's life."""
        for each in (self._lock, self._socket, self._directory, self._spare):
            if each is not None:
                each.close()

    # Those of the others

    def socket_path(self, session: str) -> str:
        path = f"{self.path}/{session}.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        return f"/proc/self/fd/{self._directory.number}/{_name(session, 'sock')}"

    def is_dead(self, session: str) -> bool:
        """Whether nobody has the session's file locked. Raises EngineError if that cannot be told."""
        try:
            file = self._open(_name(session, "lock"))
        except FileNotFoundError:
            return True
        except OSError as exc:
            raise EngineError(exc.errno, f"cannot look after session {session}: {exc.strerror}") from exc
        try:
            return _can_lock(file, fcntl.LOCK_SH)
        finally:
            os.close(file)
            self._keep_spare()

    def _open(self, name: str) -> int:
        """Without a free descriptor, use the one that is kept for this."""
        try:
            return os.open(name, _OLD_FILE, dir_fd=self._directory.number)
        except OSError as exc:
            if exc.errno not in NO_DESCRIPTOR or self._spare is None:
                raise
        self._spare.close()
        self._spare = None
        try:
            return os.open(name, _OLD_FILE, dir_fd=self._directory.number)
        except OSError:
            self._keep_spare()
            raise

    def _keep_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):  # another thread was faster; at the next look, then
                self._spare = _Descriptor(os.dup(self._directory.number))

    def remove(self, sessions: Iterable[str]) -> None:
        """Remove the files of sessions that are dead."""
        for session in sessions:
            for suffix in ("sock", "lock"):
                self._unlink(_name(session, suffix))

    def others(self) -> list[str]:
        """The sessions that have a lock file here."""
        found = map(_OURS.fullmatch, os.listdir(self.path))
        return [parts[2] for parts in found if parts is not None and parts[3] == ".lock" and parts[2] != self.id]

    def have_company(self) -> bool:
        """Whether any other session lives. Raises EngineError if that cannot be told."""
        return not all(map(self.is_dead, self.others()))

    def evict(self, session: str, state: str) -> LockedFile | None:
        """If it lives and its state is another one, remove its lock file; return that, to see when it is unlocked."""
        try:
            file = LockedFile(self._open(_name(session, "lock")))
        except FileNotFoundError:
            return None
        if file.is_locked() and not state.startswith(file.read()):
            self._unlink(_name(session, "lock"))
            return file
        file.close()
        return None

    def sweep(self, known: Collection[str]) -> None:
        """Remove the files that sessions have left of which nothing else is known.

        known: those that are to be left alone.
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
            file = self._open(_name(session, "lock"))
        except OSError:  # it is gone, or cannot be looked at now: who opens a session later does
            return
        try:
            if _can_lock(file, fcntl.LOCK_EX):
                self.remove([session])  # while it is locked: see above
        finally:
            os.close(file)
            self._keep_spare()

    def _sweep_old(self, name: str) -> None:
        """Earlier versions made a hidden file, and the socket, before the lock file."""
        with contextlib.suppress(FileNotFoundError):
            path = self.path / name
            if abs(time.time() - os.lstat(path).st_mtime) > _SETTLED:
                path.unlink()

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory.number)


class LockedFile:
    """Of a session that lives, or did a moment ago."""

    def __init__(self, number: int) -> None:
        self._number = number

    def is_locked(self) -> bool:
        if _can_lock(self._number, fcntl.LOCK_SH):
            fcntl.flock(self._number, fcntl.LOCK_UN)
            return False
        return True

    def read(self) -> str:
        return os.pread(self._number, _LONGEST_STATE, 0).decode(errors="replace")

    def close(self) -> None:
        os.close(self._number)


class _Descriptor:
    """Of a directory; closed with the last reference to it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            number, self.number = self.number, -1
            os.close(number)

    __del__ = close


def _name(session: str, suffix: str) -> str:
    """Seen from the directory."""
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
