"""A server of Redis or Valkey that is killed, stopped, cut off, emptied, demoted; and what sessions make of it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess

import pytest
import redis.asyncio
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError, FormatError, SessionLost

from .engines import settle
from .proxy import Proxy
from .servers import REDIS, VALKEY, Server, free_port, shared
from .test_faults import assert_nothing_is_left, run
from .worker import until_waiting

__all__ = ["run"]  # the fixture

TTL = 4.0
"""Seconds."""
DURABLE = "--appendonly", "yes", "--appendfsync", "always"


@pytest.fixture(params=["valkey", "redis"])
def server(request):
    if request.param == "redis" and REDIS is None:
        pytest.skip("there is no redis-server on PATH, as Debian's package has it")
    with Server(*DURABLE, binary=VALKEY if request.param == "valkey" else REDIS) as server:
        yield server


def connect(url, **options):
    return holdfast.connect(url, **{"ttl": TTL, **options})


async def opened(url, **options):
    session = connect(url, **options)
    await session.__aenter__()
    return session


async def eventually(condition):
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.005)


# The server


async def test_a_lagging_replica_is_promoted(server):
    """What it has not got is lost: the holder of that is told at once, the holder of something older is not."""
    with Server(binary=server.binary) as replica:
        async with (
            redis.asyncio.Redis(port=replica.port) as there,
            Proxy(server.port) as proxy,
            Proxy(server.port) as stream,
        ):
            await there.execute_command("REPLICAOF", "127.0.0.1", stream.port)
            one, two = await opened(proxy.url, ttl=RARELY), await opened(proxy.url, ttl=RARELY)
            kept = await one.lock("kept").acquire()
            while not await there.exists("holdfast:{default}:record:kept"):
                await asyncio.sleep(0.01)
            stream.is_deaf = True  # it lags from here on
            lost = await one.lock("lost").acquire()
            waiter = asyncio.create_task(two.semaphore("s", 1).acquire())
            await asyncio.wait([waiter])
            behind = asyncio.create_task(two.event("e").wait())
            await until_waiting(one, "e")
            server.kill()
            await there.execute_command("REPLICAOF", "NO", "ONE")
            proxy.target = replica.port
            proxy.cut()
            async with asyncio.timeout(BOUND):
                await lost.lost.wait()
                with pytest.raises(SessionLost, match="has lost"):
                    await behind
                await waiter.result().lost.wait()
            kept.check()
            assert not kept.lost.is_set()
            async with connect(proxy.url) as three:
                assert (await three.lock("lost").acquire()).token > lost.token
                assert not await three.lock("kept").try_acquire()
            assert await two.semaphore("s", 1).try_acquire()
            await one.close()
            await two.close()


# Connections


async def test_connections_are_killed_all_the_time(server):
    async with connect(server.url, ttl=60) as one, connect(server.url, ttl=60) as two:
        async with redis.asyncio.Redis(port=server.port) as admin:

            async def kill():
                while True:
                    await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                    await asyncio.sleep(0.05)

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


async def test_scripts_are_flushed(server):
    async with connect(server.url) as session, redis.asyncio.Redis(port=server.port) as admin:
        for _ in range(3):
            async with session.lock("x"):
                await admin.script_flush()


# What is refused, and what is not


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_keys_is_refused(policy):
    with Server("--maxmemory-policy", policy) as server:
        with pytest.raises(EngineError, match=f"maxmemory-policy {policy}.*noeviction"):
            await opened(server.url)


async def test_a_wrong_password_is_said():
    with Server("--requirepass", "secret") as server:
        for url in (server.url, server.url.replace("//", "//:wrong@")):
            with pytest.raises(
                EngineError, match="does not let this user in; the URL needs the right name and password"
            ):
                await opened(url)
        async with connect(server.url.replace("//", "//:secret@")) as session, session.lock("x"):
            pass


async def test_a_wrong_database_is_said():
    with pytest.raises(EngineError, match=r"database 99: .*out of range"):
        await opened(shared().url + "/99")


async def test_a_cluster_and_a_replica_are_refused():
    with Server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        with pytest.raises(EngineError, match="Redis Cluster, which holdfast does not support"):
            await opened(server.url)
    with Server("--replicaof", "127.0.0.1", str(shared().port)) as server:
        with pytest.raises(EngineError, match="is a replica"):
            await opened(server.url)


async def test_a_client_may_be_given_and_stays_the_callers():
    async with redis.asyncio.Redis(port=shared().port, decode_responses=True) as client:
        async with connect(client, namespace="given") as one, connect(shared().url, namespace="given") as two:
            async with one.lock("x"):
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
            await waiter
        assert await client.ping()


async def test_what_could_not_be_opened_is_opened_later():
    server = Server()
    session = connect(server.url, ttl=RARELY)
    with pytest.raises(EngineError, match="cannot be reached"):
        await session.__aenter__()
    with server:
        async with session, connect(server.url) as other:
            async with session.lock("x"):
                waiter = asyncio.create_task(other.lock("x").acquire())
                await until_waiting(session, "x")
            async with asyncio.timeout(BOUND):  # it is woken, and does not look
                await waiter


async def test_a_session_is_opened_once_though_two_tasks_try():
    session = connect(shared().url)
    async with asyncio.timeout(BOUND):
        opened = await asyncio.gather(session.__aenter__(), session.__aenter__(), return_exceptions=True)
    assert opened[0] is session
    assert "has been opened before" in str(opened[1])
    await session.close()


async def test_a_socket_is_as_good():
    with Server() as server:
        async with connect(f"unix://{server.directory}/socket") as one, connect(server.url) as two:
            async with one.lock("x"):
                assert not await two.lock("x").try_acquire()


async def test_what_is_no_client_is_refused():
    with pytest.raises(TypeError, match=r"or a client of redis\.asyncio"):
        holdfast.connect(7)


async def clients_of_another_kind():
    pool = redis.asyncio.ConnectionPool(port=shared().port)
    sentinel = redis.asyncio.Sentinel([("127.0.0.1", shared().port)])
    cluster = redis.asyncio.RedisCluster(host="127.0.0.1", port=shared().port)
    return redis.Redis(port=shared().port), redis.ConnectionPool(port=shared().port), pool, sentinel, cluster


async def test_a_client_that_is_not_asynchronous_or_not_for_one_server_is_refused():
    for client in await clients_of_another_kind():
        with pytest.raises(TypeError, match=r"needs a client of redis\.asyncio for one server.*master_for\(\)"):
            holdfast.connect(client)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://localhost?soket_timeout=3", "option after '\\?' that redis-py does not know: .*soket_timeout"),
        ("unix://", "names no socket"),
        ("unix://run", "names no socket"),
        ("redis://localhost/?db=a", "Invalid value for 'db'"),
        # What follows would be passed over.
        ("redis://localhost/abc", "a database that is not a number.*write redis://HOST:PORT/NUMBER"),
        ("redis:/localhost", "no '//' before the host; write redis://HOST:PORT/NUMBER"),
        ("rediss://localhost/abc", "a database that is not a number"),
        ("redis://localhost/2.5", "a database that is not a number"),
        ("redis://localhost/-1", "a database that is not a number"),
        ("redis://localhost/1/2", "a database that is not a number"),
        ("redis://localhost/abc?db=2", "a database that is not a number"),
        ("redis:localhost", "no '//' before the host"),
        ("redis://localhost#2", "a '#', which is not allowed"),
        ("unix:///run/redis.sock#2", "a '#', which is not allowed"),
        ("redis://localhost:http", "a wrong port"),
        ("redis://localhost:99999", "a wrong port"),
        ("redis://:7/secret@localhost", "%2F and %3F for '#', '/' and '\\?' in a password"),
        ("redis://:pass/secret@localhost", "in a password"),
        ("redis://:secret#word@localhost/2", "in a password"),
        ("redis://:secret?word@localhost", "in a password"),
    ],
)
async def test_a_url_that_redis_py_cannot_use_is_refused(url, says):
    with pytest.raises(ValueError, match=says) as raised:
        holdfast.connect(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://localhost", 0),
        ("redis://localhost/", 0),
        ("redis://localhost/2", 2),
        ("redis://localhost/2/", 2),
        ("redis://localhost/%32", 2),
        ("redis://localhost?db=2", 2),
        ("redis://localhost/?db=2", 2),
        ("redis://localhost/1?db=2", 2),
        ("redis://:a%2Fb%23c@localhost/2", 2),
        ("rediss://localhost/2", 2),
        ("unix:///run/redis.sock", 0),
        ("unix:///run/redis.sock?db=2", 2),
    ],
)
async def test_a_url_names_a_database_as_redis_py_reads_it(url, number):
    theirs = redis.asyncio.ConnectionPool.from_url(url).connection_kwargs
    assert theirs.get("db", 0) == number
    assert repr(holdfast.connect(url).engine).endswith(f"database {number}")


@pytest.mark.parametrize("stored", ["somebody's", "1.a.1 - - somebody's", "x y z {}", b"\xff\xfe", b"1.a.1 - - \xff"])
async def test_what_somebody_else_keeps_in_the_place_of_a_record_is_refused_and_left_alone(stored):
    """And the session goes on with everything else."""
    async with (
        redis.asyncio.Redis(port=shared().port) as client,
        connect(shared().url, namespace="others") as session,
        session.lock("mine") as grant,
    ):
        key = "holdfast:{others}:record:x"
        await client.set(key, stored)
        lock = session.lock("x")
        for call in (lock.acquire, lock.try_acquire, lock.locked, lambda: session.inspect("x")):
            with pytest.raises(FormatError, match=r"the record of 'x' is not one of holdfast's.*Nothing was changed"):
                await call()
        assert await client.get(key) == (stored if isinstance(stored, bytes) else stored.encode())
        grant.check()
        async with session.lock("another"):
            pass


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("list", ("RPUSH", "a")),
        ("hash", ("HSET", "a", "1")),
        ("set", ("SADD", "a")),
        ("zset", ("ZADD", 1, "a")),
        ("stream", ("XADD", "*", "a", "1")),
    ],
)
async def test_a_key_of_another_type_in_the_place_of_a_record_is_refused_and_left_alone(kind, command):
    """And the session goes on with everything else, also if somebody waits in that name, and is renewed."""
    namespace = f"type {kind}"
    async with (
        redis.asyncio.Redis(port=shared().port) as client,
        connect(shared().url, namespace=namespace, ttl=4) as holder,
        connect(shared().url, namespace=namespace, ttl=4) as session,
        session.lock("mine") as grant,
    ):
        key = f"holdfast:{{{namespace}}}:record:x"
        await holder.lock("x").acquire()
        waiter = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(holder, "x")
        await client.delete(key)
        word, *values = command
        await client.execute_command(word, key, *values)
        lock = session.lock("x")
        says = rf"the record of 'x' is not one of holdfast's: '\(.* of the type {kind}\)'. Nothing was changed"
        for call in (lock.acquire, lock.try_acquire, lock.locked, lambda: session.inspect("x")):
            with pytest.raises(FormatError, match=says):
                await call()
        assert "x" in await session.names()
        assert await session.tidy(0) == 0
        for _ in range(3):
            await session.engine.renew(["x"])
        await asyncio.sleep(2)  # it is renewed by itself, and looks after the name
        grant.check()
        async with session.lock("another"):
            pass
        assert await client.type(key) == kind.encode()
        with pytest.raises(FormatError, match=says):
            await waiter


async def test_what_is_no_name_among_the_names_is_passed_over():
    async with redis.asyncio.Redis(port=shared().port) as client:
        await client.zadd("holdfast:{not a name}:names", {b"\xff": 1})
        async with connect(shared().url, namespace="not a name") as session:
            async with session.lock("x"):
                pass
            assert await session.names() == ["x"]
            assert await session.tidy(0) == 1
        assert await client.zrange("holdfast:{not a name}:names", 0, -1) == [b"\xff"]


@pytest.mark.parametrize(
    "noise", [b"hello", b"", b"\xff", b"[1]", b"7", b"[1,2,3,4]\n", pytest.param(b"[" * 60_000, id="deep")]
)
async def test_what_somebody_else_publishes_in_the_place_of_wake_ups_is_passed_over(noise):
    async with (
        redis.asyncio.Redis(port=shared().port) as client,
        connect(shared().url, namespace="noise", ttl=RARELY) as one,
        connect(shared().url, namespace="noise", ttl=RARELY) as two,
    ):
        async with one.lock("x"):
            waiter = asyncio.create_task(two.lock("x").acquire())
            await until_waiting(one, "x")
            assert await client.publish(f"holdfast:{{noise}}:wake:{two.id}", noise) == 1
        async with asyncio.timeout(BOUND):  # it is woken, and does not look
            await waiter


@pytest.mark.parametrize(
    "rest",
    [
        *(b"", b" ", b" x", b" 1", b" 1 ", b" 9 x0 ", b" -1 x0 ", b" 1 x", b" 1 x9 ", b" 1 \xff0 ", b" 1 x1 \xff"),
        *(b" 1 x0 1", b" 1 x1 =1", b" 1 x1 =+1 2", b" 1 x0 +1 2", b" 1 x0 +9 9\n\xff", b" 1 x1 =7.a 3 00000000~\n\xff"),
        b" 99999999999 x0 ",
    ],
)
async def test_a_wake_up_of_another_shape_is_passed_over(rest):
    """It names the right server, and what follows is not what holdfast sends."""
    async with (
        redis.asyncio.Redis(port=shared().port) as client,
        connect(shared().url, namespace="shapes", ttl=RARELY) as one,
        connect(shared().url, namespace="shapes", ttl=RARELY) as two,
        client.pubsub(ignore_subscribe_messages=True) as heard,
    ):
        channel = f"holdfast:{{shapes}}:wake:{two.id}"
        await heard.subscribe(channel)

        async def take():
            async with two.lock("x"):
                pass

        async with one.lock("x"):
            waiter = asyncio.create_task(take())
            await until_waiting(one, "x")
        await waiter
        async with asyncio.timeout(BOUND):
            while (packet := await heard.get_message(timeout=TTL)) is None:
                pass  # that of the subscription
        server, _, _ = packet["data"].partition(b" ")
        async with one.lock("x"):
            waiter = asyncio.create_task(take())
            await until_waiting(one, "x")
            assert await client.publish(channel, server + rest) == 2
        async with asyncio.timeout(BOUND):  # it is woken, and does not look
            await waiter


async def test_protected_mode_is_said():
    """The server's own word for it, as it also says what to do."""
    here = address()
    with Server("--bind", f"127.0.0.1 {here}") as server:
        with pytest.raises(EngineError, match=r"(?i)protected mode"):
            await opened(f"redis://{here}:{server.port}")


