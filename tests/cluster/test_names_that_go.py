"""A lock for each message id: the names go as fast as they came, and nobody has to stand still for that."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio
from interpreters import BOUND

from holdfast.cluster import EngineError, many_at_once
from holdfast.cluster.engines import knowledge
from holdfast.cluster.session_life import housekeeping

from .engines import Place, run, settle
from .engines import place as place

__all__ = ["run"]  # the fixture


async def use(session, names):
    for name in names:
        async with session.lock(name):
            pass


async def old(place, names):
    """Names that a session has used which is closed."""
    async with place.connect() as session:
        await use(session, names)


async def tidied(session, expected):
    """How many names it removes: those that it has used itself are old when it has let go of them.

    expected: how many that should be. As the time of a server is only estimated, it may take some tries.
    """
    await settle(session)  # for its last changes to have ended
    removed = await session.tidy(0)
    async with asyncio.timeout(BOUND / 2):
        while removed < expected:
            await asyncio.sleep(0.02)
            removed += await session.tidy(0)
    return removed + await session.tidy(0)


async def until_old(place):
    """By the time that a session which is opened now estimates."""
    await settle()
    if place.is_server:
        await asyncio.sleep(1)


def numbered(word, count):
    return [f"{word} {number}" for number in range(count)]


async def test_all_old_names_go_though_older_ones_stay(place):
    async with place.connect() as session:
        for name in (kept := numbered("set", 120)):
            await session.event(name).set()
        await old(place, numbered("used", 230))
        await use(session, numbered("mine", 130))
        assert await tidied(session, 360) == 360
        assert await session.names() == sorted(kept)


async def test_many_short_sessions_leave_few_names(place, monkeypatch):
    """Each looks at a few old names only. In front of those that may go there are more that stay than it looks at."""
    monkeypatch.setattr(housekeeping, "KEPT", 0.0)
    monkeypatch.setattr(housekeeping, "AT_CLOSE", 120)
    async with place.connect() as session:
        for name in (kept := numbered("set", 150)):
            await session.event(name).set()
        most = 0
        for number in range(200):
            await old(place, [f"used {number}"])
            if number % 20 == 0:
                most = max(most, len(await session.names()))
        assert most - len(kept) < 150
        await tidied(session, len(await session.names()) - len(kept))
        assert await session.names() == sorted(kept)


async def test_a_session_that_closes_looks_at_a_few_old_names_only(place, monkeypatch):
    await old(place, numbered("used", 300))
    monkeypatch.setattr(housekeeping, "KEPT", 0.0)
    monkeypatch.setattr(housekeeping, "AT_CLOSE", 100)
    monkeypatch.setattr(housekeeping, "GOING_ON", 0.0)
    await until_old(place)
    async with place.connect():
        pass
    async with place.connect() as session:
        assert len(await session.names()) == 200


async def test_and_goes_on_for_a_moment_where_there_are_many(place, monkeypatch):
    await old(place, numbered("used", 300))
    monkeypatch.setattr(housekeeping, "KEPT", 0.0)
    monkeypatch.setattr(housekeeping, "AT_CLOSE", 100)
    monkeypatch.setattr(housekeeping, "GOING_ON", BOUND)
    await until_old(place)
    async with place.connect():
        pass
    async with place.connect() as session:
        assert await session.names() == []


async def test_the_loop_goes_on_while_names_are_removed(place):
    """In one of its iterations only a few are begun. (An engine in this process does each at once.)"""
    await old(place, numbered("used", 200))
    async with place.connect() as session:
        await use(session, numbered("mine", 200))
        iteration, calls = 0, []

        def tick():
            nonlocal iteration
            iteration += 1
            ticking.append(asyncio.get_running_loop().call_soon(tick))
            del ticking[:-1]

        def counted(method):
            async def call(*args, **options):
                calls.append((method.__name__, iteration))
                return await method(*args, **options)

            return call

        for name in ("apply", "remove"):
            setattr(session.engine, name, counted(getattr(session.engine, name)))
        ticking = []
        tick()
        await asyncio.sleep(0.02)
        assert await tidied(session, 400) == 400
        ticking[0].cancel()
        assert len(calls) == 600
        if not place.is_server:  # where what is called waits for an answer, after which all go on
            assert max(calls.count(call) for call in {*calls}) <= 2 * many_at_once.STEP


async def test_a_name_that_is_used_meanwhile_is_not_removed(place):
    await old(place, numbered("used", 30))
    async with place.connect() as session, place.connect() as other:
        held = []
        remove = session.engine.remove

        async def late(name, *args):
            if name == "used 7" and not held:
                held.append(await other.lock(name).acquire())
            return await remove(name, *args)

        session.engine.remove = late
        await settle()
        assert await tidied(session, 29) == 29
        assert await session.lock("used 7").locked()
        held[0].check()


async def test_tokens_rise_though_many_names_were_removed_at_once(place):
    tokens = {}
    async with place.connect() as session:
        for name in numbered("used", 120):
            async with session.lock(name) as grant:
                tokens[name] = grant.token
        assert await tidied(session, 120) == 120
        for name in tokens:
            async with session.lock(name) as grant:
                assert grant.token > tokens[name]


async def test_an_error_of_the_engine_comes_out_and_the_others_are_removed(place):
    await old(place, numbered("used", 20))
    async with place.connect() as session:
        remove = session.engine.remove

        async def failing(name, *args):
            if name == "used 3":
                raise EngineError("for the test")
            return await remove(name, *args)

        session.engine.remove = failing
        await until_old(place)
        with pytest.raises(EngineError, match="for the test"):
            await session.tidy(0)
        assert await session.names() == ["used 3"]


async def test_what_a_session_remembers_of_a_server_is_bounded(tmp_path, monkeypatch):
    """What it has forgotten it holds all the same, and asks for."""
    monkeypatch.setattr(knowledge, "MOST_KNOWN", 10)
    place = Place("valkey", tmp_path)
    async with place.connect() as session, place.connect() as other:
        locks = [session.lock(name) for name in numbered("held", 40)]
        grants = [await lock.acquire() for lock in locks]
        assert len(session.engine._known.versions) == 10
        waiting = [asyncio.create_task(other.lock(name).acquire()) for name in numbered("held", 40)]

        async def turn(name):  # before the others or after them
            async with session.lock(name):
                pass

        second = [asyncio.create_task(turn(name)) for name in numbered("held", 40)]
        await asyncio.sleep(2.0)  # they are looked at meanwhile
        assert not [grant for grant in grants if grant.lost.is_set()]
        await asyncio.gather(*(lock.release() for lock in locks))
        await asyncio.gather(*waiting)
        assert len(session.engine._known.versions) <= 10
        assert len(other.engine._known.versions) <= 10
        for task in second:
            task.cancel()


async def test_names_of_records_that_were_removed_by_hand_go_as_well(tmp_path):
    place = Place("valkey", tmp_path)
    await old(place, numbered("used", 12))
    async with redis.asyncio.Redis.from_url(place.url) as client, place.connect() as session:
        for name in numbered("used", 10):
            await client.delete(f"holdfast:{{{place.namespace}}}:record:{name}")
        await tidied(session, 12)
        assert await session.names() == []


async def test_registers_go_while_many_names_are_used_once(place, monkeypatch):
    monkeypatch.setattr(housekeeping, "MANY", 50)
    monkeypatch.setattr(housekeeping, "IDLE", 0.01)
    monkeypatch.setattr(housekeeping, "KEPT", 0.02)
    most = 0
    async with place.connect() as session:
        for some in many_at_once.slices(numbered("used", 300), 20):
            await use(session, some)
            await asyncio.sleep(0.005)
            most = max(most, len(session._life.registers.in_use))
        assert most < 200
        async with asyncio.timeout(BOUND):
            while await session.names() or session._life.registers.in_use:  # its own searches remove some as well
                await session.tidy(0)
                await asyncio.sleep(0.02)
