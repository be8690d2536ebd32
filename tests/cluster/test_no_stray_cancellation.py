"""Where LeaseLost comes out, nothing is left of the cancellation: no count in `cancelling()`, nothing at the next await."""  # noqa: E501

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import pytest

from holdfast.cluster import LeaseLost, SessionLost

from .test_lock import connect, lose, opened, run, settle, url

__all__ = ["url"]  # the fixture

EAGER = [False, True] if sys.version_info >= (3, 12) else [False]


def expire(session):
    """Its deadline passes; nobody has looked at the clock since. What a blocked loop comes to."""
    session._life.expiry.deadline = 0.0


async def nothing_is_left():
    """The running task goes on as if nothing had been."""
    assert asyncio.current_task().cancelling() == 0
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
    assert await asyncio.wait_for(asyncio.sleep(0, "done"), 60) == "done"


# How the loss is noticed by the task itself


async def check(lock, grant, session):
    expire(session)
    grant.check()


async def leave(lock, grant, session):
    expire(session)


async def release(lock, grant, session):
    expire(session)
    await lock.release()


async def ask_for_another(lock, grant, session):
    expire(session)
    with contextlib.suppress(SessionLost):
        await session.lock("another").acquire()


async def lose_and_check(lock, grant, session):
    lose(session)
    grant.check()


async def swallow(lock, grant, session):
    expire(session)
    with contextlib.suppress(LeaseLost):
        grant.check()


async def swallow_and_wait(lock, grant, session):
    await swallow(lock, grant, session)
    await asyncio.sleep(60)  # where it is cancelled


async def swallow_all_and_go_on(lock, grant, session):
    await swallow(lock, grant, session)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


async def wait(lock, grant, session):
    asyncio.get_running_loop().call_later(0.001, lose, session)
    await asyncio.sleep(60)


async def notice_in_a_task_of_its_own(lock, grant, session):
    expire(session)

    async def look():
        with contextlib.suppress(LeaseLost):
            grant.check()

    await asyncio.gather(look(), asyncio.sleep(60))


async def gathered(lock, grant, session):
    expire(session)

    async def look():
        grant.check()

    await asyncio.gather(look(), asyncio.sleep(0))


async def inside_a_timeout(lock, grant, session):
    async with asyncio.timeout(60):
        expire(session)
        grant.check()


async def inside_a_timeout_that_waits(lock, grant, session):
    async with asyncio.timeout(60):
        await swallow_and_wait(lock, grant, session)


async def inside_wait_for(lock, grant, session):
    expire(session)
    with contextlib.suppress(LeaseLost):
        grant.check()
    await asyncio.wait_for(asyncio.sleep(60), 60)


async def shielded(lock, grant, session):
    expire(session)
    with contextlib.suppress(LeaseLost):
        grant.check()
    await asyncio.shield(asyncio.create_task(asyncio.sleep(0.01)))


BODIES = [
    check,
    leave,
    release,
    ask_for_another,
    lose_and_check,
    swallow,
    swallow_and_wait,
    swallow_all_and_go_on,
    wait,
    notice_in_a_task_of_its_own,
    gathered,
    inside_a_timeout,
    inside_a_timeout_that_waits,
    inside_wait_for,
    shielded,
]


# What the block stands in


async def alone(session, body):
    lock = session.lock("x")
    async with lock as grant:
        await body(lock, grant, session)


async def of_a_semaphore(session, body):
    semaphore = session.semaphore("s", 3)
    async with semaphore as grant:
        await body(semaphore, grant, session)


async def of_a_condition(session, body):
    condition = session.condition("c")
    async with condition as grant:
        await body(condition, grant, session)


async def in_another_block(session, body):
    async with session.lock("outer"):
        await alone(session, body)


async def around_another_block(session, body):
    lock = session.lock("x")
    async with lock as grant, session.lock("inner"):
        await body(lock, grant, session)


async def in_blocks_of_all_kinds(session, body):
    async with session.semaphore("a", 2), session.condition("b"), session.lock("c"):
        await alone(session, body)


