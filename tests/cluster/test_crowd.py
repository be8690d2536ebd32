"""Whatever is done to some processes, and to the directory, the merged history of all that contend stays right."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest
from interpreters import BOUND

from holdfast.cluster import EngineError

from .crowd import Crowd, entered
from .history import stale
from .test_faults import AS_NOBODY, KILLED_IN_A_CHANGE, run
from .worker import WorkerError

__all__ = ["run"]  # the fixture

TTL = 2.0
"""Seconds."""
HOLDS = "await turn(asyncio.Event().wait)"
STOPS = """
async def stop():  # without a turn of the loop, in which it could learn that its lease is lost
    os.kill(os.getpid(), signal.SIGSTOP)

await turn(stop)
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


async def holder(crowd, code=HOLDS):
    """A process that has the lock, and what will come of its turn."""
    worker = await crowd.another()
    held = worker.begin(crowd.prelude + code)
    async with asyncio.timeout(BOUND):
        await worker.event()
    return worker, held


async def a_holder_is_killed(crowd):
    victim, _ = await holder(crowd)
    await crowd.kill(victim)


async def a_waiter_is_killed(crowd):
    victim = await crowd.another()
    first, _ = await holder(crowd)
    async with crowd.session() as session:
        victim.begin(crowd.prelude + HOLDS)
        async with asyncio.timeout(BOUND):
            while not [run for run in (await session.inspect("x")).waiters if run.session.id == victim.session]:
                await asyncio.sleep(0.005)
    await crowd.kill(victim)
    await crowd.kill(first)


def in_a_change(inside):
    async def a_process_is_killed_in_a_change(crowd):
        victim = await crowd.another()
        code = KILLED_IN_A_CHANGE.format(inside=inside, before="", then="await session.lock('x').acquire()")
        victim.begin(code)
        assert await victim.process.wait() == -signal.SIGKILL
        await crowd.kill(victim)

    return a_process_is_killed_in_a_change


async def wake_ups_are_dropped(crowd):
    for worker in crowd.workers:
        await worker.do("""
            import holdfast.cluster.session_life.renewal
            holdfast.cluster.session_life.renewal.LOOK_AGAIN = 0.1
            session.engine.wake = lambda *args: None
        """)


async def a_process_with_an_open_session_forks(crowd):
    for worker in crowd.workers:
        await worker.do("""
            import warnings
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads, with reason
            child = os.fork()
            if not child:
                try:
                    session._check()
                except RuntimeError:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
        """)


async def a_holder_without_a_ttl_is_stopped(crowd):
    """It keeps the lock: safe, not live."""
    victim, held = await holder(crowd, STOPS)
    await victim.until_stopped()
    before = len(crowd.history())
    await asyncio.sleep(1)
    assert len(crowd.history()) == before
    victim.go_on()
    await held


async def another_user_comes(crowd):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    stranger = await crowd.another()
    with pytest.raises(WorkerError, match="EngineError"):
        await stranger.do(AS_NOBODY.format(url=crowd.url))


async def the_directory_becomes_read_only(crowd):
    """The sessions that are there have their files open."""
    directory = crowd.url.removeprefix("sqlite://")
    flag = ["chattr", "+i", f"{directory}/s"]
    if subprocess.run(flag, capture_output=True).returncode:
        pytest.skip("this file system has no immutable directories, and root may write to all others")
    try:
        with pytest.raises(EngineError):
            await crowd.session().__aenter__()
        await crowd.more_turns()
    finally:
        subprocess.run(["chattr", "-i", f"{directory}/s"], check=True)


HARMS = {
    "a holder is killed": a_holder_is_killed,
    "a waiter is killed": a_waiter_is_killed,
    "a process is killed in a transaction": in_a_change(True),
    "a process is killed after its commit": in_a_change(False),
    "wake-ups are dropped": wake_ups_are_dropped,
    "a process forks": a_process_with_an_open_session_forks,
    "a holder without a ttl is stopped": a_holder_without_a_ttl_is_stopped,
    "another user comes": another_user_comes,
    "the directory becomes read-only": the_directory_becomes_read_only,
}


@pytest.mark.parametrize("harm", HARMS)
async def test_the_history_stays_right_when(harm, url, tmp_path):
    async with Crowd(url, tmp_path) as crowd:
        await HARMS[harm](crowd)
        await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_holder_is_stopped_for_longer_than_its_ttl(fenced, url, tmp_path):
    """Nobody can prevent the write that it does when it goes on; a fence refuses it, and without one it is seen."""
    async with Crowd(url, tmp_path, fenced=fenced, victims_ttl=TTL) as crowd:
        victim, held = await holder(crowd, STOPS)
        await victim.until_stopped()
        stopped = time.monotonic()
        await crowd.more_turns(1)
        crowd.idle_since[victim.pid] = stopped
        victim.go_on()
        with pytest.raises(WorkerError, match="StaleToken" if fenced else "LeaseLost"):
            await held
        await crowd.more_turns()
        await crowd.end()
        token = entered(victim)[0][0]
        assert stale(crowd.written()) == ([] if fenced else [token])
        expected = [] if fenced else [f"a write with the old token {token} was accepted"]
        assert await crowd.wrong() == expected


async def test_the_disk_is_full(tmp_path):
    """A task that asks is refused while it is, one that gives back waits for room, and nothing is lost."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        async with Crowd(f"sqlite://{disk}/locks", tmp_path) as crowd:
            full = disk / "ballast"
            with full.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):  # close() has nothing to write
                while True:
                    ballast.write(bytes(1 << 16))
            before = None  # all end up in the line, or holding, as nobody can give anything back
            async with asyncio.timeout(BOUND):
                while before != (before := len(crowd.history())):
                    await asyncio.sleep(0.2)
            for worker in crowd.workers:
                with pytest.raises(WorkerError, match=r"EngineError.*full"):
                    await worker.do("await session.lock('another').acquire()")
            full.unlink()
            await crowd.more_turns()
            await crowd.end()
            assert not await crowd.wrong()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_the_directory_is_removed(url, tmp_path):
    """All sessions that were there are told, and end; those that come then begin anew, undisturbed by the others."""
    async with Crowd(url, tmp_path) as crowd:
        shutil.rmtree(tmp_path / "locks")
        async with asyncio.timeout(BOUND):
            while len(crowd.lost()) < len(crowd.workers):
                await asyncio.sleep(0.01)
        assert all("has been removed" in said for said in crowd.lost().values())
        (tmp_path / "anew").mkdir()
        async with Crowd(url, tmp_path / "anew") as another:
            await another.more_turns()
            await another.end()
            assert not await another.wrong()
