"""Barrier: row P1 of docs/spec.md."""

import asyncio
from typing import Any

import pytest

from .adapter import Tier


@pytest.mark.parametrize("parties", range(1, 5))
async def test_goes_on_when_all_are_there_and_again(tier: Tier, parties: int) -> None:
    barrier = tier.barrier(parties)
    for _ in range(3):
        waiters = await tier.start_all(*(barrier.wait() for _ in range(parties - 1)))
        assert not any(waiter.done() for waiter in waiters)
        assert await tier.get(barrier, "n_waiting") == parties - 1
        waiters += await tier.start_all(barrier.wait())
        assert sorted(waiter.result() for waiter in waiters) == list(range(parties))
        assert await tier.get(barrier, "n_waiting") == 0


async def test_attributes(tier: Tier) -> None:
    barrier = tier.barrier(3)
    assert await tier.get(barrier, "parties") == 3
    assert await tier.get(barrier, "n_waiting") == 0
    assert not await tier.get(barrier, "broken")


@pytest.mark.parametrize("parties", [0, -1])
async def test_needs_a_party(tier: Tier, parties: int) -> None:
    with pytest.raises(ValueError, match="parties"):
        await tier.do(tier.barrier, parties)


async def test_async_with_gives_the_index(tier: Tier) -> None:
    barrier = tier.barrier(3)
    indices = []

    async def visit() -> None:
        async with barrier as index:
            indices.append(index)

    await asyncio.gather(*(visit() for _ in range(3)))
    assert sorted(indices) == [0, 1, 2]


async def test_more_tasks_than_parties(tier: Tier) -> None:
    barrier = tier.barrier(2)
    waiters = [asyncio.ensure_future(barrier.wait()) for _ in range(5)]
    await tier.settle()
    assert sum(waiter.done() for waiter in waiters) == 4
    assert sorted(waiter.result() for waiter in waiters if waiter.done()) == [0, 0, 1, 1]
    assert await tier.get(barrier, "n_waiting") == 1
    await barrier.wait()
    await tier.settle()
    assert all(waiter.done() for waiter in waiters)


@pytest.mark.parametrize("position", [pytest.param(0, marks=pytest.mark.wrong_in_asyncio("gh-155233")), 1])
async def test_cancelled_while_the_barrier_fills(tier: Tier, position: int) -> None:
    barrier = tier.barrier(3)
    waiters = await tier.start_all(barrier.wait(), barrier.wait())
    cancelled = waiters.pop(position)
    cancelled.cancel()
    await tier.settle()
    assert cancelled.cancelled()
    assert await tier.get(barrier, "n_waiting") == 1
    assert not await tier.get(barrier, "broken")
    waiters += await tier.start_all(barrier.wait())
    assert not any(waiter.done() for waiter in waiters)
    waiters += await tier.start_all(barrier.wait())
    assert sorted(waiter.result() for waiter in waiters) == [0, 1, 2]


async def test_cancelled_after_the_barrier_is_full(tier: Tier) -> None:
    barrier = tier.barrier(3)
    waiters = await tier.start_all(barrier.wait(), barrier.wait())
    last = asyncio.ensure_future(barrier.wait())
    while not last.done():
        await asyncio.sleep(0)
    waiters[0].cancel()
    await tier.settle()
    indices = [waiter.result() for waiter in [*waiters, last] if not waiter.cancelled()]
    assert len(set(indices)) == len(indices) >= 2
    assert set(indices) <= {0, 1, 2}
    again = await tier.start_all(*(barrier.wait() for _ in range(3)))
    assert sorted(waiter.result() for waiter in again) == [0, 1, 2]


async def test_cancelled_and_filled_at_the_same_time(tier: Tier) -> None:
    barrier = tier.barrier(2)
    first = await tier.start(barrier.wait())
    first.cancel()
    second = await tier.start(barrier.wait())
    if first.cancelled():
        assert not second.done()
        assert await tier.get(barrier, "n_waiting") == 1
        third = await tier.start(barrier.wait())
        assert sorted([second.result(), third.result()]) == [0, 1]
    else:
        assert sorted([first.result(), second.result()]) == [0, 1]


async def test_reset(tier: Tier) -> None:
    barrier = tier.barrier(3)
    waiters = await tier.start_all(barrier.wait(), barrier.wait())
    await barrier.reset()
    await tier.settle()
    for waiter in waiters:
        with pytest.raises(asyncio.BrokenBarrierError):
            await waiter
    assert not await tier.get(barrier, "broken")
    assert await tier.get(barrier, "n_waiting") == 0
    waiters = await tier.start_all(*(barrier.wait() for _ in range(3)))
    assert sorted(waiter.result() for waiter in waiters) == [0, 1, 2]


async def test_reset_of_an_empty_barrier(tier: Tier) -> None:
    barrier = tier.barrier(2)
    await barrier.reset()
    await tier.settle()
    waiters = await tier.start_all(barrier.wait(), barrier.wait())
    assert sorted(waiter.result() for waiter in waiters) == [0, 1]


async def test_abort_and_reset(tier: Tier) -> None:
    barrier = tier.barrier(3)
    waiters = await tier.start_all(barrier.wait(), barrier.wait())
    await barrier.abort()
    await tier.settle()
    for waiter in waiters:
        with pytest.raises(asyncio.BrokenBarrierError):
            await waiter
    assert await tier.get(barrier, "broken")
    with pytest.raises(asyncio.BrokenBarrierError):
        await barrier.wait()
    with pytest.raises(asyncio.BrokenBarrierError):
        async with barrier:
            pytest.fail("entered a broken barrier")
    await barrier.reset()
    assert not await tier.get(barrier, "broken")
    waiters = await tier.start_all(*(barrier.wait() for _ in range(3)))
    assert sorted(waiter.result() for waiter in waiters) == [0, 1, 2]


async def test_wait_for_that_runs_out_of_time(tier: Tier) -> None:
    barrier = tier.barrier(2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(barrier.wait(), 0.01)
    await tier.settle()  # in another process, a task that comes before the other has left would meet it
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), barrier:
            pytest.fail("passed alone")
    await tier.settle()
    assert await tier.get(barrier, "n_waiting") == 0
    waiters: list[Any] = await tier.start_all(barrier.wait(), barrier.wait())
    assert sorted(waiter.result() for waiter in waiters) == [0, 1]
