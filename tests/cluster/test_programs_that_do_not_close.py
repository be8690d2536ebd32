"""A session that the program drops, or leaves open when its loop ends: it ends, others have what it held, no noise."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import warnings

import pytest
from interpreters import BOUND, RARELY, collect, collect_in_pypy, drop

from holdfast.cluster import SessionLost
from holdfast.cluster.session_life import life, renewal

from .servers import shared
from .test_lock import connect, opened, settle, url

__all__ = ["url"]  # the fixture

NOISE = (
    "Event loop is closed",
    "never awaited",
    "was destroyed but it is pending",
    "Traceback",
    "Exception ignored",
    "Unclosed",
)


@pytest.fixture(autouse=True)
def nobody_looks(monkeypatch):
    """For itself: who waits is told, or waits for ever."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)


async def until_granted(lock):
    async with asyncio.timeout(BOUND):
        return await lock.acquire()


# Dropped


async def test_a_session_that_is_dropped_ends_and_says_so(url):
    async with connect(url) as other:
        session = await opened(url, name="the one that was dropped")
        await session.lock("x").acquire()
        waiter = asyncio.create_task(until_granted(other.lock("x")))
        await settle()
        with pytest.warns(ResourceWarning, match=r"'the one that was dropped' .* was dropped without close\(\)"):  # noqa: PT031
            del session
            collect_in_pypy()
        await waiter


@pytest.mark.parametrize("ttl", [None, 30])
async def test_timers_and_readers_do_not_keep_it(url, ttl):
    """It waits, holds, and has used many names."""
    async with connect(url) as other:
        session = await opened(url, ttl=ttl)
        await other.lock("taken").acquire()
        waiting = asyncio.create_task(session.lock("taken").acquire())
        await session.lock("x").acquire()
        await session.event("e").set()
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
        del waiting
        await settle()
        life = session._life
        with pytest.warns(ResourceWarning, match="dropped"):  # noqa: PT031
            del session
            collect_in_pypy()
        await until_granted(other.lock("x"))
        assert "dropped without close" in str(life.over)


@pytest.mark.parametrize("kept", ["lock", "grant", "task in a body", "task that waits"])
async def test_what_was_made_by_it_keeps_it(url, kept):
    async with connect(url) as other:
        session = await opened(url)

        async def body():
            async with session_of.pop().lock("x"):
                entered.set()
                await asyncio.sleep(60)

        entered, session_of = asyncio.Event(), [session]
        keep = None
        if kept == "lock":
            keep = session.lock("x")
            await keep.acquire()
        elif kept == "grant":
            keep = await session.lock("x").acquire()
        elif kept == "task in a body":
            keep = asyncio.create_task(body())
            await entered.wait()
        else:
            await other.lock("y").acquire()
            await session.lock("x").acquire()
            keep = asyncio.create_task(session.lock("y").acquire())
            await settle()
        session_of.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del session
            collect()
            await settle()
        assert await other.lock("x").locked()
        assert await other.lock("x").try_acquire() is None
        with pytest.warns(ResourceWarning, match="dropped"):  # noqa: PT031
            if isinstance(keep, asyncio.Task):
                keep.cancel()
                await asyncio.wait([keep])
            del keep
            collect()
        await until_granted(other.lock("x"))


async def test_a_session_that_was_closed_lost_or_never_opened_is_dropped_in_silence(url):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with connect(url):
            pass
        connect(url)
        lost = await opened(url)
        lost._life.lose(SessionLost("for the test"))
        del lost
        collect()
        await settle()


async def test_it_is_dropped_in_another_thread(url):
    """Where the collector may run."""
    async with connect(url) as other:
        box = [await opened(url)]
        await box[0].lock("x").acquire()
        with pytest.warns(ResourceWarning, match="dropped"):
            await asyncio.to_thread(drop, box)
        await until_granted(other.lock("x"))


# The loop ends

