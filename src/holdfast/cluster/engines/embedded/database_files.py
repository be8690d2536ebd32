"""The three files of an SQLite database with a write-ahead log: which files they are, and that they stay the same.

SQLite removes the log when the last user closes the database, and makes a new one for the next user. The last user is
the one that can lock state.db exclusively. So each process that has a session holds a shared lock of its own on
state.db, besides SQLite's. Then the files stay the same while a session lives, also while its connection is closed for
a fork. A session that finds other files under their paths knows that they were removed or replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_SHARED = 0x40000002, 510
"""The bytes that SQLite locks for shared use of a database: the first one, and how many."""
_OWN_FILES = Path("/proc/self/fd")
SUFFIXES = "", "-wal", "-shm"
_TICK, _COARSE_TICK = 100_000_000, 3_000_000_000
"""Nanoseconds; more than the time for which the clock of a file's ctime stands still: a hundredth of a second at most,
or two seconds on a file system that keeps whole seconds."""


def look(path: str) -> tuple[tuple[int, int] | None, ...]:
    """Device and inode of each of the three files; None for a file that is missing."""
    return tuple([_look(path + suffix) for suffix in SUFFIXES])


class Unchanged:
    """Whether the same files are still under their paths.

    A directory's ctime says when a name in it was last made, removed or given another file. Nobody can set it. So as
    long as the same directory is under its path, with the same ctime, so are the files. Two changes within one tick of
    the kernel's clock have the same ctime. So it is relied on only if it was old when the files were looked at.
    """

    def __init__(self, path: str = "", files: Sequence[tuple[int, int] | None] = ()) -> None:
        """path: of the database. files: as look() has found them, or only the first of them."""
        self._paths = [path + suffix for suffix in SUFFIXES[: len(files)]]
        self._files = files
        self._directory = os.path.dirname(path)
        self._seen: tuple[int, int, int] | None = None
        """Device, inode and ctime of the directory for which it is known that nothing has changed."""

    def changed(self) -> str | None:
        """The first path under which there is another file now, or no file; None if there is no such path."""
        if not self._files:
            return None
        path = self._paths[0]
        try:
            found = os.stat(self._directory)
            now = found.st_dev, found.st_ino, found.st_ctime_ns
            if now == self._seen:
                return None
            for path, file in zip(self._paths, self._files, strict=True):
                status = os.stat(path)
                if (status.st_dev, status.st_ino) != file:
                    return path
        except OSError:
            return path
        if _is_old(found.st_ctime_ns):
            self._seen = now
        return None


def _is_old(ctime: int) -> bool:
    """Whether whatever happens now gets a higher ctime than this one, in nanoseconds."""
    tick = _TICK if ctime % 1_000_000_000 else _COARSE_TICK
    return time.time_ns() - ctime > tick


def _look(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def are_open(files: tuple[tuple[int, int] | None, ...]) -> bool:
    """Whether this process has all of these files open; True where the system does not tell."""
    if None in files:
        return False
    opened = _opened()
    return opened is None or opened.keys() >= {*files}


def _opened() -> dict[tuple[int, int], list[int]] | None:
    """The descriptors of this process, by device and inode; None where the system does not tell."""
    found: dict[tuple[int, int], list[int]] = {}
    try:
        numbers = [int(name) for name in os.listdir(_OWN_FILES)]
    except OSError:
        return None
    for number in numbers:
        with contextlib.suppress(OSError):  # the descriptor by which the list was read
            file = os.fstat(number)
            found.setdefault((file.st_dev, file.st_ino), []).append(number)
    return found


class Hold:
    """A process's share in a database, for any number of its sessions.

    All sessions share one descriptor. When a process closes any descriptor of a file, the kernel drops the locks that
    SQLite has on that file in this process. So this one is closed only if the process has no other of that file.
    """

    def __init__(self, file: tuple[int, int], descriptor: int) -> None:
        self.file = file
        """Device and inode of the database."""
        self._descriptors = [descriptor]
        self._users = 0
        self._lockers = 0

    def lock(self) -> bool:
        """From now on no SQLite takes itself for the last user; return whether the system can do that."""
        with _mutex:
            self._lockers += 1
            return self._set(fcntl.F_RDLCK)  # to set it a second time does no harm

    def unlock(self) -> None:
        """Undo lock()."""
        with _mutex:
            self._lockers -= 1
            if not self._lockers:
                self._set(fcntl.F_UNLCK)

    def release(self) -> None:
        """Undo hold(). To be called after SQLite has closed the file."""
        with _mutex:
            self._users -= 1
            _sweep()

    def _set(self, kind: int) -> bool:
        command = getattr(fcntl, "F_OFD_SETLK", None)  # belongs to the descriptor, not to the process: Linux
        if command is None:
            return False
        try:
            fcntl.fcntl(self._descriptors[0], command, struct.pack("hhqqi4x", kind, os.SEEK_SET, *_SHARED, 0))
        except OSError:
            return False
        return True

    def close_in_child(self) -> None:
        """In a forked child: the descriptors are shared with the parent, and would keep its lock."""
        for descriptor in self._descriptors:
            os.close(descriptor)


def hold(path: str) -> Hold:
    """A share in the database. If the file is missing it is made: empty, and for its owner only."""
    with _mutex:
        key = _look(path)
        found = _holds.get(key) if key is not None else None
        if found is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            status = os.fstat(descriptor)
            key = status.st_dev, status.st_ino
            found = _holds.get(key)
            if found is None:
                found = _holds[key] = Hold(key, descriptor)
            else:  # the file was replaced in between, by one that is known
                found._descriptors.append(descriptor)
        found._users += 1
        return found


def _sweep() -> None:
    """Close what nobody uses, and what could not be closed earlier because the program had the file open itself."""
    unused = [key for key, each in _holds.items() if not each._users]
    opened = (_opened() or {}) if unused else {}
    for key in unused:
        descriptors = _holds[key]._descriptors
        if {*opened.get(key, ())} <= {*descriptors}:
            del _holds[key]
            for descriptor in descriptors:
                os.close(descriptor)


_mutex = threading.RLock()
_holds: dict[tuple[int, int], Hold] = {}


def _close_in_child() -> None:
    global _mutex
    _mutex = threading.RLock()  # another thread of the parent may have held it
    for each in _holds.values():
        each.close_in_child()
    _holds.clear()


os.register_at_fork(after_in_child=_close_in_child)
