"""The three files of an SQLite database with a write-ahead log: which they are, and that they stay.

SQLite removes the log when its last user closes the database, and makes another one for the next. It takes for the last
one who can lock state.db exclusively. Each session's process holds a shared lock on it in its own right, as SQLite does
where it is open: so the files stay the same while a session lives, also while its connection is closed for a fork, and
whoever finds others under their paths knows that somebody has removed or replaced them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

_SHARED = 0x40000002, 510
"""Where SQLite locks a database: from which byte on, and how many."""
_OWN_FILES = Path("/proc/self/fd")
SUFFIXES = "", "-wal", "-shm"


def look(path: str) -> tuple[tuple[int, int] | None, ...]:
    """Device and inode of each of the three, None where there is none."""
    return tuple([_look(path + suffix) for suffix in SUFFIXES])


def changed(paths: Sequence[str], files: Sequence[tuple[int, int] | None]) -> str | None:
    """The first of these paths under which there is another file now, or none."""
    path = ""
    try:
        for path, file in zip(paths, files, strict=True):
            found = os.stat(path)
            if (found.st_dev, found.st_ino) != file:
                return path
    except OSError:
        return path
    return None


def _look(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def are_open(files: tuple[tuple[int, int] | None, ...]) -> bool:
    """Whether this process has all of them open; True where the system does not tell."""
    if None in files:
        return False
    opened = _opened()
    return opened is None or opened.keys() >= {*files}


def _opened() -> dict[tuple[int, int], list[int]] | None:
    """The descriptors of this process by what they are of, or None where the system does not tell."""
    found: dict[tuple[int, int], list[int]] = {}
    try:
        numbers = [int(name) for name in os.listdir(_OWN_FILES)]
    except OSError:
        return None
    for number in numbers:
        with contextlib.suppress(OSError):  # that of the list itself
            file = os.fstat(number)
            found.setdefault((file.st_dev, file.st_ino), []).append(number)
    return found


class Hold:
    """A process's share in a database, for any number of its sessions.

    One descriptor for all: when any is closed, the kernel drops the locks that SQLite has on the same file in this
    process. So it is closed only where this process has no other of that file.
    """

    def __init__(self, file: tuple[int, int], descriptor: int) -> None:
        self.file = file
        """Its device and inode."""
        self._descriptors = [descriptor]
        self._users = 0
        self._lockers = 0

    def lock(self) -> bool:
        """From now on nobody takes himself for the last one; return whether the system can do that."""
        with _mutex:
            self._lockers += 1
            return self._set(fcntl.F_RDLCK)  # once more does no harm

    def unlock(self) -> None:
        """Undo lock()."""
        with _mutex:
            self._lockers -= 1
            if not self._lockers:
                self._set(fcntl.F_UNLCK)

    def release(self) -> None:
        """Undo hold(), after SQLite has closed the file."""
        with _mutex:
            self._users -= 1
            _sweep()

    def _set(self, kind: int) -> bool:
        command = getattr(fcntl, "F_OFD_SETLK", None)  # a lock of the descriptor, not of the process: Linux
        if command is None:
            return False
        try:
            fcntl.fcntl(self._descriptors[0], command, struct.pack("hhqqi4x", kind, os.SEEK_SET, *_SHARED, 0))
        except OSError:
            return False
        return True

    def close_in_child(self) -> None:
        """It is the same file there, and would hold on for the parent."""
        for descriptor in self._descriptors:
            os.close(descriptor)


def hold(path: str) -> Hold:
    """A share in the database, whose file is made if it is missing, empty and for its owner only."""
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
            else:  # it has been put back in the last moment
                found._descriptors.append(descriptor)
        found._users += 1
        return found


def _sweep() -> None:
    """Close what nobody uses; also what could not be closed before, as the program had the file open itself."""
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
    _mutex = threading.RLock()  # another thread may have had it
    for each in _holds.values():
        each.close_in_child()
    _holds.clear()


os.register_at_fork(after_in_child=_close_in_child)
