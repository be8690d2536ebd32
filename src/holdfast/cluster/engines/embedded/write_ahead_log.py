"""Keeps SQLite's write-ahead log short, without anybody having to wait for the disk or for a reader that stays.

SQLite's own checkpoint runs in the COMMIT that makes the log too long. That COMMIT would wait for the disk for several
milliseconds, and the event loop with it. So SQLite's checkpoint is switched off, and a thread does the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.errors import EngineError

from .connection import Connection, Interrupted, is_busy

CHECKPOINT_EVERY = 200
"""After this many transactions a session looks how long the log is."""
_LONGEST_LOG = 16 << 20
"""Bytes of the log above which it is copied into the database."""
_KEPT_LOG = 1 << 20
"""Bytes of the log's file that stay when it begins anew."""
_CHECKPOINT_PAUSE = 1.0
"""Seconds between two attempts of a session: while somebody goes on reading an old state, none can succeed."""
_INSISTENCE = 1.0
"""Seconds that a checkpoint tries to shut out writers, at most."""
_SHORT_REST = 256
"""Pages that are copied while nobody may write, at most: less than a millisecond, and a sync of the disk."""
_TRIES = 8
"""How often the rest is copied again while writers are shut out."""
_PAUSE = 0.0002
"""Seconds between two tries of the thread."""
_LOOK = 0.002
"""Seconds between two looks whether the thread has ended."""
PAGE = 2048
"""Bytes of a page of a new database. A change writes one page into the log, and checksums it, if the record is short.
For records of 300 to 2,500 bytes, a change takes longer with pages of 4 KiB, and no less time with smaller ones."""
PRAGMAS = (
    "synchronous = NORMAL",
    "wal_autocheckpoint = 0",
    f"journal_size_limit = {_KEPT_LOG}",
)
"""What every connection has to set."""


class WriteAheadLog:
    """The log of one database, as one session looks after it."""

    def __init__(self, path: Path) -> None:
        """path: of the database."""
        self._path = path
        self._log = f"{path}-wal"
        self._last: _Checkpoint | None = None

    def shorten_if_due(self) -> None:
        """Have a thread copy the log into the database, if it is long. The next writer then begins it anew."""
        last = self._last
        if last is not None and (last.is_alive() or (last.has_failed and monotonic() < last.began + _CHECKPOINT_PAUSE)):
            return
        with contextlib.suppress(OSError):  # it was removed; the next transaction says so
            if os.stat(self._log).st_size > _LONGEST_LOG:
                self._last = _Checkpoint(self._path)
                try:
                    self._last.start()
                except RuntimeError:  # there are too many threads, or the main thread has ended (Python 3.12)
                    self._last.run()

    async def shorten(self) -> None:
        """The same, and wait until it is done: where all sessions are short, nobody else would finish it.

        Cancellation: the thread finishes all the same.
        """
        self.shorten_if_due()
        while self._last is not None and self._last.is_alive():  # noqa: ASYNC110  # a thread's end
            await asyncio.sleep(_LOOK)


class _Checkpoint(threading.Thread):
    """Copies the log into the database. The next writer begins the log anew, if nobody reads an old state then.

    No reader is waited for. Most pages are copied while others write. The rest is copied with writers shut out, because
    at no other moment is all of the log in the database.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name="holdfast checkpoint", daemon=True)
        self.has_failed = True
        self.began = monotonic()
        self._path = path

    def run(self) -> None:
        copier, writer = (Connection(self._path, PRAGMAS) for _ in range(2))
        try:
            with contextlib.suppress(sqlite3.Error, Interrupted, EngineError):  # it is tried again later
                for _ in range(2):
                    rest = _copy(copier)
                if rest <= _SHORT_REST and _shut_out_writers(writer):
                    try:
                        tries = 0
                        while (rest := _copy(copier)) and tries < _TRIES:
                            tries += 1
                            time.sleep(_PAUSE)  # a writer is just about to see that it may not write
                        self.has_failed = rest > 0
                    finally:
                        writer.run(lambda: writer.execute("ROLLBACK"))
        finally:
            copier.close()
            writer.close()


def _copy(connection: Connection) -> int:
    """Copy what can be copied; return how many pages could not: all of them if somebody else is copying."""
    [(busy, pages, copied)] = connection.run(lambda: connection.execute("PRAGMA wal_checkpoint(PASSIVE)"))
    return sys.maxsize if busy or pages < 0 else int(pages - copied)


def _shut_out_writers(connection: Connection) -> bool:
    """Begin a transaction that writes nothing; return whether that has succeeded in time."""
    until = monotonic() + _INSISTENCE
    while monotonic() < until:
        try:
            connection.run(lambda: connection.execute("BEGIN IMMEDIATE"))
            return True
        except sqlite3.Error as exc:
            if not is_busy(exc):
                raise
        time.sleep(_PAUSE)
    return False
