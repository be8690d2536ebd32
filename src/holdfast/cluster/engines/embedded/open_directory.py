"""The directory as a session has it open: its files are reached by their names below the open descriptor.

Two things depend on that descriptor:

- One more descriptor is kept in reserve. It is given up when the process has no other one left, so that a session can
  always look whether another one is alive.
- While a session has the directory open it also has a shared flock() on it. systemd-tmpfiles removes nothing below a
  directory that it cannot lock for itself. For cleaners that go by age alone, everything is touched now and then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from holdfast.cluster.engines.contract import NO_DESCRIPTOR

from .directory import touch

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OLD_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class OpenDirectory:
    """One session's descriptor of the directory. Names are relative to the directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _Descriptor(os.open(path, _DIRECTORY))
        self._spare: _Descriptor | None = None
        self.needs_guard = True
        """Whether the directory has yet to be locked against cleaners."""
        self.keep_spare()

    @property
    def number(self) -> int:
        """The descriptor; below 0 when it is closed."""
        return self._descriptor.number

    def create(self, name: str) -> int:
        """Make a new file, open for reading and writing; return its descriptor."""
        return os.open(name, _NEW_FILE, 0o600, dir_fd=self.number)

    def open(self, name: str) -> int:
        """Open a file for reading; return its descriptor. If no descriptor is free, the one in reserve is given up.

        The caller closes the file, and then calls keep_spare().
        """
        try:
            return os.open(name, _OLD_FILE, dir_fd=self.number)
        except OSError as exc:
            if exc.errno not in NO_DESCRIPTOR or self._spare is None:
                raise
        self._spare.close()
        self._spare = None
        try:
            return os.open(name, _OLD_FILE, dir_fd=self.number)
        except OSError:
            self.keep_spare()
            raise

    def keep_spare(self) -> None:
        """Have a descriptor in reserve again, if it was given up."""
        if self._spare is None:
            with contextlib.suppress(OSError):  # another thread has taken the free one; the next look tries again
                self._spare = _Descriptor(os.dup(self.number))

    def unlink(self, name: str) -> None:
        """Remove a file; nothing if there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.number)

    def protect(self, *names: str) -> None:
        """Keep cleaners of /tmp away from the directory and from these files. To be repeated now and then."""
        touch(self._path)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.utime(name, dir_fd=self.number)
        if self.needs_guard:
            try:
                fcntl.flock(self.number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # a cleaner is at work, and sees that everything has just been touched
                return
            except OSError:  # this file system has no flock() on directories: touching has to do
                pass
            self.needs_guard = False

    def close(self) -> None:
        for each in (self._descriptor, self._spare):
            if each is not None:
                each.close()


class _Descriptor:
    """A descriptor of the directory; closed with the last reference to it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            number, self.number = self.number, -1
            os.close(number)

    __del__ = close