async def in_a_timeout(session, body):
    async with asyncio.timeout(60):
        await alone(session, body)


async def in_wait_for(session, body):
    await asyncio.wait_for(alone(session, body), 60)


async def in_a_shield(session, body):
    await asyncio.shield(alone(session, body))


SURROUNDINGS = [
    alone,
    of_a_semaphore,
    of_a_condition,
    in_another_block,
    around_another_block,
    in_blocks_of_all_kinds,
    in_a_timeout,
    in_wait_for,
    in_a_shield,
]


@pytest.mark.parametrize("eager", EAGER)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_nothing_is_left_of_the_cancellation(url, surroundings, body, eager):
    async def main():
        if eager:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        session = await opened(url, ttl=60)
        with pytest.raises(LeaseLost):
            await surroundings(session, body)
        await nothing_is_left()

    run(main)


@pytest.mark.parametrize("body", [check, leave, swallow_and_wait, wait])
def test_in_a_task_group(url, body):
    """Its task gets LeaseLost, and the task that has the group goes on."""

    async def main():
        session = await opened(url, ttl=60)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(alone(session, body))
        assert [type(exc) for exc in caught.value.exceptions] == [LeaseLost]
        await settle()  # (TaskGroup's own count in `cancelling()` is not put right before Python 3.13)

    run(main)


def test_a_group_in_the_body(url):
    async def main():
        session = await opened(url, ttl=60)
        lock = session.lock("x")

        async def watch(grant):
            expire(session)
            with contextlib.suppress(LeaseLost):
                grant.check()

        with pytest.raises(LeaseLost):  # noqa: PT012
            async with lock as grant, asyncio.TaskGroup() as group:
                group.create_task(watch(grant))
                group.create_task(asyncio.sleep(60))
        await nothing_is_left()

    run(main)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("body", [check, leave, swallow_and_wait])
def test_one_task_with_blocks_of_two_sessions(url, body, first):
    """Whichever is lost: the block that has lost its lease raises, the other one is left as usual."""

    async def main():
        sessions = [await opened(url, ttl=60), await opened(url, ttl=60)]
        lost, lasting = sessions[first], sessions[1 - first]
        lock = lost.lock("lost")

        async def enter(outer, inner):
            async with outer, inner:
                grant = lock._held[0]
                await body(lock, grant, lost)

        for locks in ((lock, lasting.lock("kept")), (lasting.lock("kept"), lock)):
            if lost.over is not None:
                lost = await opened(url, ttl=60)
                locks = tuple(lost.lock("lost") if each is lock else each for each in locks)
                lock = next(each for each in locks if each._name == "lost")
            with pytest.raises(LeaseLost):
                await enter(*locks)
            await nothing_is_left()
            assert not await lasting.lock("kept").locked()
        await lasting.close()

    run(main)


def test_both_sessions_at_once(url):
    async def main():
        one, two = await opened(url, ttl=60), await opened(url, ttl=60)
        with pytest.raises(LeaseLost):  # noqa: PT012
            async with one.lock("a") as a, two.lock("b") as b:
                for session, grant in ((one, a), (two, b)):
                    expire(session)
                    with contextlib.suppress(LeaseLost):
                        grant.check()
                await asyncio.sleep(60)
        await nothing_is_left()

    run(main)


def test_the_bodies_of_all_tasks_are_cancelled_when_one_of_them_notices(url):
    async def main():
        session = await opened(url, ttl=60)
        ends = []

        async def hold(name):
            try:
                async with session.lock(name):
                    await asyncio.sleep(60)
            except LeaseLost:
                ends.append(name)
                await nothing_is_left()

        others = [asyncio.create_task(hold(name)) for name in "abc"]
        await settle()
        with pytest.raises(LeaseLost):
            await alone(session, check)
        await asyncio.gather(*others)
        assert sorted(ends) == ["a", "b", "c"]
        await nothing_is_left()

    run(main)


