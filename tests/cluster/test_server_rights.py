"""A user of the server with exactly the rights that docs/connect.md lists; and with all of them but one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import redis.asyncio

import holdfast
from holdfast.cluster import EngineError, RedisFence, SessionLost, StaleToken

from .engines import run
from .servers import Server
from .worker import until_waiting

__all__ = ["run"]  # the fixture

CONNECT = (Path(__file__).parents[2] / "docs" / "connect.md").read_text()
DOCUMENTED = re.search(r"^ACL SETUSER app on >PASSWORD (.*?)^```", CONNECT, re.DOTALL | re.MULTILINE)
RIGHTS = DOCUMENTED[1].split()
COMMANDS = [right for right in RIGHTS if right.startswith("+")]


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


class User:
    """With these rights. Use it with `async with`."""

    def __init__(self, server, rights):
        self.admin = redis.asyncio.Redis(port=server.port)
        self.url = server.url.replace("//", "//app:PASSWORD@")
        self.rights = rights

    async def __aenter__(self):
        await self.admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">PASSWORD", *self.rights)
        return self

    async def __aexit__(self, *exc):
        await self.admin.execute_command("ACL", "DELUSER", "app")
        await self.admin.aclose()


async def use_everything(url):
    async with holdfast.connect(url, ttl=3) as one, holdfast.connect(url, ttl=3) as two:
        await one.lock("x").acquire()
        waiter = asyncio.create_task(two.lock("x").acquire())
        await until_waiting(one, "x")
        assert await two.lock("x").try_acquire() is None
        await asyncio.sleep(1.3)  # a renewal, and a look at the holder
        await one.close()
        assert await waiter
        for make in (two.semaphore, two.bounded_semaphore):
            async with make(make.__name__, 1):
                assert await make(make.__name__, 1).locked()
        await two.event("e").set()
        await two.event("e").wait()
        await two.event("e").clear()
        assert [await two.barrier("b", 1).wait(), await two.barrier("b", 1).n_waiting] == [0, 0]
        condition = two.condition("c")

        async def wait():
            async with condition:
                await condition.wait()

        waiting = asyncio.create_task(wait())
        await until_waiting(two, "c")
        async with condition:
            await condition.notify()
        await waiting
        assert await two.names() == ["b", "bounded_semaphore", "c", "e", "semaphore", "x"]
        assert (await two.inspect("x")).holders[0].session.id == two.id
        async with holdfast.connect(url, ttl=3) as third:
            assert await two.evict(third.id, reason="a test")
            with pytest.raises(SessionLost, match="a test"):
                await third.lock("y").acquire()
        await two.semaphore("semaphore", 1).resize(2)
        await asyncio.sleep(0.05)
        await two.tidy(0)
        await asyncio.sleep(0.05)
        await two.tidy(0)
        assert await two.names() == ["x"]


async def test_the_rights_in_the_docs_are_enough(server):
    async with User(server, RIGHTS) as user:
        await user.admin.script_flush()
        await use_everything(user.url)
        await user.admin.script_flush()
        await use_everything(user.url)


async def test_another_database_needs_select(server):
    async with User(server, [*RIGHTS, "+select"]) as user:
        await use_everything(f"{user.url}/3")
    async with User(server, RIGHTS) as user:
        with pytest.raises(EngineError, match=r"does not permit this user.*select"):
            await use_everything(f"{user.url}/3")


async def test_a_fence_needs_its_own_key(server):
    async with User(server, [*RIGHTS, "~accounts*", "+hset"]) as user:
        client = redis.asyncio.Redis.from_url(user.url, protocol=2)
        fence = RedisFence(client, "accounts:fence")
        await fence.execute(7, "HSET", "accounts", "alice", 42)
        with pytest.raises(StaleToken):
            await fence.check(6)
        await client.aclose()


@pytest.mark.parametrize("missing", COMMANDS)
async def test_a_command_that_is_missing_is_named_at_once(server, missing):
    async with User(server, [right for right in RIGHTS if right != missing]) as user:
        await user.admin.flushall()
        async with asyncio.timeout(2.5):
            with pytest.raises(EngineError, match=f"does not permit this user all.*(?i:{missing[1:]})"):
                async with holdfast.connect(user.url, ttl=3):
                    pass


@pytest.mark.parametrize(
    ("right", "instead", "told"),
    [
        ("~holdfast:{default}*", "~other*", "key"),
        ("~holdfast:{default}*", "~holdfast:{default}:*", "key"),
        ("~holdfast:{default}*", "~holdfast:{default} ~holdfast:{default}:session:* ~holdfast:{default}:names", "key"),
        ("&holdfast:{default}*", "&other*", "channel"),
    ],
)
async def test_keys_and_channels_that_are_missing_are_named_at_once(server, right, instead, told):
    rights = [each for each in RIGHTS if each != right] + instead.split()
    async with User(server, rights) as user:
        async with asyncio.timeout(2.5):
            with pytest.raises(EngineError, match=f"does not permit this user all.*{told}"):
                async with holdfast.connect(user.url, ttl=3):
                    pass


async def test_what_connect_tries_leaves_nothing_behind(server):
    async with User(server, RIGHTS) as user:
        await user.admin.flushall()
        async with holdfast.connect(user.url, ttl=3) as session:
            assert await session.names() == []
            assert sorted(await user.admin.keys("*")) == [
                b"holdfast:{default}",
                f"holdfast:{{default}}:session:{session.id}".encode(),
            ]
