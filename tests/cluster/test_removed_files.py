"""Files of the database are removed, or replaced, under living sessions and when there are none."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sqlite3
import time
from types import SimpleNamespace

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, SessionLost
from holdfast.cluster.engines.embedded import database_files

from .engines import run  # noqa: F401
from .worker import Worker, WorkerError, until_waiting

SETS = [["-wal"], ["-shm"], ["-wal", "-shm"], ["", "-wal", "-shm"], [""], ["", "-wal"], ["", "-shm"]]
each_set = pytest.mark.parametrize("suffixes", SETS, ids=lambda each: " ".join(name or "state.db" for name in each))


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


def paths(tmp_path, suffixes):
    return [tmp_path / "locks" / f"state.db{suffix}" for suffix in suffixes]


def remove(tmp_path, suffixes):
    for path in paths(tmp_path, suffixes):
        path.unlink()


def replace(tmp_path, suffixes):
    for path in paths(tmp_path, suffixes):
        copy = path.with_name("copy")
        shutil.copy(path, copy)
        copy.rename(path)


HOLD = """
    import time
    try:
        async with session.lock("x") as grant:
            report(grant.token)
            try:
                await asyncio.sleep(60)
            finally:
                report(time.monotonic())
    except BaseException as exc:
        return f"{type(exc).__name__}: {exc}"
"""


@pytest.mark.parametrize("do", [remove, replace])
@each_set
async def test_the_holder_is_told_before_anybody_else_holds_it(url, tmp_path, do, suffixes):
    """A new session waits until the old ones have gone, and never meets an error that comes from what was removed."""
    async with Worker(url) as holder:
        body = holder.begin(HOLD)
        [token] = await holder.event()
        do(tmp_path, suffixes)
        async with holdfast.connect(url) as session, session.lock("x") as grant:
            granted = time.monotonic()
            assert grant.token > token
            told = await body
            [ended] = await holder.event()
            assert ended < granted
            assert told.startswith("LeaseLost: ")
            assert await session.names() == ["x"]
            grant.check()
            async with holdfast.connect(url) as other:  # a later session shares the state with the first
                assert [held.token for held in (await other.inspect("x")).holders] == [grant.token]


@each_set
async def test_the_holder_is_told_also_if_nobody_comes(url, tmp_path, suffixes):
    async with Worker(url) as holder:
        body = holder.begin(HOLD)
        await holder.event()
        remove(tmp_path, suffixes)
        async with asyncio.timeout(BOUND):
            told = await body
        assert f"state.db{suffixes[0]} has been removed or replaced" in told


@each_set
async def test_an_idle_session_is_told_at_its_next_use_and_holds_up_nobody(url, tmp_path, suffixes):
    async with holdfast.connect(url) as idle:
        event = idle.event("e")
        await event.set()
        remove(tmp_path, suffixes)
        for reading in (event.is_set, idle.names, lambda: idle.inspect("e"), lambda: idle.tidy(0)):
            with pytest.raises(SessionLost, match=f"state.db{suffixes[0]} has been removed or replaced"):
                await reading()
        async with asyncio.timeout(BOUND), holdfast.connect(url) as session, session.lock("x"):
            pass
        with pytest.raises(SessionLost):
            await event.set()


@each_set
async def test_a_waiter_is_told(url, tmp_path, suffixes):
    async with Worker(url) as holder, holdfast.connect(url) as session:
        body = holder.begin(HOLD)
        await holder.event()
        waiting = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(session, "x")
        remove(tmp_path, suffixes)
        with pytest.raises(SessionLost, match="has been removed"):
            await waiting
        await body


@pytest.mark.parametrize("suffixes", SETS[:3], ids=" ".join)
async def test_tokens_go_on_rising_if_the_log_of_killed_sessions_is_removed(url, tmp_path, suffixes):
    tokens = []
    async with holdfast.connect(url):
        pass  # so the tables are in the database, and not only in its log
    for _ in range(3):
        async with Worker(url) as worker:
            tokens += [await worker.do("async with session.lock('x') as grant: return grant.token") for _ in range(20)]
            worker.process.kill()
        remove(tmp_path, suffixes)
    async with holdfast.connect(url) as session, session.lock("x") as grant:
        tokens.append(grant.token)
    assert tokens == sorted({*tokens})


async def test_tokens_go_on_rising_if_the_directory_is_removed(url, tmp_path):
    tokens = []
    for _ in range(3):
        async with holdfast.connect(url) as session:
            for _ in range(5):
                async with session.lock("x") as grant:
                    tokens.append(grant.token)
        shutil.rmtree(tmp_path / "locks")
    assert tokens == sorted({*tokens})


async def test_some_who_come_at_once_share_one_new_state(url, tmp_path):
    async with Worker(url) as holder:
        body = holder.begin(HOLD)
        [token] = await holder.event()
        remove(tmp_path, ["-wal", "-shm"])
        async with contextlib.AsyncExitStack() as stack:
            sessions = await asyncio.gather(
                *[stack.enter_async_context(holdfast.connect(url)) for _ in range(5)],
            )
            tokens = []
            for session in sessions:
                async with session.lock("x") as grant:
                    tokens.append(grant.token)
        assert [token, *tokens] == sorted({token, *tokens})
        assert (await body).startswith("LeaseLost")


async def test_who_comes_waits_for_a_stopped_session_whose_log_was_removed(url, tmp_path):
    """As long as its user wants to: the database cannot be read while that one has it open."""
    async with Worker(url) as stopped:
        body = stopped.begin(HOLD)
        [token] = await stopped.event()
        stopped.stop()
        remove(tmp_path, ["-wal"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await holdfast.connect(url).__aenter__()
        connecting = asyncio.create_task(holdfast.connect(url).__aenter__())
        stopped.go_on()
        session = await connecting
        async with session.lock("x") as grant:
            assert grant.token > token
        await session.close()
        assert (await body).startswith("LeaseLost")


async def test_a_session_of_the_old_state_that_ends_late_takes_nothing_from_the_new_one(url, tmp_path):
    """SQLite's last closer would copy the old log into the database, and remove the new one by its name."""
    async with Worker(url) as old:
        await old.do("async with session.lock('x'): pass")
        old.stop()
        remove(tmp_path, ["-wal", "-shm"])
        async with Worker(url) as new:
            token = await new.do("return (await session.lock('x').acquire()).token")
            new.process.kill()  # its log stays
        old.go_on()
        with pytest.raises(WorkerError, match="SessionLost"):
            await old.do("await session.names()")
        assert await old.end() == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "locks" / "state.db")) as database:
        [(text,)] = database.execute("SELECT text FROM texts WHERE name = 'x'")
        assert str(token) in text


