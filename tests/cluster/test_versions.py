"""A directory that another version of holdfast has used."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3

import pytest

import holdfast
from holdfast.cluster import EngineError, FormatError
from holdfast.cluster.engines.embedded.schema import SCHEMA

LIKE_SCHEMA_3 = """
CREATE TABLE sessions (id TEXT PRIMARY KEY, label TEXT, pid INTEGER, host TEXT, since REAL, ttl REAL, renewed REAL);
CREATE TABLE texts (namespace TEXT, name TEXT, text TEXT, changed REAL, PRIMARY KEY (namespace, name));
CREATE INDEX texts_by_age ON texts (namespace, changed);
CREATE TABLE floors (namespace TEXT PRIMARY KEY, floor INTEGER);
CREATE TABLE boots (boot TEXT, floor INTEGER);
INSERT INTO sessions VALUES ('00000000000000aa', 'old', 1, 'here', 0, NULL, 0);
INSERT INTO texts VALUES ('default', 'x', '{"format":1,"kind":"lock","tokens":7}', 0);
PRAGMA user_version = 3;
"""
OLD = "00000000000000aa"
"""A session of that version."""


@pytest.fixture
def directory(tmp_path):
    """Where an earlier version was."""
    (tmp_path / "s").mkdir(mode=0o700)
    database = sqlite3.connect(tmp_path / "state.db")
    database.executescript(LIKE_SCHEMA_3)
    database.close()
    return tmp_path


async def take(directory):
    async with holdfast.connect(f"sqlite://{directory}") as session, session.lock("x") as grant:
        return grant.token


def test_what_nobody_uses_any_more_is_begun_anew(directory):
    (directory / "s" / f"{OLD}.lock").touch()  # of one that has died
    assert asyncio.run(take(directory)) > 7
    assert asyncio.run(take(directory)) > 7


def test_an_earlier_version_is_not_disturbed(directory):
    file = os.open(directory / "s" / f"{OLD}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(EngineError, match=r"schema 3, of an earlier version.*end them first"):
        asyncio.run(take(directory))
    database = sqlite3.connect(directory / "state.db")
    assert database.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    database.close()
    os.close(file)
    assert asyncio.run(take(directory)) > 7


def test_a_later_version_is_not_disturbed(directory):
    database = sqlite3.connect(directory / "state.db")
    database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.close()
    with pytest.raises(FormatError, match="Upgrade holdfast here"):
        asyncio.run(take(directory))
