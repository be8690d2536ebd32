"""A connection to an SQLite database that is never open while the process forks.

SQLite notes in the memory of the process which locks it has on which file. A child inherits these notes and not the
locks: it believes in locks that nobody has, and the last one who closes then removes the log under it. So before each
fork all connections of the process are closed, which waits for what other threads do with them; they are opened again
when they are next used. What the forking thread itself is in the middle of is rolled back, and has to be made again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from holdfast.cluster.errors import EngineError, SessionLost

T = TypeVar("T")
LONGEST_WAIT = 5.0
"""Seconds that a fork waits for what other threads do with their connections. After that its child may not connect."""


class Interrupted(Exception):  # noqa: N818  # no error: it is to be done again
    """A fork has closed the connection in the middle of this; nothing of it is kept."""


class Connection:
    """It is opened when it is first used, in autocommit, and again when a fork has closed it. For any thread."""

    def __init__(self, path: Path, pragmas: Sequence[str] = ()) -> None:
        """pragmas: what is set whenever it is opened."""
        self._address = f"{path.absolute().as_uri()}?mode=rw"  # it shall not make a file that somebody has removed
        self._pragmas = pragmas
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._database: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None  # the only one: one in mid-way keeps the file open
        self._opening = False
        self._interrupted = False
        with _forking.mutex:
            _forking.connections.add(self)

    def run(self, function: Callable[[], T]) -> T:
        """Call it, while no other thread uses the connection, and none forks. Not to be nested.

        Raises Interrupted if this thread has forked meanwhile, as by a signal, and in a child SessionLost.
        """
        self.check_process()  # before: in a child, the lock may be that of a thread that is not there
        with self._lock:
            self._interrupted = False
            return function()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All its rows. In a function that run() calls."""
        if self._interrupted:
            self.check_process()
            raise Interrupted
        try:
            cursor = self._open() if self._database is None or self._cursor is None else self._cursor
            return cursor.execute(statement, values).fetchall()
        except sqlite3.Error:
            self.check_process()
            if self._interrupted:
                raise Interrupted from None
            raise

    def change(self, statement: str, values: Sequence[Any]) -> int:
        """How many rows it has changed; see execute()."""
        self.execute(statement, values)
        [(rows,)] = self.execute("SELECT changes()")
        return int(rows)

    @property
    def in_transaction(self) -> bool:
        """Whether one is open."""
        return self._database is not None and self._database.in_transaction

    @property
    def is_of_this_process(self) -> bool:
        """Whether it was made in this process, and not in one that has forked it."""
        return self._pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether SQLite may have the file open."""
        return self._database is not None or self._opening

    def close(self) -> None:
        """It may be opened again. In a child, its parent's is left alone."""
        if not self.is_of_this_process:
            return
        with self._lock:
            try:
                if self._cursor is not None:
                    self._cursor.close()
                if self._database is not None:
                    self._database.close()
            except sqlite3.ProgrammingError:
                if self._database is not None:
                    raise
            self._cursor = self._database = None  # after: a fork that comes in between has to see what is open

    def __del__(self) -> None:
        self.close()

    def _open(self) -> sqlite3.Cursor:
        _forking.check()
        database = self._database
        if database is None:
            self._opening = True
            try:
                self._database = database = sqlite3.connect(
                    self._address, timeout=0, isolation_level=None, check_same_thread=False, uri=True
                )
            finally:
                self._opening = False
        self._cursor = cursor = database.cursor()
        try:
            for pragma in self._pragmas:
                cursor.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.Error:
            cursor.close()
            self._cursor = None  # so all are set at the next time
            raise
        return cursor

    def check_process(self) -> None:
        """Raise SessionLost in a child of the process that has made it."""
        if not self.is_of_this_process:
            raise SessionLost(
                f"the session belongs to process {self._pid}; after a fork the child must connect() itself"
            )

    def _close_before_fork(self) -> bool:
        """Holding the lock. Whether nothing is open now."""
        self._interrupted = True
        try:
            self.close()
        except sqlite3.ProgrammingError:  # the fork comes from within a statement, by the collector
            return False
        return not self.is_open

    def _end_in_child(self) -> None:
        if self._database is not None:
            _forking.inherited.append(self._database)  # to close it would be done by the parent's notes
        self._cursor = None


class _Forking:
    """What the connections of a process have to do with its forks."""

    def __init__(self, process: int) -> None:
        self.process = process
        """In which SQLite's notes are true."""
        self.connections: WeakSet[Connection] = WeakSet()
        self.inherited: list[sqlite3.Connection] = []
        self.mutex = threading.RLock()
        self.under_way: list[tuple[int, bool, list[Connection]]] = []
        """By which thread, whether all are closed, and whose locks are held."""

    def check(self) -> None:
        """Raise EngineError in a process that has no notes of its own."""
        if self.process == os.getpid():
            return
        if self.inherited or any(each.is_open for each in self.connections):
            raise EngineError(
                "this process was forked in the middle of its parent's use of a session, or by code that does not run "
                "Python's hooks (os.register_at_fork), and cannot use SQLite safely; start it by exec, as "
                "multiprocessing's 'spawn' does, or before its parent calls connect()"
            )
        self.process = os.getpid()

    def before(self) -> None:
        self.mutex.acquire()
        held: list[Connection] = []
        closed = False
        try:
            until = time.monotonic() + LONGEST_WAIT
            closed = self.process == os.getpid()
            for connection in [*self.connections]:
                if connection._pid != os.getpid():
                    continue
                if connection._lock.acquire(timeout=max(0.0, until - time.monotonic())):
                    held.append(connection)
                    closed &= connection._close_before_fork()
                else:
                    closed = False
        finally:
            self.under_way.append((threading.get_ident(), closed, held))

    def after_in_parent(self) -> None:
        if self.under_way and self.under_way[-1][0] == threading.get_ident():
            _, _, held = self.under_way.pop()
            for connection in held:
                connection._lock.release()
            self.mutex.release()

    def after_in_child(self) -> None:
        """Nothing of the parent's is used here any more; and if it was open, nothing else either."""
        global _forking
        closed = False
        if self.under_way and self.under_way[-1][0] == threading.get_ident():
            _, closed, held = self.under_way[-1]
            for connection in held:
                connection._lock.release()  # the thread that forks may be inside, and releases it as well
        if closed:
            _forking = _Forking(os.getpid())
            return
        _forking = _Forking(self.process)
        _forking.inherited += self.inherited
        for connection in [*self.connections]:
            if connection._opening:
                _forking.connections.add(connection)
            connection._end_in_child()


_forking = _Forking(os.getpid())

os.register_at_fork(
    before=lambda: _forking.before(),
    after_in_parent=lambda: _forking.after_in_parent(),
    after_in_child=lambda: _forking.after_in_child(),
)
