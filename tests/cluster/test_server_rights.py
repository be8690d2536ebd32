"""A user of the server with exactly the rights that docs/connect.md lists; and with all of them but one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import redis
import redis.asyncio
from interpreters import BOUND, RARELY

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
    async with holdfast.connect(url, ttl=5) as one, holdfast.connect(url, ttl=5) as two:
        await one.lock("x").acquire()
        waiter = asyncio.create_task(two.lock("x").acquire())
        await until_waiting(one, "x")
        assert await two.lock("x").try_acquire() is None
        await asyncio.sleep(2.1)  # a renewal, and a look at the holder
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
        async with holdfast.connect(url, ttl=5) as third:
            assert await two.evict(third.id, reason="a test")
            with pytest.raises(SessionLost, match="a test"):
                await third.lock("y").acquire()
        await two.semaphore("semaphore", 1).resize(2)
        while await two.names() != ["x"]:
            await two.tidy(0)
            await asyncio.sleep(0.02)  # as the time of the server is only estimated


async def test_the_rights_in_the_docs_are_enough(server):
    async with User(server, RIGHTS) as user:
        await user.admin.script_flush()
        await use_everything(user.url)
        await user.admin.script_flush()
        await use_everything(user.url)


def message(denied, permit=".*"):
    """A pattern for the whole message: what the server denies, and the command that permits all."""
    return (
        rf"does not permit this user all that is needed: {denied}\. "
        f"An administrator of the server permits it by: {permit}$"
    )


NOT_THE_COMMAND = "(?:(?!An administrator).)*"


async def test_another_database_needs_select(server):
    async with User(server, [*RIGHTS, "+select"]) as user:
        await use_everything(f"{user.url}/3")
    async with User(server, RIGHTS) as user:
        with pytest.raises(EngineError, match=message(f"{NOT_THE_COMMAND}select{NOT_THE_COMMAND}")):
            await use_everything(f"{user.url}/3")


async def test_a_fence_needs_its_own_key(server):
    async with User(server, [*RIGHTS, "~accounts*", "+hset"]) as user:
        client = redis.asyncio.Redis.from_url(user.url, protocol=2)
        fence = RedisFence(client, "accounts:fence")
        await fence.execute(7, "HSET", "accounts", "alice", 42)
        with pytest.raises(StaleToken):
            await fence.check(6)
        await client.aclose()


async def refused(user, denied):
    await user.admin.flushall()
    async with asyncio.timeout(BOUND):
        with pytest.raises(EngineError, match=message(f"{NOT_THE_COMMAND}(?i:{denied}){NOT_THE_COMMAND}")) as caught:
            async with holdfast.connect(user.url, ttl=RARELY):
                pass
    return str(caught.value).partition("permits it by: ")[2]


@pytest.mark.parametrize("missing", COMMANDS)
async def test_a_command_that_is_missing_is_named_at_once(server, missing):
    async with User(server, [right for right in RIGHTS if right != missing]) as user:
        await refused(user, missing[1:])


KEY = "~holdfast:{default}"


@pytest.mark.parametrize(
    ("right", "instead", "told"),
    [
        (f"{KEY}*", "~other*", "key"),
        (f"{KEY}*", f"{KEY}:*", "key"),
        (f"{KEY}*", f"{KEY} {KEY}:session:* {KEY}:names {KEY}:evicted", "key"),
        (f"{KEY}*", f"{KEY} {KEY}:session:* {KEY}:names {KEY}:record:*", "key"),
        (f"{KEY}*", f"{KEY} {KEY}:session:* {KEY}:names {KEY}:record:* %R{KEY}:evicted", "key"),
        (f"{KEY}*", f"{KEY} {KEY}:session:* {KEY}:evicted {KEY}:record:* %R{KEY}:names", "key"),
        ("&holdfast:{default}*", "&other*", "channel"),
    ],
)
async def test_keys_and_channels_that_are_missing_are_named_at_once(server, right, instead, told):
    rights = [each for each in RIGHTS if each != right] + instead.split()
    async with User(server, rights) as user:
        await refused(user, told)


async def test_rights_to_each_key_by_itself_are_enough(server):
    keys = [f"{KEY}{each}" for each in ("", ":session:*", ":names", ":record:*", ":evicted")]
    async with User(server, [each for each in RIGHTS if each != f"{KEY}*"] + keys) as user:
        await use_everything(user.url)


async def test_the_message_says_what_permits_everything(server):
    async with User(server, []) as user:
        permit = await refused(user, "eval")
        assert permit.split() == ["ACL", "SETUSER", "app", *(each for each in RIGHTS if each[0] in "~&+")]
        await user.admin.execute_command(*permit.split())
        await use_everything(user.url)


@pytest.mark.parametrize(("namespace", "database"), [("default", 3), ("a b [*]? \N{LOCK}", 0)])
async def test_the_message_fits_the_namespace_and_the_database(server, namespace, database):
    async with User(server, ["+select"] if database else []) as user:
        url = f"{user.url}/{database}"
        with pytest.raises(EngineError, match=message(".*")) as caught:
            async with holdfast.connect(url, ttl=3, namespace=namespace):
                pass
        permit = str(caught.value).partition("permits it by: ")[2].split()
        assert ("+select" in permit) is (database != 0)
        await user.admin.execute_command(*permit)
        async with holdfast.connect(url, ttl=3, namespace=namespace) as session, session.lock("x"):
            pass


async def test_the_message_does_not_guess_the_name_of_a_user(server):
    async with User(server, []):
        provider = redis.UsernamePasswordCredentialProvider("app", "PASSWORD")
        client = redis.asyncio.Redis(port=server.port, credential_provider=provider, protocol=2)
        with pytest.raises(EngineError, match=message(".*", "ACL SETUSER USER ~.*")):
            async with holdfast.connect(client, ttl=RARELY):
                pass
        await client.aclose()


async def test_what_connect_tries_leaves_nothing_behind(server):
    async with User(server, RIGHTS) as user:
        await user.admin.flushall()
        async with holdfast.connect(user.url, ttl=RARELY) as session:
            assert await session.names() == []
            assert (await session.engine.evictions()) == []
            assert sorted(await user.admin.keys("*")) == [
                b"holdfast:{default}",
                f"holdfast:{{default}}:session:{session.id}".encode(),
            ]


async def test_what_connect_tries_leaves_the_notes_of_evictions_as_they_are(server):
    async with User(server, RIGHTS) as user, holdfast.connect(user.url, ttl=RARELY) as session:
        async with holdfast.connect(user.url, ttl=RARELY) as other:
            assert await session.evict(other.id)
        key = "holdfast:{default}:evicted"
        await user.admin.pexpire(key, 50_000)
        before = await user.admin.zrange(key, 0, -1, withscores=True)
        async with holdfast.connect(user.url, ttl=RARELY):
            pass
        assert await user.admin.zrange(key, 0, -1, withscores=True) == before
        assert 0 < await user.admin.pttl(key) <= 50_000
