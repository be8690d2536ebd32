"""The processes of one machine: a directory with an SQLite database, a lock file and a socket for each session.

    state.db        the texts, and the sessions (`tables`, `database`)
    s/ID.lock       locked by the session's process as long as that lives (`session_files`); it says which files of the
                    database the session has open (`left_behind`)
    s/ID.sock       where the session is woken (`doorbell`)

A session locks its file before it writes its row. So a row without a locked file is a dead session. The session that
buries it deletes the row in the same transaction. The kernel drops the lock when a process ends, in whatever way. A
pidfd tells when to look (`watching`); on systems without it, the waiting sessions look now and then. A session with a
ttl is also dead when its row has not been renewed for that long. The one that finds this out deletes the row, so the
session stays dead.

This engine is for Linux, and for other POSIX systems without pidfds. It is not for network file systems: SQLite and
flock() cannot rely on the locks and mappings of those.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary, ref

from holdfast.cluster.command_line import command_line
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import (
    Addition,
    Change,
    Keeper,
    Notices,
    OnGap,
    OnWake,
    Opening,
    Seen,
    Stored,
    T,
    to_wake,
)
from holdfast.cluster.engines.eviction_note import Eviction
from holdfast.cluster.engines.eviction_note import decode as decode_eviction
from holdfast.cluster.engines.eviction_note import encode as encode_eviction
from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.errors import EngineError, SessionLost

from .database import Database
from .directory import DATABASE, default_directory, prepare
from .doorbell import Doorbell
from .left_behind import LeftBehind
from .private_tmp import warn_if_private
from .session_files import SessionFiles
from .tables import State, Tables
from .watching import Life, Watching

_LEAVING = 1.0
"""The most seconds that a closing session waits for another process's transaction."""
_LAST_WORDS = 0.1
"""Seconds from when a session is told that its files were removed until its lock is dropped, whatever it does."""
_ONE_AFTER_THE_OTHER = 0.001
"""Seconds after a change in which this session's next change under the same name finds its own text, most likely."""
_PROTECTED = 3600.0, 1.0
"""Seconds until the files of a session are protected from cleaners again; and until then if one is at work now."""


class _LastChange(NamedTuple):
    """This session's last change, if it has heard of no other one since."""

    name: str
    after: State
    at: float
    """When it was asked for, by monotonic()."""


