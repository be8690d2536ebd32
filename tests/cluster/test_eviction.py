"""A session is ended by another one: the error says by whom and why, and what it held goes on at once."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from interpreters import BOUND
from tests.stopping import stop

import holdfast
from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.command_line import without_passwords

from .servers import shared

RARE = 600.0
"""Seconds, a ttl with which a session looks around every 200: what is noticed before, it was told."""


@pytest.fixture(params=["memory", "embedded", "server"])
def connect(request, tmp_path):
    """Sessions that share a namespace."""
    url = {"memory": "memory:", "embedded": f"sqlite://{tmp_path}/locks", "server": shared().url}[request.param]
    namespace = f"evictions {os.urandom(8).hex()}"
    return lambda **options: holdfast.connect(url, namespace=namespace, **options)


async def waiting(session, name, tasks=1):
    async with asyncio.timeout(BOUND):
        while sum(each.tasks for each in (await session.inspect(name)).waiters) < tasks:
            await asyncio.sleep(0.005)


def test_who_holds_is_told_and_the_next_one_has_it_at_once(connect):
    async def main():
        victim, other = connect(name="victim", ttl=RARE), connect(ttl=RARE)
        async with victim, other, connect(name="operator") as operator:

            async def body():
                async with victim.lock("x") as grant:
                    entered.set_result(grant)
                    await asyncio.sleep(60)

            entered = asyncio.get_running_loop().create_future()
            holder = asyncio.create_task(body())
            grant = await entered
            next_one = asyncio.create_task(other.lock("x").acquire())
            await waiting(operator, "x")
            assert await operator.evict(victim.id, reason="it hangs")
            async with asyncio.timeout(BOUND):
                assert (await next_one).token > grant.token
                with pytest.raises(LeaseLost, match=r"was evicted by operator at \d{4}-.*: it hangs"):
                    await holder
            with pytest.raises(SessionLost, match=r"was evicted by operator at .*: it hangs"):
                await victim.lock("y").acquire()
            assert (await operator.inspect("x")).holders[0].session.id == other.id

    asyncio.run(main())


def test_who_waits_in_it_is_told(connect):
    async def main():
        async with connect(ttl=RARE) as victim, connect() as other, connect() as operator:
            await other.lock("x").acquire()
            waiter = asyncio.create_task(victim.lock("x").acquire())
            await waiting(operator, "x")
            assert await operator.evict(victim.id, by="root@host")
            async with asyncio.timeout(BOUND):
                with pytest.raises(SessionLost, match="was evicted by root@host"):
                    await waiter
            assert (await operator.inspect("x")).waiters == ()

    asyncio.run(main())


def test_all_that_it_held_is_free(connect):
    async def main():
        async with connect() as victim, connect(ttl=RARE) as operator:
            await victim.lock("a").acquire()
            await victim.semaphore("b", 3).acquire()
            await victim.semaphore("b", 3).acquire()
            await operator.lock("c").acquire()
            waiter = asyncio.create_task(operator.semaphore("b", 3).acquire())
            await waiter
            blocked = asyncio.create_task(operator.semaphore("b", 3).acquire())
            await waiting(operator, "b")
            assert await operator.evict(victim.id)
            async with asyncio.timeout(BOUND):
                await blocked
                assert await operator.lock("a").try_acquire()
            assert await operator.lock("c").locked()

    asyncio.run(main())


def test_a_note_of_it_is_kept_where_it_held_something(connect):
    async def main():
        async with connect(name="victim") as victim, connect(name="operator") as operator:
            await victim.lock("held").acquire()
            await operator.event("other").set()
            assert (await operator.inspect("held")).evictions == ()
            assert await operator.evict(victim.id, reason="why not")
            (eviction,) = (await operator.inspect("held")).evictions
            assert (eviction.session.id, eviction.session.name) == (victim.id, "victim")
            assert (eviction.session.pid, eviction.session.alive) == (os.getpid(), False)
            assert (eviction.by, eviction.reason, eviction.held) == ("operator", "why not", ("held",))
            assert abs(eviction.at.timestamp() - time.time()) < 60
            assert (await operator.inspect("other")).evictions == ()

    asyncio.run(main())


def test_who_is_not_alive_cannot_be_evicted(connect):
    async def main():
        async with connect() as operator:
            async with connect() as victim:
                await victim.lock("x").acquire()
            assert not await operator.evict(victim.id)
            assert not await operator.evict("nobody")
            async with connect() as victim:
                assert await operator.evict(victim.id)
                assert not await operator.evict(victim.id)
            with pytest.raises(ValueError, match="cannot evict itself; use close"):
                await operator.evict(operator.id)
            with pytest.raises(ValueError, match="a reason is a text of 1 to 200"):
                await operator.evict("nobody", reason="x" * 201)
            with pytest.raises(ValueError, match="a session's id is a text"):
                await operator.evict(None)

    asyncio.run(main())


def test_an_evicted_session_evicts_nobody(connect):
    async def main():
        async with connect() as one, connect() as two, connect() as three:
            assert await one.evict(two.id)
            with pytest.raises(SessionLost):
                await two.evict(three.id)
            await three.lock("x").acquire()

    asyncio.run(main())


def test_evictions_at_once_end_a_session_once(connect):
    async def main():
        async with connect() as victim, connect() as one, connect() as two:
            await victim.lock("x").acquire()
            done = await asyncio.gather(*(each.evict(victim.id, by=name) for each, name in ((one, "1"), (two, "2"))))
            assert sorted(done) == [False, True]
            (eviction,) = (await one.inspect("x")).evictions
            assert eviction.by == "12"[done.index(True)]

    asyncio.run(main())


HOLDS = """
import asyncio, sys, holdfast
async def main():
    async with holdfast.connect(sys.argv[1], namespace=sys.argv[2], ttl=float(sys.argv[3]) or None) as session:
        async with session.lock("x"):
            print("in", flush=True)
            await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture(params=["embedded", "server"])