@pytest.mark.parametrize("content", [b"nothing of SQLite's " * 500, None])
async def test_a_damaged_database_is_said_in_a_sentence(url, tmp_path, content):
    async with holdfast.connect(url) as session:
        for number in range(50):
            await session.event(str(number)).set()
    path = tmp_path / "locks" / "state.db"
    if content is None:
        data = bytearray(path.read_bytes())
        data[4096:] = b"x" * (len(data) - 4096)
        content = bytes(data)
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"state\.db is damaged \(.*remove its directory"):
        async with holdfast.connect(url) as session:
            await session.event("1").set()
    assert path.read_bytes() == content


async def test_a_database_that_becomes_damaged_is_said_in_a_sentence(url, tmp_path):
    async with holdfast.connect(url) as session:
        await session.event("e").set()
    async with holdfast.connect(url) as session:
        path = tmp_path / "locks" / "state.db"
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"x" * (path.stat().st_size - 4096))
        with pytest.raises(EngineError, match=r"state\.db is damaged \("):
            await change_often(session.engine)


async def change_often(engine):
    for number in range(200):
        await engine.apply(str(number), lambda stored: ("text", None))


async def test_a_killed_process_is_no_obstacle_though_its_files_were_removed(url, tmp_path):
    async with Worker(url) as worker:
        body = worker.begin(HOLD)
        [token] = await worker.event()
        worker.process.send_signal(signal.SIGKILL)
        remove(tmp_path, ["-shm"])
        async with holdfast.connect(url) as session, session.lock("x") as grant:
            assert grant.token > token
        with pytest.raises(asyncio.CancelledError):
            await body


