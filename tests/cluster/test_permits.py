"""Several permits of a session's semaphore at once: who gets them, and what becomes of them. Driven step by step."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.cluster import LeaseLost
from holdfast.cluster.records.semaphore import AcquireMany, GiveBackMany, SemaphoreRecord
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import decode_document, encode, parse

from .engines import die, memory, place, run, settle
from .steps import close, make_distant, start

__all__ = ["memory", "place", "run"]  # the fixtures


async def pair(place, value=3, bounded=True):
    """A semaphore in two sessions."""
    sessions = [await place.opened(), await place.opened()]
    kind = "bounded_semaphore" if bounded else "semaphore"
    return sessions, [getattr(session, kind)("s", value) for session in sessions]


async def record_of(session):
    text = await session.engine.read("s")
    return decode_document(parse(text, "s"), text, "s", SemaphoreRecord(value=3, free=3, bounded=True))


async def test_they_are_had_at_once_in_the_order_of_asking(place):
    sessions, (mine, other) = await pair(place)
    grant = await mine.acquire(2)
    assert grant.permits == 2
    large = start(other.acquire(3))
    await settle(*sessions)
    small = start(mine.acquire())
    await settle(*sessions)
    assert not small.done(), "it has overtaken"
    assert not await mine.try_acquire(), "it would overtake"
    assert await mine.locked()
    await mine.release(2)
    assert (await large).permits == 3
    await settle(*sessions)
    assert not small.done()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(other.release(3))
        assert (await small).permits == 1
    async with other.permits(2) as grant:
        assert grant.permits == 2
        assert await mine.locked()
    await mine.release()
    assert await other.try_acquire(n=3)
    await close(sessions)


@pytest.mark.parametrize("how", ["is cancelled", "its session dies", "is refused"])
async def test_when_the_head_leaves_those_behind_come_in(place, how):
    sessions, (mine, other) = await pair(place)
    await mine.acquire()
    large = start(other.acquire(3))
    await settle(*sessions)
    small = [start(mine.acquire()) for _ in range(2)]
    await settle(*sessions)
    assert not any(each.done() for each in small)
    match how:
        case "is cancelled":
            large.cancel()
        case "its session dies":
            await die(sessions[1])
            large.cancel()
        case _:
            await mine.resize(2)
            with pytest.raises(ValueError, match="n must be at most 2, which is how many permits there are, not 3"):
                await large
            await mine.resize(3)
    async with asyncio.timeout(30):
        await asyncio.gather(*small)
    assert await mine.locked()
    await close(sessions)


async def test_the_death_of_a_holder_frees_all_its_permits(memory):
    sessions, (mine, other) = await pair(memory, 5)
    await other.acquire(2)
    await other.acquire(3)
    large = start(mine.acquire(5))
    await settle(*sessions)
    await die(sessions[1])
    async with asyncio.timeout(30):
        assert (await large).permits == 5
    await close(sessions)


@pytest.mark.parametrize("iterations", range(10))
async def test_a_cancelled_acquire_gives_all_of_them_back(memory, iterations):
    """It is cancelled at each moment on the way: before the request, while it is under way, after the grant."""
    sessions, (mine, other) = await pair(memory)
    make_distant(sessions[0])
    task = start(mine.acquire(3))
    for _ in range(iterations):
        await asyncio.sleep(0)
    if task.cancel():
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await mine.release(3)
    await settle(*sessions)
    assert (await other.acquire(3)).permits == 3
    await close(sessions)


async def test_a_grant_that_nobody_takes_gives_all_of_them_back(memory):
    """The task is cancelled in the step in which the permits come."""
    sessions, (mine, other) = await pair(memory)
    await mine.acquire(2)
    large = start(other.acquire(2))
    await settle(*sessions)
    await mine.release(2)
    large.cancel()
    await settle(*sessions)
    assert large.cancelled()
    assert await mine.try_acquire(3)
    await close(sessions)


async def test_more_than_there_are_is_an_error_at_once(place):
    sessions, (mine, other) = await pair(place)
    await mine.acquire(3)
    for ask in (other.acquire, other.try_acquire):
        with pytest.raises(ValueError, match="n must be at most 3, which is how many permits there are, not 4"):
            await ask(4)
    await mine.resize(4)
    large = start(other.acquire(4))
    await settle(*sessions)
    await mine.release(3)
    assert (await large).permits == 4
    await close(sessions)


async def test_who_was_refused_leaves_nothing_behind(memory):
    """Also if it is cancelled before it has seen that."""
    sessions, (mine, other) = await pair(memory)
    await mine.acquire()
    waiting = [start(other.acquire(3)) for _ in range(3)]
    await settle(*sessions)
    resized = start(mine.resize(2))
    while not (await record_of(sessions[0])).refused:
        await asyncio.sleep(0)
    waiting[0].cancel()
    assert {type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} <= {
        ValueError,
        asyncio.CancelledError,
    }
    await resized
    await mine.release()
    await settle(*sessions)
    record = await record_of(sessions[0])
    assert not record.refused
    assert record.permits == {}
    assert await other.try_acquire(2)
    await close(sessions)


async def test_a_semaphore_without_a_bound_waits_for_permits_that_are_added(place):
    sessions, (mine, other) = await pair(place, 1, bounded=False)
    large = start(other.acquire(4))
    await settle(*sessions)
    await mine.release(3)
    assert (await large).permits == 4
    await close(sessions)


async def test_they_are_given_back_in_parts(place):
    sessions, (mine, other) = await pair(place, 6)
    first, second = await mine.acquire(3), await mine.acquire(3)
    await mine.release()
    assert (first.permits, first.released, second.permits) == (2, False, 3)
    first.check()
    await mine.release(4)
    assert (first.released, second.permits, second.released) == (True, 1, False)
    assert (await other.acquire(5)).permits == 5
    with pytest.raises(ValueError, match="it holds 1 permits here, not 2; none was given back"):
        await mine.release(2)
    assert not await mine.try_acquire(), "a permit was made"
    await mine.release()
    with pytest.raises(ValueError, match="this session holds fewer than 2 permits of it"):
        await mine.release(2)
    assert await mine.try_acquire()
    await close(sessions)


async def test_what_is_released_beyond_what_is_held_is_added(place):
    sessions, (mine, other) = await pair(place, 2, bounded=False)
    grant = await mine.acquire(2)
    await mine.release(3)
    assert grant.released
    assert (await other.acquire(3)).permits == 3
    await close(sessions)


async def test_a_body_that_gives_back_a_part_gives_back_the_rest_at_its_end(memory):
    sessions, (mine, other) = await pair(memory)
    async with mine.permits(3) as grant:
        await mine.release(2)
        assert grant.permits == 1
        assert await other.try_acquire(2)
    assert grant.released
    assert await other.try_acquire()
    await close(sessions)


async def test_they_are_lost_together_with_the_session(memory):
    sessions, (mine, other) = await pair(memory)

    async def body():
        async with mine.permits(2):
            await asyncio.sleep(60)

    inside = start(body())
    await settle(*sessions)
    await sessions[1].evict(sessions[0].id)
    assert (await other.acquire(3)).permits == 3
    with pytest.raises(LeaseLost, match="was lost"):
        await inside
    await close(sessions)


async def test_a_record_that_has_fewer_permits_than_are_held_is_not_believed(memory):
    """Somebody has put another one in its place, in which the session holds one of its three."""
    sessions, (mine, _) = await pair(memory)
    grant = await mine.acquire(3)
    await memory.by_hand(lambda text: text.replace(",0,{", ",2,{").replace(":3}", ":1}"), "s")
    with pytest.raises(LeaseLost, match="its record was removed or replaced"):
        await mine.release(3)
    assert grant.released
    assert (await record_of(sessions[0])).permits == {sessions[0].id: 1}, "it has given back what it did not have"
    await close(sessions)


@pytest.mark.parametrize("wrong", [0, -1])
async def test_one_permit_is_the_least(memory, wrong):
    async with memory.connect() as session:
        semaphore = session.semaphore("s", 2)
        for call in (semaphore.acquire, semaphore.try_acquire, semaphore.release):
            with pytest.raises(ValueError, match="n, a number of permits, must be one or more"):
                await call(wrong)
        with pytest.raises(ValueError, match="n, a number of permits, must be one or more"):
            semaphore.permits(wrong)
        with pytest.raises(TypeError, match=r"n, a number of permits, must be an integer, not 1\.5"):
            await semaphore.acquire(1.5)
        with pytest.raises(TypeError, match="is held with 'async with', not with 'with'"), semaphore.permits(2):
            pass
        assert "2 permits of <holdfast.cluster.Semaphore 's'" in repr(semaphore.permits(2))


async def test_inspect_says_how_many_are_held_and_asked_for(memory):
    sessions, (mine, other) = await pair(memory)
    await mine.acquire(2)
    waiting = [start(other.acquire(3)), start(other.acquire(3)), start(other.acquire())]
    await settle(*sessions)
    found = await sessions[0].inspect("s")
    assert [holding.permits for holding in found.holders] == [2]
    assert [(each.tasks, each.permits) for each in found.waiters] == [(2, 3), (1, 1)]
    for each in waiting:
        each.cancel()
    await close(sessions)


def test_a_session_that_holds_several_needs_as_many_in_the_record():
    record = SemaphoreRecord(value=5, free=2, permits={"a": 3})
    assert record.keeps("a", {1: 3})
    assert record.keeps("a", {1: 2, 7: 1})
    assert not record.keeps("a", {1: 3, 7: 1})
    assert not record.keeps("b", {1: 1})


def test_tasks_that_ask_for_the_same_are_one_row_of_the_record():
    """A line grows with the sessions that wait, and not with the tasks."""
    record = SemaphoreRecord(value=3, free=0, permits={"a": 3}).but(made_by="a")
    for number in range(1, 101):
        record = step(record, Batch("b", number, (AcquireMany(number, 2),), 1.0)).record
    assert encode(record).count("\n") == 3
    assert "b\t1.0\t2\t1\t101" in encode(record)
    done = step(record, Batch("a", 1, (GiveBackMany(3),), 2.0))
    assert [(wake.session, wake.ticket, wake.value, wake.tickets) for wake in done.wakes if wake.tickets] == [
        ("b", 1, 1, 1)
    ]
    assert done.record.free == 1
