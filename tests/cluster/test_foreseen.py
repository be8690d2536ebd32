"""The embedded engine works a change out before its transaction, if it has just left the text itself.

What it has worked out is kept only if the text, the floor and the session's life are still as they were.
"""

from __future__ import annotations

import contextlib

import pytest
from interpreters import RARELY

import holdfast
from holdfast.cluster import SessionLost
from holdfast.cluster.engines.embedded import engine as embedded_engine

from .engines import run  # noqa: F401


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_engine, "_ONE_AFTER_THE_OTHER", RARELY)
    return f"sqlite://{tmp_path}/locks"


class Added:
    """A change that adds a word. What it has found each time, and whether that was in a transaction."""

    def __init__(self, engine, word="w"):
        self.engine = engine
        self.word = word
        self.found = []
        self.inside = []

    def __call__(self, stored):
        self.found.append(stored)
        self.inside.append(self.engine._database._connection.in_transaction)
        return f"{stored.text or ''}{self.word}", len(self.found)


@contextlib.asynccontextmanager
async def engines(url):
    async with holdfast.connect(url) as one, holdfast.connect(url) as other:
        yield one.engine, other.engine


async def test_the_second_change_is_worked_out_before_its_transaction(url):
    async with engines(url) as (one, other):
        await one.apply("x", Added(one, "a"))  # it makes the row
        for word in "bc":
            change = Added(one, word)
            assert await one.apply("x", change) == 1
            assert change.inside == [False]
        assert await other.read("x") == "abc"


async def test_only_a_moment_after_the_first(url, monkeypatch):
    async with engines(url) as (one, _):
        for _ in range(2):
            await one.apply("x", Added(one))
        monkeypatch.setattr(embedded_engine, "_ONE_AFTER_THE_OTHER", 0)
        change = Added(one)
        await one.apply("x", change)
        assert change.inside == [True]


async def test_what_somebody_else_has_changed_is_found(url):
    async with engines(url) as (one, other):
        for _ in range(2):
            await one.apply("x", Added(one, "a"))
        await other.apply("x", Added(other, "b"))
        change = Added(one, "c")
        assert await one.apply("x", change) == 2
        assert [found.text for found in change.found] == ["aa", "aab"]
        assert change.inside == [False, True]
        assert await other.read("x") == "aabc"


async def test_a_text_that_was_removed_is_not_there(url):
    async with engines(url) as (one, other):
        for _ in range(2):
            await one.apply("x", Added(one, "a"))
        assert await other.remove("x", "aa", 7)
        change = Added(one, "b")
        await one.apply("x", change)
        assert (change.found[-1].text, change.found[-1].floor >= 7) == (None, True)
        assert await other.read("x") == "b"


async def test_a_floor_that_has_risen_is_seen(url):
    """Also if the text is the same again."""
    async with engines(url) as (one, other):
        for _ in range(2):
            await one.apply("x", Added(one, "a"))
        higher = 1 << 60
        await other.apply("y", Added(other))
        assert await other.remove("y", "w", higher)
        change = Added(one, "b")
        await one.apply("x", change)
        assert change.found[-1].floor == higher
        assert change.inside == [False, True]


async def test_another_name_is_another_text(url):
    async with engines(url) as (one, _):
        for name in "xyxy":
            change = Added(one, name)
            await one.apply(name, change)
            assert change.inside == [True]
        assert [await one.read(name) for name in "xy"] == ["xx", "yy"]


async def test_no_change_is_made_for_a_session_that_was_ended_meanwhile(url):
    async with engines(url) as (one, other):
        for _ in range(2):
            await one.apply("x", Added(one, "a"))
        assert await other.evict(one._id, "me", "why", [])
        with pytest.raises(SessionLost, match="why"):
            await one.apply("x", Added(one, "b"))
        assert await other.read("x") == "aa"


async def test_nor_for_one_whose_ttl_has_passed(url, monkeypatch):
    async with holdfast.connect(url, ttl=60) as session, holdfast.connect(url) as other:
        one = session.engine
        for _ in range(2):
            await one.apply("x", Added(one, "a"))
        await other.engine._database.transact(
            lambda: other.engine._database.execute("UPDATE sessions SET renewed = renewed - 61 WHERE ttl = 60")
        )
        with pytest.raises(SessionLost, match="was not renewed"):
            await one.apply("x", Added(one, "b"))
        assert await other.engine.read("x") == "aa"


@pytest.mark.parametrize("gone", ["state.db", "s/{id}.lock"])
async def test_nor_for_one_that_has_lost_its_files(url, tmp_path, gone):
    async with holdfast.connect(url) as session:
        one = session.engine
        for _ in range(2):
            await one.apply("x", Added(one, "a"))
        (tmp_path / "locks" / gone.format(id=session.id)).unlink()
        with pytest.raises(SessionLost, match="removed"):
            await one.apply("x", Added(one, "b"))
        text = one._database._connection.run(lambda: one._tables.text("x"))
        assert text == "aa"


async def test_in_the_next_minute_the_index_by_age_is_kept(url, monkeypatch):
    async with engines(url) as (one, _):
        for _ in range(2):
            await one.apply("x", Added(one))
        now = embedded_engine.time.time() + 3600
        monkeypatch.setattr(embedded_engine.time, "time", lambda: now)
        change = Added(one)
        await one.apply("x", change)
        assert change.inside[-1]
        assert await one.old(60) == []
        now += 60
        assert await one.old(30) == ["x"]


async def test_what_a_change_raises_comes_out_and_changes_nothing(url):
    async with engines(url) as (one, other):
        for _ in range(2):
            await one.apply("x", Added(one, "a"))

        def fails(stored):
            raise ValueError(f"not on {stored.text}")

        with pytest.raises(ValueError, match="not on aa"):
            await one.apply("x", fails)
        assert await other.read("x") == "aa"


async def test_who_was_woken_expects_another_text(url):
    async with engines(url) as (one, _):
        for _ in range(2):
            await one.apply("x", Added(one))
        one._woken("x", "")
        change = Added(one)
        await one.apply("x", change)
        assert change.inside == [True]
