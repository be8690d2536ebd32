"""Each sentence of "Losing a lease" in docs/connect.md. The session is closed, or lost, while something is held."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from interpreters import BOUND

from holdfast.cluster import LeaseLost, SessionLost

from .test_lock import connect, lose, opened, run, settle, url

__all__ = ["url"]  # the fixture


async def sleep_in(session, name="x"):
    async with session.lock(name):
        await asyncio.sleep(60)


async def lose_inside(session, body):
    """A task in the middle of `body` when the session is lost."""
    task = asyncio.create_task(body)
    await settle()
    lose(session)
    return task


def test_a_body_in_a_timeout_that_has_not_passed(url):
    """The timeout does not take the cancellation for its own."""

    async def main():
        session = await opened(url)

        async def inside():
            async with session.lock("x"), asyncio.timeout(60):
                await asyncio.sleep(60)

        async def outside():
            async with asyncio.timeout(60):
                await sleep_in(session, "y")

        tasks = [asyncio.create_task(inside()), asyncio.create_task(outside())]
        await settle()
        lose(session)
        for task in tasks:
            with pytest.raises(LeaseLost):
                await task
            assert task.cancelling() == 0

    run(main)


def test_a_timeout_that_passes_in_the_same_iteration_wins(url):
    async def main():
        session = await opened(url)

        async def body():
            async with asyncio.timeout(None) as clock:
                clocks.append(clock)
                await sleep_in(session)

        clocks = []
        task = asyncio.create_task(body())
        await settle()
        clocks[0].reschedule(0)
        await asyncio.sleep(0)
        lose(session)
        with pytest.raises((TimeoutError, LeaseLost)) as caught:
            await task
        assert caught.type is TimeoutError
        assert task.cancelling() == 0

    run(main)


def test_a_task_group_in_the_body_ends_its_tasks(url):
    async def main():
        session = await opened(url)
        ended = []

        async def child():
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        async def body():
            async with session.lock("x"), asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(child())

        task = await lose_inside(session, body())
        with pytest.raises(LeaseLost):
            await task
        assert ended == [True, True]
        assert task.cancelling() == 0

    run(main)


def test_a_body_in_a_task_of_a_group_fails_and_the_others_are_cancelled(url):
    async def main():
        session = await opened(url)

        async def body():
            async with asyncio.TaskGroup() as group:
                group.create_task(sleep_in(session))
                other.append(group.create_task(asyncio.sleep(60)))

        other = []
        task = await lose_inside(session, body())
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert [type(exc) for exc in caught.value.exceptions] == [LeaseLost]
        assert other[0].cancelled()

    run(main)


def test_the_body_of_a_group_itself(url):
    async def main():
        session = await opened(url)

        async def body():
            async with asyncio.TaskGroup() as group:
                other.append(group.create_task(asyncio.sleep(60)))
                await sleep_in(session)

        other = []
        task = await lose_inside(session, body())
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert [type(exc) for exc in caught.value.exceptions] == [LeaseLost]
        assert other[0].cancelled()
        assert task.cancelling() == 0

    run(main)


def test_nested_blocks_convert_once_at_the_outermost(url):
    async def main():
        session = await opened(url)
        seen = []

        async def body():
            async with session.lock("a"):
                try:
                    async with session.lock("b"):
                        try:
                            async with session.semaphore("c", 2):
                                await asyncio.sleep(60)
                        except BaseException as exc:
                            seen.append(type(exc))
                            raise
                except BaseException as exc:
                    seen.append(type(exc))
                    raise

        task = await lose_inside(session, body())
        with pytest.raises(LeaseLost, match="'a'"):
            await task
        assert seen == [asyncio.CancelledError, asyncio.CancelledError]
        assert task.cancelling() == 0

    run(main)


def test_only_the_inner_blocks_session_is_lost(url):
    async def main():
        async with connect(url) as lasting:
            session = await opened(url)

            async def body():
                async with lasting.lock("outer"):
                    with contextlib.suppress(LeaseLost):
                        await sleep_in(session, "inner")
                    return "goes on"

            task = await lose_inside(session, body())
            assert await task == "goes on"
            assert not await lasting.lock("outer").locked()

    run(main)


@pytest.mark.parametrize("first", ["loss", "cancellation"])
def test_a_cancellation_from_elsewhere_wins_whichever_came_first(url, first):
    async def main():
        session = await opened(url)
        task = asyncio.create_task(sleep_in(session))
        await settle()
        if first == "loss":
            lose(session)
            task.cancel()
        else:
            task.cancel()
            lose(session)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)


def test_a_cancellation_that_was_swallowed_before_the_entry_does_not_count(url):
    async def main():
        session = await opened(url)

        async def body():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await sleep_in(session)

        task = asyncio.create_task(body())
        await settle()
        task.cancel()
        await settle()
        assert task.cancelling() == 1
        lose(session)
        with pytest.raises(LeaseLost):
            await task
        assert task.cancelling() == 1

    run(main)


def test_the_loss_is_its_cause(url):
    async def main():
        session = await opened(url)
        task = await lose_inside(session, sleep_in(session))
        with pytest.raises(LeaseLost, match="evicted, for the test") as caught:
            await task
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    run(main)


def test_an_exit_in_another_task_releases_what_a_task_that_has_ended_entered(url):
    """And not what a living task is in the middle of."""

    async def main():
        async with connect(url) as session:
            semaphore, living = session.semaphore("s", 2), []

            async def body():
                async with semaphore as grant:
                    living.append(grant)
                    await asyncio.sleep(60)

            task = asyncio.create_task(body())
            await settle()
            finished = await asyncio.create_task(semaphore.__aenter__())
            await asyncio.create_task(semaphore.__aexit__(None, None, None))
            assert finished.released
            assert not living[0].released
            task.cancel()
            await asyncio.wait([task])
            assert living[0].released

    run(main)


def test_who_has_acquired_is_told_and_not_cancelled(url):
    async def main():
        session = await opened(url)
        locks = [session.lock("x"), session.lock("y")]
        grants = [await locks[0].acquire(), await locks[1].try_acquire()]
        waiting = [asyncio.create_task(grant.lost.wait()) for grant in grants]
        lose(session)
        await asyncio.gather(*waiting)
        for lock, grant in zip(locks, grants, strict=True):
            with pytest.raises(LeaseLost):
                grant.check()
            with pytest.raises(LeaseLost):
                await lock.release()

    run(main)


def test_who_waits_gets_session_lost(url):
    async def main():
        async with connect(url) as other:
            session = await opened(url)
            await other.lock("l").acquire()
            await other.semaphore("s", 1).acquire()
            waiting = [
                session.lock("l").acquire(),
                session.semaphore("s", 1).acquire(),
                session.event("e").wait(),
                session.barrier("b", 2).wait(),
            ]
            tasks = [asyncio.create_task(each) for each in waiting]
            await settle()
            lose(session)
            for task in tasks:
                with pytest.raises(SessionLost) as caught:
                    await task
                assert caught.type is SessionLost

    run(main)


def test_what_was_lost_is_the_next_ones_and_the_late_exit_takes_nothing_from_it(url):
    async def main():
        async with connect(url) as other:
            session = await opened(url)
            leave = asyncio.Event()

            async def body():
                async with session.lock("x"):
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(60)
                    await leave.wait()

            task = await lose_inside(session, body())
            async with asyncio.timeout(BOUND):
                grant = await other.lock("x").acquire()
            leave.set()
            with pytest.raises(LeaseLost):
                await task
            grant.check()
            assert (await other.inspect("x")).holders[0].token == grant.token

    run(main)
