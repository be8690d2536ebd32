"""Event: rows E1 to E4 of docs/spec.md."""

import asyncio

import pytest

from .adapter import Tier


async def test_wait_on_a_set_event_returns_at_once(tier: Tier) -> None:
    event = tier.event()
    await tier.do(event.set)
    assert await event.wait()
    assert await event.wait()


async def test_wait_until_set(tier: Tier) -> None:
    event = tier.event()
    waiters = await tier.start_all(*(event.wait() for _ in range(3)))
    assert not any(waiter.done() for waiter in waiters)
    await tier.do(event.set)
    await tier.settle()
    assert all(waiter.result() for waiter in waiters)


async def test_wakes_in_order(tier: Tier) -> None:
    event = tier.event()
    order = []

    async def wait(number: int) -> None:
        await event.wait()
        order.append(number)

    await tier.start_all(*map(wait, range(5)))
    await tier.do(event.set)
    await tier.settle()
    assert order == list(range(5))


async def test_is_set(tier: Tier) -> None:
    event = tier.event()
    assert not await tier.do(event.is_set)
    await tier.do(event.set)
    assert await tier.do(event.is_set)
    await tier.do(event.set)
    assert await tier.do(event.is_set)
    await tier.do(event.clear)
    assert not await tier.do(event.is_set)
    await tier.do(event.clear)
    assert not await tier.do(event.is_set)


async def test_clear_at_once_after_set_wakes_who_waited(tier: Tier) -> None:
    event = tier.event()
    waiters = await tier.start_all(*(event.wait() for _ in range(3)))
    await tier.do(event.set)
    await tier.do(event.clear)
    late = await tier.start(event.wait())
    assert all(waiter.result() for waiter in waiters)
    assert not late.done()
    assert not await tier.do(event.is_set)
    await tier.do(event.set)
    await tier.settle()
    assert late.result()


async def test_wait_blocks_again_after_clear(tier: Tier) -> None:
    event = tier.event()
    await tier.do(event.set)
    await tier.do(event.clear)
    waiter = await tier.start(event.wait())
    assert not waiter.done()
    await tier.do(event.set)
    await tier.settle()
    assert waiter.result()


@pytest.mark.parametrize("position", range(3))
async def test_cancelling_a_waiter_leaves_the_others(tier: Tier, position: int) -> None:
    event = tier.event()
    waiters = await tier.start_all(*(event.wait() for _ in range(3)))
    cancelled = waiters.pop(position)
    cancelled.cancel()
    await tier.settle()
    assert cancelled.cancelled()
    assert not any(waiter.done() for waiter in waiters)
    await tier.do(event.set)
    await tier.settle()
    assert all(waiter.result() for waiter in waiters)


@pytest.mark.parametrize("set_first", [True, False])
async def test_set_and_cancellation_at_the_same_time(tier: Tier, set_first: bool) -> None:
    event = tier.event()
    first, second = await tier.start_all(event.wait(), event.wait())
    if set_first:
        await tier.do(event.set)
        first.cancel()
    else:
        first.cancel()
        await tier.do(event.set)
    await tier.do(event.clear)
    await tier.settle()
    assert first.cancelled() or first.result()
    assert second.result()
    late = await tier.start(event.wait())
    assert not late.done()
    await tier.do(event.set)
    await tier.settle()
    assert late.result()


async def test_wait_for_that_runs_out_of_time(tier: Tier) -> None:
    event = tier.event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(event.wait(), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await event.wait()
    assert not await tier.do(event.is_set)
    await tier.do(event.set)
    assert await asyncio.wait_for(event.wait(), 60)
