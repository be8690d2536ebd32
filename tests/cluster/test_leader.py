"""session.leader(): one leads, and after a loss the next one, or the same again; session.locks(): several at once."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, LeaseLost, SessionLost

from .servers import shared

RARE = 600.0
"""Seconds, a ttl with which nothing is noticed by the time."""


@pytest.fixture(params=["memory", "embedded", "server"])
def connect(request, tmp_path):
    """Sessions that share a namespace."""
    url = {"memory": "memory:", "embedded": f"sqlite://{tmp_path}/locks", "server": shared().url}[request.param]
    namespace = f"leaders {os.urandom(8).hex()}"
    return lambda **options: holdfast.connect(url, namespace=namespace, ttl=RARE, **options)


async def standing(session: Any, name: str, tasks: int) -> None:
    async with asyncio.timeout(BOUND):
        while sum(each.tasks for each in (await session.inspect(name)).waiters) < tasks:
            await asyncio.sleep(0.005)


async def test_one_leads_and_the_next_follows(connect):
    async with connect(name="one") as one, connect(name="two") as two, asyncio.timeout(BOUND):
        assert await one.leader("job").who() is None
        async with one.leader("job") as term:
            assert (await two.leader("job").who()).name == "one"
            second = asyncio.create_task(two.leader("job").run(lambda term: asyncio.sleep(0, term.token)))
            await standing(one, "job", 1)
        assert await second > term.token
        assert await two.leader("job").who() is None


async def test_it_is_the_lock_of_that_name(connect):
    async with connect() as session, session.leader("job"):
        assert await session.lock("job").locked()
        assert await session.lock("job").try_acquire() is None


async def test_run_returns_the_result_or_raises_and_steps_down(connect):
    async with connect() as session:
        leader = session.leader("job")

        async def fail(term):
            raise ZeroDivisionError

        assert await leader.run(lambda term: asyncio.sleep(0, "done")) == "done"
        with pytest.raises(ZeroDivisionError):
            await leader.run(fail)
        assert await leader.who() is None


async def test_after_a_loss_it_stands_again_behind_the_others(connect):
    terms: list[tuple[str, int]] = []
    cancelled: list[str] = []
    led = asyncio.Queue()

    def work(name, session):
        async def lead(term):
            terms.append((name, term.token))
            led.put_nowait(session)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        return lead

    async with connect(reopen=True, name="A") as a, connect(reopen=True, name="B") as b, connect() as operator:
        tasks = [asyncio.create_task(a.leader("job").run(work("A", a)))]
        async with asyncio.timeout(BOUND):
            assert await led.get() is a
            tasks.append(asyncio.create_task(b.leader("job").run(work("B", b))))
            for after in (b, a, b):
                await standing(operator, "job", 1)
                holder = await operator.leader("job").who()
                assert await operator.evict(holder.id)
                assert await led.get() is after
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [name for name, _ in terms] == ["A", "B", "A", "B"]
        tokens = [token for _, token in terms]
        assert tokens == sorted({*tokens})
        assert cancelled == ["A", "B", "A", "B"]
        assert await operator.leader("job").who() is None


async def test_without_reopen_the_loss_is_final(connect):
    async with connect() as session, connect() as operator:
        begun = asyncio.Event()

        async def lead(term):
            begun.set()
            await asyncio.sleep(3600)

        leading = asyncio.create_task(session.leader("job").run(lead))
        await begun.wait()
        assert await operator.evict(session.id, reason="a test")
        async with asyncio.timeout(BOUND):
            with pytest.raises(SessionLost, match="a test"):
                await leading


async def test_a_session_lost_of_the_functions_own_comes_out(connect):
    async with connect() as session, connect() as other:

        async def lead(term):
            raise SessionLost("another one")

        with pytest.raises(SessionLost, match="another one"):
            await session.leader("job").run(lead)
        assert await other.leader("job").who() is None


async def test_cancelling_run_cancels_the_function_and_steps_down(connect):
    async with connect() as session:
        begun = asyncio.Event()

        async def lead(term):
            begun.set()
            await asyncio.sleep(3600)

        leading = asyncio.create_task(session.leader("job").run(lead))
        await begun.wait()
        leading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leading
        assert await session.leader("job").who() is None


async def test_an_engine_that_is_away_at_first_is_an_error():
    with pytest.raises(EngineError):
        async with asyncio.timeout(BOUND), holdfast.connect("redis://127.0.0.1:1", ttl=0.2) as session:
            await session.leader("job").run(lambda term: asyncio.sleep(0))


async def test_misuse(connect):
    async with connect() as session:
        with pytest.raises(TypeError, match="async with"), session.leader("job"):
            pass
        with pytest.raises(TypeError, match="async with"), session.locks("a"):
            pass
        with pytest.raises(ValueError, match="1 to 200 characters"):
            session.leader("")
        with pytest.raises(ValueError, match="1 to 200 characters"):
            session.locks("a", "")
        with pytest.raises(TypeError, match="no timeout="):
            session.leader("job", timeout=5)


# Several locks


async def test_several_locks_in_any_order(connect):
    async with connect() as one, connect() as two, asyncio.timeout(BOUND):
        inside: list[str] = []

        async def use(session, names):
            async with session.locks(*names) as grants:
                assert sorted(grants) == sorted({*names})
                assert all(grant.name == name for name, grant in grants.items())
                assert not {*names} & {*inside}
                inside.extend(names)
                await asyncio.sleep(0.001)
                for name in names:
                    inside.remove(name)

        everyone = [use(session, names) for session in (one, two) for names in itertools.permutations("abc", 2)]
        await asyncio.gather(*everyone)
        for name in "abc":
            assert not await one.lock(name).locked()


async def test_a_name_given_twice_counts_once_and_none_is_left_on_cancellation(connect):
    async with connect() as session, connect() as other:
        async with session.locks("a", "b", "a") as grants:
            assert [*grants] == ["a", "b"]
        async with other.lock("b"):
            waiting = asyncio.create_task(session.locks("a", "b").__aenter__())
            await standing(other, "b", 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not await session.lock("a").locked()


async def test_when_they_are_lost_the_body_is_cancelled_once(connect):
    async with connect() as session, connect() as operator:
        task = asyncio.current_task()

        async def hold():
            async with session.locks("a", "b", "c"):
                assert await operator.evict(session.id)
                await asyncio.sleep(3600)

        with pytest.raises(LeaseLost):
            await hold()
        assert task.cancelling() == 0


def test_several_locks_of_threads(connect):
    with connect().sync as session:
        with session.locks("b", "a", "b") as grants:
            assert [*grants] == ["a", "b"]
            assert all(grant.token for grant in grants.values())
            assert session.lock("a").locked()
        assert not session.lock("a").locked()
        with pytest.raises(ValueError, match="1 to 200 characters"):
            session.locks("")
        with pytest.raises(ValueError, match="1 to 200 characters"):
            session.locks(1, "a")


async def test_they_may_be_left_in_another_task(connect):
    async with connect() as session:
        locks = session.locks("a", "b")
        await asyncio.create_task(locks.__aenter__())
        await asyncio.create_task(locks.__aexit__(None, None, None))
        assert not await session.lock("a").locked()
        with pytest.raises(RuntimeError, match="not held"):
            await locks.__aexit__(None, None, None)
