"""What is wrong with how a session is made and used, and what it says to that."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from interpreters import BOUND, collect

import holdfast
from holdfast.cluster import EngineError, FormatError, SessionLost
from holdfast.cluster.engines.embedded import mounts as mounts_module
from holdfast.cluster.records.json_text import FORMAT

from .running import in_child
from .test_lock import connect, opened, run, url
from .worker import NOBODY_LOOKS, Worker, until_waiting

__all__ = ["url"]  # the fixture


@pytest.mark.parametrize("wrong", [7, 0, False, [], b"memory:", Path("/tmp/locks"), ["memory:"]])
def test_a_url_is_a_text(wrong):
    with pytest.raises(TypeError, match="needs a URL, a text like"):
        holdfast.connect(wrong)


@pytest.mark.parametrize("wrong", ["sqlite:locks", "sqlite:./locks", "sqlite:///", "sqlite:////", "sqlite:///a%00b"])
def test_a_directory_is_named_by_its_absolute_path(wrong):
    """Else processes that were started elsewhere would have another one."""
    with pytest.raises(ValueError, match="names no directory by its absolute path"):
        holdfast.connect(wrong)


@pytest.mark.parametrize("wrong", ["sqlite:///tmp/a?b", "sqlite:///tmp/a#b"])
def test_nothing_of_a_url_is_passed_over(wrong):
    with pytest.raises(ValueError, match="write %3F or %23"):
        holdfast.connect(wrong)


@pytest.mark.parametrize("wrong", ["memory:a", "memory://a", "memory:/a", "memory:?a", "memory:#a"])
def test_the_sessions_of_a_process_are_kept_apart_by_a_namespace_and_not_by_the_url(wrong):
    """Else "memory:a" and "memory:b" would share their locks."""
    with pytest.raises(ValueError, match="namespace="):
        holdfast.connect(wrong)


def test_a_directory_of_any_name(tmp_path):
    async def main():
        async with holdfast.connect(f"sqlite://{tmp_path}/a%20b%3F") as session, session.lock("x"):
            assert (tmp_path / "a b?" / "state.db").exists()

    run(main)


@pytest.mark.parametrize("wrong", [7, "n" * 201, "\ud800"])
def test_a_sessions_name_is_a_text(wrong):
    with pytest.raises(ValueError, match="a session's name"):
        holdfast.connect("memory:", name=wrong)


def test_the_longest_ttl(url):
    async def main():
        async with connect(url, ttl=1e9) as session, session.lock("x") as grant:
            grant.check()

    run(main)


def test_true_is_no_ttl():
    with pytest.raises(ValueError, match="ttl must be a number"):
        holdfast.connect("memory:", ttl=True)


def test_another_loop_is_refused_and_nothing_has_changed(url):
    async def main():
        async with connect(url) as session:
            lock, semaphore = session.lock("x"), session.semaphore("s", 2)
            await lock.acquire()
            await semaphore.acquire()
            refused = []

            async def elsewhere():
                for call in (lock.release, semaphore.release, session.close, session.names, session.event("e").wait):
                    with pytest.raises(RuntimeError, match=r"connect\(\) in each loop"):
                        await call()
                    refused.append(call)
                with pytest.raises(RuntimeError, match=r"connect\(\) in each loop"):
                    await lock.__aexit__(None, None, None)

            thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert len(refused) == 5
            await lock.release()
            await semaphore.release()

    run(main)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_session_of_a_closed_loop_is_dead(url):
    """Nobody can use it or close it any more."""
    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(opened(url))
    loop.run_until_complete(session.lock("x").acquire())
    loop.close()

    async def main():
        async with connect(url) as other, asyncio.timeout(BOUND):
            await other.lock("x").acquire()
        with pytest.raises(RuntimeError):
            await session.lock("x").acquire()

    run(main)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_session_that_was_forgotten_with_its_loop_is_dead_for_other_processes(tmp_path):
    directory = f"sqlite://{tmp_path}/locks"

    def leave():
        loop = asyncio.new_event_loop()
        session = loop.run_until_complete(opened(directory))
        loop.run_until_complete(session.lock("x").acquire())
        loop.close()

    leave()
    collect()

    async def main():
        async with Worker(directory) as worker, asyncio.timeout(BOUND):
            code = (
                "import holdfast\nasync with holdfast.connect({0!r}, namespace={0!r}) as s: await s.lock('x').acquire()"
            )
            await worker.do(code.format(directory))

    run(main)


def test_a_path_that_is_too_long_for_a_socket(tmp_path):
    """In bytes: in characters it is not. The waiter is woken."""

    async def main():
        for name in ("\xe4" * 60, "a" * 120):
            directory = f"sqlite://{tmp_path}/{name}"
            async with holdfast.connect(directory) as session, Worker(directory) as worker:
                async with session.lock("x"):
                    await worker.do(NOBODY_LOOKS)
                    waiter = worker.begin("async with session.lock('x'): pass")
                    await until_waiting(session, "x")
                await waiter

    with tempfile.TemporaryDirectory(prefix="hf") as short:
        tmp_path = Path(short)
        run(main)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    (tmp_path / "a b").mkdir()
    mounts = tmp_path / "mountinfo"
    point = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {point} rw shared:1 - {kind} server:/x rw\n")
    monkeypatch.setattr(mounts_module, "OWN", mounts)

    async def main():
        with pytest.raises(EngineError, match=f"network file system \\({kind}\\).* name a local one"):
            await holdfast.connect(f"sqlite://{tmp_path}/a%20b/locks").__aenter__()
        async with holdfast.connect(f"sqlite://{tmp_path}/local"):
            pass

    run(main)


def test_what_could_not_be_opened_is_opened_later(tmp_path):
    """And leaves nothing behind."""

    async def main():
        before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        session = holdfast.connect(f"sqlite://{tmp_path}/locks")
        (tmp_path / "locks" / "s").mkdir(parents=True)
        (tmp_path / "locks" / "state.db").mkdir()
        with pytest.raises(EngineError, match="cannot use the directory"):
            await session.__aenter__()
        if sys.platform == "linux":
            assert len(os.listdir("/proc/self/fd")) == before
        (tmp_path / "locks" / "state.db").rmdir()
        async with session, session.lock("x"):
            pass

    run(main)


HEAD = json.dumps({"format": FORMAT, "kind": "lock", "by": ""})


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        f"{HEAD}\n\t[0,0,0,0]",
        f'{HEAD}\n\t[0,0,0,"0",null]',
        f"{HEAD}\n\t[1,0,0,0,null]",
    ],
)
def test_a_record_that_lacks_something_is_refused_and_left_alone(url, text):
    async def main():
        async with connect(url) as session:
            await session.engine.apply("x", lambda stored: (text, None))
            for call in (session.lock("x").acquire, session.lock("x").locked, lambda: session.inspect("x")):
                with pytest.raises(FormatError, match="Nothing was changed"):
                    await call()
            assert await session.engine.read("x") == text
            async with session.lock("another"):
                pass

    run(main)


@pytest.mark.parametrize("kind", ["locksmith", "semaphore", "semaphore of many", "barrier of "])
def test_a_kind_that_is_none_is_refused(url, kind):
    async def main():
        async with connect(url) as session:
            head = json.dumps({"format": FORMAT, "kind": kind})
            await session.engine.apply("x", lambda stored: (head, None))
            with pytest.raises(FormatError, match="Nothing was changed"):
                await session.inspect("x")

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_child_that_goes_on_with_its_parents_timers_neither_renews_nor_ends_its_session(tmp_path):
    """It has its parent's loop, and what is planned in that."""
    directory = f"sqlite://{tmp_path}/locks"

    async def main():
        async with holdfast.connect(directory, ttl=60) as session, session.lock("x") as grant:

            def does_nothing():
                session._life.renewal.begin()
                session._life.expiry.deadline = 0.0
                session._life.expiry.look()
                session._life.lose(SessionLost("in the child"))
                return session._life.renewal.task is None and session._life._ending is None

            assert in_child(does_nothing)
            grant.check()
            await session.engine.renew()  # raises if it is dead
            assert len([*(tmp_path / "locks" / "s").glob("*.lock")]) == 1

    run(main)


