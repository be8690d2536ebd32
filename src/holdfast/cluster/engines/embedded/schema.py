"""The tables of the database, and how they are made. Those of an earlier version are made anew if nobody uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.cluster.errors import FormatError

Execute = Callable[[str], list[Any]]
SCHEMA = 7
# A row that is found by its key stands in the key's tree: in a change, each tree more is a page more to read.
_TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, label TEXT, pid INTEGER, host TEXT, since REAL, ttl REAL, renewed REAL,
    command TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS texts (
    namespace TEXT, name TEXT, text TEXT, changed REAL, minute INTEGER, PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS texts_by_age ON texts (namespace, minute);
CREATE TABLE IF NOT EXISTS floors (namespace TEXT PRIMARY KEY, floor INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boots (boot TEXT, floor INTEGER);
CREATE TABLE IF NOT EXISTS words (word TEXT);
CREATE TABLE IF NOT EXISTS evictions (number INTEGER PRIMARY KEY, session TEXT, namespace TEXT, at REAL, note TEXT);
"""


def version(execute: Execute, path: str) -> int:
    """The schema of the database; 0 if it has no tables yet.

    Raises FormatError if a later version of holdfast made it.
    """
    [(found,)] = execute("PRAGMA user_version")
    if found > SCHEMA:
        raise FormatError(
            f"{path} has schema {found}, and this version of holdfast knows {SCHEMA}. "
            "Upgrade holdfast here, or use another directory; nothing was changed"
        )
    return int(found)


def create(execute: Execute, path: str, is_used: Callable[[], bool]) -> None:
    """In a transaction: make the tables, unless somebody else has just made them.

    is_used: whether another session lives. The tables of an earlier version are dropped only if none does.

    Raises FormatError if they may not be dropped, or if a later version made them.
    """
    found = version(execute, path)
    if found == SCHEMA:
        return
    if found:
        _drop(execute, path, found, is_used)
    for statement in _TABLES.split(";"):
        execute(statement)
    execute(f"PRAGMA user_version = {SCHEMA}")


def _drop(execute: Execute, path: str, found: int, is_used: Callable[[], bool]) -> None:
    if is_used():
        raise FormatError(
            f"{path} has schema {found}, of an earlier version of holdfast, and programs with that version "
            "use it: end them first, or use another directory; nothing was changed"
        )
    for (table,) in execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        execute(f'DROP TABLE "{table}"')
