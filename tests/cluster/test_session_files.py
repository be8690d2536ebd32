"""What killed sessions leave is removed, and nothing of those that live or are just being opened."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import SessionLost
from holdfast.cluster.engines.embedded import directory as directory_module
from holdfast.cluster.engines.embedded import session_files
from holdfast.cluster.engines.embedded.session_files import SessionFiles

from .running import run_bounded
from .worker import Worker

IN_MEMORY = "/dev/shm"


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "locks"


@pytest.fixture
def url(directory):
    return f"sqlite://{directory}"


def run(main):
    run_bounded(main)


def names(directory):
    return sorted(file.name for file in (directory / "s").iterdir())


def own(session):
    return [f"{session.id}.lock", f"{session.id}.sock"]


@pytest.fixture
def in_memory():
    """A directory without a disk behind it, if there is one, as each of many openings waits for that."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if os.path.isdir(IN_MEMORY) else None) as directory:
        yield Path(directory) / "locks"


KILLED_AT_EACH_LINE = """
    import asyncio, os, signal, sys, time
    import holdfast
    import holdfast.cluster.engines.embedded.engine

    OURS = "embedded/engine.py", "session_files.py", "open_directory.py", "doorbell.py"
    url, every = sys.argv[1], int(sys.argv[2])

    async def open_and_close():
        async with holdfast.connect(url) as session:
            pass

    def killed_at(line):
        lines = 0

        def trace(frame, event, argument):
            nonlocal lines
            if not frame.f_code.co_filename.endswith(OURS):
                return None
            lines += event == "line"
            if lines > line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        asyncio.run(open_and_close())

    line = kills = 0
    while kills < 500:
        child = os.fork()
        if not child:
            killed_at(line)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            break
        kills += 1
        line += every
    print(kills)
"""


@pytest.mark.timeout(3 * BOUND)
def test_killed_at_any_moment_of_opening_and_closing_nothing_is_left_for_long(in_memory):
    directory, url = in_memory, f"sqlite://{in_memory}"
    code = dedent(KILLED_AT_EACH_LINE)
    done = subprocess.run([sys.executable, "-c", code, url, "3"], capture_output=True, text=True, timeout=2 * BOUND)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100

    async def main():
        async with holdfast.connect(url) as session:
            assert names(directory) == own(session)

    run(main())
    assert names(directory) == []
    assert {file.name for file in directory.iterdir()} <= {"s", "state.db", "state.db-wal", "state.db-shm"}


OPEN_AND_CLOSE = """
    import holdfast
    for _ in range({times}):
        async with holdfast.connect({url!r}) as another:
            await another.engine.renew()  # raises if it is dead
            async with another.lock("x"):
                pass
"""


def test_those_who_open_and_close_at_the_same_time_do_not_harm_each_other(directory, url):
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(Worker(url)) for _ in range(4)]
            begun = [worker.begin(OPEN_AND_CLOSE.format(url=url, times=25)) for worker in workers]
            for _ in range(5):
                async with Worker(url) as victim:
                    victim.begin(OPEN_AND_CLOSE.format(url=url, times=1000))
                    await asyncio.sleep(0.1)
            await asyncio.gather(*begun)
            async with holdfast.connect(url) as session:
                assert len(names(directory)) == 2 * 5, "four workers, and this one"
                session._check()

    run(main())


@pytest.fixture
def two(directory):
    """The session that opens, and the one that sweeps."""
    directory_module.prepare(directory)
    files = SessionFiles(directory), SessionFiles(directory)
    yield files
    for each in files:
        each.close()


@pytest.mark.parametrize("moment", ["before it is locked", "after it is locked", "while somebody holds it"])
def test_who_sweeps_while_a_session_is_opened(directory, two, monkeypatch, moment):
    opening, sweeping = two
    real, moments, held = fcntl.flock, [], []

    def flock(file, how):
        if how & fcntl.LOCK_EX and not moments:
            moments.append(how)
            if moment == "before it is locked":
                sweeping.sweep(())
                assert names(directory) == [], "it is anybody's"
            if moment == "while somebody holds it":
                held.append(os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY))
                real(held[0], fcntl.LOCK_EX)
            real(file, how)
            sweeping.sweep(())
            assert moment == "before it is locked" or names(directory) == [f"{opening.id}.lock"], "it is locked"
        else:
            real(file, how)

    monkeypatch.setattr(session_files.fcntl, "flock", flock)
    session = opening.lock("")
    for file in held:
        os.close(file)
    assert moments
    assert not opening.is_removed()
    assert names(directory) == [f"{session}.lock"]
    assert not sweeping.is_dead(session)
    opening.bind()
    sweeping.sweep(())
    assert names(directory) == [f"{session}.lock", f"{session}.sock"]


def test_what_is_swept_is_what_nobody_has(directory, two):
    opening, sweeping = two
    opening.lock("")
    opening.bind()
    folder = directory / "s"
    dead, known, hidden, fresh = ("0123456789abcdef", "1123456789abcdef", "2123456789abcdef", "3123456789abcdef")
    for session in (dead, known):
        (folder / f"{session}.lock").touch()
        (folder / f"{session}.sock").touch()
    for name in (f".{hidden}", f"{hidden}.sock", f".{fresh}", f"{fresh}.sock", "README"):
        (folder / name).touch()
    for name in (f".{hidden}", f"{hidden}.sock", "README"):
        os.utime(folder / name, (0, time.time() - 61))
    sweeping.sweep({known})
    left = [f".{fresh}", f"{fresh}.sock", "README"]  # earlier versions make them before the lock
    left += [f"{session}.{suffix}" for session in (known, opening.id) for suffix in ("lock", "sock")]
    assert names(directory) == sorted(left)


def test_who_finds_each_of_his_files_removed_says_so(two, monkeypatch):
    opening, sweeping = two
    real = fcntl.flock

    def flock(file, how):
        if how & fcntl.LOCK_EX and not isinstance(file, int):
            sweeping.sweep(())
        real(file, how)

    monkeypatch.setattr(session_files.fcntl, "flock", flock)
    with pytest.raises(OSError, match="somebody has removed each new file from"):
        opening.lock("")


def test_a_session_whose_file_was_removed_is_over(directory, url):
    async def main():
        async with holdfast.connect(url) as session:
            (directory / "s" / f"{session.id}.lock").unlink()
            with pytest.raises(SessionLost, match=r"the file of session .* has been removed"):
                await session.engine.renew()

    run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_child_neither_removes_nor_keeps_its_parents_files(directory, url):
    reading, writing = os.pipe()

    async def main():
        async with holdfast.connect(url) as one, holdfast.connect(url) as two:
            before = names(directory)
            child = os.fork()
            if not child:
                os.close(writing)
                gone = all(each.engine._files._lock.closed for each in (one, two))
                os.read(reading, 1)
                os._exit(0 if gone else 1)
            assert names(directory) == before
            await one.engine.renew()
            await two.engine.renew()
            locks = [*(directory / "s").glob("*.lock")]
        return child, locks

    child, locks = asyncio.run(main())
    assert len(locks) == 2
    assert names(directory) == []
    os.close(writing)
    os.close(reading)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