def address():
    """One of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address besides the loopback's")
        return one.getsockname()[0]


async def test_a_connection_may_be_encrypted(tmp_path):
    """rediss://, by way of a proxy that decrypts, as Valkey's build from pip cannot."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key),
    ]
    if shutil.which("openssl") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs openssl, to make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with Proxy(shared().port, tls=context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={certificate}"
        async with connect(url, namespace="tls") as one, connect(shared().url, namespace="tls") as two:
            async with one.lock("x"):
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
            await waiter
        with pytest.raises(EngineError, match=r"(?i)certificate"):
            await opened(f"rediss://127.0.0.1:{proxy.port}")


async def test_the_server_is_emptied(server):
    """FLUSHALL: no session holds anything any more; the waiters are told, and tokens rise."""
    one, two = await opened(server.url), await opened(server.url)
    grant = await one.lock("x").acquire()
    waiter = asyncio.create_task(two.lock("x").acquire())
    await until_waiting(one, "x")
    async with redis.asyncio.Redis(port=server.port) as admin:
        await admin.flushall()
    async with asyncio.timeout(BOUND):
        await grant.lost.wait()
        with pytest.raises(SessionLost):
            await waiter
    async with connect(server.url) as three, three.lock("x") as later:
        assert later.token > grant.token
    await one.close()
    await two.close()


async def test_the_memory_of_the_server_is_full():
    """A task that asks is told, one that gives back waits for room, and nothing is lost."""
    with Server() as server:
        async with connect(server.url, ttl=60) as session, redis.asyncio.Redis(port=server.port) as admin:
            lock = session.lock("x")
            grant = await lock.acquire()
            await admin.config_set("maxmemory", 1)
            with pytest.raises(EngineError, match="maxmemory"):
                await session.lock("y").acquire()
            releasing = asyncio.create_task(lock.release())
            await asyncio.sleep(0.3)
            assert not grant.lost.is_set()
            assert not releasing.done()
            await admin.config_set("maxmemory", 0)
            await releasing
            assert not await lock.locked()


# What it costs


async def test_requests_are_as_few_as_promised():
    async with Proxy(shared().port) as proxy:
        async with connect(proxy.url, ttl=30, namespace="few") as one, connect(shared().url, namespace="few") as two:
            async with one.lock("x"):
                pass

            async def requests():
                before = proxy.requests
                async with one.lock("x"):
                    pass
                return proxy.requests - before

            assert await requests() == 2
            async with two.lock("x"):
                pass
            assert await requests() == 3
            assert await requests() == 2


async def test_an_idle_waiter_asks_once_for_all_its_names():
    async with Proxy(shared().port) as proxy:
        async with connect(proxy.url, namespace="idle") as one, connect(shared().url, namespace="idle", ttl=60) as two:
            names = [f"name {number}" for number in range(20)]
            for name in names:
                await two.lock(name).acquire()
            waiting = [asyncio.create_task(one.lock(name).acquire()) for name in names]
            for name in names:
                await until_waiting(two, name)
            await settle(one)
            renew, renewals = one.engine.renew, []

            async def counted(looked_at, *args):
                renewals.append({*looked_at})
                return await renew(looked_at, *args)

            async def renewed(times):
                while len(renewals) < times or one._life.renewal.task is not None:
                    await asyncio.sleep(0.005)
                return proxy.requests, len(renewals)

            one.engine.renew = counted
            requests, first = await renewed(1)  # in which the server may have to be told the script
            more, later = await renewed(first + 2)
            assert more - requests == later - first
            assert renewals == [{*names}] * later
            for task in waiting:
                task.cancel()
