"""A resource in Redis that refuses old tokens, also those of a holder that was stopped for longer than its lease."""

from __future__ import annotations

from textwrap import dedent

import pytest
import redis.asyncio

from holdfast.cluster import RedisFence, StaleToken

from .history import stale
from .servers import shared
from .test_faults import PAUSED_BEFORE_ITS_WRITE, run
from .worker import Worker, WorkerError

__all__ = ["run"]  # the fixture

TTL = 3.0
"""Seconds."""


@pytest.mark.parametrize("decode", [False, True])
async def test_older_tokens_are_refused_and_the_same_is_not(decode):
    async with redis.asyncio.Redis(port=shared().port, decode_responses=decode) as client:
        fence = RedisFence(client, f"fence, decoded {decode}")
        for token in (3, 3, 1795564756874984):
            await fence.check(token)
        with pytest.raises(StaleToken, match="token 1795564756874983 is older than 1795564756874984, which 'fence"):
            await fence.execute(1795564756874983, "SET", "written", "x")
        assert await client.get("written") is None
        assert await fence.execute(1795564756874984, "SET", "written", 7) in ("OK", b"OK")
        assert int(await fence.execute(1795564756874985, "INCRBY", "written", 5)) == 12
        await client.delete("written")


@pytest.mark.parametrize("token", ["3", None, 0, -1, True, 1.0])
async def test_a_token_is_a_number(token):
    async with redis.asyncio.Redis(port=shared().port) as client:
        with pytest.raises(TypeError, match="a token is a positive int"):
            await RedisFence(client, "fence").execute(token, "SET", "x", 1)


WRITE = """
    import redis
    from holdfast.cluster import RedisFence

    async def write(token):
        if {fenced}:
            async with redis.asyncio.Redis(port={port}) as client:
                await RedisFence(client, "fence {fenced}").execute(token, "RPUSH", "writes {fenced}", token)
        else:  # at once, before the loop gets to tell that the lease is lost
            with redis.Redis(port={port}) as client:
                client.rpush("writes {fenced}", token)
"""


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_holder_that_was_paused_for_longer_than_its_ttl(fenced):
    """Its late write is refused by a fenced resource. One without a fence accepts it, and the check must see that."""
    url, options = shared().url, {"ttl": TTL, "namespace": f"fenced {fenced}"}
    write = "import redis.asyncio\n" + dedent(WRITE.format(port=shared().port, fenced=fenced))
    async with Worker(url, **options) as paused, Worker(url, **options) as other:
        body = dedent(PAUSED_BEFORE_ITS_WRITE).replace("write(", "await write(")
        first = paused.begin(write + body)
        _, token = await paused.event()
        await paused.until_stopped()
        await other.do(write + "async with session.lock('x') as grant:\n    await write(grant.token)")
        paused.go_on()
        with pytest.raises(WorkerError) as caught:
            await first
    async with redis.asyncio.Redis(port=shared().port) as client:
        accepted = [int(each) for each in await client.lrange(f"writes {fenced}", 0, -1)]
    if fenced:
        assert "StaleToken" in str(caught.value) or "LeaseLost" in str(caught.value)
        assert token not in accepted
        assert not stale(accepted)
    else:
        assert stale(accepted) == [token], "the check does not see a stale write"
