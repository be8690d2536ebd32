"""A connection to an SQLite database that is never open while the process forks.

SQLite notes in the memory of the process which locks it has on which file. A child inherits these notes, but not the
locks. It would believe in locks that nobody has, and the last process to close the database would remove the log under
it.

So all connections of the process are closed before each fork, and opened again when they are next used. The fork waits
for what other threads are doing with their connections. What the forking thread itself is in the middle of is rolled
back, and has to be done again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from holdfast.cluster.errors import EngineError, SessionLost

P = ParamSpec("P")
T = TypeVar("T")
LONGEST_WAIT = 5.0
"""Seconds that a fork waits for the connections that other threads use. After that its child may not connect."""
_BUSY = sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL
"""The kinds of errors that say that somebody else is using the database just now."""


def kind(exc: sqlite3.Error) -> int:
    """The primary code of an error, without the particulars that SQLite has in the higher bytes."""
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF


def is_busy(exc: sqlite3.Error) -> bool:
    """Whether the same may succeed a little later."""
    return kind(exc) in _BUSY


class Interrupted(Exception):  # noqa: N818  # no error: it has to be done again
    """A fork has closed the connection in the middle of a transaction, and nothing of that is kept."""


class Connection:
    """A connection in autocommit mode, for use in any thread. It is opened by its first use, and again after a fork."""

    def __init__(self, path: Path, pragmas: Sequence[str] = ()) -> None:
        """pragmas: what is set each time the connection is opened."""
        self._address = f"{path.absolute().as_uri()}?mode=rw"  # not "c": a file that was removed is not made again
        self._pragmas = pragmas
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._database: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None  # the only one: a second, unfinished one would keep the file open
        self._opening = False
        self._interrupted = False
        with _forking.mutex:
            _forking.connections.add(self)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function while no other thread uses the connection and none forks. Not to be nested.

        Raises Interrupted if this thread has forked meanwhile, as in a signal handler; SessionLost in a child.
        """
        self.check_process()  # first: in a child, the lock may be held by a thread that does not exist there
        with self._lock:
            self._interrupted = False
            return function(*args, **kwargs)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement, in a function that run() calls; return all rows."""
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
        """Run a statement as execute() does; return how many rows it has changed."""
        self.execute(statement, values)
        return 0 if self._cursor is None else self._cursor.rowcount

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._database is not None and self._database.in_transaction

    @property
    def is_of_this_process(self) -> bool:
        """Whether the connection was made in this process, and not in one from which this process was forked."""
        return self._pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether SQLite may have the file open."""
        return self._database is not None or self._opening

    def close(self) -> None:
        """Close the connection; the next use opens it again. In a child this does nothing: it is the parent's."""
        if not self.is_of_this_process:
            return
        with self._lock:
            try:
                if self._cursor is not None:
                    self._cursor.close()
                if self._database is not None:
                    self._database.close()
            except sqlite3.ProgrammingError:
                if self._database is not None and not _is_closed(self._database):
                    raise
            self._cursor = self._database = None  # last: a fork in between has to see what is open

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
            self._cursor = None  # so the next use sets all pragmas
            raise
        return cursor

    def check_process(self) -> None:
        """Raise SessionLost in a child of the process that has made the connection."""
        if not self.is_of_this_process:
            raise SessionLost(
                f"the session belongs to process {self._pid}; after a fork the child must connect() itself"
            )

    def _close_before_fork(self) -> bool:
        """With the lock held: close the connection; return whether it is closed now."""
        self._interrupted = True
        try:
            self.close()
        except sqlite3.ProgrammingError:  # the garbage collector has run the fork inside of a statement
            return False
        return not self.is_open

    def _end_in_child(self) -> None:
        if self._database is not None:
            _forking.inherited.append(self._database)  # kept, as closing it would go by the parent's notes
        self._cursor = None


def _is_closed(database: sqlite3.Connection) -> bool:
    """Since Python 3.13 the garbage collector closes a database itself, and may do so before it deletes its owner."""
    try:
        database.total_changes  # noqa: B018  # raises if it is closed
    except sqlite3.ProgrammingError:
        return True
    return False


class _Forking:
    """The connections of a process, and the forks that it is in the middle of."""

    def __init__(self, process: int) -> None:
        self.process = process
        """The process for which SQLite's notes are true."""
        self.connections: WeakSet[Connection] = WeakSet()
        self.inherited: list[sqlite3.Connection] = []
        self.mutex = threading.RLock()
        self.under_way: list[tuple[int, bool, list[Connection]]] = []
        """For each fork: its thread, whether all connections are closed, and those whose locks it holds."""

    def check(self) -> None:
        """Raise EngineError in a process whose notes are another's."""
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
        """Use nothing of the parent's any more. If something of it was open, nothing else can be used either."""
        global _forking
        closed = False
        if self.under_way and self.under_way[-1][0] == threading.get_ident():
            _, closed, held = self.under_way[-1]
            for connection in held:
                connection._lock.release()  # once only: a thread that forks inside of run() releases it as well
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