class EmbeddedEngine:
    """An engine in a directory; see `contract.Engine`."""

    sends_texts = 0
    makes_additions = False
    polls: float | None = None
    begins_at_once = True

    def __init__(self, directory: Path, namespace: str, ttl: float | None = None) -> None:
        self.ttl = ttl
        self._directory = directory
        self._database = Database(directory / DATABASE)
        self._tables = Tables(self._database, namespace)
        self._namespace = namespace
        self._id = ""
        self._closed = False
        self._last: _LastChange | None = None
        self._protection: asyncio.TimerHandle | None = None
        self._undo = contextlib.ExitStack()

    @property
    def vouches(self) -> bool:
        """Whether a message has just come with a fresh seal, and this session may still believe it."""
        return self._bell.is_sealed and self._database.has_its_files() and not self._files.is_removed()

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
            self._bell = Doorbell(self._files, self._namespace, self._woken, self._look_after_files, self._is_dead)
            undo.callback(self._bell.close)
            self._watching = Watching(self._loop, self._life, self._is_dead)
            undo.callback(self._watching.close)
            _open[self._id] = self
            undo.callback(_open.pop, self._id, None)
            others = await self._sweep()
            row = self._id, label, os.getpid(), socket.gethostname(), self.ttl, command_line()

            def begin() -> None:
                self._tables.raise_floor_unless(goes_on=bool(others))
                self._bell.word = self._tables.word()
                self._tables.add_session(*row)

            await self._database.transact(begin)
            self._database.log.shorten_if_due()
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
            # If this fails, the next session that looks finds this one dead.
            with contextlib.suppress(EngineError, SessionLost, TimeoutError):
                async with asyncio.timeout(_LEAVING):
                    await self._database.transact(lambda: self._tables.delete([self._id]))
                    await self._database.log.shorten()
        finally:
            self._closed = True
            self._undo.close()

    async def _sweep(self) -> frozenset[str]:
        """Remove what is left of sessions that died and that no record names any more; return the living ones."""
        sessions = await self._database.read(self._tables.sessions)
        dead = await self.dead(sessions)
        if dead:
            await self._database.transact(lambda: self._tables.delete(dead))
            self._files.remove(dead)
        self._files.sweep(sessions - dead)
        return sessions - dead

    def close_in_child(self) -> None:
        """After a fork: only what would make a dead parent look alive is closed, by `session_files`."""
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
        notices: Notices[T] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T:
        asked = monotonic()  # this process may be stopped before it sends what the change has granted
        foreseen = self._foreseen(name, change, asked)
        found: Stored | None = None
        made: tuple[str, T] | None = None
        after: State | None = None

        def transaction() -> T:
            nonlocal found, made, after
            self._tables.delete(evicted)
            if foreseen is not None and not self._files.is_removed():
                before, now, (text, result) = foreseen
                if self._tables.keep_if(name, text, now, before, self._id):
                    after = self._tables.state_after(text, now, before)
                    return result
            before = self._tables.state(name, self._id)
            if not before.is_alive or self._files.is_removed():
                raise self._death()
            # After a fork everything is done again. What the change has made of the same text is still good; to call it
            # again could fork again.
            if made is None or found is None or (found.text, found.floor) != (before.text, before.floor):
                found = Stored(None if before.text is None else str(before.text), time.time(), before.floor)
                made = change(found)
            text, result = made
            self._tables.keep(name, text, found.now, before)
            after = self._tables.state_after(text, found.now, before)
            return result

        result = await self._database.transact(transaction)
        self._last = None if after is None else _LastChange(name, after, asked)
        self._files.remove(evicted)
        for session, message in to_wake(notices, result):
            self._bell.ring(session, name, message, asked)
        return result

    def _foreseen(self, name: str, change: Change[T], asked: float) -> tuple[State, float, tuple[str, T]] | None:
        """What a change will come to if the text is as this session has just left it; and the state that this rests on.

        So most of the work is done before the transaction begins, in which others have to wait. asked: now.
        """
        last, self._last = self._last, None
        if last is None or last.name != name or asked - last.at > _ONE_AFTER_THE_OTHER:
            return None
        now = time.time()
        try:
            return last.after, now, change(Stored(last.after.text, now, last.after.floor))
        except Exception:  # it is made again in the transaction, and says there what is wrong
            return None

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        await (self._database.read(self._check_alive) if self.ttl is None else self._database.transact(self._live_on))
        texts = await self._database.read(lambda: self._tables.texts(names))
        return Seen(texts, await self.dead(sessions))

    def _live_on(self) -> None:
        """In a transaction: renew a session that has a ttl."""
        self._check_alive()
        self._tables.renew(self._id)

    def keeper(self) -> Keeper:
        return _Keeper(self._database, self._live_on)

    def _check_alive(self) -> None:
        """Raise SessionLost if this session is dead, even if nobody has noticed yet."""
        if not self._tables.is_within_ttl(self._id) or self._files.is_removed():
            raise self._death()

    def _death(self) -> SessionLost:
        """Why this session is dead."""
        notes = self._tables.note(self._id)
        eviction = decode_eviction(*notes[0]) if notes else None
        if eviction is not None:
            return SessionLost(f"session {self._id} {eviction}")
        if self._tables.is_within_ttl(self._id):
            return SessionLost(f"the file of session {self._id} in {self._files.path} has been removed")
        return SessionLost(
            f"session {self._id} was not renewed for its ttl of {self.ttl} s, or its row has been removed"
        )

    async def read(self, name: str) -> str | None:
        return await self._database.read(lambda: self._tables.text(name))

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        dead = await self.dead(sessions)
        return Seen(await self._database.read(lambda: self._tables.texts(names)), dead)

    async def names(self) -> list[str]:
        return await self._database.read(self._tables.names)

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        before = time.time() - seconds
        return await self._database.read(lambda: self._tables.old(before, skip))

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        def transaction() -> bool:
            if self._tables.text(name) != text:
                return False
            self._tables.remove(name, floor)
            return True

        return await self._database.transact(transaction)

    # Life and death

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        return {row[0]: self._described(row) for row in await self._rows(sessions)}

    def _described(self, row: tuple[Any, ...]) -> SessionInfo:
        id, label, host, pid, since, command, ttl, renewed = row
        alive = not self._is_dead(id) and (ttl is None or renewed + ttl >= monotonic())
        return SessionInfo.read(id, label, host, pid, since, command, alive)

    async def _rows(self, sessions: Iterable[str]) -> list[tuple[Any, ...]]:
        ids = [*sessions]
        return await self._database.read(lambda: self._tables.rows(ids)) if ids else []

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        others = frozenset(sessions) - {self._id}
        rows = await self._rows(others)
        alive = {id for id, *_ in rows if not self._is_dead(id)}
        expired = {
            id for id, *_, ttl, renewed in rows if id in alive and ttl is not None and renewed + ttl < monotonic()
        }
        if expired:
            alive -= await self._database.transact(lambda: self._tables.delete_expired(expired))
        return others - alive

    def _is_dead(self, session: str) -> bool:
        here = _open.get(session)
        if here is not None and not here._closed:
            return here._loop.is_closed()  # then it still holds its lock, and nobody can use it
        return self._files.is_dead(session)

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        def transaction() -> bool:
            self._check_alive()
            rows = self._tables.rows([session])
            if not rows or not (info := self._described(rows[0])).alive:
                return False
            self._tables.delete([session])
            self._tables.add_note(session, encode_eviction(info, by, reason, held))
            return True

        was_alive = await self._database.transact(transaction)
        if was_alive:
            self.wake(session, "", "")  # it removes its files itself
        return was_alive

    async def evictions(self) -> list[Eviction]:
        notes = await self._database.read(self._tables.notes)
        return [found for note in notes if (found := decode_eviction(*note)) is not None]

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        return self._watching.watch(session, on_death)

    def _life(self, session: str) -> Life | None:
        rows = self._database.glance(lambda: self._tables.life(session))
        if rows is None:
            raise EngineError(f"cannot tell now whether session {session} is alive")
        return Life(*rows[0]) if rows else None

    # Wake-ups

    def _woken(self, name: str, message: str) -> None:
        self._last = None  # somebody else has changed something
        self._on_wake(name, message)

    def wake(self, session: str, name: str, message: str) -> None:
        self._bell.ring(session, name, message, monotonic())

    # Files that were removed under living sessions

    def _look_after_files(self) -> None:
        """Somebody says that this session's files are gone. If so, end the session soon, even if it is idle."""
        try:
            self._database.check_files()
        except SessionLost:
            is_removed = True
        else:
            is_removed = self._files.is_removed()
        if is_removed:
            if self._on_gap is not None:
                self._on_gap(True)  # if the session holds something, it looks now
            self._loop.call_later(_LAST_WORDS, self._end)

    def _end(self) -> None:
        if not self._closed:
            self._bell.close()
            self._closed = True
            self._undo.close()


class _Keeper:
    """Renews a session from another thread, by the session's own connection; see `contract.Keeper`."""

    def __init__(self, database: Database, live_on: Callable[[], None]) -> None:
        self._database = database
        self._live_on = live_on

    async def renew(self) -> None:
        await self._database.transact_elsewhere(self._live_on)

    async def close(self) -> None:
        """There is nothing that it has for itself."""


def _end_if_useless(session: str) -> None:
    """End a session of this process whose loop was closed: nobody else can end it any more."""
    here = _open.get(session)
    if here is not None and here._loop.is_closed():
        here._closed = True
        here._undo.close()


def _protect(engine: ref[EmbeddedEngine]) -> None:
    """Keep cleaners away from the session's files, now and from time to time. The timer does not keep it alive."""
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
    """A child must not keep its parent's sessions alive. Closing its own descriptors does not unlock the file."""
    for engine in [*_open.values()]:
        engine.close_in_child()


os.register_at_fork(after_in_child=_close_after_fork)
