"""RWLock: any number of readers, or one writer, in the order of asking."""

from __future__ import annotations

import asyncio

import pytest

from .adapter import Tier

pytestmark = pytest.mark.beyond_asyncio


async def test_readers_are_in_together_and_a_writer_is_alone(tier: Tier) -> None:
    reader, writer = tier.rw_lock()
    assert await reader.acquire()
    assert await reader.acquire()
    assert not await tier.do(writer.try_acquire)
    waiting = await tier.start(writer.acquire())
    await tier.do(reader.release)
    await tier.settle()
    assert not waiting.done()
    await tier.do(reader.release)
    await tier.settle()
    assert waiting.result()
    assert not await tier.do(reader.try_acquire)
    assert not await tier.do(writer.try_acquire)
    await tier.do(writer.release)
    assert not await tier.do(writer.locked)


async def test_they_come_in_in_the_order_of_asking(tier: Tier) -> None:
    reader, writer = tier.rw_lock()
    await reader.acquire()
    w1, r2, r3, w2, r4 = await tier.start_all(
        writer.acquire(), reader.acquire(), reader.acquire(), writer.acquire(), reader.acquire()
    )
    assert not await tier.do(reader.try_acquire), "it would overtake a writer"
    for leaving, times, inside in [
        (reader, 1, [w1]),
        (writer, 1, [w1, r2, r3]),
        (reader, 2, [w1, r2, r3, w2]),
        (writer, 1, [w1, r2, r3, w2, r4]),
    ]:
        for _ in range(times):
            await tier.do(leaving.release)
        await tier.settle()
        assert [task for task in (w1, r2, r3, w2, r4) if task.done()] == inside
    await tier.do(reader.release)
    assert not await tier.do(writer.locked)


async def test_a_cancelled_writer_lets_the_readers_behind_it_in(tier: Tier) -> None:
    """In aiorwlock 1.5.1 and Nito.AsyncEx #134 they sleep on."""
    reader, writer = tier.rw_lock()
    await reader.acquire()
    waiting, *behind = await tier.start_all(writer.acquire(), reader.acquire(), reader.acquire())
    waiting.cancel()
    await asyncio.wait([waiting])
    await tier.settle()
    assert all(task.done() for task in behind)
    for _ in range(3):
        await tier.do(reader.release)
    assert not await tier.do(writer.locked)


async def test_a_writer_becomes_a_reader_and_no_writer_comes_between(tier: Tier) -> None:
    reader, writer = tier.rw_lock()
    await writer.acquire()
    behind, next_writer = await tier.start_all(reader.acquire(), writer.acquire())
    await tier.do(writer.downgrade)
    await tier.settle()
    assert behind.done()
    assert not next_writer.done()
    await tier.do(writer.release)
    await tier.do(reader.release)
    await tier.settle()
    assert next_writer.done()
    await tier.do(writer.release)
    for side in (reader, writer):
        with pytest.raises(RuntimeError):
            await tier.do(side.release)
