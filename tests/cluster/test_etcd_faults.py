"""A server of etcd that is killed, stopped, cut off, emptied, restored; and what sessions make of it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from interpreters import BOUND, RARELY

from holdfast.cluster import SessionLost

from .engines import settle
from .etcd_servers import BINARIES, NO_ETCD, EtcdServer, shared_etcd
from .history import violations
from .proxy import ETCD, Proxy
from .test_faults import TAKE_TURNS, assert_nothing_is_left, run, turns_of
from .test_server_faults import connect, opened
from .worker import Worker, until_waiting

__all__ = ["run"]  # the fixture

pytestmark = pytest.mark.skipif(BINARIES is None, reason=NO_ETCD)


@pytest.fixture
def server():
    with EtcdServer() as server:
        yield server


@pytest.fixture
def three():
    """Of three members."""
    with EtcdServer(3) as server:
        yield server


def proxy_of(member, **options):
    return Proxy(member.port, protocol=ETCD, **options)


# The server


async def restored(server, backup):
    """Put a backup in the place of what a server of one member has. Its ids, and the term, are as before."""
    member = server.members[0]
    member.kill()
    member.lose_data()
    peer = f"http://127.0.0.1:{member.peer_port}"
    cluster = "--name", member.name, "--initial-cluster", server.cluster, "--initial-advertise-peer-urls", peer
    server.tool("etcdutl", "snapshot", "restore", str(backup), "--data-dir", str(member.data), *cluster)
    await asyncio.to_thread(server.start)


async def test_a_backup_is_restored_under_sessions_that_go_on(server, tmp_path):
    """What was granted since is lost, and told; what was granted before is kept. No token is given out twice."""
    one, two = await opened(server.url, ttl=RARELY), await opened(server.url, ttl=RARELY)
    kept = await one.lock("kept").acquire()
    server.tool("etcdctl", "--endpoints", server.members[0].url, "snapshot", "save", str(tmp_path / "backup"))
    lost = await one.lock("lost").acquire()
    behind = asyncio.create_task(two.event("e").wait())
    await until_waiting(one, "e")
    await restored(server, tmp_path / "backup")
    async with asyncio.timeout(BOUND):
        await lost.lost.wait()
        with pytest.raises(SessionLost, match="has lost"):
            await behind
    kept.check()
    async with connect(server.url) as three:
        assert (await three.lock("lost").acquire()).token > lost.token
        assert not await three.lock("kept").try_acquire()
    await one.close()
    await two.close()


async def test_a_backup_is_restored_while_nobody_is_there(server, tmp_path):
    """Nobody remembers what the revision was. The log tells that it is shorter than the history that it has made."""
    async with connect(server.url) as session:
        async with session.lock("x"):
            pass
    server.tool("etcdctl", "--endpoints", server.members[0].url, "snapshot", "save", str(tmp_path / "backup"))
    tokens = []
    for _ in range(3):  # from the same backup, again and again
        async with connect(server.url) as session:
            for _ in range(5):
                async with session.lock("x") as grant:
                    tokens.append(grant.token)
        await restored(server, tmp_path / "backup")
    async with connect(server.url) as session, session.lock("x") as grant:
        tokens.append(grant.token)
    assert tokens == sorted({*tokens})


async def test_a_restart_is_no_loss(server):
    async with connect(server.url, ttl=60) as one:
        tokens = []
        for _ in range(3):
            async with one.lock("x") as grant:
                tokens.append(grant.token)
            server.members[0].kill()
            await asyncio.to_thread(server.start)
            async with connect(server.url) as two, two.lock("x") as grant:
                tokens.append(grant.token)
        assert tokens == [*range(tokens[0], tokens[0] + 6)], "the floor was not raised"


async def test_what_a_stopped_server_gets_to_do_later_is_not_done_behind_the_sessions_back(server):
    """A request that has timed out is still in the server's socket, and comes to it after all. The session has asked
    for the same again by then, under another number of its tries."""
    async with connect(server.url, ttl=6.0) as session, connect(server.url, ttl=60) as other:
        for number in range(3):
            lock = session.lock(f"x{number}")
            async with lock:
                pass
            server.members[0].stop()
            waiter = asyncio.create_task(lock.acquire())
            await asyncio.sleep(2.5)  # longer than the engine's patience
            assert not waiter.done(), "the server was not stopped"
            waiter.cancel()
            server.members[0].go_on()
            await asyncio.wait([waiter])
            async with asyncio.timeout(BOUND):
                async with other.lock(f"x{number}"):
                    pass
            await settle(session)
            await assert_nothing_is_left(other, f"x{number}")


# Three members


async def test_the_leader_is_killed_under_processes_that_take_turns(three):
    options = {"namespace": "turns", "ttl": 10}
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(connect(three.url, **options))
        workers = [await stack.enter_async_context(Worker(three.url, **options)) for _ in range(3)]
        turns = asyncio.gather(*[worker.do(TAKE_TURNS.format(turns=25, hold=0.01)) for worker in workers])
        for _ in range(2):
            await asyncio.sleep(0.5)
            leader = await asyncio.to_thread(lambda: three.leader)
            leader.kill()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(three.start)
        await turns
        assert len(turns_of(*workers)) == 75
        assert not violations(turns_of(*workers))
        await assert_nothing_is_left(session, "x")


async def test_without_a_majority_nothing_is_granted_and_nothing_hangs(three):
    session, other = await opened(three.url), await opened(three.url, ttl=60)
    grant = await session.lock("x").acquire()
    for member in three.members[1:]:
        member.kill()
    waiter = asyncio.create_task(other.lock("x").acquire())
    async with asyncio.timeout(BOUND):
        await grant.lost.wait()
    assert not waiter.done()
    await asyncio.to_thread(three.start)
    async with asyncio.timeout(BOUND):
        assert (await waiter).token > grant.token
        await other.close()
        await session.close()


async def test_a_member_that_does_not_answer_is_left_for_another(three):
    """The session is told of nothing, as nothing is lost."""
    async with connect(three.url, ttl=12) as session, connect(three.url, ttl=12) as other:
        async with session.lock("x") as grant:
            waiter = asyncio.create_task(other.lock("x").acquire())
            await until_waiting(session, "x")
            three.members[0].stop()  # the first in the URL, to which both are connected
            async with asyncio.timeout(BOUND):
                async with session.lock("y"):
                    pass
            grant.check()
        async with asyncio.timeout(BOUND):
            await waiter
        three.members[0].go_on()


async def until_taken(member, path, **body):
    """etcd changes its members only if they have been in touch for some seconds."""
    async with asyncio.timeout(BOUND):
        while True:
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(member.ask, path, **body)
            await asyncio.sleep(0.2)


async def test_a_member_is_wiped_and_comes_back(three):
    """It gets its data from the others, and nobody has lost anything."""
    async with connect(three.url, ttl=60) as session:
        grant = await session.lock("x").acquire()
        victim, *others = three.members
        status = await asyncio.to_thread(victim.ask, "maintenance/status")
        victim.kill()
        victim.lose_data()
        await asyncio.to_thread(three.until_healthy, *others)
        peer = f"http://127.0.0.1:{victim.peer_port}"
        await until_taken(others[0], "cluster/member/remove", ID=status["header"]["member_id"])
        await until_taken(others[0], "cluster/member/add", peerURLs=[peer])
        victim.start(three.cluster, state="existing")
        await asyncio.to_thread(three.until_healthy)
        async with asyncio.timeout(BOUND):
            async with connect(f"etcd://127.0.0.1:{victim.port}") as there:
                assert not await there.lock("x").try_acquire()
                async with there.lock("y") as later:
                    assert later.token > 0
        grant.check()


# Connections


async def test_connections_are_cut_all_the_time():
    async with proxy_of(shared_etcd().members[0]) as proxy:
        options = {"ttl": 60, "namespace": "cut all the time"}
        async with connect(proxy.url, **options) as one, connect(proxy.url, **options) as two:

            async def cut():
                while True:
                    proxy.cut()
                    await asyncio.sleep(0.05)

            cutting = asyncio.create_task(cut())
            inside = []

            async def use(session):
                for _ in range(10):
                    async with session.lock("x") as grant:
                        inside.append(grant.token)

            async with asyncio.timeout(BOUND):
                await asyncio.gather(use(one), use(two))
            cutting.cancel()
            assert inside == sorted(set(inside))
            assert len(inside) == 20
            await assert_nothing_is_left(one, "x")


# What a server says


async def test_a_renewal_is_not_believed_if_the_sessions_key_has_gone():
    """Some versions of etcd keep alive a lease that was revoked. Here the lease is alive, and the key is not there."""
    session = await opened(shared_etcd().url, namespace="no key")
    grant = await session.lock("x").acquire()
    key = f"holdfast/no key/session/{session.id}"
    change = shared_etcd().change
    change(key, lambda text: None)
    async with asyncio.timeout(BOUND):
        await grant.lost.wait()
    with pytest.raises(SessionLost):
        await session.lock("x").acquire()
    await session.close()


async def test_nothing_piles_up():
    """Of sessions that have ended nothing is left, neither a lease nor a key, and of texts what it was before."""
    member = shared_etcd().members[0]
    all_keys = {"key": "AA==", "range_end": "AA==", "count_only": True}

    def left():
        return int(member.ask("kv/range", **all_keys).get("count", 0)), len(
            member.ask("lease/leases").get("leases", ())
        )

    async def use():
        async with connect(shared_etcd().url, namespace="piles") as one:
            async with connect(shared_etcd().url, namespace="piles") as two:
                lock = two.lock("x")
                for _ in range(5):
                    async with one.lock("x"):
                        waiter = asyncio.create_task(lock.acquire())
                        await until_waiting(one, "x")
                    await waiter
                    await lock.release()

    await use()
    before = left()
    for _ in range(3):
        await use()
    assert left() == before