def holder(request, tmp_path):
    """A process that holds "x": it, and how to connect to where it is."""
    url = f"sqlite://{tmp_path}/locks" if request.param == "embedded" else shared().url
    namespace = f"evictions {os.urandom(8).hex()}"
    command = [sys.executable, "-c", HOLDS, url, namespace, "0" if request.param == "embedded" else "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "in\n"
            yield process, lambda: holdfast.connect(url, namespace=namespace)
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def test_who_hangs_loses_it_all_the_same(holder):
    """And finds out as soon as it goes on."""
    process, connect = holder
    stop(process.pid)

    async def main():
        async with connect() as operator:
            (holding,) = (await operator.inspect("x")).holders
            assert await operator.evict(holding.session.id, reason="stopped")
            async with asyncio.timeout(BOUND), operator.lock("x"):
                pass

    asyncio.run(main())
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=BOUND)
    assert re.search("LeaseLost: .*(was evicted by .*: stopped|could not be renewed)", said)


def test_inspect_says_who_it_is_and_whether_it_is_stopped(holder):
    process, connect = holder

    async def main():
        async with connect() as session:
            (holding,) = (await session.inspect("x")).holders
            assert (holding.session.pid, holding.session.alive, holding.session.stopped) == (process.pid, True, False)
            assert holding.session.command.startswith(sys.executable)
            assert len(holding.session.command) == 200
            process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(BOUND):
                while not (await session.inspect("x")).holders[0].session.stopped:
                    await asyncio.sleep(0.01)

    if sys.platform == "linux":
        asyncio.run(main())


def test_the_dead_are_told_apart(holder):
    process, connect = holder

    async def main():
        async with connect() as session:
            (before,) = (await session.inspect("x")).holders
            process.kill()
            process.wait()
            async with asyncio.timeout(BOUND):
                while (found := await session.inspect("x")).holders:
                    await asyncio.sleep(0.05)
            assert (found.waiters, found.state["locked"]) == ((), False)
            (dead,) = found.dead
            assert (dead.id, dead.permits, dead.tasks) == (before.session.id, 1, 0)
            assert dead.session is None or dead.session == before.session.__class__(
                *(getattr(before.session, name) for name in ("id", "name", "host", "pid", "since", "command")),
                alive=False,
            )

    asyncio.run(main())


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_command_line_is_a_text_whatever_the_locale(locale):
    """Engines keep it."""
    code = "from holdfast.cluster.command_line import command_line; print(ascii(command_line()))"
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable.encode(), b"-c", code.encode(), "zürich".encode(), b"\xff"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=BOUND, check=True, env=environment)
    assert "z\\xfcrich" in result.stdout
    assert "\\ufffd" in result.stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("holdfast lock x --url redis://me:secret@host/1 -- true", "holdfast lock x --url redis://host/1 -- true"),
        ("--url=rediss://:p%40ss@host", "--url=rediss://host"),
        ("'postgres://a:b@c@host/x?y'", "'postgres://host/x?y'"),
        ("redis://host?password=secret&db=1", "redis://host?password=...&db=1"),
        ("unix:///run/redis.sock?username=me&password=secret", "unix:///run/redis.sock?username=...&password=..."),
        ("mail me@example.org about sqlite:///tmp/a@b", "mail me@example.org about sqlite:///tmp/a@b"),
    ],
)
def test_no_password_is_told_to_others(text, shown):
    assert without_passwords(text) == shown


@pytest.mark.parametrize("noise", ["not one of ours", pytest.param("2000000000000000 " + "[" * 60_000, id="deep")])
def test_the_notes_of_a_server_are_of_the_last_day_and_not_too_many(noise, monkeypatch):
    from redis import Redis

    import holdfast.cluster.engines.redis.engine as module

    monkeypatch.setattr(module, "MOST", 3)
    namespace = f"evictions {os.urandom(8).hex()}"
    key = f"holdfast:{{{namespace}}}:evicted"

    async def main():
        with Redis(port=shared().port) as client:
            client.zadd(key, {"1000000 an old one": 1_000_000, noise: 2_000_000_000_000_000})
            async with holdfast.connect(shared().url, namespace=namespace, name="operator") as operator:
                for number in range(5):
                    async with holdfast.connect(shared().url, namespace=namespace, name=str(number)) as victim:
                        assert await operator.evict(victim.id)
                assert client.zcard(key) == 3
                assert [each.session.name for each in await operator.engine.evictions()] == ["3", "4"]
                assert 0 < client.ttl(key) <= 86400

    asyncio.run(main())
