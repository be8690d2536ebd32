"""An RWLock of sessions: who comes in with whom, in which order, and what becomes of who leaves. Step by step."""

from __future__ import annotations

import asyncio
import re

import pytest

from holdfast.cluster import Fence, LeaseLost, NameConflict, StaleToken
from holdfast.cluster.records.record import Wake
from holdfast.cluster.records.rw_lock import Read, RWLockRecord, Write
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import encode

from .engines import die, memory, place, run, settle
from .steps import close, in_line, make_distant, start

__all__ = ["memory", "place", "run"]  # the fixtures


async def pair(place):
    """An RWLock in two sessions."""
    sessions = [await place.opened(), await place.opened()]
    return sessions, [session.rw_lock("rw") for session in sessions]


async def test_they_come_in_in_the_order_of_asking(place):
    sessions, (one, two) = await pair(place)
    async with one.reader, two.reader:
        assert not await one.reader.locked()
        assert await two.writer.locked()
        assert await two.writer.try_acquire() is None
        writer, third, fourth, last = await in_line(
            sessions, two.writer.acquire(), one.reader.acquire(), two.reader.acquire(), one.writer.acquire()
        )
        assert not any(each.done() for each in (writer, third, fourth, last)), "a reader has overtaken a writer"
        assert await one.reader.try_acquire() is None, "it would overtake"
        assert await one.reader.locked()
    await settle(*sessions)
    assert writer.done()
    assert not third.done()
    await two.writer.release()
    await settle(*sessions)
    assert third.done(), "readers come in together"
    assert fourth.done(), "readers come in together"
    assert not last.done()
    await one.reader.release()
    await settle(*sessions)
    assert not last.done()
    await two.reader.release()
    async with asyncio.timeout(30):
        await last
    await one.writer.release()
    assert not await two.writer.locked()
    await close(sessions)


@pytest.mark.parametrize("how", ["is cancelled", "its session dies"])
async def test_when_a_writer_leaves_the_line_the_readers_behind_it_come_in(place, how):
    """aiorwlock 1.5.1, Nito.AsyncEx #134 and .NET's ReaderWriterLockSlim let them sleep on."""
    sessions, (one, two) = await pair(place)
    async with one.reader:
        writer, reader = await in_line(sessions, two.writer.acquire(), one.reader.acquire())
        assert not reader.done()
        if how == "its session dies":
            await die(sessions[1])
        writer.cancel()
        async with asyncio.timeout(30):
            await reader
    await one.reader.release()
    await close(sessions)


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_the_death_of_who_is_in_lets_the_next_in(memory, side):
    sessions, (one, two) = await pair(memory)
    for _ in range(1 if side == "writer" else 2):
        await getattr(two, side).acquire()
    [writer] = await in_line(sessions, one.writer.acquire())
    await die(sessions[1])
    async with asyncio.timeout(30):
        await writer
    await close(sessions)


async def test_a_writer_becomes_a_reader_and_no_writer_is_in_between(place):
    sessions, (one, two) = await pair(place)
    async with one.writer as grant:
        reader, writer, late = await in_line(sessions, two.reader.acquire(), two.writer.acquire(), one.reader.acquire())
        await one.writer.downgrade()
        grant.check()
        async with asyncio.timeout(30):
            assert (await reader).token == grant.token
        await settle(*sessions)
        assert not writer.done()
        assert not late.done(), "it stands behind a writer"
        with pytest.raises(RuntimeError, match="is not acquired, so it cannot become a reader"):
            await one.writer.downgrade()
    await two.reader.release()
    async with asyncio.timeout(30):
        assert (await writer).token == grant.token + 1
    await two.writer.release()
    await late
    await one.reader.release()
    await close(sessions)


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_a_writer_that_became_a_reader_is_released_by_either_side(memory, side):
    sessions, (one, two) = await pair(memory)
    grant = await one.writer.acquire()
    await one.writer.downgrade()
    await getattr(one, side).release()
    assert grant.released
    assert await two.writer.try_acquire()
    for each in (one.reader, one.writer):
        with pytest.raises(RuntimeError, match="is not acquired"):
            await each.release()
    await close(sessions)


async def test_a_fence_refuses_a_reader_that_comes_after_the_next_writer(memory):
    sessions, (one, two) = await pair(memory)
    fence = Fence()
    first = await one.writer.acquire()
    await one.writer.release()
    reader = await two.reader.acquire()
    assert reader.token == first.token
    fence.check(first.token)
    fence.check(reader.token)
    await two.reader.release()
    second = await one.writer.acquire()
    assert second.token > reader.token
    fence.check(second.token)
    with pytest.raises(StaleToken):
        fence.check(reader.token)
    await close(sessions)


