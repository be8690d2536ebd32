"""`grant.check()` passes while the grant is held, and at no other time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from holdfast.cluster import LeaseLost

from .test_lock import connect, lose, opened, run, settle, url

__all__ = ["url"]  # the fixture

KINDS = [
    lambda session: session.lock("x"),
    lambda session: session.semaphore("x", 2),
    lambda session: session.bounded_semaphore("x", 2),
]


@pytest.mark.parametrize("make", KINDS)
def test_a_grant_that_was_released(url, make):
    async def main():
        async with connect(url) as session:
            leased = make(session)
            first = await leased.acquire()
            first.check()
            await leased.release()
            with pytest.raises(LeaseLost, match=r"'x' with token \d+ was released"):
                first.check()
            async with leased as second:
                second.check()
                with pytest.raises(LeaseLost, match="was released"):
                    first.check()  # though the same object holds the name again
            with pytest.raises(LeaseLost, match="was released"):
                second.check()
            third = await leased.try_acquire()
            third.check()
            assert "[held]" in repr(third)
            assert "[released]" in repr(second)
            assert not second.lost.is_set()
        with pytest.raises(LeaseLost, match=r"was lost: .* was closed"):
            third.check()
        with pytest.raises(LeaseLost, match="was released"):
            second.check()

    run(main)


def test_a_grant_that_was_released_while_another_session_holds_it(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            lock = one.lock("x")
            grant = await lock.acquire()
            waiter = asyncio.create_task(two.lock("x").acquire())
            await settle()
            await lock.release()
            (await waiter).check()
            with pytest.raises(LeaseLost, match="was released"):
                grant.check()

    run(main)


def test_a_grant_whose_release_is_under_way(url):
    async def main():
        async with connect(url) as session:
            lock = session.lock("x")
            grant = await lock.acquire()
            release = asyncio.create_task(lock.release())
            await asyncio.sleep(0)
            with pytest.raises(LeaseLost, match="was released"):
                grant.check()
            await release

    run(main)


def test_a_grant_whose_release_was_cancelled(url):
    """It is given back all the same."""

    async def main():
        async with connect(url) as session:
            lock = session.lock("x")
            grant = await lock.acquire()
            release = asyncio.create_task(lock.release())
            await asyncio.sleep(0)
            release.cancel()
            await asyncio.wait([release])
            with pytest.raises(LeaseLost, match="was released"):
                grant.check()

    run(main)


def test_a_grant_whose_session_was_lost(url):
    async def main():
        session = await opened(url)
        grant = await session.lock("x").acquire()
        released = await session.lock("y").acquire()
        lose(session)
        for _ in range(2):
            with pytest.raises(LeaseLost, match="evicted, for the test"):
                grant.check()
        with pytest.raises(LeaseLost):
            released.check()

    run(main)


def test_a_grant_whose_task_waits_for_a_condition(url):
    async def main():
        async with connect(url) as session:
            condition = session.condition("x")
            grants = []

            async def wait():
                async with condition as grant:
                    grants.append(grant)
                    await condition.wait()
                    grant.check()
                    grants.append(grant.token)
                    await leave.wait()

            leave = asyncio.Event()
            task = asyncio.create_task(wait())
            await settle()
            [grant] = grants
            before = grant.token
            with pytest.raises(LeaseLost, match=r"is not held while its task is in Condition\.wait\(\)"):
                grant.check()
            assert "[in Condition.wait()]" in repr(grant)
            assert not grant.lost.is_set()
            async with condition as other:
                other.check()
                with pytest.raises(LeaseLost, match="is not held while"):
                    grant.check()
                await condition.notify()
            await settle()
            grant.check()
            assert grants[1] == grant.token > before
            leave.set()
            await task
            with pytest.raises(LeaseLost, match="was released"):
                grant.check()

    run(main)


def test_a_grant_whose_wait_for_a_condition_was_cancelled(url):
    """It is held when the cancellation comes out."""

    async def main():
        async with connect(url) as session:
            condition = session.condition("x")
            checked = []

            async def wait():
                async with condition as grant:
                    try:
                        await condition.wait()
                    finally:
                        grant.check()
                        checked.append(True)

            task = asyncio.create_task(wait())
            await settle()
            task.cancel()
            await asyncio.wait([task])
            assert checked == [True]

    run(main)


def test_a_condition_is_not_told_that_it_has_the_lock_again_when_the_session_is_lost_by_then(url):
    """The lock is granted, and before the task runs the session ends: nobody counts the grant as held any more."""

    async def main():
        session = await opened(url)
        condition = session.condition("x")
        grants = []

        async def wait():
            async with condition as grant:
                grants.append(grant)
                await condition.wait()
                pytest.fail("it has no lock any more")

        task = asyncio.create_task(wait())
        await settle()
        [ticket] = session._life.registers.by_name["x"]._waiters.futures
        session._life.registers.by_name["x"]._waiters.grant(ticket, 7)
        lose(session)
        with pytest.raises(LeaseLost, match="evicted, for the test"):
            await task
        assert grants[0].lost.is_set()

    run(main)


def test_a_grant_whose_wait_ended_with_the_session(url):
    async def main():
        session = await opened(url)
        condition = session.condition("x")
        grants = []

        async def wait():
            with contextlib.suppress(LeaseLost):
                async with condition as grant:
                    grants.append(grant)
                    await condition.wait()

        task = asyncio.create_task(wait())
        await settle()
        lose(session)
        await task
        with pytest.raises(LeaseLost, match="evicted, for the test"):
            grants[0].check()

    run(main)
