"""What a task that waits keeps in memory, and what somebody has put in place of acquire()."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

import holdfast
from holdfast.cluster.primitives.lock import Lock

from .engines import settle


def coroutines_of(task):
    """Those that wait for each other in a task, from the outermost to the one that awaits a future."""
    found, awaited = [], task.get_coro()
    while hasattr(awaited, "cr_await"):
        found.append(awaited.__qualname__)
        awaited = awaited.cr_await
    return found


async def body(primitive):
    async with primitive:
        pass


@pytest.mark.parametrize("kind", ["lock", "semaphore"])
def test_a_task_that_waits_keeps_few_coroutines(kind):
    """Each of them costs some 200 bytes for each of the tasks."""

    async def main():
        async with holdfast.connect("memory:") as session:
            primitive = getattr(session, kind)(kind)
            async with primitive:
                tasks = [asyncio.create_task(body(primitive)), asyncio.create_task(primitive.acquire())]
                await settle(session)
                assert [len(coroutines_of(task)) for task in tasks] == [2, 2]
            await tasks[0]
            await tasks[1]

    asyncio.run(main())


@pytest.mark.parametrize("on", ["class", "subclass", "object"])
def test_async_with_goes_through_an_acquire_that_was_put_in_place(on):
    class Own(Lock):
        async def acquire(self):
            calls.append("acquire")
            return await super().acquire()

    calls = []

    async def main():
        async with holdfast.connect("memory:") as session:
            lock = Own(session, "x") if on == "subclass" else session.lock("x")
            acquire = lock.acquire

            async def tracking(*self):
                calls.append("acquire")
                return await acquire()

            owner = {"class": Lock, "object": lock, "subclass": mock.Mock()}[on]
            with mock.patch.object(owner, "acquire", tracking):
                async with lock as grant:
                    grant.check()
                    assert await session.lock("x").locked()
            assert calls == ["acquire"]
            assert not await lock.locked()
            async with session.lock("x"):
                pass
            assert calls == ["acquire"]

    asyncio.run(main())
