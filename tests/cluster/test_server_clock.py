"""The server's clock is set, by libfaketime; and a fail-over that Sentinel decides."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest
import redis.asyncio
from interpreters import BOUND
from redis.asyncio.sentinel import Sentinel
from tests.ports import free_port

import holdfast
from holdfast.cluster import Fence, SessionLost, StaleToken

from .servers import VALKEY, Server
from .test_faults import run

__all__ = ["run"]  # the fixture


def _libfaketime() -> Path | None:
    """From pip, or as Debian's package has it."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if spec := importlib.util.find_spec("libfaketime"):
        found += Path(spec.origin).parent.rglob("libfaketime.so.1")
    return next(iter(found), None)


FAKETIME = _libfaketime()
TTL = 4.0
"""Seconds."""


@pytest.fixture
def server(tmp_path):
    """Whose clock is what the file says."""
    if FAKETIME is None:
        pytest.skip("needs libfaketime, from pip or as Debian's package has it")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with Server("--appendonly", "yes", "--appendfsync", "always", environment=environment) as server:
        server.clock = clock
        yield server


def set_clock(server, offset):
    """At once: the server must not read a file that is being written."""
    new = server.clock.with_name("new")
    new.write_text(offset)
    new.rename(server.clock)


async def test_the_clock_goes_forward_by_more_than_a_ttl(server):
    """The session is dead for the server, so it is for itself, with its next request or renewal; tokens rise."""
    async with holdfast.connect(server.url, ttl=TTL) as session:
        grant = await session.lock("x").acquire()
        set_clock(server, "+3600")
        async with asyncio.timeout(BOUND):
            await grant.lost.wait()
        with pytest.raises(SessionLost, match="was not renewed"):
            await session.lock("x").acquire()
    async with holdfast.connect(server.url, ttl=TTL) as session:
        assert (await session.lock("x").acquire()).token > grant.token


async def test_the_clock_goes_back(server):
    """A live session lives on, a dead one is buried later, and tokens rise."""
    async with holdfast.connect(server.url, ttl=TTL) as session:
        grant = await session.lock("x").acquire()
        set_clock(server, "-3600")
        await asyncio.sleep(TTL)
        grant.check()
    async with holdfast.connect(server.url, ttl=TTL) as session:
        later = await session.lock("x").acquire()
        assert later.token > grant.token
        server.kill()
        server.start()
        async with asyncio.timeout(BOUND):
            assert (await session.lock("y").acquire()).token > 0
        later.check()


async def test_the_clock_goes_back_and_the_data_is_lost(server):
    """Nothing remembers the tokens then: a fence refuses the new ones until the clock has caught up."""
    fence = Fence()
    async with holdfast.connect(server.url, ttl=TTL) as session:
        before = await session.lock("x").acquire()
        fence.check(before.token)
        server.kill()
        server.lose_data()
        set_clock(server, "-3600")
        server.start()
        async with asyncio.timeout(BOUND):
            await before.lost.wait()
    async with holdfast.connect(server.url, ttl=TTL) as session, session.lock("x") as grant:
        with pytest.raises(StaleToken):
            fence.check(grant.token)
    set_clock(server, "+1")
    server.kill()
    server.lose_data()
    server.start()
    async with holdfast.connect(server.url, ttl=TTL) as session, session.lock("x") as grant:
        fence.check(grant.token)


async def test_sentinel_promotes_a_replica(tmp_path):
    """A session whose client comes from redis-py's Sentinel goes on with the new primary, with what that has got."""
    with Server() as primary, Server("--replicaof", "127.0.0.1", str(primary.port)) as replica:
        configuration = tmp_path / "sentinel.conf"
        port = free_port()
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        )
        process = await asyncio.create_subprocess_exec(
            str(VALKEY), str(configuration), "--sentinel", stdout=asyncio.subprocess.DEVNULL
        )
        try:
            async with redis.asyncio.Redis(port=replica.port) as there, asyncio.timeout(BOUND):
                sentinel = Sentinel([("127.0.0.1", port)])
                while not await found(sentinel):
                    await asyncio.sleep(0.1)
                client = sentinel.master_for("main", redis_class=redis.asyncio.Redis)
                session = holdfast.connect(client, ttl=120)
                assert repr(session.engine) == "the server that Sentinel names for 'main', database 0"
                await session.__aenter__()
                grant = await session.lock("x").acquire()
                while not await there.exists("holdfast:{default}:record:x"):
                    await asyncio.sleep(0.05)
            primary.kill()
            async with asyncio.timeout(BOUND):
                other = await session.lock("y").acquire()
            grant.check()
            assert other.token > grant.token
            await session.close()
            await client.aclose()
            for each in sentinel.sentinels:
                await each.aclose()
        finally:
            process.kill()
            await process.wait()


async def found(sentinel):
    """Whether it knows of the primary and of its replica."""
    try:
        return await sentinel.discover_master("main") and await sentinel.discover_slaves("main")
    except redis.exceptions.ConnectionError:
        return False
