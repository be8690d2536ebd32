"""close(): who waits and who comes is told why, and holders go on. tests/cluster/test_close.py is for sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

import holdfast

from .adapter import Tier

pytestmark = pytest.mark.beyond_asyncio


def is_told(task: Any) -> bool:
    error = task.exception() if task.done() else None
    return isinstance(error, holdfast.Closed) and str(error).endswith("is closed: over")


async def late(call: Awaitable[Any]) -> asyncio.Future[Any]:
    """A call that comes when it is closed, once that has ended."""
    task = asyncio.ensure_future(call)
    await asyncio.wait([task])
    return task


async def test_the_holder_of_a_closed_lock_goes_on(tier: Tier) -> None:
    lock = tier.lock()
    await lock.acquire()
    waiting = await tier.start_all(lock.acquire(), lock.acquire(), lock.acquire())
    await tier.do(lock.close, "over")
    await tier.do(lock.close, "over again")
    await asyncio.wait(waiting)
    assert all(map(is_told, waiting))
    assert await tier.do(lock.is_closed)
    assert await tier.do(lock.locked)
    assert is_told(await late(lock.acquire()))
    await tier.do(lock.release)
    assert not await tier.do(lock.locked)
    assert is_told(await late(lock.acquire()))


async def test_a_closed_event_barrier_and_limiter(tier: Tier) -> None:
    event, barrier, limiter = tier.event(), tier.barrier(3), tier.rate_limiter(1, 3600, 1)
    await limiter.acquire()
    for primitive, wait in ((event, event.wait), (barrier, barrier.wait), (limiter, limiter.acquire)):
        waiting = await tier.start_all(wait(), wait())
        await tier.do(primitive.close, "over")
        await asyncio.wait(waiting)
        assert all(map(is_told, waiting))
        assert is_told(await late(wait()))
    await tier.do(event.set)
    assert await event.wait()


async def test_who_waits_in_a_closed_condition_has_the_lock_again(tier: Tier) -> None:
    condition = tier.condition()

    async def wait() -> None:
        async with condition:
            try:
                await condition.wait()
            finally:
                assert await tier.do(condition.locked)

    waiting = await tier.start_all(wait(), wait())
    async with condition:
        await tier.do(condition.close, "over")
        await tier.settle()
        assert not any(task.done() for task in waiting), "somebody is in beside the holder"
    await asyncio.wait(waiting)
    assert all(map(is_told, waiting))
    assert is_told(await late(wait()))
    assert not await tier.do(condition.locked)


async def test_wait_for_takes_the_last_items_of_which_nobody_was_notified(tier: Tier) -> None:
    condition, items = tier.condition(), list[str]()

    async def take() -> str:
        async with condition:
            await condition.wait_for(lambda: items)
            return items.pop()

    first, second = await tier.start_all(take(), take())
    items.append("last")
    await tier.do(condition.close, "over")
    await asyncio.wait([first, second])
    assert not items
    told, taken = sorted((first, second), key=lambda task: task.exception() is None)
    assert taken.result() == "last"
    assert is_told(told)
    assert not await tier.do(condition.locked)
