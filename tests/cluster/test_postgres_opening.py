"""What a session on PostgreSQL is opened with, what it makes there, and what is refused with what to do about it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import holdfast
from holdfast.cluster import EngineError, FormatError

from .postgres import FAST, PostgresProxy, PostgresServer, needs_postgres, shared
from .test_faults import run
from .test_postgres_faults import admin, connect, opened
from .worker import until_waiting

__all__ = ["run"]  # the fixture

pytestmark = needs_postgres


# The schema


async def test_many_clients_make_the_schema_at_once():
    with PostgresServer(FAST) as server:
        sessions = [connect(server.url, ttl=60) for _ in range(12)]
        await asyncio.gather(*[session.__aenter__() for session in sessions])
        tokens = []
        for session in sessions:
            async with session.lock("x") as grant:
                tokens.append(grant.token)
        assert tokens == sorted(set(tokens))
        await asyncio.gather(*[session.close() for session in sessions])


async def test_each_schema_has_its_own_locks():
    async with connect(f"{shared().url}?schema=mine") as one, connect(shared().url) as two:
        async with one.lock("x"), two.lock("x"):
            pass


async def test_another_versions_schema_is_refused_and_left_alone():
    async with connect(f"{shared().url}?schema=older"), admin(shared()) as connection:
        await connection.execute("UPDATE older.version SET version = 0")
        with pytest.raises(
            FormatError, match=r"is of version 0, and this version of holdfast knows version 1.*schema="
        ):
            await opened(f"{shared().url}?schema=older")
        assert await connection.fetchval("SELECT version FROM older.version") == 0


def url_of_a_role(role: str) -> str:
    return shared().url.replace("postgres@", f"{role}@")


def printed(*arguments: str) -> str:
    command = [sys.executable, "-m", "holdfast.cluster.engines.postgres", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_who_may_not_make_the_schema_is_told_what_to_run_and_may_use_it_then():
    async with admin(shared()) as connection:
        await connection.execute("CREATE ROLE modest LOGIN")
        url = f"{url_of_a_role('modest')}?schema=given"
        command = r"python -m holdfast.cluster.engines.postgres --schema given --role USER"
        with pytest.raises(EngineError, match=rf"has no schema given .*permission denied for database.*`{command}`"):
            await opened(url)
        await connection.execute(printed("--schema", "given", "--role", "modest"))
        async with connect(url) as one, connect(url) as two:
            async with one.lock("x"):
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
            await waiter
            assert await one.evict(two.id)


@pytest.mark.parametrize(
    ("taken", "says"),
    [
        ("USAGE ON SCHEMA small", "permission denied for schema small"),
        ("DELETE ON small.texts", r"in the schema small: texts: DELETE. Its owner permits it by: GRANT USAGE"),
        ("INSERT, DELETE ON small.canary", "canary: INSERT, DELETE"),
    ],
)
async def test_a_right_that_is_missing_is_named(taken, says):
    async with admin(shared()) as connection:
        await connection.execute(
            "DROP SCHEMA IF EXISTS small CASCADE; DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN"
        )
        await connection.execute(printed("--schema", "small", "--role", "poor"))
        url = f"{url_of_a_role('poor')}?schema=small"
        await (await opened(url)).close()
        await connection.execute(f"REVOKE {taken} FROM poor")
        with pytest.raises(EngineError, match=f"does not permit this user all that is needed.*{says}"):
            await opened(url)


# The server


async def test_how_durable_a_commit_is_is_the_users_to_say():
    for word in ("off", "local"):
        async with connect(f"{shared().url}?synchronous_commit={word}") as session:
            ((setting,),) = await session.engine._link.ask("SELECT current_setting('synchronous_commit')")
            assert setting == word


async def test_a_wrong_password_is_said():
    with PostgresServer(FAST) as server:
        rules = server.data / "pg_hba.conf"
        async with admin(server) as connection:
            await connection.execute("CREATE ROLE known LOGIN PASSWORD 'secret'")
            rules.write_text("host all known all scram-sha-256\n" + rules.read_text())
            await connection.execute("SELECT pg_reload_conf()")
            await connection.execute("GRANT CREATE ON DATABASE postgres TO known")
        url = server.url.replace("postgres@", "known:{}@")
        with pytest.raises(EngineError, match="does not let this user in; the URL needs the right name and password"):
            await opened(url.format("wrong"))
        await (await opened(url.format("secret"))).close()


async def test_a_wrong_database_and_a_wrong_option_are_said():
    with pytest.raises(EngineError, match='database "nowhere" does not exist'):
        await opened(shared().url.rpartition("/")[0] + "/nowhere")
    with pytest.raises(
        EngineError, match=r"option after '\?' that neither asyncpg nor the server knows.*no_such_thing"
    ):
        await opened(f"{shared().url}?no_such_thing=1")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql:host", "no '//' before the host"),
        ("postgresql://u:p@host:port/db", "wrong port"),
        ("postgresql://u:pa#ss@host/db", "a '#', which is not allowed"),
        ("postgresql://host/one/two", "more than the name of a database"),
        ("postgresql+asyncpg://host/db?ssl=require", r"'ssl', which is 'sslmode' here"),
        ("postgresql+psycopg://host/db", r"SQLAlchemy with another driver.*write postgresql://"),
        ("postgresql://host/db?schema=No;no", "a schema is named by"),
        ("postgresql://host/db?synchronous_commit=maybe", "synchronous_commit is one of on, off, local"),
        ("postgresql://host/db?poll=often", "poll= is a number of seconds between two looks, 0.01 to 60, not 'often'"),
        ("postgresql://host/db?poll=0", "poll= is a number of seconds between two looks"),
        ("postgresql://host/db?poll=nan", "poll= is a number of seconds between two looks"),
        (
            "postgresql://host/db?poll=1&synchronous_commit=off",
            "leave out synchronous_commit=, and set it",
        ),
    ],
)
async def test_a_url_that_cannot_be_right_is_refused(url, says):
    with pytest.raises(ValueError, match=says) as caught:
        holdfast.connect(url)
    assert "pa#ss" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg"])
async def test_other_spellings_are_as_good(scheme):
    async with connect(shared().url.replace("postgresql", scheme)) as session, session.lock("x"):
        assert "password" not in repr(session.engine)


async def test_a_pool_may_be_given_and_stays_the_callers():
    import asyncpg

    async with asyncpg.create_pool(shared().url, min_size=1, max_size=2) as pool:
        async with connect(pool, namespace="given") as one, connect(shared().url, namespace="given") as two:
            async with one.lock("x"):
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
            await waiter
        assert await pool.fetchval("SELECT current_setting('search_path')") == '"$user", public'
        assert pool.get_idle_size() == pool.get_size()


async def test_a_function_that_connects_may_be_given():
    import asyncpg

    made = []

    async def connect_to_database():
        made.append(await asyncpg.connect(shared().url))
        return made[-1]

    async with connect(connect_to_database, namespace="by function") as one:
        async with connect(shared().url, namespace="by function") as two:
            theirs = two.lock("x")
            async with one.lock("x"):
                waiter = asyncio.create_task(theirs.acquire())
                await until_waiting(one, "x")
            await waiter
            made[0].terminate()
            waiting = asyncio.create_task(one.lock("x").acquire())
            await until_waiting(two, "x")
            await theirs.release()
            await waiting
    assert len(made) >= 2, "one, the one in its place, and others where requests had to wait"
    assert all(connection.is_closed() for connection in made)


@pytest.mark.parametrize("returned", [None, "a pool", "an awaitable of a pool"])
async def test_a_function_that_does_not_connect_is_refused(returned):
    async def later():
        return returned

    with pytest.raises(EngineError, match=r"must return a new connection of asyncpg's, as asyncpg\.connect\(\) does"):
        await opened(later if returned == "an awaitable of a pool" else lambda: returned)


async def test_a_function_that_takes_too_long_is_given_up():
    async def never():
        await asyncio.Event().wait()

    with pytest.raises(EngineError, match=r"the server of the function has not answered within"):
        await opened(never, ttl=0.3)


async def test_a_pool_whose_connections_are_all_taken():
    import asyncpg

    async with asyncpg.create_pool(shared().url, min_size=1, max_size=1) as pool:
        async with pool.acquire():
            with pytest.raises(EngineError, match=r"the pool has given no connection within .* s: all 1 that it may"):
                await opened(pool, ttl=0.5)
        async with connect(pool, namespace="taken") as session, session.lock("x"):
            pass


async def test_a_pool_whose_server_does_not_answer():
    """It could make a connection, so it is not the pool that is late."""
    import asyncpg

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1")
    url = shared().url.replace(f":{shared().port}/", f":{server.sockets[0].getsockname()[1]}/")
    async with server, asyncpg.create_pool(url, min_size=0, max_size=1) as pool:
        with pytest.raises(EngineError, match=r"the server of the pool has not answered within"):
            await opened(pool, ttl=0.5)


async def test_a_pool_that_loses_its_connections():
    import asyncpg

    async with PostgresProxy(shared().port) as proxy, asyncpg.create_pool(proxy.url, min_size=1, max_size=2) as pool:
        async with connect(pool, namespace="pool cut", ttl=60) as session:
            for _ in range(3):
                async with session.lock("x"):
                    proxy.cut()


def test_what_is_no_pool_is_refused():
    import asyncpg

    with pytest.raises(TypeError, match=r"a pool of asyncpg's, as create_pool\(\) makes it, or a URL"):
        holdfast.connect(asyncpg.PostgresError())
    with pytest.raises(TypeError, match=r"a client of redis\.asyncio, or a pool of asyncpg's, or an async function"):
        holdfast.connect(object())


# What it costs


async def test_requests_are_as_few_as_promised():
    async with PostgresProxy(shared().port) as proxy:
        async with connect(proxy.url, namespace="few", ttl=60) as one, connect(shared().url, namespace="few") as two:

            async def cost(work):
                proxy.requests = 0
                await work
                return proxy.requests

            async def once():
                async with one.lock("x"):
                    pass

            await once()
            await asyncio.sleep(0.2)  # what looks for old names has been done
            assert await cost(once()) == 2
            async with two.lock("x"):
                pass
            assert await cost(once()) == 3
            async with two.lock("x"):
                proxy.requests = 0
                waiter = asyncio.create_task(once())
                await until_waiting(two, "x")
                assert proxy.requests == 1
            await waiter
            assert proxy.requests == 2, "it knows the text that has granted it"


async def test_a_session_takes_one_connection_however_many_wait():
    with PostgresServer(FAST) as server:
        async with connect(server.url, ttl=60) as one, connect(server.url, ttl=60) as two, admin(server) as other:
            async with two.lock("x"):
                waiting = [asyncio.create_task(one.lock("x").acquire()) for _ in range(64)]
                await until_waiting(two, "x", 64)
                count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                assert await other.fetchval(count) == 3
                for task in waiting:
                    task.cancel()
                await asyncio.wait(waiting)


async def test_a_holder_is_told_of_one_that_waits_and_not_of_those_behind():
    """Each would wake its event loop. A release hands over to the one that it knows of, in one request."""
    async with (
        PostgresProxy(shared().port) as proxy,
        connect(proxy.url, namespace="told", ttl=60) as one,
        connect(shared().url, namespace="told", ttl=60) as two,
        connect(shared().url, namespace="told", ttl=60) as three,
        connect(shared().url, namespace="told", ttl=60) as four,
        admin(shared()) as listening,
    ):
        heard = {session.id: [] for session in (one, two)}
        for session, found in heard.items():
            channel = await listening.fetchval("SELECT channel FROM holdfast.sessions WHERE id = $1", session)
            await listening.add_listener(channel, lambda *said, found=found: found.append(said[-1]))

        async def told(session):
            """How many notifications it has been sent since it was asked for last."""
            found = heard[session.id]
            await listening.execute("SELECT pg_notify(channel, 'all') FROM holdfast.sessions WHERE id = $1", session.id)
            while "all" not in found:
                await asyncio.sleep(0)
            count = found.index("all")
            found.clear()
            return count

        locks = [session.lock("x") for session in (one, two, three, four)]
        await locks[0].acquire()
        second = asyncio.create_task(locks[1].acquire())
        await until_waiting(three, "x", 1)
        third = asyncio.create_task(locks[2].acquire())
        await until_waiting(four, "x", 2)
        assert await told(one) == 1
        assert await told(two) == 0
        proxy.requests = 0
        await locks[0].release()
        assert proxy.requests == 1
        await second
        fourth = asyncio.create_task(locks[3].acquire())
        await until_waiting(one, "x", 2)
        assert await told(two) == 1, "of its grant, which has told of the third one"
        await locks[1].release()
        await third
        await locks[2].release()
        await fourth
        await locks[3].release()
