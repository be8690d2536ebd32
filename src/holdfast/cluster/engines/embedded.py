"""The processes of one machine: a directory with an SQLite database, a lock file and a socket for each session.

    state.db        the texts, and the sessions
    s/ID.lock       locked by the session's process as long as that lives (`session_files`); it says which files of the
                    database the session has open (`left_behind`)
    s/ID.sock       where the session is woken (`doorbell`)

A session's file is locked before its row is written, so a row without a locked file is a dead session, and who buries
it deletes the row in the transaction that buries it. The kernel drops the lock when a process ends, in whatever
way. A pidfd tells when to look (`watching`); where there is none, those who wait look now and then. A session with a
ttl is dead as well when its row has not been renewed for so long; who finds that deletes the row, so it stays dead.

Linux, and other POSIX systems without pidfd. Not on network file systems, whose locks and mappings SQLite and flock()
cannot rely on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, ref

from holdfast.cluster.command_line import command_line
from holdfast.cluster.errors import EngineError, SessionLost

from .clock import monotonic
from .contract import MOST_OLD, Addition, Change, Notice, OnGap, OnWake, Opening, Seen, SessionInfo, Stored, T
from .database import HIGHEST, Database
from .directory import DATABASE, default_directory, prepare
from .doorbell import Doorbell
from .evictions import KEPT, MOST, Eviction
from .evictions import decode as decode_eviction
from .evictions import encode as encode_eviction
from .left_behind import LeftBehind
from .private_tmp import warn_if_private
from .session_files import SessionFiles
from .watching import Life, Watching

_KEEP = """
INSERT INTO texts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text, changed = excluded.changed
"""
_DESCRIBED = "id, label, host, pid, since, command, ttl, renewed"
_LEAVING = 1.0
"""Seconds that a session which closes waits for another process that is in a change, at most."""
_LAST_WORDS = 0.1
"""Seconds from when a session is told that its files were removed until its lock is dropped, whatever it does."""
_PROTECTED = 3600.0, 1.0
"""Seconds until the files of a session are kept from cleaners anew; and until then if one is at work just now."""


class EmbeddedEngine:
    """An engine in a directory; see `contract.Engine`."""

    vouches = False

    def __init__(self, directory: Path, namespace: str, ttl: float | None = None) -> None:
        self.ttl = ttl
        self._directory = directory
        self._database = Database(directory / DATABASE)
        self._namespace = namespace
        self._id = ""
        self._closed = False
        self._protection: asyncio.TimerHandle | None = None
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
        if self._directory == default_directory():
            warn_if_private(self._directory)
        prepare(self._directory)
        with contextlib.ExitStack() as undo:
            self._files = SessionFiles(self._directory)
            undo.callback(self._files.close)
            undo.callback(self._database.close)
            with LeftBehind(self._files, _end_if_useless) as left_behind:
                await self._database.open(left_behind.make_way, self._files.have_company)
            self._id = self._files.lock(self._database.files)
            self._bell = Doorbell(self._files, self._namespace, self._on_wake, self._look_after_files, self._is_dead)
            undo.callback(self._bell.close)
            self._watching = Watching(self._loop, self._life, self._is_dead)
            undo.callback(self._watching.close)
            _open[self._id] = self
            undo.callback(_open.pop, self._id, None)
            others = await self._sweep()
            who = self._id, label, os.getpid(), socket.gethostname()
            row = (*who, time.time(), self.ttl, monotonic(), command_line())
            insert = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

            def begin() -> None:
                self._database.begin(goes_on=bool(others))
                self._database.execute(insert, row)

            await self._database.transact(begin)
            self._database.shorten_log_if_due()
            self._bell.listen()
            _protect(ref(self))
            self._undo = undo.pop_all()

    async def close(self) -> None:
        if _open.get(self._id) is not self or self._closed:
            return
        if self._protection is not None:
            self._protection.cancel()
        self._bell.close()
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
            self._files.remove(dead)
        self._files.sweep(sessions - dead)
        return sessions - dead

    def _delete(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            self._database.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def close_in_child(self) -> None:
        """After a fork: what would look like the parent's life its files let go of; all else is left alone."""
        self._closed = True
        self._watching.let_go()
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
        self._files.remove(evicted)
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
        alive = "SELECT 1 FROM sessions WHERE id = ? AND (ttl IS NULL OR renewed + ttl >= ?)"
        if not self._database.execute(alive, (self._id, monotonic())):
            why = f"session {self._id} was not renewed for its ttl of {self.ttl} s, or its row has been removed"
        elif self._files.is_removed():
            why = f"the file of session {self._id} in {self._files.path} has been removed"
        else:
            return
        eviction = self._eviction()
        raise SessionLost(why if eviction is None else f"session {self._id} {eviction}")

    def _eviction(self) -> Eviction | None:
        """Of this session."""
        rows = self._database.execute("SELECT note, at FROM evictions WHERE session = ?", (self._id,))
        return decode_eviction(*rows[0]) if rows else None

    async def read(self, name: str) -> str | None:
        return await self._database.read(lambda: self._text(name))

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        dead = await self.dead(sessions)
        return Seen(await self._database.read(lambda: {name: self._text(name) for name in names}), dead)

    async def names(self) -> list[str]:
        query = "SELECT name FROM texts WHERE namespace = ? ORDER BY name"
        rows = await self._database.read(lambda: self._database.execute(query, (self._namespace,)))
        return [name for (name,) in rows]

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        query = f"SELECT name FROM texts WHERE namespace = ? AND changed < ? ORDER BY changed LIMIT {MOST_OLD} OFFSET ?"
        values = (self._namespace, time.time() - seconds, skip)
        return [name for (name,) in await self._database.read(lambda: self._database.execute(query, values))]

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        def transaction() -> bool:
            if self._text(name) != text:
                return False
            row = (self._namespace, max(min(floor, HIGHEST), self._floor()))
            self._database.execute("INSERT OR REPLACE INTO floors VALUES (?, ?)", row)
            self._database.execute("DELETE FROM texts WHERE namespace = ? AND name = ?", (self._namespace, name))
            return True

        return await self._database.transact(transaction)

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        return {row[0]: self._described(row) for row in await self._rows(_DESCRIBED, sessions)}

    def _described(self, row: tuple[Any, ...]) -> SessionInfo:
        id, label, host, pid, since, command, ttl, renewed = row
        alive = not self._is_dead(id) and (ttl is None or renewed + ttl >= monotonic())
        return SessionInfo.read(id, label, host, pid, since, command, alive)

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        def transaction() -> bool:
            self._check_alive()
            rows = self._database.execute(f"SELECT {_DESCRIBED} FROM sessions WHERE id = ?", (session,))
            if not rows or not (info := self._described(rows[0])).alive:
                return False
            self._delete([session])
            now = time.time()
            self._database.execute("DELETE FROM evictions WHERE at < ?", (now - KEPT,))
            insert = "INSERT INTO evictions (session, namespace, at, note) VALUES (?, ?, ?, ?)"
            note = encode_eviction(info, by, reason, held)
            self._database.execute(insert, (session, self._namespace, now, note))
            too_many = "DELETE FROM evictions WHERE number <= (SELECT max(number) FROM evictions) - ?"
            self._database.execute(too_many, (MOST,))
            return True

        was_alive = await self._database.transact(transaction)
        if was_alive:
            self.wake(session, "", "")  # its files it removes itself
        return was_alive

    async def evictions(self) -> list[Eviction]:
        query = "SELECT note, at FROM evictions WHERE namespace = ? AND at >= ? ORDER BY number"
        values = self._namespace, time.time() - KEPT
        rows = await self._database.read(lambda: self._database.execute(query, values))
        return [found for row in rows if (found := decode_eviction(*row)) is not None]

    async def _rows(self, columns: str, sessions: Iterable[str]) -> list[tuple[Any, ...]]:
        """What is known of these sessions."""
        ids = tuple(sessions)
        if not ids:
            return []
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
        if here is not None and not here._closed:
            return here._loop.is_closed()  # then it holds its lock still, and nobody can use it
        return self._files.is_dead(session)

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        return self._watching.watch(session, on_death)

    def _life(self, session: str) -> Life | None:
        query = "SELECT pid, ttl, renewed FROM sessions WHERE id = ?"
        rows = self._database.glance(lambda: self._database.execute(query, (session,)))
        if rows is None:
            raise EngineError(f"cannot look after session {session} just now")
        return Life(*rows[0]) if rows else None

    # Wake-ups

    def wake(self, session: str, name: str, message: str) -> None:
        self._bell.ring(session, name, message)

    # Files that were removed under living sessions

    def _look_after_files(self) -> None:
        """Somebody says that they are not this session's any more: if so, have it end soon, also if it is idle."""
        try:
            self._database.check_files()
        except SessionLost:
            is_removed = True
        else:
            is_removed = self._files.is_removed()
        if is_removed:
            if self._on_gap is not None:
                self._on_gap(True)  # if it holds something, it looks now
            self._loop.call_later(_LAST_WORDS, self._end)

    def _end(self) -> None:
        if not self._closed:
            self._bell.close()
            self._closed = True
            self._undo.close()


def _end_if_useless(session: str) -> None:
    """One of this process whose loop was closed: nobody else can end it any more."""
    here = _open.get(session)
    if here is not None and here._loop.is_closed():
        here._closed = True
        here._undo.close()


def _protect(engine: ref[EmbeddedEngine]) -> None:
    """Keep cleaners away from its files, now and from time to time: this timer does not keep it alive."""
    here = engine()
    if here is None or here._closed:
        return
    with contextlib.suppress(OSError):  # somebody has removed them: the next change says so
        here._files.protect()
    seconds, soon = _PROTECTED
    here._protection = here._loop.call_later(soon if here._files.needs_guard else seconds, _protect, engine)


_open: WeakValueDictionary[str, EmbeddedEngine] = WeakValueDictionary()
"""Those of this process, by session."""


def _close_after_fork() -> None:
    """The child must not keep its parent's sessions alive; closing its own descriptors does not unlock the file."""
    for engine in [*_open.values()]:
        engine.close_in_child()


os.register_at_fork(after_in_child=_close_after_fork)
