"""inspect_all(): what inspect() tells of each name, in a few requests, on each engine."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.cluster.errors import FormatError

from .engines import Place
from .engines import memory as memory
from .engines import place as place
from .engines import run as run


async def test_it_tells_what_inspect_tells_of_each(place: Place) -> None:
    async with place.connect() as one, place.connect() as two:
        assert await one.inspect_all() == []
        async with one.lock("lock"), two.semaphore("semaphore", 3), one.rw_lock("readers").reader:
            await two.event("event").set()
            waiting = asyncio.create_task(two.lock("lock").acquire())
            while not (await one.inspect("lock")).waiters:
                await asyncio.sleep(0.001)
            found = await one.inspect_all()
            assert [each.name for each in found] == ["event", "lock", "readers", "semaphore"]
            assert found == [await one.inspect(each.name) for each in found]
            assert found == await one.inspect_all(), "from what it knows"
        await waiting


async def test_what_has_changed_is_seen_by_the_next_look(place: Place) -> None:
    async with place.connect() as one, place.connect() as two:
        lock = two.lock("lock")
        holders = []
        for _ in range(3):
            async with lock:
                ((found,),) = [await one.inspect_all()]
                holders.append((found.holders[0].session.id, found.holders[0].token))
            ((found,),) = [await one.inspect_all()]
            assert found.holders == ()
        assert {id for id, _ in holders} == {two.id}
        assert len({token for _, token in holders}) == 3


async def test_a_session_that_is_closed_is_not_dead(place: Place) -> None:
    async with place.connect() as one:
        async with place.connect() as two:
            await two.lock("lock").acquire()
            assert (await one.inspect_all())[0].holders
        ((found,),) = [await one.inspect_all()]
        assert (found.holders, found.dead) == ((), ())


async def test_more_names_than_are_asked_for_at_once(memory: Place) -> None:
    async with memory.connect() as session:
        names = [f"name {number:04}" for number in range(450)]
        for name in names:
            await session.event(name).set()
        assert [each.name for each in await session.inspect_all()] == names


async def test_a_record_of_another_version_does_not_hide_the_others(memory: Place) -> None:
    async with memory.connect() as session:
        for name in ("a", "b", "c"):
            await session.event(name).set()
        await session.engine.apply("b", lambda stored: ('{"format": 999, "kind": "event", "by": "me"}', None))
        with pytest.raises(FormatError):
            await session.inspect_all()
        errors: list[FormatError] = []
        assert [each.name for each in await session.inspect_all(on_error=errors.append)] == ["a", "c"]
        assert len(errors) == 1
        assert "'b'" in str(errors[0])


def test_threads_have_it_too(memory: Place) -> None:
    with memory.connect().sync as session, session.lock("lock"):
        assert [each.name for each in session.inspect_all()] == ["lock"]
