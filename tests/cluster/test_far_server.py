"""A server that is far away: each answer takes 0.8 s, with a ttl of 6 s. To connect takes several answers."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import traceback

import pytest
import redis.asyncio
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError, Session
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.engines.redis.connection import connect, greet

from .engines import run
from .proxy import Proxy
from .servers import Server, shared

__all__ = ["run"]  # the fixture

TTL = 6.0
ROUND_TRIP = 0.8
PASSWORD = "secret"


@pytest.fixture(params=["plain", "with a password and a database"])
def server(request):
    if request.param == "plain":
        yield shared(), "redis://127.0.0.1:{}"
    else:
        with Server("--requirepass", PASSWORD) as server:
            yield server, f"redis://:{PASSWORD}@127.0.0.1:{{}}/3"


@contextlib.asynccontextmanager
async def far(server, **options):
    """A proxy and a session behind it."""
    one, url = server
    async with Proxy(one.port, **{"round_trip": ROUND_TRIP, **options}) as proxy:
        async with holdfast.connect(url.format(proxy.port), ttl=TTL, namespace=f"far {proxy.port}") as session:
            yield proxy, session


async def test_a_session_is_opened_and_lives(server):
    async with far(server) as (_, session):
        async with session.lock("x") as grant:
            await asyncio.sleep(1.5 * TTL)
            grant.check()


@pytest.mark.parametrize("every", [3.0, pytest.param(4.4, marks=pytest.mark.campaign)])
async def test_a_session_whose_connections_are_cut_again_and_again_is_not_lost(server, every):
    async with far(server) as (proxy, session):
        async with session.lock("x") as grant:
            for _ in range(3):
                await asyncio.sleep(every)
                proxy.cut()
            await asyncio.sleep(0.5 * TTL)
            grant.check()
            waiter = asyncio.create_task(session.lock("x").acquire())
        async with asyncio.timeout(BOUND):
            await waiter


@pytest.mark.parametrize(
    "when", [0.2, 1.8, *(pytest.param(when, marks=pytest.mark.campaign) for when in (1.0, 2.2, 2.6, 3.0))]
)
async def test_a_session_whose_connections_are_cut_once_at_any_moment_is_not_lost(when):
    async with far((shared(), "redis://127.0.0.1:{}")) as (proxy, session):
        async with session.lock("x") as grant:
            await asyncio.sleep(when)
            proxy.cut()
            await asyncio.sleep(0.9 * TTL)
            grant.check()


@pytest.mark.parametrize("which", ["requests", "wake-ups"])
async def test_a_connection_is_made_anew_before_it_is_asked_for(which):
    """A renewal comes much later; it may be late then to begin with that."""
    async with holdfast.connect(shared().url, ttl=RARELY, namespace="far anew") as session:
        engine = session.engine
        async with session.lock("x"):
            pass

        def writers():
            """Of the connections that there are. (The pool may use the object again.)"""
            lines = {"requests": engine._link.requests, "wake-ups": engine._link.wake_ups}
            gone = {which for which, line in lines.items() if line is None or line.broken or line._connection is None}
            return {which: None if which in gone else line._connection._writer for which, line in lines.items()}

        before = writers()
        before[which].transport.abort()
        async with asyncio.timeout(BOUND):
            while writers()[which] in (None, before[which]):
                await asyncio.sleep(0.01)


async def test_to_connect_takes_one_answer_at_most(server):
    """All that there is to say is said at once: AUTH and SELECT, and nothing about the library."""
    async with far(server, round_trip=0.0) as (proxy, session):
        said = []
        forward = proxy._from_client
        proxy._from_client = lambda data, cut: said.append(data) or forward(data, cut)
        proxy.cut()
        async with asyncio.timeout(BOUND):
            await session.lock("x").acquire()
        words = b"".join(said)
        assert b"SETINFO" not in words
        assert b"HELLO" not in words
        assert (b"AUTH" in words) == (b"SELECT" in words) == ("/3" in server[1])
        for data in said:
            assert (b"AUTH" in data) == (b"SELECT" in data), "in one packet"


async def test_a_connection_that_hangs_does_not_take_what_is_left_of_the_lease():
    """The first attempts to connect anew are not answered, by a server that cannot be reached for a while."""
    async with far((shared(), "redis://127.0.0.1:{}/3"), round_trip=0.0) as (proxy, session):
        async with session.lock("x") as grant:
            await asyncio.sleep(0.1)
            hangs = proxy._serve
            accepted = []

            async def hang(reader, writer):
                accepted.append(writer)
                if len(accepted) <= 2:
                    await asyncio.sleep(60)
                await hangs(reader, writer)

            proxy._serve = hang
            proxy.cut()
            await asyncio.sleep(TTL)
            grant.check()
            assert len(accepted) > 2
        for writer in accepted:
            writer.transport.abort()


async def test_a_pool_that_is_full_goes_on_with_the_attempt_it_has_begun():
    """Of a client that is given, with two connections at most; to connect takes longer than a third of the ttl."""
    async with Proxy(shared().port, round_trip=1.2) as proxy:
        client = redis.asyncio.Redis(port=proxy.port, db=3, max_connections=2, protocol=2, password=None)
        async with holdfast.connect(client, ttl=TTL, namespace=f"far {proxy.port}") as session:
            async with session.lock("x") as grant:
                await asyncio.sleep(TTL / 2)
                grant.check()
        await client.aclose()


async def test_an_attempt_that_comes_about_beside_another_is_given_back():
    second = asyncio.Event()

    class Pool:
        made, released, answers = 0, 0, True

        async def get_connection(self):
            self.made += 1
            if not self.answers:
                await asyncio.Event().wait()
            if self.made == 1:
                await second.wait()
            else:
                second.set()
            return self

        async def disconnect(self, nowait):
            assert nowait

        async def release(self, connection):
            self.released += 1

    pool = Pool()
    assert await connect(pool, 0.02, BOUND) is pool
    assert pool.made >= 2
    assert pool.released == pool.made - 1
    before, pool.answers = pool.made, False
    with pytest.raises(TimeoutError):
        await connect(pool, 0.005, 0.01)
    assert pool.made > before
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "holdfast connects"]


async def test_a_server_that_never_answers_is_given_up():
    async with Proxy(shared().port) as proxy:
        proxy.is_mute = True
        async with asyncio.timeout(BOUND):
            with pytest.raises(EngineError, match="has not answered"):
                async with holdfast.connect(proxy.url + "/3", ttl=TTL):
                    pass


class Slow(MemoryEngine):
    """To open a session takes most of its ttl, and to renew it what is left."""

    fails = False

    async def open(self, *args):
        await asyncio.sleep(3.4)
        return await super().open(*args)

    async def renew(self, *args):
        if self.fails:
            raise EngineError("for the test")
        await asyncio.sleep(0.8)
        return await super().renew(*args)


async def test_a_session_whose_opening_took_most_of_its_ttl_lives():
    async with Session(Slow("far slow", 4.0), "slow") as session, session.lock("x") as grant:
        await asyncio.sleep(1.4)
        grant.check()


async def test_a_session_that_could_not_be_renewed_after_a_slow_opening_is_not_open():
    engine = Slow("far slow", 4.0)
    engine.fails = True
    with pytest.raises(EngineError, match="for the test"):
        await Session(engine, "slow").__aenter__()
    assert await MemoryEngine("far slow").dead([engine._id]) == {engine._id}


@pytest.mark.parametrize(
    ("options", "greeting"),
    [
        ({}, []),
        ({"username": "u", "password": "p", "db": 2}, [("AUTH", "u", "p"), ("SELECT", 2)]),
        ({"password": "p"}, [("AUTH", "p")]),
        ({"username": "u"}, [("AUTH", "u", "")]),
        ({"client_name": "n"}, [("CLIENT", "SETNAME", "n")]),
    ],
)
async def test_what_is_said_to_greet_the_server(options, greeting):
    connection = redis.asyncio.Connection(protocol=2, **options)
    said, answered = [], []
    connection._parser.on_connect = lambda it: None
    connection.pack_commands = lambda commands: said.extend(commands)

    async def nothing(*args, **options):
        answered.append(1)

    connection.send_packed_command = connection.read_response = nothing
    await greet(connection)
    assert said == greeting
    assert len(answered) == (len(greeting) + 1 if greeting else 0)


def test_a_server_that_is_away_is_an_engine_error_in_tracebacks_and_pickles():
    async def main():
        with pytest.raises(holdfast.EngineError) as caught:
            async with holdfast.connect("redis://127.0.0.1:1", ttl=0.2):
                pass
        assert traceback.format_exception_only(caught.value)[0].startswith(
            "holdfast.cluster.EngineError: the server at"
        )
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (type(copied), str(copied)) == (holdfast.EngineError, str(caught.value))

    asyncio.run(main())
