"""Condition: rows N1 to N6 of docs/spec.md.

In the task tier also over an asyncio.Lock, and over a subclass of holdfast.Lock.
"""

import asyncio
from typing import Any

import pytest

from .adapter import Tier


async def wait(condition: Any, log: list[Any], name: Any) -> Any:
    """Wait once to be notified, and note when the wait has returned or raised."""
    async with condition:
        try:
            result = await condition.wait()
        except asyncio.CancelledError:
            log.append((name, "cancelled"))
            raise
        log.append(name)
        return result


async def notify(tier: Tier, condition: Any, n: int = 1) -> None:
    """Notify, and return when the woken tasks wait again or have ended."""
    async with condition:
        await tier.do(condition.notify, n)
    await tier.settle()


async def finish(tier: Tier, condition: Any, waiters: list[asyncio.Task[Any]]) -> None:
    """Wake the tasks that still wait, and check that all of them end and the lock is free."""
    async with condition:
        await tier.do(condition.notify_all)
    await tier.settle()
    assert all(waiter.done() for waiter in waiters)
    assert not await tier.do(condition.locked)


# N1, N2: the lock


async def test_acquire_release_and_locked_are_the_locks(tier: Tier) -> None:
    condition = tier.condition()
    assert not await tier.do(condition.locked)
    assert await condition.acquire()
    assert await tier.do(condition.locked)
    second = await tier.start(condition.acquire())
    assert not second.done()
    await tier.do(condition.release)
    await tier.settle()
    assert second.result()
    assert await tier.do(condition.locked)
    await tier.do(condition.release)
    assert not await tier.do(condition.locked)
    with pytest.raises(RuntimeError):
        await tier.do(condition.release)


async def test_async_with(tier: Tier) -> None:
    condition = tier.condition()
    async with condition:
        assert await tier.do(condition.locked)
    assert not await tier.do(condition.locked)
    with pytest.raises(ZeroDivisionError):
        async with condition:
            raise ZeroDivisionError
    assert not await tier.do(condition.locked)


async def test_given_lock_is_the_one_used(tier: Tier) -> None:
    lock = tier.lock()
    condition = tier.condition(lock)
    async with lock:
        assert await tier.do(condition.locked)
        other = await tier.start(condition.acquire())
        assert not other.done()
    await tier.settle()
    assert other.result()
    assert await tier.do(lock.locked)
    await tier.do(condition.release)
    assert not await tier.do(lock.locked)


async def test_conditions_share_a_lock(tier: Tier) -> None:
    lock = tier.lock()
    full, empty = tier.condition(lock), tier.condition(lock)
    log: list[Any] = []
    waiters = await tier.start_all(wait(full, log, "full"), wait(empty, log, "empty"))
    async with empty:
        assert await tier.do(full.locked)
        await tier.do(full.notify)
    await tier.settle()
    assert log == ["full"]
    await notify(tier, empty)
    assert log == ["full", "empty"]
    assert all([await waiter for waiter in waiters])


# N3, N4: notify


@pytest.mark.parametrize("n", range(5))
async def test_notify_wakes_at_most_n_in_order(tier: Tier, n: int) -> None:
    condition = tier.condition()
    log: list[Any] = []
    waiters = await tier.start_all(*(wait(condition, log, name) for name in "abc"))
    await notify(tier, condition, n)
    assert log == list("abc"[:n])
    await finish(tier, condition, waiters)
    assert log == list("abc")


