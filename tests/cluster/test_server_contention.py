"""Many sessions that come at once to one name on a server: how many scripts that costs each of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis.asyncio

from .servers import Server
from .test_faults import run
from .test_server_faults import connect
from .worker import until_waiting

__all__ = ["run"]  # the fixture

LONG = 300
"""Seconds of a ttl, so that no renewal is among them."""
MOST = 4.0
"""Scripts for each session. By how requests happen to arrive it is now and then more than 3; what grows with the number
of sessions is many more."""
CROWDS = 20, 60


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


class Crowd:
    """Sessions that come at once, one that watches, and what the server has done for all of them."""

    def __init__(self, client, sessions, watcher):
        self.client = client
        self.sessions = sessions
        self.watcher = watcher

    async def scripts(self):
        stats = await self.client.info("commandstats")
        return stats.get("cmdstat_evalsha", {}).get("calls", 0) + stats.get("cmdstat_eval", {}).get("calls", 0)

    async def scripts_each(self, act):
        before = await self.scripts()
        await act()
        async with asyncio.timeout(20):
            while any(
                register._pump for session in self.sessions for register in session._life.registers.by_name.values()
            ):
                await asyncio.sleep(0.001)
        return (await self.scripts() - before) / len(self.sessions)

    async def all(self, use):
        await asyncio.gather(*map(use, self.sessions))


@asynccontextmanager
async def crowd(server, count, namespace):
    async with (
        redis.asyncio.Redis(port=server.port) as client,
        AsyncExitStack() as stack,
        connect(server.url, ttl=LONG, namespace=f"{namespace} {count}") as watcher,
    ):
        async with watcher.lock("any"):
            pass  # the server knows the scripts from here on
        options = {"ttl": LONG, "namespace": f"{namespace} {count}"}
        sessions = [await stack.enter_async_context(connect(server.url, **options)) for _ in range(count)]
        yield Crowd(client, sessions, watcher)


@pytest.mark.parametrize("count", CROWDS)
async def test_all_wait_for_an_event_that_is_then_set(server, count):
    async with crowd(server, count, "event") as those:
        tasks = []

        async def wait():
            tasks.extend(asyncio.create_task(session.event("x").wait()) for session in those.sessions)
            await those.watcher.event("x").clear()
            await until_waiting(those.watcher, "x", count)

        async def set_it():
            await those.watcher.event("x").set()
            await asyncio.gather(*tasks)

        assert await those.scripts_each(wait) <= MOST
        assert await those.scripts_each(set_it) <= 1


@pytest.mark.parametrize("count", CROWDS)
@pytest.mark.parametrize("parties", ["all", 2])
async def test_all_come_to_a_barrier_and_take_their_places(server, count, parties):
    async with crowd(server, count, f"barrier of {parties}") as those:
        places = []

        async def come(session):
            places.append(await session.barrier("x", count if parties == "all" else parties).wait())

        assert await those.scripts_each(lambda: those.all(come)) <= MOST
        rounds = 1 if parties == "all" else count // parties
        assert sorted(places) == sorted([*range(count // rounds)] * rounds)
        assert await those.watcher.barrier("x", count if parties == "all" else parties).n_waiting == 0


@pytest.mark.parametrize("count", CROWDS)
@pytest.mark.parametrize("permits", [1, 5, 1000])
async def test_all_acquire_and_release_a_semaphore(server, count, permits):
    async with crowd(server, count, f"semaphore of {permits}") as those:
        inside, most = [], 0

        async def use(session):
            nonlocal most
            async with session.bounded_semaphore("x", permits):
                inside.append(session)
                most = max(most, len(inside))
                await asyncio.sleep(0)
                inside.remove(session)

        assert await those.scripts_each(lambda: those.all(use)) <= 2 * MOST, "for two calls"
        assert most <= permits


@pytest.mark.parametrize("count", CROWDS)
async def test_all_ask_for_a_permit_and_give_up(server, count):
    async with crowd(server, count, "give up") as those, those.watcher.semaphore("x", 1):
        tasks = []

        async def ask():
            tasks.extend(asyncio.create_task(session.semaphore("x", 1).acquire()) for session in those.sessions)
            await until_waiting(those.watcher, "x", count)

        async def give_up():
            for task in tasks:
                task.cancel()
            await until_waiting(those.watcher, "x", 0)

        assert await those.scripts_each(ask) <= MOST
        assert await those.scripts_each(give_up) <= MOST


@pytest.mark.parametrize("count", CROWDS)
async def test_all_try_and_leave(server, count):
    async with crowd(server, count, "leave") as those, those.watcher.semaphore("x", 1):

        async def attempt(session):
            assert await session.semaphore("x", 1).try_acquire() is None

        assert await those.scripts_each(lambda: those.all(attempt)) <= MOST
        assert await those.scripts_each(lambda: those.all(lambda session: session.close())) <= MOST
        assert (await those.watcher.engine.read("x") or "").count("\n") < 3 * count


async def test_what_is_added_is_written_anew_now_and_then(server):
    async with crowd(server, 10, "anew") as those:
        for _ in range(30):
            await those.all(lambda session: session.event("x").set())
        text = await those.watcher.engine.read("x") or ""
        assert text.count("\n") < 100
        assert (await those.watcher.inspect("x")).state == {"is_set": True}
