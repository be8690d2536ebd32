"""Joining the line of a held lock on a server, while its holder releases it, dies, or knows nothing of that."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager

import redis.asyncio
from interpreters import BOUND, RARELY

from holdfast.cluster import EngineError

from .proxy import Proxy
from .servers import shared
from .test_faults import assert_nothing_is_left, run
from .test_server_faults import TTL, connect, eventually, opened
from .worker import until_waiting, waiters

__all__ = ["run"]  # the fixture

ADDED = re.compile(r"^\d+ \w+\t", re.MULTILINE)
"""The beginning of a row that was added: the engine's time, then what was added."""


@asynccontextmanager
async def crew(namespace, count, ttl=RARELY):
    """A proxy, a session that reaches the server through it, and others that do not; and a lock of each."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(shared().port))
        urls = [proxy.url, *[shared().url] * (count - 1)]
        sessions = [await stack.enter_async_context(connect(url, namespace=namespace, ttl=ttl)) for url in urls]
        yield proxy, sessions, [session.lock("x") for session in sessions]


async def joined(lock, watcher, tasks):
    """A task that waits for the lock, as so many do now."""
    task = asyncio.create_task(lock.acquire())
    await until_waiting(watcher, "x", tasks)
    return task


async def added(session):
    """How many batches are stored behind the record."""
    return len(ADDED.findall(await session.engine.read("x")))


async def never(*args):
    raise EngineError("no answer")


async def test_a_release_that_does_not_know_of_the_last_in_the_line_hands_over_at_once():
    async with crew("joined, unknown", 4) as (proxy, (one, _, _, other), (first, second, third, _)):
        await first.acquire()
        before = await joined(second, other, 1)
        await one.inspect("x")  # so it knows of that one
        proxy.drops_messages = True
        behind = await joined(third, other, 2)
        assert await added(other) == 2
        requests = proxy.requests
        await first.release()
        assert proxy.requests - requests == 1
        async with asyncio.timeout(BOUND):
            await before
            assert (await added(other), behind.done()) == (1, False), "it stays behind the record"
            await second.release()
            await behind
        await third.release()
        await assert_nothing_is_left(other, "x")


async def test_the_holder_is_told_of_the_first_who_joins_and_hands_over_at_once():
    async with crew("told", 3) as (proxy, (one, _, other), (first, second, _)):
        await first.acquire()
        waiter = await joined(second, other, 1)
        await eventually(lambda: ADDED.search(one.engine._known.versions["x"].text))
        requests = proxy.requests
        await first.release()
        assert proxy.requests - requests == 1
        async with asyncio.timeout(BOUND):
            await waiter
        await second.release()


async def test_a_release_that_does_not_know_of_anybody_hands_over_to_who_has_joined():
    async with crew("joined, then released", 3) as (proxy, (_, _, other), (first, second, _)):
        await first.acquire()
        proxy.drops_messages = True
        waiter = await joined(second, other, 1)
        requests = proxy.requests
        await first.release()
        assert proxy.requests - requests == 2, "it is told, and hands over"
        async with asyncio.timeout(BOUND):
            await waiter
        await second.release()
        await assert_nothing_is_left(other, "x")


async def test_who_joins_after_a_release_that_he_does_not_know_of_has_it():
    async with crew("released, then joined", 3) as (proxy, (_, _, other), (first, second, _)):
        await second.acquire()
        waiter = await joined(first, other, 1)
        waiter.cancel()  # it knows that the other one holds it
        await until_waiting(other, "x", 0)
        proxy.drops_messages = True
        await second.release()
        requests = proxy.requests
        async with asyncio.timeout(BOUND):
            await first.acquire()
        assert proxy.requests - requests == 2
        assert await added(other) == 0
        await first.release()


async def test_who_joins_a_held_lock_needs_one_request_whatever_has_happened_since():
    async with crew("one request", 3) as (proxy, (_, _, other), (first, second, third)):
        for lock in (first, second, third):
            await lock.acquire()
            await lock.release()
        await second.acquire()
        requests = proxy.requests
        waiter = asyncio.create_task(first.acquire())
        await until_waiting(other, "x", 1)
        await second.release()
        async with asyncio.timeout(BOUND):
            await waiter
        assert proxy.requests - requests <= 2, "it joins, and looks whether the holder lives"
        await first.release()


async def test_a_release_and_a_new_request_of_the_same_session_do_not_overtake_who_has_joined():
    """Both go in one batch; a ticket that joined in between came first."""
    async with crew("same session", 3) as (proxy, (_, _, other), (first, second, _)):
        await first.acquire()
        proxy.drops_messages = True
        waiter = await joined(second, other, 1)
        releasing, again = asyncio.create_task(first.release()), asyncio.create_task(first.acquire())
        await releasing
        async with asyncio.timeout(BOUND):
            await waiter
            assert not again.done()
            await second.release()
            proxy.drops_messages = False
            proxy.cut()  # it looks, as it may have missed something
            await again
        await first.release()


async def test_a_holder_dies_before_it_has_known_of_those_who_have_joined():
    async with crew("holder dies", 3, ttl=TTL) as (_, (_, _, other), (second, third, _)):
        dying = await opened(shared().url, namespace="holder dies")
        await dying.lock("x").acquire()
        before = await joined(second, other, 1)
        behind = await joined(third, other, 2)
        assert await added(other) == 2
        dying.engine.renew = never
        async with asyncio.timeout(BOUND):
            await before
        assert not behind.done()
        await second.release()
        async with asyncio.timeout(BOUND):
            await behind
        await third.release()
        await dying.close()


async def test_who_has_joined_dies_before_anybody_has_known_of_it():
    """It is handed to the dead at first, and found there by the next in line."""
    async with crew("joined, died", 3, ttl=TTL) as (_, (_, _, other), (first, third, _)):
        dying = await opened(shared().url, namespace="joined, died")
        await first.acquire()
        gone = await joined(dying.lock("x"), other, 1)
        behind = await joined(third, other, 2)
        assert await added(other) == 2
        dying.engine.renew = never
        gone.add_done_callback(lambda done: done.cancelled() or done.exception())
        await first.release()
        async with asyncio.timeout(BOUND):
            await behind
        await third.release()
        await assert_nothing_is_left(other, "x")
        await dying.close()


async def test_the_answer_to_who_joins_is_lost():
    """It is stored twice, and counts once."""
    async with crew("answer lost", 3) as (proxy, (_, _, other), (first, second, _)):
        await second.acquire()
        proxy.requests, proxy.cut_at = 0, 0
        waiter = asyncio.create_task(first.acquire())
        while await added(other) < 2:
            await asyncio.sleep(0.005)
        assert proxy.cuts == 1
        assert [waiting.tasks for waiting in await waiters(other, "x")] == [1]
        await second.release()
        async with asyncio.timeout(BOUND):
            await waiter
        await first.release()
        await assert_nothing_is_left(other, "x")


async def test_what_was_on_its_way_on_an_older_connection_is_not_done_any_more():
    """Else a ticket that has long been withdrawn would join again, and be granted what no task waits for."""
    async with (
        crew("older connection", 3) as (proxy, (one, _, other), (first, second, _)),
        redis.asyncio.Redis.from_url(shared().url) as client,
    ):
        await second.acquire()
        sent = []
        send = one.engine._link.requests.send
        one.engine._link.requests.send = lambda then, *arguments: sent.append(arguments) or send(then, *arguments)
        waiter = await joined(first, other, 1)
        joining = next(arguments for arguments in sent if arguments[0] == "EVALSHA")
        assert (await client.execute_command(*joining)).startswith(b"added\n"), "while it is the connection"
        assert [waiting.tasks for waiting in await waiters(other, "x")] == [1], "it has counted before"
        waiter.cancel()
        await until_waiting(other, "x", 0)
        await one.tidy(0)  # the record knows no more of this session
        proxy.cut()
        assert await first.locked()
        text = await other.engine.read("x")
        assert (await client.execute_command(*joining)).startswith(b"another connection\n")
        assert await other.engine.read("x") == text
        await second.release()
        await assert_nothing_is_left(other, "x")