PROGRAM = """
import asyncio, sys
import holdfast
from holdfast.cluster.records.lock import LockRecord

url, how = sys.argv[1:3]
kept = []

async def main():
    session = await holdfast.connect(url, namespace="a program that does not close").__aenter__()
    await session.lock("x").acquire()
    waiting = asyncio.create_task(session.event("never").wait())
    other = await holdfast.connect(url, namespace="a program that does not close").__aenter__()
    behind = asyncio.create_task(other.lock("x").acquire())
    await asyncio.sleep(0.1)
    waiting.cancel()
    behind.cancel()
    await asyncio.wait([waiting, behind])
    kept.append(session)
    if "drop" not in how:
        kept.append(other)
    if "work" in how:  # something of ours is under way when the loop stops
        asyncio.get_running_loop().call_soon(lambda: session._life.register("y", LockRecord()).withdraw(1))

def new_loop():
    return __import__("uvloop" if "uvloop" in how else "asyncio").new_event_loop()

if "run" in how:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
else:
    loop = new_loop()
    if "cancel" in how:
        loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    else:
        loop.run_until_complete(main())
    loop.close()
if "exit" in how:
    kept.clear()
print("done")
"""


DROPS_AT_ITS_END = """
import asyncio, sys
import holdfast

url, how = sys.argv[1:3]

async def main():
    session = await holdfast.connect(url, namespace=how).__aenter__()
    for name in range(300):
        await session.lock(str(name)).acquire()
    if how == "runs":  # so the runner lets the loop run once more, and the session begins to end then
        main.task = asyncio.create_task(asyncio.sleep(60))

if how == "runs":
    asyncio.run(main())
else:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    if how == "turns":
        for _ in range(3):
            loop.run_until_complete(asyncio.sleep(0))
    loop.close()
print("done")
"""


def program(url: str, how: str, *options: str, source: str = PROGRAM) -> str:
    command = [sys.executable, *options, "-c", source, url, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False, env={**os.environ})
    assert done.stdout == "done\n", done.stderr
    assert done.returncode == 0
    return done.stderr


@pytest.fixture(params=["memory", "embedded", "server"])
def engine(request, tmp_path):
    if request.param == "server":
        return shared().url
    return f"sqlite://{tmp_path}/locks" if request.param == "embedded" else "memory:"


WAYS = ["run", "run drop", "close", "close exit", "close cancel", "close work", "run uvloop", "close uvloop"]


@pytest.mark.parametrize("how", WAYS)
def test_a_loop_that_ends_with_an_open_session(engine, how):
    if "uvloop" in how and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    assert program(engine, how) == ""


@pytest.mark.parametrize("how", ["run", "run drop", "close"])
def test_in_development_mode_there_is_a_warning_and_nothing_else(engine, how):
    err = program(engine, how, "-X", "dev")
    assert "ResourceWarning" in err
    for noise in NOISE:
        assert noise not in err


async def test_a_runner_gives_back_what_was_held(engine):
    """So that nobody has to wait for a ttl."""
    if engine == "memory:":
        pytest.skip("its sessions end with their process")
    await asyncio.to_thread(program, engine, "run")
    async with connect(engine, namespace="a program that does not close") as other:
        assert await other.lock("x").try_acquire()


@pytest.mark.parametrize("how", ["runs", "turns", "closes"])
def test_a_session_that_is_dropped_as_the_loop_ends_is_waited_for_or_let_go_in_silence(engine, how):
    """It has begun to end, which takes some turns of the loop."""
    assert program(engine, how, source=DROPS_AT_ITS_END) == ""


async def test_what_a_session_held_that_is_dropped_as_the_loop_ends_is_given_back(engine):
    if engine == "memory:":
        pytest.skip("its sessions end with their process")
    await asyncio.to_thread(program, engine, "runs", source=DROPS_AT_ITS_END)
    async with connect(engine, namespace="runs") as other:
        for name in range(0, 300, 50):
            assert await other.lock(str(name)).try_acquire()


async def test_the_end_of_a_dropped_session_is_cancelled_with_all_other_tasks(url):
    async with connect(url) as other:
        session = await opened(url)
        await session.lock("x").acquire()
        life = session._life
        with pytest.warns(ResourceWarning, match="dropped"):  # noqa: PT031
            del session
            collect_in_pypy()
        life._close_abandoned()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await until_granted(other.lock("x"))


async def test_a_session_that_was_dropped_has_ended_at_once(url, monkeypatch):
    """What ends it waits neither for itself nor for the end of the loop."""
    monkeypatch.setattr(life, "CLOSING", RARELY)  # so that no clock ends what waits for itself
    monkeypatch.setattr(life, "ENDING", RARELY)
    session = await opened(url)
    ended = session._life
    with pytest.warns(ResourceWarning, match="dropped"):  # noqa: PT031
        del session
        collect_in_pypy()
    async with asyncio.timeout(BOUND):
        while ended._closing is None or not ended._closing.done():
            await asyncio.sleep(0)
