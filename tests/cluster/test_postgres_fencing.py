"""A resource in PostgreSQL that refuses old tokens, also those of a holder that was stopped beyond its lease."""

from __future__ import annotations

import asyncio
from textwrap import dedent

import pytest

from holdfast.cluster import PostgresFence, StaleToken

from .history import stale
from .postgres import needs_postgres, shared
from .test_faults import PAUSED_BEFORE_ITS_WRITE, run
from .worker import Worker, WorkerError

__all__ = ["run"]  # the fixture

pytestmark = needs_postgres
TTL = 3.0
"""Seconds."""


@pytest.fixture
def connect():
    """What makes connections that the test need not close."""
    import asyncpg

    return lambda: asyncpg.connect(shared().url)


async def test_older_tokens_are_refused_and_the_same_is_not(connect):
    one, two = await connect(), await connect()
    fence = PostgresFence(one, "fence")
    await asyncio.gather(fence.prepare(), PostgresFence(two, "fence").prepare())
    await fence.prepare()
    for token in (3, 3, 1795564756874984):
        async with one.transaction():
            await fence.check(token)
    with pytest.raises(StaleToken, match="token 1795564756874983 is older than 1795564756874984, which 'fence"):
        async with one.transaction():
            await fence.check(1795564756874983)
    with pytest.raises(RuntimeError, match=r"not in a transaction.*write 'async with connection.transaction\(\)'"):
        await fence.check(1795564756874984)
    async with one.transaction():
        await PostgresFence(one, "another").check(1)
    await one.close()
    await two.close()


async def test_the_next_one_waits_until_the_write_is_there(connect):
    """Who checks later sees what was written under the token before, or it is refused with that."""
    one, two = await connect(), await connect()
    await PostgresFence(one, "order").prepare()

    async def later():
        async with two.transaction():
            await PostgresFence(two, "order").check(2)

    transaction = one.transaction()
    await transaction.start()
    await PostgresFence(one, "order").check(1)
    waiting = asyncio.create_task(later())
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    await transaction.commit()
    await waiting
    await one.close()
    await two.close()


@pytest.mark.parametrize("token", ["3", None, 0, -1, True, 1.0])
async def test_a_token_is_a_number(connect, token):
    connection = await connect()
    async with connection.transaction():
        with pytest.raises(TypeError, match="a token is a positive int"):
            await PostgresFence(connection, "fence").check(token)
    await connection.close()


WRITE = """
    import asyncpg
    from holdfast.cluster import PostgresFence

    async def write(token):
        connection = await asyncpg.connect("{url}")
        async with connection.transaction():
            if {fenced}:
                await PostgresFence(connection, "writes").check(token)
            await connection.execute("INSERT INTO writes_{fenced} (token) VALUES ($1)", token)
        await connection.close()
"""


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_holder_that_was_paused_for_longer_than_its_ttl(connect, fenced):
    """Its late write is refused by a fenced resource. One without a fence accepts it, and the check must see that."""
    connection = await connect()
    await PostgresFence(connection, "writes").prepare()
    await connection.execute(f"CREATE TABLE writes_{fenced} (number serial, token bigint)")
    url, options = shared().url, {"ttl": TTL, "namespace": f"fenced {fenced}"}
    write = dedent(WRITE.format(url=url, fenced=fenced))
    if not fenced:  # in a thread, before the loop gets to tell that the lease is lost
        write += "\n_write = write\nimport threading\n" + dedent("""
            async def write(token):
                thread = threading.Thread(target=asyncio.run, args=[_write(token)])
                thread.start()
                thread.join()
        """)
    async with Worker(url, **options) as paused, Worker(url, **options) as other:
        body = dedent(PAUSED_BEFORE_ITS_WRITE).replace("write(", "await write(")
        first = paused.begin(write + body)
        _, token = await paused.event()
        await paused.until_stopped()
        await other.do(write + "async with session.lock('x') as grant:\n    await write(grant.token)")
        paused.go_on()
        with pytest.raises(WorkerError) as caught:
            await first
    accepted = [row[0] for row in await connection.fetch(f"SELECT token FROM writes_{fenced} ORDER BY number")]
    await connection.close()
    if fenced:
        assert "StaleToken" in str(caught.value) or "LeaseLost" in str(caught.value)
        assert token not in accepted
        assert not stale(accepted)
    else:
        assert stale(accepted) == [token], "the check does not see a stale write"