async def test_notify_wakes_one_by_default(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    waiters = await tier.start_all(*(wait(condition, log, name) for name in "abc"))
    async with condition:
        await tier.do(condition.notify)
    await tier.settle()
    assert log == ["a"]
    await finish(tier, condition, waiters)


async def test_notify_all_wakes_all_in_order(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    waiters = await tier.start_all(*(wait(condition, log, name) for name in "abc"))
    async with condition:
        await tier.do(condition.notify_all)
    await tier.settle()
    assert log == ["a", "b", "c"]
    assert all([await waiter for waiter in waiters])


async def test_notify_without_waiters_is_forgotten(tier: Tier) -> None:
    condition = tier.condition()
    async with condition:
        await tier.do(condition.notify)
        await tier.do(condition.notify_all)
    log: list[Any] = []
    waiters = await tier.start_all(wait(condition, log, "late"))
    assert log == []
    await finish(tier, condition, waiters)


async def test_notify_without_the_lock_is_an_error(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    waiters = await tier.start_all(wait(condition, log, "a"))
    with pytest.raises(RuntimeError):
        await tier.do(condition.notify)
    with pytest.raises(RuntimeError):
        await tier.do(condition.notify_all)
    await tier.settle()
    assert log == []
    await finish(tier, condition, waiters)


async def test_the_woken_return_only_with_the_lock(tier: Tier) -> None:
    condition = tier.condition()
    inside = []

    async def visit(name: str) -> None:
        async with condition:
            await condition.wait()
            inside.append(name)
            assert inside == [name]
            await tier.settle()
            inside.remove(name)

    waiters = await tier.start_all(visit("a"), visit("b"))
    async with condition:
        await tier.do(condition.notify_all)
        await tier.settle()
        assert inside == []
    await asyncio.gather(*waiters)
    assert not await tier.do(condition.locked)


# N5: wait


async def test_wait_without_the_lock_is_an_error(tier: Tier) -> None:
    condition = tier.condition()
    with pytest.raises(RuntimeError):
        await condition.wait()
    assert not await tier.do(condition.locked)


async def test_wait_releases_the_lock_and_returns_with_it(tier: Tier) -> None:
    condition = tier.condition()
    await condition.acquire()
    waiter = await tier.start(condition.wait())
    assert not await tier.do(condition.locked)
    assert await condition.acquire()
    await tier.do(condition.notify)
    await tier.settle()
    assert not waiter.done()
    await tier.do(condition.release)
    await tier.settle()
    assert waiter.result()
    assert await tier.do(condition.locked)
    await tier.do(condition.release)


async def test_cancelled_waiter_takes_the_lock_before_it_raises(tier: Tier) -> None:
    """bpo-22970, bpo-32841."""
    condition = tier.condition()
    log: list[Any] = []
    waiter = await tier.start(wait(condition, log, "a"))
    async with condition:
        waiter.cancel()
        await tier.settle()
        assert not waiter.done()
    await tier.settle()
    assert log == [("a", "cancelled")]
    assert waiter.cancelled()
    assert not await tier.do(condition.locked)


@pytest.mark.wrong_in_asyncio("gh-111693", fixed_in=(3, 13))
async def test_the_cancellation_that_comes_out_is_the_one_that_went_in(tier: Tier) -> None:
    condition = tier.condition()
    await condition.acquire()
    waiter = await tier.start(condition.wait())
    await condition.acquire()
    await tier.do(condition.notify)
    await tier.settle()
    waiter.cancel("while it takes the lock again")
    await tier.settle()
    assert not waiter.done()
    await tier.do(condition.release)
    await tier.settle()
    with pytest.raises(asyncio.CancelledError, match="while it takes the lock again"):
        await waiter
    assert await tier.do(condition.locked)
    await tier.do(condition.release)


@pytest.mark.wrong_in_asyncio("gh-112202", fixed_in=(3, 13))
async def test_notified_and_cancelled_waiter_passes_it_on(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    first, second = await tier.start_all(wait(condition, log, "a"), wait(condition, log, "b"))
    async with condition:
        await tier.do(condition.notify)
        first.cancel()
    await tier.settle()
    if first.cancelled():
        assert log == [("a", "cancelled"), "b"]
    else:
        assert log == ["a"]
        await notify(tier, condition)
    assert second.result()
    assert not await tier.do(condition.locked)


@pytest.mark.wrong_in_asyncio("gh-112202", fixed_in=(3, 13))
async def test_cancelled_while_it_takes_the_lock_again_passes_the_notification_on(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    first, second = await tier.start_all(wait(condition, log, "a"), wait(condition, log, "b"))
    async with condition:
        await tier.do(condition.notify)
        await tier.settle()
        first.cancel()
        await tier.settle()
        assert log == []
    await tier.settle()
    assert log == [("a", "cancelled"), "b"]
    assert second.result()
    assert not await tier.do(condition.locked)


async def test_cancelled_then_notified_costs_no_notification(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    first, second = await tier.start_all(wait(condition, log, "a"), wait(condition, log, "b"))
    async with condition:
        first.cancel()
        await tier.do(condition.notify)
    await tier.settle()
    if first.cancelled():
        assert second.result()
        assert log in ([("a", "cancelled"), "b"], ["b", ("a", "cancelled")])
    else:
        assert log == ["a"]
        await notify(tier, condition)
    assert not await tier.do(condition.locked)


@pytest.mark.wrong_in_asyncio("spurious wake-ups since gh-112202", since=(3, 13))
async def test_cancelled_waiters_that_nobody_notified_wake_no_other(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    waiters = await tier.start_all(*(wait(condition, log, number) for number in range(10)))
    for waiter in waiters[::2]:
        waiter.cancel()
    await tier.settle()
    assert log == [(number, "cancelled") for number in range(0, 10, 2)]
    assert not any(waiter.done() for waiter in waiters[1::2])
    await finish(tier, condition, waiters)
    assert log[5:] == list(range(1, 10, 2))


@pytest.mark.wrong_in_asyncio("gh-112202", fixed_in=(3, 13))
async def test_several_notified_and_cancelled_pass_each_on(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []
    waiters = await tier.start_all(*(wait(condition, log, number) for number in range(6)))
    async with condition:
        await tier.do(condition.notify, 3)
        await tier.settle()
        waiters[0].cancel()
        waiters[2].cancel()
    await tier.settle()
    assert not await tier.do(condition.locked)
    returned = [entry for entry in log if isinstance(entry, int)]
    assert len(returned) == 3
    assert 1 in returned
    await finish(tier, condition, waiters)


@pytest.mark.wrong_in_asyncio("it goes to the end of the line")
async def test_notified_and_cancelled_waiter_keeps_its_place_in_the_line_for_the_lock(tier: Tier) -> None:
    """This needs the tier's own lock: in the queue of an asyncio.Lock, a cancelled waiter loses its place."""
    condition = tier.condition(tier.lock())
    log: list[Any] = []
    waiter = await tier.start(wait(condition, log, "a"))

    async def take(name: str) -> None:
        async with condition:
            log.append(name)

    async with condition:
        await tier.do(condition.notify)
        await tier.settle()
        late = await tier.start(take("late"))
        for _ in range(3):
            waiter.cancel()
            await tier.settle()
    await tier.settle()
    assert log == [("a", "cancelled"), "late"]
    assert late.done()


async def test_wait_for_that_runs_out_of_time(tier: Tier) -> None:
    condition = tier.condition()
    async with condition:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await condition.wait()
        assert await tier.do(condition.locked)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(condition.wait(), 0.01)
        assert await tier.do(condition.locked)
    assert not await tier.do(condition.locked)


# N6: wait_for


async def test_wait_for_returns_the_value_of_the_predicate(tier: Tier) -> None:
    condition = tier.condition()
    items: list[int] = []

    async def consume() -> Any:
        async with condition:
            return await condition.wait_for(lambda: items)

    consumer = await tier.start(consume())
    await notify(tier, condition)
    assert not consumer.done()
    items.append(42)
    await tier.settle()
    assert not consumer.done()
    await notify(tier, condition)
    assert consumer.result() is items


async def test_wait_for_what_is_true_already_does_not_wait(tier: Tier) -> None:
    condition = tier.condition()
    async with condition:
        assert await condition.wait_for(lambda: 42) == 42
        assert await tier.do(condition.locked)


async def test_wait_for_calls_the_predicate_with_the_lock(tier: Tier) -> None:
    condition = tier.condition()
    calls = []

    def predicate() -> bool:
        calls.append(condition.locked())
        return len(calls) == 3

    async def consume() -> None:
        async with condition:
            await condition.wait_for(predicate)

    consumer = await tier.start(consume())
    await notify(tier, condition)
    await notify(tier, condition)
    assert consumer.done()
    assert [await tier.do(lambda call=call: call) for call in calls] == [True] * 3


async def test_wait_for_without_the_lock_is_an_error(tier: Tier) -> None:
    condition = tier.condition()
    with pytest.raises(RuntimeError):
        await condition.wait_for(lambda: False)


@pytest.mark.parametrize("calls_before", [0, 1])
async def test_predicate_that_raises_leaves_the_lock_held(tier: Tier, calls_before: int) -> None:
    condition = tier.condition()
    results = [False] * calls_before
    locked = []

    def predicate() -> bool:
        return results.pop() if results else bool(1 / 0)

    async def consume() -> None:
        async with condition:
            try:
                await condition.wait_for(predicate)
            finally:
                locked.append(await tier.do(condition.locked))

    consumer = await tier.start(consume())
    await notify(tier, condition)
    with pytest.raises(ZeroDivisionError):
        await consumer
    assert locked == [True]
    assert not await tier.do(condition.locked)


async def test_wait_for_cancelled(tier: Tier) -> None:
    condition = tier.condition()
    log: list[Any] = []

    async def consume(name: str) -> None:
        async with condition:
            try:
                await condition.wait_for(lambda: False)
            finally:
                log.append((name, await tier.do(condition.locked)))

    consumer = await tier.start(consume("a"))
    consumer.cancel()
    await tier.settle()
    assert consumer.cancelled()
    assert log == [("a", True)]
    assert not await tier.do(condition.locked)
