"""All statements on the tables: the texts of a namespace, the sessions, and the notes of those that were evicted.

Each method is one step of a transaction or of a reading, which `engine` puts together.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import MOST_OLD
from holdfast.cluster.engines.eviction_note import KEPT, MOST

from .database import Database

# In all statements "?" stands for a value, and never "?1": the first releases of Python 3.12 warn of that (gh-117995).
_HIGHEST_FLOOR = (1 << 63) - 1
"""SQLite has no higher integers. No token that was given out comes near it."""
_SELECT_FLOOR = "SELECT max(floor, ifnull((SELECT floor FROM floors WHERE namespace = ?), 0)) AS floor FROM boots"
_IS_ALIVE = "SELECT 1 FROM sessions WHERE id = ? AND (ttl IS NULL OR renewed + ttl >= ?)"
_SELECT_STATE = f"""
SELECT name IS NOT NULL, text, minute, floor, EXISTS ({_IS_ALIVE})
FROM ({_SELECT_FLOOR})
LEFT JOIN texts ON namespace = ? AND name = ?
"""
_ADD = "INSERT INTO texts VALUES (?, ?, ?, ?, ?)"
_KEEP = "UPDATE texts SET text = ?, changed = ? WHERE namespace = ? AND name = ?"
_KEEP_WITH_AGE = "UPDATE texts SET text = ?, changed = ?, minute = ? WHERE namespace = ? AND name = ?"
_KEEP_IF_AS_BEFORE = f"""
UPDATE texts SET text = ?, changed = ?
WHERE namespace = ? AND name = ? AND text = ? AND minute = ?
    AND EXISTS ({_IS_ALIVE}) AND (SELECT floor FROM ({_SELECT_FLOOR})) = ?
