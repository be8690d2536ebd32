"""Lock: rows L1 to L4 of docs/spec.md."""

import asyncio

import pytest

from .adapter import Tier


async def test_acquire_and_release(tier: Tier) -> None:
    lock = tier.lock()
    assert not await tier.do(lock.locked)
    assert await lock.acquire()
    assert await tier.do(lock.locked)
    await tier.do(lock.release)
    assert not await tier.do(lock.locked)
    assert await lock.acquire()
    await tier.do(lock.release)


async def test_acquire_waits_until_released(tier: Tier) -> None:
    lock = tier.lock()
    await lock.acquire()
    second = await tier.start(lock.acquire())
    assert not second.done()
    await tier.do(lock.release)
    await tier.settle()
    assert second.result()
    assert await tier.do(lock.locked)
    await tier.do(lock.release)
    assert not await tier.do(lock.locked)


async def test_release_of_an_unlocked_lock_is_an_error(tier: Tier) -> None:
    lock = tier.lock()
    with pytest.raises(RuntimeError):
        await tier.do(lock.release)
    assert await lock.acquire()
    await tier.do(lock.release)
    with pytest.raises(RuntimeError):
        await tier.do(lock.release)
    assert not await tier.do(lock.locked)


async def test_first_come_first_served(tier: Tier) -> None:
    lock = tier.lock()
    await lock.acquire()
    order = []

    async def take(number: int) -> None:
        await lock.acquire()
        order.append(number)

    tasks = await tier.start_all(*map(take, range(5)))
    for served in range(5):
        assert order == list(range(served))
        await tier.do(lock.release)
        await tier.settle()
    assert order == list(range(5))
    assert all(task.done() for task in tasks)
    await tier.do(lock.release)


async def test_the_releaser_does_not_overtake_who_waits(tier: Tier) -> None:
    """bpo-45997."""
    lock = tier.lock()
    order = []
    await lock.acquire()

    async def take(name: str) -> None:
        await lock.acquire()
        order.append(name)
        await tier.do(lock.release)

    waiting = await tier.start(take("waiting"))
    await tier.do(lock.release)
    await take("releaser")
    assert order == ["waiting", "releaser"]
    await tier.settle()
    assert waiting.done()


@pytest.mark.wrong_in_asyncio("gh-138121")
async def test_locked_while_handed_over(tier: Tier) -> None:
    lock = tier.lock()
    await lock.acquire()
    second = await tier.start(lock.acquire())
    await tier.do(lock.release)
    assert await tier.do(lock.locked)
    await tier.settle()
    assert second.result()
    await tier.do(lock.release)


async def test_another_task_may_release(tier: Tier) -> None:
    lock = tier.lock()
    await lock.acquire()
    await (await tier.start(tier.do(lock.release)))
    assert not await tier.do(lock.locked)


async def test_async_with(tier: Tier) -> None:
    lock = tier.lock()
    async with lock:
        assert await tier.do(lock.locked)
    assert not await tier.do(lock.locked)
    with pytest.raises(ZeroDivisionError):
        async with lock:
            raise ZeroDivisionError
    assert not await tier.do(lock.locked)


async def test_async_with_waits_its_turn(tier: Tier) -> None:
    lock = tier.lock()
    inside = []

    async def visit(number: int) -> None:
        async with lock:
            inside.append(number)
            assert len(inside) == 1
            await tier.settle()
            inside.remove(number)

    await asyncio.gather(*map(visit, range(3)))
    assert not await tier.do(lock.locked)


async def test_async_with_releases_when_its_body_is_cancelled(tier: Tier) -> None:
    lock = tier.lock()

    async def visit() -> None:
        async with lock:
            await asyncio.Event().wait()

    visitor = await tier.start(visit())
    assert await tier.do(lock.locked)
    visitor.cancel()
    await tier.settle()
    assert visitor.cancelled()
    assert not await tier.do(lock.locked)


@pytest.mark.parametrize("position", range(3))
async def test_cancelling_a_waiter_leaves_the_others_in_line(tier: Tier, position: int) -> None:
    lock = tier.lock()
    await lock.acquire()
    waiters = await tier.start_all(*(lock.acquire() for _ in range(3)))
    cancelled = waiters.pop(position)
    cancelled.cancel()
    await tier.settle()
    assert cancelled.cancelled()
    assert await tier.do(lock.locked)
    for waiter in waiters:
        assert not waiter.done()
        await tier.do(lock.release)
        await tier.settle()
        assert waiter.result()
    await tier.do(lock.release)
    assert not await tier.do(lock.locked)


@pytest.mark.parametrize("release_first", [True, False])
@pytest.mark.parametrize("others", range(3))
async def test_release_and_cancellation_at_the_same_time(tier: Tier, others: int, release_first: bool) -> None:
    """bpo-27585, bpo-32734: the lock goes to exactly one of the tasks that still want it."""
    lock = tier.lock()
    await lock.acquire()
    first, *rest = await tier.start_all(*(lock.acquire() for _ in range(1 + others)))
    if release_first:
        await tier.do(lock.release)
        first.cancel()
    else:
        first.cancel()
        await tier.do(lock.release)
    await tier.settle()
    if not first.cancelled():  # in some tiers it may have got the lock before the cancellation
        assert first.result()
        await tier.do(lock.release)
        await tier.settle()
    for waiter in rest:
        assert waiter.result()
        assert await tier.do(lock.locked)
        await tier.do(lock.release)
        await tier.settle()
    assert not await tier.do(lock.locked)


@pytest.mark.parametrize("order", ["oldest first", "newest first", "every other"])
async def test_many_cancellations(tier: Tier, order: str) -> None:
    lock = tier.lock()
    await lock.acquire()
    waiters = await tier.start_all(*(lock.acquire() for _ in range(20)))
    leaving = {"oldest first": waiters[:15], "newest first": waiters[:4:-1], "every other": waiters[::2]}[order]
    for waiter in leaving:
        waiter.cancel()
    await tier.settle()
    assert all(waiter.cancelled() for waiter in leaving)
    for waiter in waiters:
        if waiter not in leaving:
            assert not waiter.done()
            await tier.do(lock.release)
            await tier.settle()
            assert waiter.result()
    await tier.do(lock.release)
    assert not await tier.do(lock.locked)


async def test_wait_for_that_runs_out_of_time(tier: Tier) -> None:
    lock = tier.lock()
    await lock.acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lock.acquire(), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), lock:
            pytest.fail("entered while another holds it")
    assert await tier.do(lock.locked)
    await tier.settle()  # a release may still grant it to one that is just leaving, and passes it on
    await tier.do(lock.release)
    assert not await tier.do(lock.locked)
    assert await asyncio.wait_for(lock.acquire(), 60)
    await tier.do(lock.release)


@pytest.mark.wrong_in_asyncio("not in asyncio")
async def test_try_acquire(tier: Tier) -> None:
    lock = tier.lock()
    assert await tier.do(lock.try_acquire)
    assert await tier.do(lock.locked)
    assert not await tier.do(lock.try_acquire)
    waiter = await tier.start(lock.acquire())
    await tier.do(lock.release)
    assert not await tier.do(lock.try_acquire)
    await tier.settle()
    assert waiter.result()
    await tier.do(lock.release)
    assert await tier.do(lock.try_acquire)
    await tier.do(lock.release)
