"""Opening and closing the embedded engine's database beside others, and its write-ahead log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError
from holdfast.cluster.engines.embedded import database as database_module
from holdfast.cluster.engines.embedded import engine as embedded_engine
from holdfast.cluster.engines.embedded import write_ahead_log
from holdfast.cluster.engines.embedded.connection import Connection
from holdfast.cluster.engines.embedded.tables import _SELECT_STATE
from holdfast.cluster.engines.embedded.write_ahead_log import PAGE

from .engines import run  # noqa: F401
from .worker import Worker

SHORT_LOG = 1 << 20


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


# Opening and closing

OPEN_AND_CLOSE = """
    import holdfast
    for _ in range(60):
        async with holdfast.connect({url!r}) as other:
            async with other.lock("x"):
                pass
"""


@pytest.mark.parametrize("where", [None, "/dev/shm"])
async def test_many_processes_open_and_close_at_once_and_none_fails(url, tmp_path, where):
    """Each is now and then the first, which recovers the log, or the last, which removes it."""
    if where is not None and not os.access(where, os.W_OK):
        pytest.skip(f"there is no {where}")
    async with contextlib.AsyncExitStack() as stack:
        path = tmp_path / "shared" if where is None else f"{where}/holdfast-test-{os.getpid()}"
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        workers = [await stack.enter_async_context(Worker(url)) for _ in range(6)]
        code = OPEN_AND_CLOSE.format(url=f"sqlite://{path}")
        await asyncio.gather(*[worker.do(code) for worker in workers])
        assert sorted(os.listdir(path)) == ["s", "state.db"]


RECOVERS = """
import fcntl, os, sys
file = os.open(sys.argv[1] + "-shm", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(file, 32768)
fcntl.lockf(file, fcntl.LOCK_SH, 1, 128)
fcntl.lockf(file, fcntl.LOCK_EX, 3, 120)
print("recovers", flush=True)
sys.stdin.readline()
"""
"""What SQLite does that recovers the log: the others get SQLITE_BUSY_RECOVERY."""


async def test_who_comes_while_another_one_recovers_the_log_waits(url, tmp_path):
    async with holdfast.connect(url):
        pass
    command = [sys.executable, "-c", RECOVERS, f"{tmp_path}/locks/state.db"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        opening = asyncio.create_task(holdfast.connect(url).__aenter__())
        await asyncio.sleep(0.2)
        assert not opening.done()
        other.stdin.close()
        await (await opening).close()


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_BUSY_RECOVERY,
        sqlite3.SQLITE_BUSY_SNAPSHOT,
        sqlite3.SQLITE_BUSY | 3 << 8,
        sqlite3.SQLITE_LOCKED_SHAREDCACHE,
        sqlite3.SQLITE_PROTOCOL,
    ],
)
async def test_each_kind_of_busy_is_tried_again(url, monkeypatch, code):
    """SQLITE_BUSY_TIMEOUT, the third, has no name in Python."""
    async with holdfast.connect(url) as session:
        execute, raised = Connection.execute, []

        def failing(self, statement, values=()):
            if len(raised) < 20:
                raised.append(sqlite3.OperationalError("somebody else is at it"))
                raised[-1].sqlite_errorcode = code
                raise raised[-1]
            return execute(self, statement, values)

        monkeypatch.setattr(
            session.engine._database._connection, "execute", failing.__get__(session.engine._database._connection)
        )
        await session.event("e").set()
        assert len(raised) == 20


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_READONLY])
@pytest.mark.parametrize("stays", [False, True])
async def test_what_looks_broken_while_it_is_opened_is_looked_at_again_for_a_while(url, monkeypatch, code, stays):
    monkeypatch.setattr(database_module, "PATIENCE", 0.3 if stays else BOUND)
    execute, began, failures = Connection.execute, time.monotonic(), []

    def failing(self, statement, values=()):
        if stays or len(failures) < 5:
            failures.append(statement)
            exc = sqlite3.OperationalError("in this moment")
            exc.sqlite_errorcode = code
            raise exc
        return execute(self, statement, values)

    monkeypatch.setattr(Connection, "execute", failing)
    if stays:
        with pytest.raises(EngineError, match=r"state\.db: in this moment"):
            await holdfast.connect(url).__aenter__()
        assert time.monotonic() > began + 0.3
    else:
        async with holdfast.connect(url) as session, session.lock("x"):
            pass


async def test_who_opens_an_existing_database_does_not_write_its_first_page(url, tmp_path):
    """Which would be a page of the log for each session."""
    async with holdfast.connect(url):
        with (tmp_path / "locks" / "state.db-wal").open("rb") as log:
            log.seek(0, os.SEEK_END)
            before = log.tell()
            async with holdfast.connect(url):
                pass
            log.seek(before)
            added = log.read()
            pages = [added[frame : frame + 4] for frame in range(0, len(added), 24 + PAGE)]
    assert pages
    assert b"\0\0\0\1" not in pages


async def test_a_change_writes_one_short_page(url, tmp_path):
    async with holdfast.connect(url) as session, session.lock("x"):
        log = tmp_path / "locks" / "state.db-wal"
        before = log.stat().st_size
        await session.event("e").set()
        first = log.stat().st_size
        await session.event("e").clear()
        assert log.stat().st_size - first == 24 + PAGE < first - before


async def test_a_change_finds_all_that_it_needs_in_one_tree_for_each_table(url, tmp_path):
    async with holdfast.connect(url):
        with closing(sqlite3.connect(tmp_path / "locks" / "state.db")) as database:
            plan = [step for *_, step in database.execute(f"EXPLAIN QUERY PLAN {_SELECT_STATE}", "snnnx")]
    searched = [step for step in plan if step.startswith("SEARCH")]
    assert len(searched) == 3
    assert all("USING PRIMARY KEY" in step for step in searched)


async def test_a_database_with_pages_of_another_size_is_used_as_it_is(url, tmp_path):
    (tmp_path / "locks").mkdir(mode=0o700)
    with closing(sqlite3.connect(tmp_path / "locks" / "state.db")) as database:
        database.execute("PRAGMA page_size = 4096")
        database.execute("PRAGMA journal_mode = WAL")
    async with holdfast.connect(url) as session:
        async with session.lock("x") as first:
            pass
    async with holdfast.connect(url) as session, session.lock("x") as second:
        assert second.token > first.token
    with closing(sqlite3.connect(tmp_path / "locks" / "state.db")) as database:
        assert database.execute("PRAGMA page_size").fetchall() == [(4096,)]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_no_descriptor_stays_open_when_sessions_are_closed(url, tmp_path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    async with holdfast.connect(url):
        pass
    before = descriptors()
    async with holdfast.connect(url):
        async with holdfast.connect(url):
            pass
        one = descriptors()  # SQLite keeps that of the last for the next one
        for _ in range(20):
            async with holdfast.connect(url):
                pass
        assert descriptors() == one
    assert descriptors() == before


async def test_the_locks_of_another_connection_of_this_process_survive_the_end_of_its_sessions(url, tmp_path):
    """Closing any descriptor of a file drops all locks of the process on it."""
    path = tmp_path / "locks" / "state.db"
    async with contextlib.AsyncExitStack() as stack:
        async with holdfast.connect(url):
            mine = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
            mine.execute("SELECT * FROM texts").fetchall()
        await look_from_elsewhere_and_close(url, path, mine)


async def look_from_elsewhere_and_close(url, path, mine):
    command = [
        sys.executable,
        "-c",
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM texts').fetchall(); c.close()",
        str(path),
    ]
    subprocess.run(command, check=True)
    assert path.with_name("state.db-wal").exists(), "another process has taken itself for the last one"
    before = len(os.listdir("/proc/self/fd"))
    mine.close()
    async with holdfast.connect(url):
        pass
    assert len(os.listdir("/proc/self/fd")) < before


# Closing beside a process that is stopped


async def stopped_in_a_change(worker):
    worker.begin("""
        def change(stored):
            os.kill(os.getpid(), signal.SIGSTOP)
            return "", None
        await session.engine.apply("y", change)
    """)
    await worker.until_stopped()


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_closing_does_not_wait_for_a_process_that_is_stopped_in_a_change(
    url, tmp_path, monkeypatch, is_cancelled
):
    async with Worker(url) as stopped, holdfast.connect(url) as other:
        session = await holdfast.connect(url).__aenter__()
        await stopped_in_a_change(stopped)
        if is_cancelled:
            monkeypatch.setattr(embedded_engine, "_LEAVING", RARELY)
        closing = asyncio.create_task(session.engine.close())
        if is_cancelled:
            await asyncio.sleep(0.05)
            closing.cancel()
        await asyncio.wait([closing], timeout=BOUND)
        assert closing.done()
        assert not (tmp_path / "locks" / "s" / f"{session.id}.lock").exists()
        assert await other.engine.dead([session.id]) == {session.id}
        stopped.go_on()
        await session.close()


# The log


async def write(session, number):
    for _ in range(number):
        async with session.lock("x"):
            pass


async def test_the_log_stays_short_with_only_short_sessions_beside_one_that_does_nothing(url, tmp_path, monkeypatch):
    monkeypatch.setattr(write_ahead_log, "_LONGEST_LOG", SHORT_LOG)
    log, sizes = tmp_path / "locks" / "state.db-wal", []
    async with holdfast.connect(url):
        for number in range(120):
            async with holdfast.connect(url) as session, session.lock(str(number % 20)):
                pass
            sizes.append(log.stat().st_size)
    assert max(sizes) < 2 * SHORT_LOG
    assert sizes[-1] < 120 * (sizes[1] - sizes[0])


async def test_a_short_session_waits_for_the_log_to_be_cut(url, monkeypatch):
    """Else its process would end in the middle, and the log be cut by nobody."""
    monkeypatch.setattr(write_ahead_log, "_LONGEST_LOG", 0)
    real, go, done = write_ahead_log._Checkpoint.run, threading.Event(), []

    def slowly(self):
        go.wait(BOUND)
        real(self)
        done.append(self)

    monkeypatch.setattr(write_ahead_log._Checkpoint, "run", slowly)
    session = await holdfast.connect(url).__aenter__()
    closing = asyncio.create_task(session.close())
    await asyncio.sleep(0.1)
    assert not closing.done()
    go.set()
    await closing
    assert done


async def test_nobody_waits_for_a_reader_that_stays_and_the_log_is_cut_when_it_has_gone(url, tmp_path, monkeypatch):
    monkeypatch.setattr(write_ahead_log, "_LONGEST_LOG", SHORT_LOG)
    monkeypatch.setattr(database_module, "CHECKPOINT_EVERY", 20)
    monkeypatch.setattr(write_ahead_log, "_CHECKPOINT_PAUSE", 0)
    log = tmp_path / "locks" / "state.db-wal"
    taken = []
    monkeypatch.setattr(write_ahead_log._Checkpoint, "run", spying(write_ahead_log._Checkpoint.run, taken))
    async with holdfast.connect(url) as session:
        await write(session, 1)
        with contextlib.closing(sqlite3.connect(tmp_path / "locks" / "state.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM texts").fetchall()
            while log.stat().st_size < 3 * SHORT_LOG or len(taken) <= 3:
                await write(session, 20)
            assert min(taken) < 0.5  # one that waits for readers takes as long as it may wait, and writers with it
            reader.execute("COMMIT")
        while log.stat().st_size > 2 * SHORT_LOG:
            await write(session, 20)


def spying(real, seconds):
    def timed(self):
        began = time.monotonic()
        real(self)
        seconds.append(time.monotonic() - began)

    return timed


async def test_the_log_is_cut_also_where_no_thread_can_be_started(url, tmp_path, monkeypatch):
    monkeypatch.setattr(write_ahead_log, "_LONGEST_LOG", SHORT_LOG)
    monkeypatch.setattr(database_module, "CHECKPOINT_EVERY", 20)

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(write_ahead_log._Checkpoint, "start", start)
    async with holdfast.connect(url) as session:
        await write(session, 400)
        assert (tmp_path / "locks" / "state.db-wal").stat().st_size < 2 * SHORT_LOG


AFTER_THE_MAIN_THREAD = """
import asyncio, os, sys, threading
import holdfast
from holdfast.cluster.engines.embedded import database, write_ahead_log
write_ahead_log._LONGEST_LOG, database.CHECKPOINT_EVERY = 1 << 20, 20

async def main():
    async with holdfast.connect(f"sqlite://{sys.argv[1]}") as session:
        threading.main_thread().join()
        for _ in range(1000):  # 16 MB
            async with session.lock("x"):
                pass
        print(os.stat(f"{sys.argv[1]}/state.db-wal").st_size, flush=True)

threading.Thread(target=asyncio.run, args=[main()]).start()
"""


def test_the_log_is_cut_also_after_the_main_thread_has_ended(tmp_path):
    """From Python 3.12 on no thread can be started then."""
    command = [sys.executable, "-c", AFTER_THE_MAIN_THREAD, str(tmp_path / "locks")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=True)
    assert int(done.stdout) < 8 * SHORT_LOG
    assert done.stderr == ""


async def test_no_statement_has_a_numbered_placeholder(tmp_path, monkeypatch):
    """The first releases of Python 3.12 take "?1" for a name, and warn (gh-117995)."""
    statements, execute = set(), Connection.execute

    def noting(self, statement, values=()):
        statements.add(statement)
        return execute(self, statement, values)

    monkeypatch.setattr(Connection, "execute", noting)
    async with holdfast.connect(f"sqlite://{tmp_path}") as one, holdfast.connect(f"sqlite://{tmp_path}") as two:
        async with one.lock("x"):
            await two.names()
        await two.evict(one.id)
        await two.tidy(0)
    assert len(statements) > 10
    assert not [statement for statement in statements if re.search(r"\?\d", statement)]
