"""Semaphore and BoundedSemaphore: rows S1 to S5, B1 and B2 of docs/spec.md."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from .adapter import Tier

NewSemaphore = Callable[[int], Any]


@pytest.fixture(params=["Semaphore", "BoundedSemaphore"])
def new(request: pytest.FixtureRequest, tier: Tier) -> NewSemaphore:
    """The function that makes the semaphore. A BoundedSemaphore has to pass the tests of a Semaphore too."""
    return tier.semaphore if request.param == "Semaphore" else tier.bounded_semaphore


async def take(tier: Tier, semaphore: Any, permits: int) -> None:
    for _ in range(permits):
        assert await semaphore.acquire()


async def put_back(tier: Tier, semaphore: Any, permits: int) -> None:
    for _ in range(permits):
        await tier.do(semaphore.release)
    await tier.settle()


async def test_negative_value_is_an_error(tier: Tier, new: NewSemaphore) -> None:
    with pytest.raises(ValueError, match="0"):
        await tier.do(new, -1)


async def test_as_many_permits_as_the_value(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(3)
    assert not await tier.do(semaphore.locked)
    await take(tier, semaphore, 2)
    assert not await tier.do(semaphore.locked)
    await take(tier, semaphore, 1)
    assert await tier.do(semaphore.locked)
    fourth = await tier.start(semaphore.acquire())
    assert not fourth.done()
    await put_back(tier, semaphore, 1)
    assert fourth.result()
    assert await tier.do(semaphore.locked)
    await put_back(tier, semaphore, 3)
    assert not await tier.do(semaphore.locked)


async def test_value_is_one_by_default(tier: Tier) -> None:
    for semaphore in (tier.semaphore(), tier.bounded_semaphore()):
        assert await semaphore.acquire()
        assert await tier.do(semaphore.locked)
        await tier.do(semaphore.release)


async def test_value_zero_waits_for_a_release(tier: Tier) -> None:
    semaphore = tier.semaphore(0)
    assert await tier.do(semaphore.locked)
    waiter = await tier.start(semaphore.acquire())
    assert not waiter.done()
    await put_back(tier, semaphore, 1)
    assert waiter.result()
    assert await tier.do(semaphore.locked)


async def test_async_with(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(1)
    async with semaphore:
        assert await tier.do(semaphore.locked)
    assert not await tier.do(semaphore.locked)
    with pytest.raises(ZeroDivisionError):
        async with semaphore:
            raise ZeroDivisionError
    assert not await tier.do(semaphore.locked)


async def test_async_with_lets_in_no_more_than_the_value(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(2)
    inside = []

    async def visit(number: int) -> None:
        async with semaphore:
            inside.append(number)
            assert len(inside) <= 2
            await tier.settle()
            inside.remove(number)

    await asyncio.gather(*map(visit, range(5)))
    assert not await tier.do(semaphore.locked)


async def test_async_with_releases_when_its_body_is_cancelled(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(1)

    async def visit() -> None:
        async with semaphore:
            await asyncio.Event().wait()

    visitor = await tier.start(visit())
    visitor.cancel()
    await tier.settle()
    assert visitor.cancelled()
    assert not await tier.do(semaphore.locked)


async def test_first_come_first_served(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(2)
    await take(tier, semaphore, 2)
    order = []

    async def enter(number: int) -> None:
        await semaphore.acquire()
        order.append(number)

    await tier.start_all(*map(enter, range(5)))
    await put_back(tier, semaphore, 1)
    assert order == [0]
    await put_back(tier, semaphore, 2)
    assert order == [0, 1, 2]
    await put_back(tier, semaphore, 2)
    assert order == [0, 1, 2, 3, 4]
    await put_back(tier, semaphore, 2)
    assert not await tier.do(semaphore.locked)


async def test_several_releases_at_once_with_late_comers(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(3)
    await take(tier, semaphore, 3)
    order = []

    async def enter(number: int) -> None:
        await semaphore.acquire()
        order.append(number)

    await tier.start_all(enter(0), enter(1))
    for _ in range(3):
        await tier.do(semaphore.release)
    late = [asyncio.ensure_future(enter(number)) for number in (2, 3)]
    await tier.settle()
    assert order == [0, 1, 2]
    assert [task.done() for task in late] == [True, False]
    await put_back(tier, semaphore, 1)
    assert order == [0, 1, 2, 3]
    await put_back(tier, semaphore, 3)
    assert not await tier.do(semaphore.locked)


async def test_the_releaser_does_not_overtake_who_waits(tier: Tier, new: NewSemaphore) -> None:
    """bpo-45997."""
    semaphore = new(1)
    order = []
    await semaphore.acquire()

    async def visit(name: str) -> None:
        async with semaphore:
            order.append(name)

    waiting = await tier.start(visit("waiting"))
    await tier.do(semaphore.release)
    await visit("releaser")
    assert order == ["waiting", "releaser"]
    await tier.settle()
    assert waiting.done()


async def test_locked_while_a_permit_is_handed_over(tier: Tier, new: NewSemaphore) -> None:
    """gh-97028."""
    semaphore = new(1)
    await semaphore.acquire()
    second = await tier.start(semaphore.acquire())
    await tier.do(semaphore.release)
    assert await tier.do(semaphore.locked)
    await tier.settle()
    assert second.result()
    assert await tier.do(semaphore.locked)
    await put_back(tier, semaphore, 1)
    assert not await tier.do(semaphore.locked)


async def test_release_adds_a_permit(tier: Tier) -> None:
    semaphore = tier.semaphore(1)
    await put_back(tier, semaphore, 2)
    await take(tier, semaphore, 3)
    assert await tier.do(semaphore.locked)


@pytest.mark.parametrize("position", range(3))
async def test_cancelling_a_waiter_leaves_the_others_in_line(tier: Tier, new: NewSemaphore, position: int) -> None:
    semaphore = new(1)
    await semaphore.acquire()
    waiters = await tier.start_all(*(semaphore.acquire() for _ in range(3)))
    cancelled = waiters.pop(position)
    cancelled.cancel()
    await tier.settle()
    assert cancelled.cancelled()
    for waiter in waiters:
        assert not waiter.done()
        await put_back(tier, semaphore, 1)
        assert waiter.result()
    assert await tier.do(semaphore.locked)
    await put_back(tier, semaphore, 1)
    assert not await tier.do(semaphore.locked)


@pytest.mark.parametrize("release_first", [True, False])
@pytest.mark.parametrize("others", range(3))
@pytest.mark.parametrize("permits", [1, 2])
async def test_release_and_cancellation_at_the_same_time(
    tier: Tier, new: NewSemaphore, permits: int, others: int, release_first: bool
) -> None:
    """gh-90155: permits are neither lost nor made."""
    semaphore = new(permits)
    await take(tier, semaphore, permits)
    first, *rest = await tier.start_all(*(semaphore.acquire() for _ in range(1 + others)))
    if release_first:
        await tier.do(semaphore.release)
        first.cancel()
    else:
        first.cancel()
        await tier.do(semaphore.release)
    await tier.settle()
    if not first.cancelled():
        assert first.result()
        await put_back(tier, semaphore, 1)
    for waiter in rest:
        assert waiter.result()
        await put_back(tier, semaphore, 1)
    assert not await tier.do(semaphore.locked)
    await take(tier, semaphore, 1)
    assert await tier.do(semaphore.locked)


@pytest.mark.parametrize("order", ["oldest first", "newest first", "every other"])
async def test_many_cancellations(tier: Tier, new: NewSemaphore, order: str) -> None:
    semaphore = new(1)
    await semaphore.acquire()
    waiters = await tier.start_all(*(semaphore.acquire() for _ in range(20)))
    leaving = {"oldest first": waiters[:15], "newest first": waiters[:4:-1], "every other": waiters[::2]}[order]
    for waiter in leaving:
        waiter.cancel()
    await tier.settle()
    assert all(waiter.cancelled() for waiter in leaving)
    for waiter in waiters:
        if waiter not in leaving:
            assert not waiter.done()
            await put_back(tier, semaphore, 1)
            assert waiter.result()
    await put_back(tier, semaphore, 1)
    assert not await tier.do(semaphore.locked)


async def test_wait_for_that_runs_out_of_time(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(1)
    await semaphore.acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(semaphore.acquire(), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), semaphore:
            pytest.fail("entered without a permit")
    await put_back(tier, semaphore, 1)
    assert await asyncio.wait_for(semaphore.acquire(), 60)
    assert await tier.do(semaphore.locked)
    await put_back(tier, semaphore, 1)


@pytest.mark.wrong_in_asyncio("not in asyncio")
async def test_try_acquire(tier: Tier, new: NewSemaphore) -> None:
    semaphore = new(2)
    assert await tier.do(semaphore.try_acquire)
    assert await tier.do(semaphore.try_acquire)
    assert not await tier.do(semaphore.try_acquire)
    waiter = await tier.start(semaphore.acquire())
    await tier.do(semaphore.release)
    assert not await tier.do(semaphore.try_acquire)
    await tier.settle()
    assert waiter.result()
    await put_back(tier, semaphore, 1)
    assert await tier.do(semaphore.try_acquire)


async def test_bounded_semaphore_is_a_semaphore(tier: Tier) -> None:
    assert isinstance(tier.bounded_semaphore(1), type(tier.semaphore(1)))


async def test_bounded_semaphore_refuses_a_release_too_many(tier: Tier) -> None:
    semaphore = tier.bounded_semaphore(2)
    with pytest.raises(ValueError, match="too many times"):
        await tier.do(semaphore.release)
    await take(tier, semaphore, 2)
    await put_back(tier, semaphore, 2)
    with pytest.raises(ValueError, match="too many times"):
        await tier.do(semaphore.release)
    await take(tier, semaphore, 2)
    assert await tier.do(semaphore.locked)
    third = await tier.start(semaphore.acquire())
    assert not third.done()
    await put_back(tier, semaphore, 1)
    assert third.result()
    await put_back(tier, semaphore, 2)


@pytest.mark.wrong_in_asyncio("not in asyncio")
async def test_who_needs_many_is_not_overtaken(tier: Tier) -> None:
    semaphore = tier.semaphore(3)
    assert await tier.do(functools.partial(semaphore.try_acquire, n=2))
    three = await tier.start(semaphore.acquire(n=3))
    one = await tier.start(semaphore.acquire())
    assert not three.done()
    assert not one.done(), "it has overtaken"
    assert not await tier.do(semaphore.try_acquire), "it would overtake"
    assert await tier.do(semaphore.locked)
    await tier.do(functools.partial(semaphore.release, n=2))
    await tier.settle()
    assert three.result()
    assert not one.done()
    await tier.do(functools.partial(semaphore.release, n=3))
    await tier.settle()
    assert one.result()
    await put_back(tier, semaphore, 1)
    assert await tier.do(functools.partial(semaphore.try_acquire, n=3))
    await tier.do(functools.partial(semaphore.release, n=3))


@pytest.mark.wrong_in_asyncio("not in asyncio")
async def test_a_cancelled_head_of_the_line_lets_those_behind_in(tier: Tier) -> None:
    """aiorwlock 1.5.1, Nito.AsyncEx #134 and .NET's ReaderWriterLockSlim let them sleep on."""
    semaphore = tier.bounded_semaphore(2)
    await take(tier, semaphore, 1)
    large = await tier.start(semaphore.acquire(n=2))
    small = await tier.start(semaphore.acquire())
    assert not small.done()
    large.cancel()
    await tier.settle()
    assert small.result()
    await put_back(tier, semaphore, 2)
    with pytest.raises(ValueError, match="n must be at most 2"):
        await semaphore.acquire(n=3)
    assert not await tier.do(semaphore.locked)
