"""close() ends in some seconds whatever happens, lets the loop run, and gives back first what others wait for."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time

import pytest
from interpreters import BOUND, RARELY, without_the_collector
from tests.stopping import stop

from holdfast.cluster import EngineError, LeaseLost, SessionLost
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.session import Session
from holdfast.cluster.session_life import life, renewal
from holdfast.cluster.session_life.life import CLOSING

from .servers import shared
from .test_lock import connect, opened, settle, url

__all__ = ["url"]  # the fixture


async def with_held(url, names, **options):
    session = await opened(url, **options)
    for first in range(0, names, 500):
        last = min(first + 500, names)
        await asyncio.gather(*(session.lock(f"n{number}").acquire() for number in range(first, last)))
    return session


class Beat:
    """How long the loop has stood still, at most, in seconds of its thread: others need the processor as well."""

    async def __aenter__(self):
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(without_the_collector())
        self.longest = 0.0
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0.01)
        self.longest = 0.0
        return self

    async def __aexit__(self, *exc):
        await asyncio.sleep(0.005)
        self._task.cancel()
        self._stack.close()

    async def _beat(self):
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now


class Stuck(MemoryEngine):
    """Does not answer, while it is stuck."""

    stuck = False

    async def _wait(self):
        while self.stuck:
            await asyncio.sleep(0.01)

    async def apply(self, *args, **options):
        await self._wait()
        return await super().apply(*args, **options)

    async def renew(self, *args):
        await self._wait()
        return await super().renew(*args)

    async def close(self):
        await self._wait()
        await super().close()


async def test_many_names_do_not_block_the_loop(url):
    session = await with_held(url, 1000)
    async with Beat() as beat:
        await session.close()
    assert beat.longest < 0.05
    async with connect(url) as other:
        for name in ("n0", "n500", "n999"):
            assert await other.lock(name).try_acquire()


async def test_a_timeout_around_it_fires_and_the_session_is_over(url):
    session = await with_held(url, 3000)
    lock = session.lock("n0")
    async with Beat() as beat:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await session.close()
    assert beat.longest < 0.1
    with pytest.raises(SessionLost, match="was closed"):
        await lock.acquire()
    async with connect(url) as other, asyncio.timeout(BOUND):
        await other.lock("n2999").acquire()


async def test_a_cancellation_is_raised_at_once_also_while_the_engine_does_not_answer(monkeypatch):
    monkeypatch.setattr(life, "CLOSING", RARELY)
    monkeypatch.setattr(life, "ENDING", RARELY)
    engine = Stuck("a cancellation")
    session = Session(engine, "stuck")
    await session.__aenter__()
    grant = await session.lock("x").acquire()
    engine.stuck = True
    task = asyncio.create_task(session.close())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task], timeout=BOUND)
    assert task.cancelled()
    with pytest.raises(LeaseLost):
        grant.check()
    engine.stuck = False
    async with asyncio.timeout(BOUND):
        await session.close()  # waits for what goes on of it
    async with connect("memory:", namespace="a cancellation") as other, asyncio.timeout(BOUND):
        await other.lock("x").acquire()


async def test_an_engine_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(life, "CLOSING", 0.3)
    monkeypatch.setattr(life, "ENDING", 0.2)
    engine = Stuck("no answer")
    session = Session(engine, "stuck")
    await session.__aenter__()
    for name in "abc":
        await session.lock(name).acquire()
    engine.stuck = True
    began = time.perf_counter()
    async with asyncio.timeout(BOUND):
        await session.close()
    assert time.perf_counter() - began >= 0.3
    monkeypatch.setattr(life, "CLOSING", RARELY)
    monkeypatch.setattr(life, "ENDING", RARELY)
    async with asyncio.timeout(BOUND):
        await session.close()  # there is nothing that it would wait for once more
    engine.stuck = False


async def test_an_engine_that_fails_for_some_names(monkeypatch):
    """The others are given back."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)  # so nobody has to look

    class Failing(MemoryEngine):
        async def apply(self, name, *args, **options):
            if name == "b" and failing:
                raise EngineError("not this one")
            return await super().apply(name, *args, **options)

    failing = False
    session = Session(Failing("some names"), "failing")
    await session.__aenter__()
    for name in "abc":
        await session.lock(name).acquire()
    failing = True
    async with connect("memory:", namespace="some names") as other:
        tasks = [asyncio.create_task(other.lock(name).acquire()) for name in "abc"]
        await settle()
        await session.close()
        async with asyncio.timeout(BOUND):
            await tasks[0]
            await tasks[2]
        tasks[1].cancel()


async def test_names_where_others_wait_go_first(url, monkeypatch):
    """Also if the bound passes before all the rest is given back."""
    session = await with_held(url, 400)
    left = []
    apply = session.engine.apply

    async def slow(name, *args, **options):
        left.append(name)
        if len(left) > 50:
            await asyncio.sleep(60)
        return await apply(name, *args, **options)

    session.engine.apply = slow
    monkeypatch.setattr(life, "CLOSING", 5)
    async with connect(url) as other:
        waited_for = [f"n{number}" for number in (99, 250, 399)]
        tasks = [asyncio.create_task(other.lock(name).acquire()) for name in waited_for]
        await settle()
        await session.close()
        assert left[:3] == waited_for
        assert len(left) < 403
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*tasks)


async def test_grants_are_not_believed_from_the_first_moment_on(url):
    """Though they are told one after the other."""
    session = await with_held(url, 2000)
    grant = await session.lock("last").acquire()
    task = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(LeaseLost, match="was closed"):
        grant.check()
    await task
    assert grant.lost.is_set()


async def test_all_are_told_if_it_is_cancelled_in_the_middle(url):
    session = await with_held(url, 2000)
    grant = await session.lock("last").acquire()
    task = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert grant.lost.is_set()


async def test_on_a_server(monkeypatch):
    monkeypatch.setattr(life, "CLOSING", BOUND)  # all of it is given back, and not what a bound leaves time for
    session = await with_held(shared().url, 1000, namespace="closing has a bound", ttl=RARELY)
    left, apply = [], session.engine.apply

    async def leaving(name, *args, **options):
        await apply(name, *args, **options)
        left.append(name)

    session.engine.apply = leaving
    async with Beat() as beat:
        await session.close()
    assert len({*left}) == 1000
    assert beat.longest < 0.05
    async with connect(shared().url, namespace="closing has a bound") as other:
        assert await other.lock("n999").try_acquire()


HOLD_THE_DATABASE = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("in a change", flush=True)
time.sleep(60)
"""


async def test_another_process_is_stopped_in_a_change(tmp_path):
    session = await opened(f"sqlite://{tmp_path}/locks")
    await session.lock("x").acquire()
    command = [sys.executable, "-c", HOLD_THE_DATABASE, str(tmp_path / "locks" / "state.db")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        await asyncio.to_thread(process.stdout.readline)
        stop(process.pid)
        async with Beat() as beat:
            began = time.perf_counter()
            async with asyncio.timeout(BOUND):
                await session.close()  # the other process does not go on
        assert time.perf_counter() - began > CLOSING - 0.1
        assert beat.longest < 0.05
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    async with connect(f"sqlite://{tmp_path}/locks") as other, asyncio.timeout(BOUND):
        await other.lock("x").acquire()
    with contextlib.closing(sqlite3.connect(tmp_path / "locks" / "state.db")) as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
