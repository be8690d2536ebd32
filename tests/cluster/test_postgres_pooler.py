"""A pooler between sessions and their server. One that loses wake-ups is refused, but for sessions that poll."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest

import holdfast
from holdfast.cluster import EngineError

from .counting import Requests
from .postgres import PgBouncer, needs_postgres, shared
from .test_faults import run
from .worker import until_waiting

__all__ = ["run"]  # the fixture

pytestmark = [
    needs_postgres,
    pytest.mark.skipif(PgBouncer.BINARY is None, reason="there is no pgbouncer on PATH, as Debian's package has it"),
]


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_loses_wake_ups_is_refused(mode):
    with PgBouncer(shared(), mode) as pooler:
        for _ in range(2):  # also where it has connections left over
            with pytest.raises(EngineError, match=r"pooler in transaction mode.*with pool_mode = session"):
                await holdfast.connect(pooler.url, ttl=5).__aenter__()


async def test_a_pooler_in_session_mode_is_as_good_as_the_server():
    with PgBouncer(shared(), "session") as pooler:
        options = {"namespace": "pooled", "ttl": 5}
        async with holdfast.connect(pooler.url, **options) as one, holdfast.connect(shared().url, **options) as two:
            async with one.lock("x") as first:
                pass
            waiting = asyncio.create_task(one.event("e").wait())
            await until_waiting(two, "e")
            await two.event("e").set()
            await waiting
            async with two.lock("x") as second:
                assert second.token > first.token


async def test_a_session_that_polls_needs_no_wake_ups():
    with PgBouncer(shared(), "transaction", "default_pool_size = 3") as pooler:
        options = {"namespace": "polling", "ttl": 5}
        url = f"{pooler.url}?poll=0.05"
        async with contextlib.AsyncExitStack() as stack:
            one, two, three = [await stack.enter_async_context(holdfast.connect(url, **options)) for _ in range(3)]
            woken = await stack.enter_async_context(holdfast.connect(shared().url, **options))
            sessions, tokens, order = [one, two, three, woken] * 5, [], []

            async def enter(number):
                async with sessions[number].lock("x") as grant:
                    tokens.append(grant.token)
                    order.append(number)

            async with one.lock("x"):
                waiting = []
                for number in range(20):
                    waiting.append(asyncio.create_task(enter(number)))
                    await until_waiting(woken, "x", number + 1)
            await asyncio.gather(*waiting)
            assert order == [*range(20)]
            assert tokens == sorted(set(tokens))
            everybody = [asyncio.create_task(session.barrier("b", 4).wait()) for session in (one, two, three, woken)]
            assert sorted(await asyncio.gather(*everybody)) == [0, 1, 2, 3]


async def test_a_session_that_polls_asks_only_while_a_task_waits():
    with PgBouncer(shared(), "transaction") as pooler:
        options = {"namespace": "polling seldom", "ttl": 60}
        async with holdfast.connect(f"{pooler.url}?poll=0.01", **options) as session:
            async with holdfast.connect(shared().url, **options) as other:
                requests = Requests()
                async with session.lock("x"):
                    requests.count(session.engine)
                    await asyncio.sleep(0.2)
                assert requests.made == 1, "the release"
                async with other.lock("x"):
                    waiter = asyncio.create_task(session.lock("x").acquire())
                    await until_waiting(other, "x")
                    before = requests.made
                    while requests.made < before + 3:
                        await asyncio.sleep(0.01)
                await waiter


async def test_a_session_that_polls_leaves_the_settings_of_the_poolers_connections_alone():
    with PgBouncer(shared(), "transaction", "default_pool_size = 1") as pooler:
        async with holdfast.connect(f"{pooler.url}?poll=1&schema=pooled", ttl=5) as session:
            async with session.lock("x"):
                pass
        connection = await asyncpg.connect(pooler.url, statement_cache_size=0)
        for name in ("statement_timeout", "search_path", "jit"):
            here, reset = await connection.fetchrow(
                "SELECT setting, reset_val FROM pg_catalog.pg_settings WHERE name = $1", name
            )
            assert here == reset, name
        await connection.close()


async def test_a_session_that_polls_needs_read_committed():
    connection = await asyncpg.connect(shared().url)
    await connection.execute("CREATE ROLE strict SUPERUSER LOGIN")
    await connection.execute("ALTER ROLE strict SET default_transaction_isolation = 'repeatable read'")
    await connection.close()
    with PgBouncer(shared(), "transaction", user="strict") as pooler:
        with pytest.raises(EngineError, match=r"as REPEATABLE READ, and holdfast needs READ COMMITTED.*ALTER ROLE"):
            await holdfast.connect(f"{pooler.url}?poll=1", ttl=5).__aenter__()


async def test_a_session_that_polls_neither_asks_nor_answers_what_its_tasks_wait_for():
    options, silent = {"namespace": "polls and is asked", "ttl": 5}, []
    with PgBouncer(shared(), "transaction") as pooler:
        async with (
            holdfast.connect(f"{pooler.url}?poll=0.05", name="polls", **options) as one,
            holdfast.connect(shared().url, **options) as two,
        ):
            holds = asyncio.Barrier(2)

            async def enter(session, first, second):
                async with session.lock(first):
                    await holds.wait()
                    async with session.lock(second):
                        pass

            waiting = [asyncio.create_task(enter(one, "a", "b")), asyncio.create_task(enter(two, "b", "a"))]
            await until_waiting(two, "a")
            await until_waiting(two, "b")
            async with asyncio.timeout(20):
                assert await two.find_deadlocks(within=60, on_silent=silent.append) == []
                assert [(info.name, info.polls) for info in silent] == [("polls", True)]
                with pytest.raises(RuntimeError, match="polls, so answers of other sessions do not reach it"):
                    await one.find_deadlocks(within=60)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
