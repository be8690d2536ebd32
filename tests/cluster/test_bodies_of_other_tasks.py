"""Bodies that are left by another task than entered them, as those of fixtures and exit stacks are."""

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
    lambda session: session.condition("x"),
]
kinds = pytest.mark.parametrize("make", KINDS, ids=["lock", "semaphore", "condition"])


async def in_a_task(work):
    return await asyncio.create_task(work)


@kinds
def test_the_task_that_entered_has_ended(url, make):
    """No task is cancelled; the task that leaves the body is told."""

    async def main():
        session = await opened(url)
        leased = make(session)
        grant = await in_a_task(leased.__aenter__())
        other = asyncio.create_task(asyncio.sleep(0.05, "not cancelled"))
        lose(session)
        assert grant.lost.is_set()
        assert await other == "not cancelled"
        with pytest.raises(LeaseLost, match="evicted, for the test"):
            await in_a_task(leased.__aexit__(None, None, None))
        assert asyncio.current_task().cancelling() == 0

    run(main)


@kinds
def test_something_else_is_on_its_way(url, make):
    async def main():
        session = await opened(url)
        leased = make(session)
        await in_a_task(leased.__aenter__())
        lose(session)
        exc = ValueError("the body's own")
        assert not await in_a_task(leased.__aexit__(ValueError, exc, None))

    run(main)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_cancellation_of_the_task_that_leaves_passes(url, cancelled):
    async def main():
        session = await opened(url)
        lock = session.lock("x")
        await in_a_task(lock.__aenter__())

        async def leave():
            try:
                await asyncio.sleep(60)
            finally:
                await lock.__aexit__(*(asyncio.CancelledError, asyncio.CancelledError(), None))

        task = asyncio.create_task(leave())
        await settle()
        lose(session)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)


@kinds
def test_a_fixture(url, make):
    """An asynchronous generator: pytest-asyncio runs each of its halves in a task of its own."""

    async def fixture(session):
        async with make(session) as grant:
            yield grant

    async def main():
        session = await opened(url)
        generator = fixture(session)
        grant = await in_a_task(anext(generator))
        grant.check()
        lose(session)
        with pytest.raises(LeaseLost):
            await in_a_task(anext(generator))

        async with connect(url) as lasting:
            generator = fixture(lasting)
            grant = await in_a_task(anext(generator))
            with pytest.raises(StopAsyncIteration):
                await in_a_task(anext(generator))
            assert grant.released
            assert not await make(lasting).locked()

    run(main)


def test_an_exit_stack_that_is_closed_elsewhere(url):
    """Also one that holds several: the first that is left raises, the others let that pass."""

    async def main():
        session = await opened(url)
        stack = contextlib.AsyncExitStack()

        async def enter():
            for number, make in enumerate(KINDS):
                other = await stack.enter_async_context(connect(url, namespace=f"{url} {number}"))
                await stack.enter_async_context(make(other))
            await stack.enter_async_context(session.lock("one more"))

        await in_a_task(enter())
        lose(session)
        with pytest.raises(LeaseLost, match="'one more'"):
            await in_a_task(stack.aclose())

    run(main)


def test_the_task_that_entered_still_runs(url):
    """It is the one that is cancelled; the task that leaves the body is told as well."""

    async def main():
        session = await opened(url)
        stack = contextlib.AsyncExitStack()

        async def enter():
            await stack.enter_async_context(session.lock("x"))
            await asyncio.sleep(60)

        entering = asyncio.create_task(enter())
        await settle()
        other = asyncio.create_task(asyncio.sleep(0.05, "not cancelled"))
        lose(session)
        await asyncio.wait([entering])
        assert entering.cancelled()
        with pytest.raises(LeaseLost):
            await in_a_task(stack.aclose())
        assert await other == "not cancelled"

    run(main)


def test_the_task_that_entered_is_not_cancelled_after_another_one_has_left(url):
    """The loss is noticed by a task, so the cancellation is yet to come when the body is left."""

    async def main():
        session = await opened(url, ttl=60)
        stack = contextlib.AsyncExitStack()

        async def enter():
            await stack.enter_async_context(session.lock("x"))
            await asyncio.sleep(0.05)
            return "not cancelled"

        entering = asyncio.create_task(enter())
        await settle()
        session._life.expiry.deadline = 0.0
        with pytest.raises(LeaseLost):
            await stack.aclose()
        assert await entering == "not cancelled"

    run(main)