def test_each_session_of_a_process_is_told_whether_the_files_stay_the_same(tmp_path, monkeypatch):
    """They do not where descriptors cannot be locked: then they are others after a fork."""
    monkeypatch.delattr(fcntl, "F_OFD_SETLK", raising=False)
    shares = [database_files.hold(str(tmp_path / "state.db")) for _ in range(2)]
    assert [share.lock() for share in shares] == [False, False]
    for share in shares:
        share.unlock()
        share.release()


class Database:
    """Three files of a directory whose ctime is so many seconds old."""

    def __init__(self, tmp_path, monkeypatch, seconds):
        self.directory = tmp_path
        for path in self.paths():
            path.touch()
        now = tmp_path.stat().st_ctime_ns + int(seconds * 1e9)
        monkeypatch.setattr(database_files.time, "time_ns", lambda: now)
        self.looked_at = []
        self.path = str(tmp_path / "state.db")
        self.found = database_files.look(self.path)
        self.unchanged = database_files.Unchanged(self.path, self.found)

    def paths(self):
        return [self.directory / f"state.db{suffix}" for suffix in database_files.SUFFIXES]

    def count(self, monkeypatch, ctime=None):
        """Note what is looked at from now on. ctime: what is told of the directory."""
        stat = database_files.os.stat

        def counted(path):
            self.looked_at.append(str(path))
            found = stat(path)
            if ctime is None or str(path) != str(self.directory):
                return found
            return SimpleNamespace(st_dev=found.st_dev, st_ino=found.st_ino, st_ctime_ns=ctime)

        monkeypatch.setattr(database_files.os, "stat", counted)


def test_a_directory_in_which_nothing_has_changed_is_all_that_is_looked_at(tmp_path, monkeypatch):
    database = Database(tmp_path, monkeypatch, 1)
    assert database.unchanged.changed() is None
    database.count(monkeypatch)
    assert database.unchanged.changed() is None
    assert database.looked_at == [str(tmp_path)]
    (tmp_path / "another").touch()
    assert database.unchanged.changed() is None
    assert len(database.looked_at) == 1 + 4, "a name was made: the files are looked at"
    assert database.unchanged.changed() is None
    assert len(database.looked_at) == 5 + 1 or tmp_path.stat().st_ctime_ns > database_files.time.time_ns() - 100_000_000


@pytest.mark.parametrize("index", range(3))
def test_what_is_put_in_place_within_the_same_tick_of_the_clock_is_seen(tmp_path, monkeypatch, index):
    database = Database(tmp_path, monkeypatch, 0.01)
    database.count(monkeypatch, tmp_path.stat().st_ctime_ns)
    assert database.unchanged.changed() is None
    path = database.paths()[index]
    (tmp_path / "new").touch()
    (tmp_path / "new").rename(path)
    assert database.unchanged.changed() == str(path)


def test_a_clock_of_whole_seconds_is_waited_for_longer(tmp_path, monkeypatch):
    database = Database(tmp_path, monkeypatch, 1)
    seconds = tmp_path.stat().st_ctime_ns // 1_000_000_000 * 1_000_000_000
    database.count(monkeypatch, seconds)
    for _ in range(2):
        assert database.unchanged.changed() is None
    assert len(database.looked_at) == 2 * 4


@pytest.mark.parametrize("index", range(3))
def test_a_directory_whose_old_times_are_restored_is_looked_at(tmp_path, monkeypatch, index):
    """As a backup is, by tools that keep the times."""
    database = Database(tmp_path, monkeypatch, 1)
    assert database.unchanged.changed() is None
    before = tmp_path.stat()
    path = database.paths()[index]
    path.unlink()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tmp_path.stat().st_mtime_ns == before.st_mtime_ns
    assert database.unchanged.changed() == str(path)


def test_another_directory_under_the_path_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "locks").mkdir()
    database = Database(tmp_path / "locks", monkeypatch, 1)
    assert database.unchanged.changed() is None
    (tmp_path / "locks").rename(tmp_path / "old")
    assert database.unchanged.changed() == database.path
    shutil.copytree(tmp_path / "old", tmp_path / "locks")
    assert database.unchanged.changed() == database.path
    shutil.rmtree(tmp_path / "locks")
    (tmp_path / "old").rename(tmp_path / "locks")
    assert database.unchanged.changed() is None