@pytest.mark.parametrize("side", ["reader", "writer"])
@pytest.mark.parametrize("iterations", range(10))
async def test_a_cancelled_acquire_leaves_nothing_behind(memory, side, iterations):
    """It is cancelled at each moment on the way: before the request, while it is under way, after the grant."""
    sessions, (one, two) = await pair(memory)
    make_distant(sessions[0])
    task = start(getattr(one, side).acquire())
    for _ in range(iterations):
        await asyncio.sleep(0)
    if task.cancel():
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await getattr(one, side).release()
    await settle(*sessions)
    assert await two.writer.try_acquire()
    await close(sessions)


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_a_grant_that_nobody_takes_goes_on(memory, side):
    """The task is cancelled in the step in which it comes in."""
    sessions, (one, two) = await pair(memory)
    await one.writer.acquire()
    waiter, writer = await in_line(sessions, getattr(two, side).acquire(), one.writer.acquire())
    await one.writer.release()
    waiter.cancel()
    async with asyncio.timeout(30):
        await writer
    assert waiter.cancelled()
    await close(sessions)


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_who_has_lost_it_is_cancelled(memory, side):
    sessions, (one, two) = await pair(memory)

    async def body():
        async with getattr(one, side):
            await asyncio.sleep(60)

    [inside] = await in_line(sessions, body())
    await sessions[1].evict(sessions[0].id)
    assert await two.writer.acquire()
    with pytest.raises(LeaseLost, match="was lost"):
        await inside
    await close(sessions)


@pytest.mark.parametrize("do", ["downgrade", "release"])
async def test_a_writer_whose_record_was_replaced_learns_it(memory, do):
    sessions, (one, _) = await pair(memory)
    grant = await one.writer.acquire()
    await memory.by_hand(lambda text: re.sub(r'\["[^\]]*\]', "null", text), "rw")
    with pytest.raises(LeaseLost, match="was removed or replaced"):
        await getattr(one.writer, do)()
    assert grant.lost.is_set()
    await close(sessions)


async def test_inspect_says_who_reads_and_who_waits_to_write(memory):
    sessions, (one, two) = await pair(memory)
    async with one.reader, one.reader, two.reader:
        tasks = await in_line(sessions, two.writer.acquire(), one.reader.acquire())
        found = await sessions[0].inspect("rw")
        assert found.kind == "reader-writer lock"
        assert sorted((each.side, each.permits) for each in found.holders) == [("reader", 1), ("reader", 2)]
        assert [(each.side, each.tasks, each.permits) for each in found.waiters] == [("writer", 1, 1), ("reader", 1, 1)]
        assert found.state["readers"] == 3
        assert not found.state["writing"]
        for task in tasks:
            task.cancel()
    async with one.writer as grant:
        found = await sessions[0].inspect("rw")
        assert [(each.side, each.token) for each in found.holders] == [("writer", grant.token)]
        assert found.holders[0].since is not None
    await settle(*sessions)
    assert not (await sessions[0].inspect("rw")).holders
    await close(sessions)


async def test_a_name_has_one_kind(memory):
    async with memory.connect() as one, memory.connect() as two:
        async with one.rw_lock("x").reader:
            with pytest.raises(NameConflict, match=r"'x' is a reader-writer lock, made by .* is used here as a lock"):
                await two.lock("x").acquire()


async def test_misuse(memory):
    async with memory.connect() as session:
        rw = session.rw_lock("x")
        for side in (rw.reader, rw.writer):
            with pytest.raises(RuntimeError, match="is not acquired"):
                await side.release()
            with pytest.raises(TypeError, match="is held with 'async with', not with 'with'"), side:
                pass
            with pytest.raises(TypeError, match="there is no timeout="):
                await side.acquire(timeout=1)
        with pytest.raises(RuntimeError, match="is not acquired, so it cannot become a reader"):
            await rw.writer.downgrade()
        with pytest.raises(TypeError, match="there is no timeout="):
            session.rw_lock("x", timeout=1)
        with pytest.raises(ValueError, match="a name is a text"):
            session.rw_lock("")


def applied(record, *batches):
    for batch in batches:
        done = step(record, batch)
        record = done.record
    return record


def test_readers_that_come_in_together_are_one_wake_up_for_each_session():
    record = applied(
        RWLockRecord(tokens=7),
        Batch("w", 1, (Write(1),)),
        Batch("a", 1, (Read(1), Read(2), Read(3))),
        Batch("b", 1, (Read(1),)),
        Batch("a", 2, (Write(4),)),
    )
    assert encode(record).count("\n") == 7, "a row for each run, and for each answer, and the state"
    done = step(record, Batch("", 0, ()), {"w"})
    assert [wake for wake in done.wakes if wake.tickets] == [Wake("a", 1, 8, 3), Wake("b", 1, 8, 1)]
    assert done.record.readers == {"a": 3, "b": 1}
