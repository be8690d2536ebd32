"""Programs that clean /tmp leave a living session's files alone, and what nobody uses any more to be cleaned."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import shutil
import subprocess
import time
import weakref
from pathlib import Path

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster.engines.embedded import engine as embedded_engine

from .running import run_bounded
from .worker import Worker

LONG_AGO = time.time() - 30 * 86400
YOUNG = 60
"""Seconds."""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "locks"


def run(main):
    run_bounded(main)


def connect(directory):
    return holdfast.connect(f"sqlite://{directory}")


def files(directory):
    return {directory, *directory.rglob("*")}


def age(directory):
    for file in files(directory):
        os.utime(file, (LONG_AGO, LONG_AGO))


def old(directory):
    """What a cleaner that goes by age alone would take."""
    return {file for file in files(directory) if max(file.stat().st_atime, file.stat().st_mtime) < time.time() - YOUNG}


def is_locked(directory):
    """Whether a cleaner cannot have the directory for itself."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_the_directory_is_locked_while_any_session_is_open(directory):
    async def main():
        async with connect(directory):
            assert is_locked(directory)
            async with connect(directory), Worker(f"sqlite://{directory}") as worker:
                assert is_locked(directory)
                await worker.end()
            assert is_locked(directory)
        assert not is_locked(directory)

    run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_forked_child_does_not_keep_it_locked(directory):
    reading, writing = os.pipe()
    is_up, up = os.pipe()

    async def main():
        async with connect(directory):
            child = os.fork()
            if not child:
                os.close(writing)
                os.write(up, b".")
                os.read(reading, 1)  # until the parent has looked
                os._exit(0)
        os.read(is_up, 1)
        return child

    child = asyncio.run(main())
    try:
        assert not is_locked(directory)
    finally:
        for each in (reading, writing, is_up, up):
            os.close(each)
        os.waitpid(child, 0)


def test_all_that_a_session_needs_looks_used_when_it_is_opened(directory):
    async def main():
        async with connect(directory) as first, first.lock("x"):
            age(directory)
            async with connect(directory):
                left = {first.id + suffix for suffix in (".lock", ".sock")}
                assert {file.name for file in old(directory)} <= left, "each sees to its own"

    run(main())


def test_and_looks_used_as_long_as_it_is_open(directory, monkeypatch):
    monkeypatch.setattr(embedded_engine, "_PROTECTED", (0.01, 0.01))

    async def main():
        async with connect(directory) as session, session.lock("x"):
            assert {"state.db", "state.db-wal", "state.db-shm", "s"} < {file.name for file in files(directory)}
            age(directory)
            while old(directory):
                await asyncio.sleep(0.005)

    run(main())


def test_not_more_often_than_once_an_hour(directory):
    async def main():
        async with connect(directory) as session:
            loop = asyncio.get_running_loop()
            assert 3590 < session.engine._protection.when() - loop.time() < 3610
            protection = session.engine._protection
        assert protection.cancelled()

    run(main())


def test_a_cleaner_that_is_at_work_holds_up_nobody_and_is_kept_out_later(directory, monkeypatch):
    monkeypatch.setattr(embedded_engine, "_PROTECTED", (3600, 0.01))

    async def main():
        async with connect(directory):
            pass
        cleaner = os.open(directory, os.O_RDONLY)
        fcntl.flock(cleaner, fcntl.LOCK_EX)
        async with connect(directory) as session, session.lock("x"):
            os.close(cleaner)
            while not is_locked(directory):
                await asyncio.sleep(0.005)

    run(main())


def test_a_session_that_was_dropped_is_not_kept_by_the_timer(directory):
    async def main():
        async with connect(directory) as session:
            engine = weakref.ref(session.engine)
        del session
        await asyncio.sleep(0)
        gc.collect()
        assert engine() is None

    run(main())


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not installed")
def test_systemd_tmpfiles_leaves_the_files_of_an_open_session_alone(directory, tmp_path):
    settings = tmp_path / "cleaner.conf"
    settings.write_text(f"d {tmp_path}/tmp - - - 1s\n")
    directory = tmp_path / "tmp" / "locks"

    def clean():
        subprocess.run(["systemd-tmpfiles", "--clean", settings], check=True, timeout=BOUND, capture_output=True)

    async def main():
        async with connect(directory) as session, session.lock("x") as grant:
            before = files(directory)
            await asyncio.sleep(2.5)
            await asyncio.to_thread(clean)
            assert files(directory) == before
            async with Worker(f"sqlite://{directory}") as worker:
                assert await worker.do("return await session.lock('x').try_acquire()") is None
            grant.check()
        await asyncio.sleep(2.5)
        await asyncio.to_thread(clean)
        assert not directory.exists(), "what nobody uses is cleaned"

    run(main())


@pytest.mark.skipif(shutil.which("tmpreaper") is None, reason="tmpreaper is not installed")
def test_tmpreaper_leaves_the_files_of_an_open_session_alone(directory, monkeypatch):
    """It goes by age, and knows no locks."""
    monkeypatch.setattr(embedded_engine, "_PROTECTED", (0.2, 0.2))

    async def main():
        async with connect(directory) as session, session.lock("x") as grant:
            before = files(directory)
            for _ in range(3):
                await asyncio.sleep(1)
                command = ["tmpreaper", "--all", "2s", str(Path(directory).parent)]
                await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=BOUND)
            assert files(directory) == before
            grant.check()

    run(main())
