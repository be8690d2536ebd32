"""What happens to servers, clients, connections and wake-ups, on each kind of server alike."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest
from interpreters import BOUND, RARELY

from holdfast.cluster import EngineError, LeaseLost, SessionLost

from . import postgres
from .engines import SERVERS, url_of
from .etcd_servers import EtcdServer, shared_etcd
from .history import violations
from .proxy import ETCD, Proxy
from .servers import Server, shared
from .test_faults import TAKE_TURNS, assert_nothing_is_left, run, turns_of
from .test_server_faults import DURABLE, TTL, connect, opened
from .worker import Worker, until_waiting

__all__ = ["run"]  # the fixture


@pytest.fixture(params=SERVERS)
def kind(request):
    return request.param


@pytest.fixture
def url(kind):
    """Of the server that all tests share. Skips the test if there is none of this kind here."""
    return url_of(kind, None)


@pytest.fixture
def server(kind, url):
    """One of its own for a test, which may kill it."""
    kinds = {"valkey": partial(Server, *DURABLE), "postgres": postgres.PostgresServer, "etcd": EtcdServer}
    with kinds[kind]() as server:
        yield server


@pytest.fixture
def proxy(kind, url):
    """What stands before that server, to be entered."""
    if kind == "postgres":
        return postgres.PostgresProxy(postgres.shared().port)
    return Proxy(shared_etcd().members[0].port, protocol=ETCD) if kind == "etcd" else Proxy(shared().port)


# The clients


async def test_processes_never_overlap_though_one_is_killed(url):
    """A session that holds it for the victim is dead after its ttl."""
    options = {"namespace": "killed", "ttl": TTL}
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(connect(url, namespace="killed"))
        workers = [await stack.enter_async_context(Worker(url, **options)) for _ in range(3)]
        victim = await stack.enter_async_context(Worker(url, **options))
        held = victim.begin("grant = await session.lock('x').acquire(); report('in'); await asyncio.sleep(60)")
        await victim.event()
        turns = asyncio.gather(*[worker.do(TAKE_TURNS.format(turns=5, hold=0.01)) for worker in workers])
        await until_waiting(session, "x", 3)
        await victim.kill()
        await turns
        assert len(turns_of(*workers)) == 15
        assert not violations(turns_of(*workers))
        await assert_nothing_is_left(session, "x")
        held.cancel()


async def test_a_client_that_was_stopped_for_longer_than_its_ttl(url):
    async with Worker(url, ttl=TTL, namespace="stopped") as paused, connect(url, namespace="stopped") as session:
        body = paused.begin("async with session.lock('x') as grant: report('in', grant.token); await asyncio.sleep(60)")
        _, token = await paused.event()
        paused.stop()
        async with asyncio.timeout(BOUND):
            grant = await session.lock("x").acquire()
        assert grant.token > token
        paused.go_on()
        with pytest.raises(Exception, match="LeaseLost"):
            await body


async def test_who_misses_every_wake_up_is_served_all_the_same(proxy):
    async with proxy:
        proxy.drops_messages = True
        async with connect(proxy.url, namespace="deaf") as one, connect(proxy.url, namespace="deaf") as two:
            async with one.lock("x"):
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
            async with asyncio.timeout(BOUND):
                await waiter


async def test_what_was_missed_is_read_when_the_way_of_wake_ups_is_there_again(proxy, url):
    async with proxy:
        async with connect(proxy.url, ttl=RARELY, namespace="gap") as two, connect(url, namespace="gap") as one:
            async with one.lock("x"):
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
                proxy.drops_messages = True
            proxy.drops_messages = False
            proxy.cut()
            async with asyncio.timeout(BOUND):
                await waiter


# The server


async def test_the_server_is_killed_and_comes_back_with_its_data(server):
    async with connect(server.url, ttl=60) as one, connect(server.url, ttl=60) as two:
        async with one.lock("x") as grant:
            waiter = asyncio.create_task(two.lock("x").acquire())
            await until_waiting(one, "x")
            server.kill()
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(BOUND):
                later = await one.lock("other").acquire()
            assert later.token > 0
            grant.check()
            assert not waiter.done()
        async with asyncio.timeout(BOUND):
            assert (await waiter).token > grant.token


async def test_the_server_is_killed_and_comes_back_without_its_data(server, kind):
    # They are told at once, and not when they next look; but for etcd, which has nothing left that would tell them.
    ttl = TTL if kind == "etcd" else RARELY
    one, two = await opened(server.url, ttl=ttl), await opened(server.url, ttl=ttl)
    grant = await one.lock("x").acquire()
    waiter = asyncio.create_task(two.lock("x").acquire())
    await until_waiting(one, "x")
    server.kill()
    server.lose_data()
    await asyncio.to_thread(server.start)
    async with connect(server.url) as three, three.lock("x") as later:  # on PostgreSQL, it makes the tables
        assert later.token > grant.token
        async with asyncio.timeout(BOUND):
            await grant.lost.wait()
            with pytest.raises(SessionLost, match=r"has lost it|has lost data"):
                await waiter
    await one.close()
    await two.close()


async def test_operations_wait_for_a_server_that_is_away(server):
    async with connect(server.url, ttl=60) as session:
        async with session.lock("x"):
            pass
        server.kill()
        calls = [session.lock("x").acquire, session.lock("y").locked, session.event("e").set, session.names]
        asked = [asyncio.create_task(call()) for call in calls]
        cancelled = asyncio.create_task(session.lock("z").acquire())
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in asked)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*asked)
            while await session.lock("z").locked():  # its request got there, and its withdrawal comes after it
                await asyncio.sleep(0.01)


async def test_nothing_waits_longer_than_the_session_lives_when_the_server_stays_away(server):
    session = await opened(server.url)
    grant = await session.lock("x").acquire()
    server.kill()
    asked = session.lock("y").acquire(), session.lock("z").locked(), session.inspect_all(), session.names()
    async with asyncio.timeout(BOUND):
        for error in await asyncio.gather(*asked, return_exceptions=True):
            with pytest.raises(SessionLost, match="could not be renewed within its ttl"):
                raise error
    assert grant.lost.is_set()
    async with asyncio.timeout(BOUND):
        await session.close()
    with pytest.raises(EngineError, match="cannot be reached"):
        await opened(server.url)


async def test_a_stopped_server_is_waited_for_until_the_deadline(server):
    session, other = await opened(server.url), await opened(server.url, ttl=60)
    grant = await session.lock("x").acquire()
    server.stop()
    try:
        async with asyncio.timeout(BOUND):
            await grant.lost.wait()
    finally:
        server.go_on()
    async with asyncio.timeout(BOUND):
        assert (await other.lock("x").acquire()).token > grant.token
    await other.close()
    async with asyncio.timeout(BOUND):
        await session.close()


# The connection


@pytest.mark.parametrize("side", ["is_deaf", "is_mute"])
async def test_one_side_is_cut_off_from_the_server(side, proxy, url):
    """It gives up what it has before the others get it, and what it says later is refused."""
    async with proxy:
        cut_off = await opened(proxy.url, namespace=side)
        async with connect(url, namespace=side) as session:
            grant = await cut_off.lock("x").acquire()
            setattr(proxy, side, True)

            async def take():
                await session.lock("x").acquire()
                with pytest.raises(LeaseLost):
                    grant.check()

            async with asyncio.timeout(BOUND):
                await asyncio.gather(take(), grant.lost.wait())
            async with asyncio.timeout(BOUND):
                await cut_off.close()


OPERATIONS = {
    "lock": lambda session: in_and_out(session.lock("x")),
    "semaphore": lambda session: in_and_out(session.semaphore("x", 1)),
    "event": lambda session: set_and_wait(session.event("x")),
    "condition": lambda session: wait_and_notify(session.condition("x")),
    "barrier": lambda session: meet(session.barrier("x", 2)),
    "tries": lambda session: try_twice(session.lock("x")),
}


async def in_and_out(leased):
    async with leased, asyncio.TaskGroup() as group:
        waiter = group.create_task(leased.acquire())
        await asyncio.sleep(0.01)
        waiter.cancel()


async def set_and_wait(event):
    waiter = asyncio.create_task(event.wait())
    await event.set()
    assert await waiter
    await event.clear()


async def wait_and_notify(condition):
    async def wait():
        async with condition:
            await condition.wait()

    waiter = asyncio.create_task(wait())
    while not waiter.done():
        async with condition:
            await condition.notify()
        await asyncio.sleep(0)


async def meet(barrier):
    assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]


async def try_twice(lock):
    assert await lock.try_acquire()
    assert not await lock.try_acquire()
    await lock.release()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_answer_is_lost_at_every_request(operation, proxy):
    """The server has done it, and the session does not know; so it asks again, and it counts once."""
    lost = 0
    async with proxy:
        for number in range(16):
            async with connect(proxy.url, ttl=60, namespace=f"cut {operation} {number}") as session:
                async with session.lock("prepares"):
                    pass
                proxy.requests, proxy.cut_at, before = 0, number, proxy.cuts
                async with asyncio.timeout(BOUND):
                    await OPERATIONS[operation](session)
                proxy.cut_at = None
                await assert_nothing_is_left(session, "x")
                lost += proxy.cuts - before
                if proxy.cuts == before:
                    break
    assert lost >= (1 if operation == "barrier" else 2)


async def test_a_program_that_cancels_all_tasks_does_not_make_it_deaf(url):
    """Else a waiter is told with the next renewal, which comes a third of the ttl later."""
    options = {"namespace": "deaf to cancellations", "ttl": RARELY}
    async with connect(url, **options) as session, connect(url, **options) as other:
        lock = other.lock("deaf")
        await lock.acquire()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        waiter = asyncio.create_task(session.lock("deaf").acquire())
        await until_waiting(other, "deaf", 1)
        await session.lock("another").acquire()
        await lock.release()
        async with asyncio.timeout(BOUND):
            await waiter
