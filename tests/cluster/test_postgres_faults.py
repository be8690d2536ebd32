"""A server of PostgreSQL that is killed, stopped, cut off, emptied, promoted; and what sessions make of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest
from interpreters import BOUND, RARELY

from holdfast.cluster import EngineError, SessionLost

from .engines import settle
from .postgres import FAST, PostgresProxy, PostgresServer, needs_postgres, shared
from .test_faults import assert_nothing_is_left, run
from .test_server_faults import TTL, connect, opened
from .worker import until_waiting

__all__ = ["run"]  # the fixture

pytestmark = needs_postgres


@pytest.fixture
def server():
    with PostgresServer() as server:
        yield server


@contextlib.asynccontextmanager
async def admin(server):
    """A connection for what an administrator does."""
    import asyncpg

    connection = await asyncpg.connect(server.url)
    try:
        yield connection
    finally:
        connection.terminate()


# The server


async def test_the_server_ends_in_order_and_starts_again(server):
    async with connect(server.url, ttl=60) as one, connect(server.url, ttl=60) as two:
        async with one.lock("x") as grant:
            waiter = asyncio.create_task(two.lock("x").acquire())
            await until_waiting(one, "x")
            server.kill(signal.SIGINT)
            server.start()
            grant.check()
        async with asyncio.timeout(BOUND):
            assert (await waiter).token > grant.token


async def flushed(server):
    """All commits so far are on the disk."""
    async with admin(server) as connection:
        await connection.execute("CHECKPOINT")


async def test_a_killed_backend_takes_back_what_was_not_on_the_disk():
    """With synchronous_commit=off. Start time and timeline stay. The holder is told, and no token is used twice."""
    with PostgresServer("-c", "wal_writer_delay=10s", "-c", "wal_writer_flush_after=1GB") as server:
        url = f"{server.url}?synchronous_commit=off"
        async with connect(url, ttl=60) as one, connect(url, ttl=60) as two:
            kept = await one.lock("kept").acquire()
            await flushed(server)
            lost = await one.lock("lost").acquire()
            async with admin(server) as connection:
                os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
            async with asyncio.timeout(BOUND):
                await lost.lost.wait()
                kept.check()
                assert (await two.lock("lost").acquire()).token > lost.token
            assert not await two.lock("kept").try_acquire()


async def test_a_lagging_standby_is_promoted():
    """What it has not got is lost: the holder of that is told at once, the holder of something older is not."""
    with PostgresServer(FAST) as server:
        async with connect(server.url, ttl=60):
            pass  # which makes the tables
        async with PostgresProxy(server.port) as stream, PostgresProxy(server.port) as proxy:
            there = f"host=127.0.0.1 port={stream.port} user=postgres sslmode=disable gssencmode=disable"
            with PostgresServer(FAST, "-c", f"primary_conninfo={there}", data_of=server) as standby:
                with pytest.raises(EngineError, match="is a standby, which changes nothing: connect to the primary"):
                    await opened(standby.url)
                await promote_after_a_lag(proxy, stream, server, standby)


async def promote_after_a_lag(proxy, stream, server, standby):
    """proxy: before the server, and later before the standby. stream: what the standby gets goes through it."""
    async with admin(standby) as there:
        one, two = await opened(proxy.url, ttl=RARELY), await opened(proxy.url, ttl=RARELY)
        kept = await one.lock("kept").acquire()
        while not await there.fetchval("SELECT count(*) FROM holdfast.texts WHERE name = 'kept'"):
            await asyncio.sleep(0.01)
        stream.is_deaf = True  # it lags from here on
        lost = await one.lock("lost").acquire()
        behind = asyncio.create_task(two.event("e").wait())
        await until_waiting(one, "e")
        server.kill()
        await there.execute("SELECT pg_promote(true, 60)")
        proxy.target = standby.port
        proxy.cut()
        async with asyncio.timeout(BOUND):
            await lost.lost.wait()
            with pytest.raises(SessionLost, match="has lost"):
                await behind
        kept.check()
        assert not kept.lost.is_set()
        async with connect(proxy.url) as three:
            assert (await three.lock("lost").acquire()).token > lost.token
            assert not await three.lock("kept").try_acquire()
        await one.close()
        await two.close()


# Connections


async def test_connections_are_killed_all_the_time():
    options = {"namespace": "terminated", "ttl": 60}
    async with (
        connect(shared().url, **options) as one,
        connect(shared().url, **options) as two,
        admin(shared()) as other,
    ):

        async def kill():
            while True:
                await other.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
                await asyncio.sleep(0.1)

        killing = asyncio.create_task(kill())
        inside = []

        async def use(session):
            for _ in range(10):
                async with session.lock("x") as grant:
                    inside.append(grant.token)

        async with asyncio.timeout(BOUND):
            await asyncio.gather(use(one), use(two))
        killing.cancel()
        assert inside == sorted(set(inside))
        await assert_nothing_is_left(one, "x")


async def test_an_idle_connection_is_not_ended():
    with PostgresServer(FAST, "-c", "idle_session_timeout=300") as server:
        async with connect(server.url, ttl=RARELY) as session:
            connection = session.engine._link.main.connection
            await asyncio.sleep(1)
            async with session.lock("x"):
                assert session.engine._link.main.connection is connection


async def test_a_cancelled_task_leaves_nothing_at_the_server():
    """asyncpg raises before the server has cancelled what it was asked for, so no cancellation reaches it."""
    options = {"namespace": "cancelled"}
    async with connect(shared().url, **options) as one, connect(shared().url, **options) as two:
        connection = one.engine._link.main.connection
        for turns in range(40):
            async with two.lock("x"):
                waiter = asyncio.create_task(one.lock("x").acquire())
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiter.cancel()
                await asyncio.wait([waiter])
        assert one.engine._link.main.connection is connection
        await settle(one)
        await assert_nothing_is_left(two, "x")


async def test_the_queue_of_notifications_is_full(monkeypatch):
    """It stays full until somebody asks how full it is, also when its readers have gone. Commits go on without."""
    from holdfast.cluster.engines.postgres.wake_ups import WakeUps

    refused = []
    make_room = WakeUps.make_room
    monkeypatch.setattr(WakeUps, "make_room", lambda self: refused.append(self) or make_room(self))
    with PostgresServer(FAST, "-c", "max_notify_queue_pages=64") as server:
        async with connect(server.url, ttl=60) as one, connect(server.url, ttl=60) as two:
            async with admin(server) as reader, admin(server) as writer:
                await reader.execute("LISTEN x; BEGIN; SELECT 1")  # which reads nothing until its transaction ends
                await until_full(writer)

                async def take():
                    async with two.lock("x") as grant:
                        return grant.token

                for _ in range(3):
                    async with one.lock("x") as grant:
                        waiter = asyncio.create_task(take())
                        await until_waiting(one, "x")
                    async with asyncio.timeout(BOUND):
                        assert await waiter > grant.token
                assert refused, "the server has taken every notification"


async def until_full(connection):
    """Fill the queue of notifications."""
    fill = "SELECT pg_notify('x', repeat('x', 7000) || n) FROM generate_series(1, 20) n"
    while True:
        try:
            await connection.execute(fill)
        except Exception as exc:
            if "too many notifications in the NOTIFY queue" not in str(exc):
                raise
            return


async def test_a_session_lives_on_while_all_its_requests_wait_for_others():
    async with connect(shared().url, namespace="busy") as session, admin(shared()) as other:
        keys = [session.engine._changes._queue(f"busy {number}") for number in range(8)]
        await other.fetch("SELECT pg_advisory_lock(key::bigint) FROM unnest($1::text[]) AS key", [*map(str, keys)])
        tasks = [asyncio.create_task(session.lock(f"busy {number}").acquire()) for number in range(8)]
        done, _ = await asyncio.wait(tasks, timeout=1.5 * TTL)
        assert not done
        assert session.over is None
        async with asyncio.timeout(BOUND):
            async with session.lock("free"):
                pass
            await other.fetch("SELECT pg_advisory_unlock_all()")
            await asyncio.gather(*tasks)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_no_change_is_lost_whatever_the_databases_isolation_level(level):
    with PostgresServer(FAST, "-c", f"default_transaction_isolation={level}") as server:
        sessions = [await opened(server.url, ttl=60) for _ in range(4)]
        inside, counts = [], []

        async def use(session):
            for _ in range(10):
                async with session.lock("x") as grant:
                    inside.append(grant.token)
                counts.append(await session.engine.apply("count", lambda stored: (str(int(stored.text or 0) + 1), 1)))

        async with asyncio.timeout(BOUND):
            await asyncio.gather(*map(use, sessions))
        assert inside == sorted(set(inside))
        assert await sessions[0].engine.read("count") == "40"
        for session in sessions:
            await session.close()