"""
_MINUTE = 60.0
"""Seconds. The index by age knows the minute of a change only: a change that has to put its name elsewhere in the index
as well takes half as long again."""
_SELECT_SESSION = "SELECT id, label, host, pid, since, command, ttl, renewed FROM sessions WHERE id"


class State(NamedTuple):
    """What a change of a name needs to know."""

    has_row: int
    """Whether the name has a row: 1 or 0."""
    text: Any
    """None if the name has none; not a str if somebody else wrote it."""
    minute: float | None
    """Of the last change."""
    floor: int
    is_alive: int
    """Whether the session that makes the change is alive: 1 or 0."""


class Tables:
    """The tables, as one namespace uses them. The sessions of all namespaces are in one table."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    # Texts

    def text(self, name: str) -> str | None:
        rows = self._database.execute(
            "SELECT text FROM texts WHERE namespace = ? AND name = ?", (self._namespace, name)
        )
        return str(rows[0][0]) if rows else None  # not a text only if somebody else wrote it: then it is no record

    def texts(self, names: Iterable[str]) -> dict[str, str | None]:
        return {name: self.text(name) for name in names}

    def state(self, name: str, session: str) -> State:
        """What a change of a name needs to know. session: the one that makes it."""
        values = session, monotonic(), self._namespace, self._namespace, name
        return State(*self._database.execute(_SELECT_STATE, values)[0])

    def keep(self, name: str, text: str, now: float, before: State) -> None:
        """before: as state() has found it in this transaction."""
        minute = now // _MINUTE
        if not before.has_row:
            self._database.execute(_ADD, (self._namespace, name, text, now, minute))
        elif before.minute == minute:
            self._database.execute(_KEEP, (text, now, self._namespace, name))
        else:
            self._database.execute(_KEEP_WITH_AGE, (text, now, minute, self._namespace, name))

    def state_after(self, text: str, now: float, before: State) -> State:
        """What state() would find after keep(), as long as nobody else changes anything."""
        return State(1, text, now // _MINUTE, before.floor, 1)

    def keep_if(self, name: str, text: str, now: float, before: State, session: str) -> bool:
        """In a transaction: as keep(), if state() would still find `before`. Return whether it would.

        session: the one that makes the change.
        """
        if now // _MINUTE != before.minute:
            return False
        where = self._namespace, name, before.text, before.minute
        values = text, now, *where, session, monotonic(), self._namespace, before.floor
        return bool(self._database.change(_KEEP_IF_AS_BEFORE, values))

    def names(self) -> list[str]:
        query = "SELECT name FROM texts WHERE namespace = ? ORDER BY name"
        return [name for (name,) in self._database.execute(query, (self._namespace,))]

    def old(self, before: float, skip: int) -> list[str]:
        query = f"""
            SELECT name FROM texts WHERE namespace = ? AND minute <= ? AND changed < ?
            ORDER BY minute, changed LIMIT {MOST_OLD} OFFSET ?
        """
        values = self._namespace, before // _MINUTE, before, skip
        return [name for (name,) in self._database.execute(query, values)]

    def remove(self, name: str, floor: int) -> None:
        row = self._namespace, max(min(floor, _HIGHEST_FLOOR), self.floor())
        self._database.execute("INSERT OR REPLACE INTO floors VALUES (?, ?)", row)
        self._database.execute("DELETE FROM texts WHERE namespace = ? AND name = ?", (self._namespace, name))

    def floor(self) -> int:
        [(floor,)] = self._database.execute(_SELECT_FLOOR, (self._namespace,))
        return int(floor)

    def raise_floor_unless(self, goes_on: bool) -> None:
        """In the transaction in which a session begins: make sure that no token is given out a second time.

        goes_on: whether a living session has these files open. If none has, the log may have been lost with the power,
        or somebody may have removed it. Then the floor becomes the microseconds since 1970: nobody grants faster than
        one token per microsecond, so every token from now on is above those that were given out.
        """
        boot = _boot()
        rows = self._database.execute("SELECT boot FROM boots")
        if rows != [(boot,)] or not goes_on:
            [(floor,)] = self._database.execute("SELECT ifnull(max(floor), 0) FROM boots")
            self._database.execute("DELETE FROM boots")
            values = boot, max(floor, int(time.time() * 1_000_000))
            self._database.execute("INSERT INTO boots VALUES (?, ?)", values)

    def word(self) -> str:
        """In the transaction in which a session begins: a word that only those know who can read the database."""
        words = self._database.execute("SELECT word FROM words")
        if not words:
            words = [(secrets.token_hex(16),)]
            self._database.execute("INSERT INTO words VALUES (?)", words[0])
        return str(words[0][0])

    # Sessions

    def add_session(self, id: str, label: str, pid: int, host: str, ttl: float | None, command: str) -> None:
        row = id, label, pid, host, time.time(), ttl, monotonic(), command
        self._database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def sessions(self) -> frozenset[str]:
        return frozenset(session for (session,) in self._database.execute("SELECT id FROM sessions"))

    def rows(self, sessions: Iterable[str]) -> list[tuple[Any, ...]]:
        """Of each session that has a row: id, label, host, pid, since, command, ttl, and when it was last renewed."""
        ids = tuple(sessions)
        if not ids:
            return []
        return self._database.execute(f"{_SELECT_SESSION} IN ({', '.join('?' * len(ids))})", ids)

    def is_within_ttl(self, session: str) -> bool:
        """Whether the session has a row, and was renewed within its ttl if it has one."""
        return bool(self._database.execute(_IS_ALIVE, (session, monotonic())))

    def life(self, session: str) -> list[tuple[int, float | None, float]]:
        """Pid, ttl, and when it was last renewed; an empty list if the session has no row."""
        return self._database.execute("SELECT pid, ttl, renewed FROM sessions WHERE id = ?", (session,))

    def renew(self, session: str) -> None:
        self._database.execute("UPDATE sessions SET renewed = ? WHERE id = ?", (monotonic(), session))

    def delete(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            self._database.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def delete_expired(self, sessions: Iterable[str]) -> set[str]:
        """Delete those of the sessions that have not been renewed meanwhile either; return their ids."""
        statement = "DELETE FROM sessions WHERE id = ? AND renewed + ttl < ?"
        now = monotonic()
        return {session for session in sessions if self._database.change(statement, (session, now))}

    # Notes of evictions

    def add_note(self, session: str, note: str) -> None:
        """Keep a note, and forget those that are too old or too many."""
        now = time.time()
        self._database.execute("DELETE FROM evictions WHERE at < ?", (now - KEPT,))
        insert = "INSERT INTO evictions (session, namespace, at, note) VALUES (?, ?, ?, ?)"
        self._database.execute(insert, (session, self._namespace, now, note))
        too_many = "DELETE FROM evictions WHERE number <= (SELECT max(number) FROM evictions) - ?"
        self._database.execute(too_many, (MOST,))

    def note(self, session: str) -> list[tuple[str, float]]:
        """The note of a session and its moment; an empty list if there is none."""
        return self._database.execute("SELECT note, at FROM evictions WHERE session = ?", (session,))

    def notes(self) -> list[tuple[str, float]]:
        query = "SELECT note, at FROM evictions WHERE namespace = ? AND at >= ? ORDER BY number"
        return self._database.execute(query, (self._namespace, time.time() - KEPT))


def _boot() -> str:
    """What identifies this boot of the machine; "" where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
