"""What happens to clients, and to their wake-ups, on each kind of server alike."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from interpreters import BOUND, RARELY

from . import postgres
from .engines import SERVERS, url_of
from .etcd_servers import shared_etcd
from .history import violations
from .proxy import ETCD, Proxy
from .servers import shared
from .test_faults import TAKE_TURNS, assert_nothing_is_left, run, turns_of
from .test_server_faults import TTL, connect
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
def proxy(kind, url):
    """What stands before that server, to be entered."""
    if kind == "postgres":
        return postgres.PostgresProxy(postgres.shared().port)
    return Proxy(shared_etcd().members[0].port, protocol=ETCD) if kind == "etcd" else Proxy(shared().port)


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