async def test_exec_gives_back_what_was_held(tmp_path):
    directory = f"sqlite://{tmp_path}/locks"
    async with Worker(directory) as worker, holdfast.connect(directory) as session:
        worker.begin("await session.lock('x').acquire(); os.execvp('sleep', ['sleep', '60'])")
        while not (await session.names()):
            await asyncio.sleep(0.005)
        first = (await session.inspect("x")).state["tokens"]  # the session that held it may be dead by now
        async with asyncio.timeout(BOUND):
            assert (await session.lock("x").acquire()).token == first + 1


# What an acquire and a release ask first: whether all is well. If not, the check that knows what to raise is made


def says_what_check_says(life):
    try:
        life.check()
    except (RuntimeError, SessionLost) as exc:
        assert not life.is_usable()
        return type(exc)
    assert life.is_usable()
    return None


def test_the_short_look_at_a_session_says_what_the_check_says():
    async def elsewhere(life):
        return says_what_check_says(life)

    async def main():
        session = holdfast.connect("memory:")
        assert says_what_check_says(session._life) is RuntimeError, "not open yet"
        async with session:
            assert says_what_check_says(session._life) is None
            assert await asyncio.to_thread(asyncio.run, elsewhere(session._life)) is RuntimeError
        assert says_what_check_says(session._life) is SessionLost, "closed"

    run(main)


@pytest.mark.parametrize("how", ["its ttl has passed", "another thread has found that it is dead", "forked"])
def test_the_short_look_at_a_session_that_is_lost_says_what_the_check_says(how):
    async def main():
        session = await opened("memory:")
        life = session._life
        if how == "its ttl has passed":
            life.expiry.deadline = 0.0
        elif how == "forked":
            life.end_in_child()
        else:
            life.expiry.found = SessionLost("it is dead")
        assert not life.is_usable(), "before the check has ended it"
        assert not life.is_alive()
        assert says_what_check_says(life) is SessionLost

    run(main)
