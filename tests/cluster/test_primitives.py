"""The other primitives in two sessions of one process, over both engines."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Closed
from holdfast.cluster import LeaseLost, NameConflict

from .test_lock import connect, opened, run, settle, url

__all__ = ["url"]  # the fixture


def start(awaitable):
    return asyncio.create_task(awaitable)


def test_permits_are_granted_in_the_order_of_asking_and_never_more_than_there_are(url):
    async def main():
        inside, most, order = 0, 0, []

        async def use(semaphore, who):
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                order.append(who)
                await asyncio.sleep(0.001)
                inside -= 1

        async with connect(url) as one, connect(url) as two:
            semaphores = [one.semaphore("s", 3), two.semaphore("s", 3)]
            await asyncio.gather(*[start(use(semaphores[who % 2], who)) for who in range(20)])
            assert most == 3
            for parity in (0, 1):  # of each session; the order of sessions is that of their batches
                mine = [who for who in order if who % 2 == parity]
                assert mine == [*range(parity, 20, 2)]
            assert not await semaphores[0].locked()

    run(main)


def test_who_waited_goes_on_before_who_comes_with_the_releases(url):
    async def main():
        async with connect(url) as session:
            semaphore, order = session.semaphore("s", 2), []

            async def take(who):
                await semaphore.acquire()
                order.append(who)

            for _ in range(2):
                await semaphore.acquire()
            waiter = start(take("waiter"))
            await settle()
            await asyncio.gather(waiter, semaphore.release(), semaphore.release(), take("late"))
            assert order == ["waiter", "late"]

    run(main)


def test_a_cancelled_waiter_leaves_its_permit_to_the_next(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            mine, other = one.semaphore("s", 1), two.semaphore("s", 1)
            await mine.acquire()
            assert not await other.try_acquire()
            first, second = start(other.acquire()), start(other.acquire())
            await settle()
            first.cancel()
            await mine.release()
            assert await second
            assert first.cancelled()
            await other.release()
            assert await mine.try_acquire()

    run(main)


def test_a_session_that_ends_gives_its_permits_back(url):
    async def main():
        async with connect(url) as one:
            other = await opened(url)
            for _ in range(2):
                await other.semaphore("s", 2).acquire()
            waiter = start(one.semaphore("s", 2).acquire())
            await settle()
            assert not waiter.done()
            await other.close()
            assert await waiter

    run(main)


def test_a_release_by_who_holds_nothing_adds_a_permit_but_not_to_a_bounded_semaphore(url):
    async def main():
        async with connect(url) as one:
            await one.semaphore("s", 0).release()
            assert await one.semaphore("s", 0).try_acquire()
            with pytest.raises(ValueError, match="released too many times"):
                await one.bounded_semaphore("b", 1).release()

    run(main)


def test_an_event_wakes_all_who_wait_even_if_it_is_cleared_at_once(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            waiters = [start(session.event("e").wait()) for session in (one, two) for _ in range(5)]
            await settle()
            await asyncio.gather(one.event("e").set(), one.event("e").clear())
            assert await asyncio.gather(*waiters) == [True] * 10
            assert not await two.event("e").is_set()
            await two.event("e").set()
            assert await one.event("e").wait()

    run(main)


def test_a_notified_task_of_another_session_has_the_lock(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            items, got = [], []

            async def consume(condition):
                async with condition as grant:
                    before = grant.token
                    await condition.wait_for(lambda: items)
                    assert grant.token > before
                    got.append(items.pop())

            tasks = [start(consume(session.condition("c"))) for session in (one, two, two)]
            await settle()
            producer = one.condition("c")
            for item in range(3):
                async with producer:
                    items.append(item)
                    await producer.notify()
            await asyncio.gather(*tasks)
            assert sorted(got) == [0, 1, 2]
            assert not await producer.locked()

    run(main)


@pytest.mark.parametrize("notified", [False, True])
def test_a_cancelled_condition_waiter_has_the_lock_and_passes_the_notification_on(url, notified):
    async def main():
        async with connect(url) as one, connect(url) as two:
            held = []

            async def wait(condition):
                async with condition as grant:
                    try:
                        await condition.wait()
                    finally:
                        held.append(grant.token)
                        grant.check()

            first, second = start(wait(one.condition("c"))), start(wait(two.condition("c")))
            await settle()
            producer = two.condition("c")
            async with producer:
                if notified:
                    await producer.notify()
                first.cancel()
                await settle()
                assert not first.done()
            await asyncio.wait([first])
            assert first.cancelled()
            await settle()
            assert second.done() == notified
            second.cancel()
            await asyncio.wait([second])
            assert held == sorted(held)
            assert not await producer.locked()

    run(main)


def test_a_session_that_is_lost_in_a_condition_leaves_without_the_lock(url):
    async def main():
        session = await opened(url)

        async def wait():
            condition = session.condition("c")
            async with condition:
                await condition.wait()

        task = start(wait())
        await settle()
        await session.close()
        with pytest.raises(LeaseLost):
            await task
        async with connect(url) as other:
            assert await other.lock("c").try_acquire()

    run(main)


def test_a_cancelled_condition_waiter_whose_session_is_lost_is_still_cancelled(url):
    async def main():
        async with connect(url) as other:
            session = await opened(url)

            async def wait():
                condition = session.condition("c")
                async with condition:
                    await condition.wait()

            task = start(wait())
            await settle()
            async with other.lock("c"):
                task.cancel()
                await settle()
                assert not task.done()
                await session.close()
                await asyncio.wait([task])
            assert task.cancelled()

    run(main)


def test_a_barrier_gives_each_its_place_round_after_round(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            barriers = [session.barrier("b", 4) for session in (one, two)]
            for _ in range(3):
                places = await asyncio.gather(*(barriers[who % 2].wait() for who in range(4)))
                assert sorted(places) == [0, 1, 2, 3]
            gone = start(barriers[0].wait())
            await settle()
            assert await barriers[1].n_waiting == 1
            gone.cancel()
            await settle()
            assert await barriers[1].n_waiting == 0
            waiter = start(barriers[0].wait())
            await settle()
            await barriers[1].abort()
            with pytest.raises(asyncio.BrokenBarrierError):
                await waiter
            assert await barriers[0].broken
            await barriers[0].reset()
            assert not await barriers[1].broken

    run(main)


def test_an_arrival_of_a_session_that_ended_does_not_count(url):
    async def main():
        async with connect(url) as one:
            other = await opened(url)
            arrived = start(other.barrier("b", 2).wait())
            await settle()
            await other.close()
            await asyncio.wait([arrived])
            arrived.exception()
            waiter = start(one.barrier("b", 2).wait())
            await settle()
            assert not waiter.done()
            assert await one.barrier("b", 2).wait() == 1
            assert await waiter == 0

    run(main)


@pytest.mark.parametrize("first", ["acquire", "try_acquire", "release", "locked"])
def test_who_was_told_of_another_value_can_use_that(url, first):
    """In the same session, at once, and while the first object lives; which is of no use any more."""

    async def main():
        async with connect(url) as one, connect(url) as two:
            async with one.semaphore("s", 2):
                wrong = two.semaphore("s", 20)
                with pytest.raises(NameConflict, match="semaphore of 2, made by"):
                    await getattr(wrong, first)()
                async with two.semaphore("s", 2):
                    assert await one.semaphore("s", 2).locked()
                for call in (wrong.acquire, wrong.try_acquire, wrong.release, wrong.locked):
                    with pytest.raises(NameConflict, match=r"used as something else .* make it anew"):
                        await call()
                async with two.semaphore("s", 2):
                    with pytest.raises(NameConflict, match="is used as a semaphore of 2"):
                        two.semaphore("s", 20)

    run(main)


@pytest.mark.parametrize("holds", [True, False])
def test_a_value_that_was_refused_leaves_the_object_with_the_first_one_as_it_was(url, holds):
    """Nobody holds a limiter; so its session may make one with another rate, which the record then refuses."""

    async def main():
        async with connect(url) as one, connect(url) as two:
            first = one.rate_limiter("api", 10, 3600)
            held = two.semaphore("s", 2)
            if holds:
                await held.acquire()
            mine = one.semaphore("s", 2)
            for _ in range(3):
                await first.acquire()
                with pytest.raises(NameConflict, match="nothing was changed"):
                    await one.rate_limiter("api", 20, 3600).acquire()
                other = one.semaphore("s", 3)
                if holds:
                    with pytest.raises(NameConflict, match="nothing was changed"):
                        await other.acquire()
                await mine.acquire()
                await mine.release()
            assert await first.try_acquire()
            waiting = asyncio.create_task(first.acquire(10))
            await settle()
            await first.close("enough")
            with pytest.raises(Closed):
                await waiting

    run(main)


def test_what_was_made_and_not_used_is_no_reason_to_refuse_another_kind(url):
    async def main():
        async with connect(url) as session:
            unused = session.lock("x")
            await session.event("x").set()
            with pytest.raises(NameConflict):
                await unused.acquire()

    run(main)


def test_a_name_has_one_kind_and_one_value(url):
    async def main():
        async with connect(url, name="the api") as one, connect(url) as two:
            async with one.semaphore("s", 10):
                taken = r"'s' is a semaphore of 10, made by the api, .* semaphore of 20"
                with pytest.raises(NameConflict, match=taken):
                    await two.semaphore("s", 20).acquire()
            with pytest.raises(NameConflict, match=r"'s' is a semaphore of 10, made by the api, and .* as an event"):
                await two.event("s").set()
            with pytest.raises(NameConflict, match=r"used as a semaphore of 10"):
                one.lock("s")

    run(main)