def test_a_body_that_is_left_meanwhile_is_not_cancelled_and_the_next_one_neither(url):
    """The task goes on to another block before the loop comes to cancelling it."""

    async def main():
        session, other = await opened(url, ttl=60), await opened(url)
        with pytest.raises(LeaseLost):
            await alone(session, check)
        async with other.lock("x") as grant:
            await asyncio.sleep(0.01)
            grant.check()
        await nothing_is_left()
        await other.close()

    run(main)


def test_a_loop_that_was_blocked_for_longer_than_the_ttl(url):
    async def main():
        session = await opened(url, ttl=1)
        for body in (check, leave):
            if session.over is not None:
                session = await opened(url, ttl=1)
            with pytest.raises(LeaseLost):  # noqa: PT012
                async with session.lock("x") as grant:
                    time.sleep(1.1)
                    if body is check:
                        grant.check()
            await nothing_is_left()

    run(main)


def test_a_condition_that_waits_when_the_session_is_lost(url):
    async def main():
        session = await opened(url, ttl=60)
        condition = session.condition("c")

        async def body():
            with pytest.raises(LeaseLost):
                async with condition:
                    await condition.wait()
            await nothing_is_left()

        async def nested():
            with pytest.raises(LeaseLost):
                async with session.lock("outer"), condition:
                    await condition.wait()
            await nothing_is_left()

        tasks = [asyncio.create_task(body()), asyncio.create_task(nested())]
        await settle()

        async def notice():
            expire(session)
            with contextlib.suppress(SessionLost):
                await session.names()

        await asyncio.create_task(notice())
        await asyncio.gather(*tasks)

    run(main)


@pytest.mark.parametrize("order", ["loss", "timeout"])
def test_a_timeout_that_passes_at_the_same_time(url, order):
    """TimeoutError wins, as a cancellation from elsewhere does, and nothing is left of either."""

    async def main():
        session = await opened(url, ttl=60)
        with pytest.raises((TimeoutError, LeaseLost)):  # noqa: PT012
            async with asyncio.timeout(60) as clock, session.lock("x") as grant:
                if order == "timeout":
                    clock.reschedule(0)
                expire(session)
                with contextlib.suppress(LeaseLost):
                    grant.check()
                if order == "loss":
                    clock.reschedule(0)
                await asyncio.sleep(60)
        await nothing_is_left()

    run(main)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancellation_from_elsewhere_is_not_swallowed(url, when):
    async def main():
        session = await opened(url, ttl=60)

        async def body():
            async with session.lock("x") as grant:
                if when == "before":
                    asyncio.get_running_loop().call_soon(task.cancel)
                expire(session)
                with contextlib.suppress(LeaseLost):
                    grant.check()
                if when == "after":
                    asyncio.get_running_loop().call_soon(task.cancel)
                await asyncio.sleep(60)

        task = asyncio.create_task(body())
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)


def test_an_eager_task_that_notices_within_the_step_of_the_body(url):
    """The task of the body is in the middle of a step, though another one runs."""
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    async def main():
        loop = asyncio.get_running_loop()
        session = await opened(url, ttl=60)

        async def look(grant):
            with contextlib.suppress(LeaseLost):
                grant.check()

        with pytest.raises(LeaseLost):  # noqa: PT012
            async with session.lock("x") as grant:
                expire(session)
                task = asyncio.Task(look(grant), loop=loop, eager_start=True)
                assert task.done()
        await nothing_is_left()

    run(main)


def test_what_is_lost_while_it_is_released(url):
    """The release is on its way when the session ends: LeaseLost comes out of the exit, and that is all."""

    async def main():
        async with connect(url) as other:
            session = await opened(url, ttl=60)
            apply = session.engine.apply

            async def late(*args, **options):
                lose(session)
                return await apply(*args, **options)

            with pytest.raises(LeaseLost):
                async with session.lock("outer"), session.lock("x"):
                    session.engine.apply = late
            await nothing_is_left()
            await other.lock("x").acquire()

    run(main)
