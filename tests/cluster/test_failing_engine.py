"""Requests whose answers are lost, and the tasks that wait for them. The engine fails as the test says."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from interpreters import BOUND

from holdfast.cluster import EngineError, LeaseLost, Session
from holdfast.cluster.engines.memory import MemoryEngine


class Failing(MemoryEngine):
    """Loses the answers to `apply()` while it is deaf, and cannot tell which sessions are dead while it is blind."""

    deaf = blind = False

    async def apply(self, *args: Any, notices: Any = None, **options: Any) -> Any:
        result = await super().apply(*args, notices=None if self.deaf else notices, **options)
        if self.deaf:
            raise EngineError("the answer was lost")
        return result

    async def dead(self, sessions: Any) -> frozenset[str]:
        if self.blind:
            raise EngineError("nobody can tell")
        return await super().dead(sessions)


async def opened(namespace: Any) -> tuple[Failing, Session]:
    engine = Failing(str(namespace))
    session = Session(engine, "a session")
    await session.__aenter__()
    return engine, session


async def settle() -> None:
    """Long enough for what has failed to be tried again."""
    await asyncio.sleep(0.05)


async def test_a_try_whose_answer_was_lost_takes_the_lock_or_leaves_it_free(tmp_path):
    engine, session = await opened(tmp_path)
    lock = session.lock("x")
    engine.deaf = True
    attempt = asyncio.create_task(lock.try_acquire())
    await settle()
    engine.deaf = False
    assert await attempt
    await lock.release()
    assert not await lock.locked()
    await session.close()


async def test_a_wait_whose_answer_was_lost_goes_on_waiting(tmp_path):
    engine, session = await opened(tmp_path)
    condition = session.condition("x")

    async def wait() -> None:
        async with condition:
            await condition.wait()

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    engine.deaf = True
    await settle()
    engine.deaf = False
    await settle()
    async with condition:
        await condition.notify()
    async with asyncio.timeout(BOUND):
        await waiter
    assert not await condition.locked()
    await session.close()


async def test_a_release_whose_answer_was_lost_ends_with_its_session(tmp_path):
    engine, session = await opened(tmp_path)
    lock = session.lock("x")
    await lock.acquire()
    engine.deaf = True
    release = asyncio.create_task(lock.release())
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(session.close())
    async with asyncio.timeout(BOUND):
        with pytest.raises(LeaseLost):
            await release
        await closing


async def test_a_body_that_was_cancelled_stays_so_if_its_release_is_lost(tmp_path):
    engine, session = await opened(tmp_path)
    lock = session.lock("x")

    async def use() -> None:
        async with lock:
            engine.deaf = True
            await asyncio.Event().wait()

    user = asyncio.create_task(use())
    await settle()
    user.cancel()
    await asyncio.sleep(0.02)
    await session.close()
    with pytest.raises(asyncio.CancelledError):
        await user
    assert user.cancelled()


async def test_not_to_know_who_is_dead_does_not_stop_a_session(tmp_path):
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    dying, other = await opened(tmp_path)
    engine, session = await opened(tmp_path)
    await other.lock("x").acquire()
    waiter = asyncio.create_task(session.lock("x").acquire())
    await settle()
    engine.blind = True
    await dying.close()  # as if its process had ended
    await settle()
    assert not waiter.done()
    engine.blind = False
    assert await waiter
    await session.close()
    await other.close()
    gc.collect()
    assert not complaints


async def test_tasks_of_one_condition_object_wait_together(tmp_path):
    _, session = await opened(tmp_path)
    condition = session.condition("x")

    async def wait() -> None:
        async with condition:
            await condition.wait()

    waiters = [asyncio.create_task(wait()) for _ in range(3)]
    await settle()
    async with condition:
        await condition.notify_all()
    await asyncio.gather(*waiters)
    assert not await condition.locked()
    await session.close()


async def test_the_dead_are_buried_though_the_change_that_was_to_do_it_has_failed(tmp_path):
    """A barrier looks which sessions are alive once, when all have come."""
    engine, session = await opened(tmp_path)
    _, other = await opened(tmp_path)
    arrivals = [asyncio.create_task(each.barrier("x", 2).wait()) for each in (other,)]
    await settle()
    changes = 0
    apply = engine.apply

    async def failing(*args: Any, **options: Any) -> Any:
        nonlocal changes
        changes += 1
        if changes == 1:
            other.engine._end()
        if changes == 2:  # the one that says which sessions were alive
            raise EngineError("for the test")
        return await apply(*args, **options)

    engine.apply = failing  # type: ignore[method-assign]
    engine.watch = lambda *_: lambda: None  # type: ignore[method-assign]  # a death may be noticed later than this
    barrier = session.barrier("x", 2)
    arrivals.append(asyncio.create_task(barrier.wait()))
    async with asyncio.timeout(BOUND):
        while changes < 3:
            await asyncio.sleep(0.001)
    assert not arrivals[1].done()
    async with asyncio.timeout(BOUND):
        assert {await barrier.wait(), await arrivals[1]} == {0, 1}
    arrivals[0].cancel()
    await asyncio.wait(arrivals)
    await session.close()
