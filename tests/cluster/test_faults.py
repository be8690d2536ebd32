"""Real processes on the embedded engine, which are killed, stopped, cut off and filled up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError, SQLiteFence
from holdfast.cluster.engines.embedded import database, write_ahead_log
from holdfast.cluster.session_life import renewal

from .engines import run  # noqa: F401
from .history import Turn, overtaken, stale, violations
from .worker import Worker, WorkerError, holders, until_waiting, waiters

TTL = 2.0
"""Seconds."""

TAKE_TURNS = """
    import time
    lock = session.lock("x")
    for _ in range({turns}):
        asked = time.monotonic()
        async with lock as grant:
            began, there = time.monotonic(), arrived()
            await asyncio.sleep({hold})
            report(asked, began, time.monotonic(), grant.token, there)
"""
HOLD = """
    await session.lock("x").acquire()
    report("in")
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


def turns_of(*workers):
    return [
        Turn(str(worker.pid), began, ended, asked, token, there)
        for worker in workers
        for asked, began, ended, token, there in worker.reported
    ]


async def assert_nothing_is_left(session, *names):
    for name in names:
        found = await session.inspect(name)
        assert (found.holders, found.waiters) == ((), ())


async def test_four_processes_never_overlap_and_are_served_in_order(url):
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(holdfast.connect(url))
        workers = [await stack.enter_async_context(Worker(url)) for _ in range(4)]
        await asyncio.gather(*[worker.do(TAKE_TURNS.format(turns=10, hold=0.05)) for worker in workers])
        turns = turns_of(*workers)
        tokens = sorted(turn.token for turn in turns)
        assert tokens == [*range(tokens[0], tokens[0] + 40)]
        assert not violations(turns)
        assert not overtaken(turns)
        assert len([turn for turn in turns if turn.arrived < turn.began]) > 20, "most have waited after that"
        await assert_nothing_is_left(session, "x")


async def test_many_tasks_of_some_processes_never_overlap(url):
    async with Worker(url) as one, Worker(url) as two, holdfast.connect(url) as session:
        code = "async def task():" + TAKE_TURNS.format(turns=2, hold=0)
        code += "await asyncio.gather(*[task() for _ in range(40)])"
        await asyncio.gather(one.do(code), two.do(code))
        turns = turns_of(one, two)
        assert len(turns) == 160
        assert not violations(turns)
        await assert_nothing_is_left(session, "x")


# SIGKILL


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="without a pidfd a death is noticed in 3 seconds")
async def test_a_killed_holder_is_buried_at_once(url, monkeypatch):
    """How soon, the benchmark says."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)  # the waiter is told, or waits for ever
    async with holdfast.connect(url) as session:
        for _ in range(5):
            async with Worker(url) as worker:
                worker.begin(HOLD)
                await worker.event()
                lock = session.lock("x")
                waiting = asyncio.create_task(lock.acquire())
                await until_waiting(session, "x")
                worker.process.kill()
                await waiting
                await lock.release()


async def test_a_killed_waiter_holds_up_nobody(url):
    async with Worker(url) as victim, holdfast.connect(url) as session, holdfast.connect(url) as behind:
        lock = session.lock("x")
        await lock.acquire()
        victim.begin(HOLD)
        await until_waiting(session, "x")
        waiting = asyncio.create_task(behind.lock("x").acquire())
        await until_waiting(session, "x", 2)
        await victim.kill()
        await lock.release()
        await waiting
        assert [holder.id for holder in await holders(session, "x")] == [behind.id]


KILLED_IN_A_CHANGE = """
    engine, apply = session.engine, session.engine.apply

    async def killed(name, change, **options):
        def killing(stored):
            done = change(stored)
            os.kill(os.getpid(), signal.SIGKILL) if {inside} else None
            return done

        done = await apply(name, killing, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    {before}
    engine.apply = killed
    {then}
"""


@pytest.mark.parametrize("inside", [True, False], ids=["in the transaction", "after the commit"])
@pytest.mark.parametrize("operation", ["acquire", "release", "release with a waiter"])
async def test_a_process_is_killed_in_the_middle_of_a_change(url, inside, operation):
    async with Worker(url) as victim, Worker(url) as worker, holdfast.connect(url) as session:
        first = await worker.do("async with session.lock('x') as grant: return grant.token")
        acquires = operation == "acquire"
        code = KILLED_IN_A_CHANGE.format(
            inside=inside,
            before="lock = session.lock('x')" + ("" if acquires else "; await lock.acquire(); report('in')"),
            then="await lock.acquire()"
            if acquires
            else "await asyncio.get_running_loop().run_in_executor(None, os.read, gate, 1); await lock.release()",
        )
        gate = Path(url.removeprefix("sqlite://")).parent / "gate"
        os.mkfifo(gate)
        victim.begin(f"gate = os.open({str(gate)!r}, os.O_RDWR)\n" + dedent(code))
        waiting = None
        if not acquires:
            await victim.event()
            if operation == "release with a waiter":
                waiting = worker.begin("grant = await session.lock('x').acquire(); return grant.token")
                await until_waiting(session, "x")
            gate.write_bytes(b"\n")
        assert await victim.process.wait() == -signal.SIGKILL
        async with asyncio.timeout(BOUND):
            if waiting is None:
                waiting = worker.begin("grant = await session.lock('x').acquire(); return grant.token")
            token = await waiting
        assert token == first + (1 if acquires and inside else 2)
        assert [holder.id for holder in await holders(session, "x")] == [worker.session]
        assert await waiters(session, "x") == ()


async def test_what_a_killed_process_leaves_is_swept_by_the_next_one(url, tmp_path):
    files = tmp_path / "locks" / "s"
    async with Worker(url) as worker:
        await worker.kill()
        left = set(files.iterdir())
        assert left
        async with holdfast.connect(url):
            assert not left & set(files.iterdir())
    assert not set(files.iterdir())


# SIGSTOP


async def test_a_stopped_holder_without_a_ttl_keeps_the_lock(url):
    """Nobody may take it for dead: safe, not live."""
    async with Worker(url) as worker, holdfast.connect(url) as session:
        held = worker.begin(HOLD + "    await asyncio.sleep(1)\n    return await session.lock('x').locked()")
        await worker.event()
        worker.stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):  # longer than a waiter takes to look for itself
                await session.lock("x").acquire()
        worker.go_on()
        assert await held is True


PAUSED_BEFORE_ITS_WRITE = """
    async with session.lock("x") as grant:
        grant.check()
        report("holds", grant.token)
        os.kill(os.getpid(), signal.SIGSTOP)
        write(grant.token)
"""
WRITE = """
    import sqlite3
    from holdfast.cluster import SQLiteFence

    def write(token):
        connection = sqlite3.connect({path!r})
        with connection:
            if {fenced}:
                SQLiteFence(connection, "x").check(token)
            connection.execute("INSERT INTO writes (token) VALUES (?)", (token,))
"""


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_holder_that_was_paused_for_longer_than_its_ttl(url, tmp_path, fenced):
    """Its late write is refused by a fenced resource. One without a fence accepts it, and the check must see that."""
    path = tmp_path / "resource.db"
    write = dedent(WRITE.format(path=str(path), fenced=fenced))
    async with contextlib.AsyncExitStack() as stack:
        resource = stack.enter_context(contextlib.closing(sqlite3.connect(path)))
        resource.execute("CREATE TABLE writes (number INTEGER PRIMARY KEY, token INTEGER)")
        SQLiteFence(resource, "x")
        paused, other = [await stack.enter_async_context(Worker(url, ttl=TTL)) for _ in range(2)]
        first = paused.begin(write + dedent(PAUSED_BEFORE_ITS_WRITE))
        what, token = await paused.event()
        assert what == "holds"
        await paused.until_stopped()
        await other.do(write + "async with session.lock('x') as grant:\n    write(grant.token)")
        paused.go_on()
        with pytest.raises(WorkerError) as caught:
            await first
        accepted = [token for (token,) in resource.execute("SELECT token FROM writes ORDER BY number")]
        if fenced:
            assert f"StaleToken: token {token} is older than {token + 1}" in str(caught.value)
            assert accepted == [token + 1]
            assert not stale(accepted)
        else:
            assert "LeaseLost" in str(caught.value)
            assert stale(accepted) == [token], "the check does not see a stale write"


async def test_a_paused_holder_is_told_when_it_goes_on(url):
    async with Worker(url, ttl=TTL) as paused, holdfast.connect(url) as session:
        body = paused.begin("""
            try:
                async with session.lock("x") as grant:
                    report(grant.token)
                    await asyncio.sleep(60)
            finally:
                report("out", grant.lost.is_set())
        """)
        [token] = await paused.event()
        paused.stop()
        assert (await session.lock("x").acquire()).token == token + 1
        paused.go_on()
        with pytest.raises(WorkerError, match="LeaseLost"):
            await body
        assert await paused.event() == ["out", True]
        with pytest.raises(WorkerError, match="SessionLost"):
            await paused.do("await session.lock('x').acquire()")


# Messages, forks, disks, directories, users


async def test_who_misses_every_wake_up_is_served_all_the_same(url):
    deaf = """
        import holdfast.cluster.session_life.renewal
        holdfast.cluster.session_life.renewal.LOOK_AGAIN = 0.1
        session.engine.wake = lambda *args: None
    """
    async with Worker(url) as one, Worker(url) as two, Worker(url) as three, holdfast.connect(url) as session:
        workers = [one, two, three]
        await asyncio.gather(*[worker.do(deaf) for worker in workers])
        await asyncio.gather(*[worker.do(TAKE_TURNS.format(turns=5, hold=0.001)) for worker in workers])
        turns = turns_of(*workers)
        assert len(turns) == 15
        assert not violations(turns)
        await assert_nothing_is_left(session, "x")


async def test_a_fork_neither_uses_nor_keeps_its_parents_session(url):
    """The child is told, the parent unharmed; and when the parent dies its child does not keep it alive."""
    async with Worker(url) as parent, holdfast.connect(url) as session:
        child = await parent.do("""
            import warnings
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads, with reason
            lock = session.lock("x")
            globals()["grant"] = await lock.acquire()
            report(grant.token)
            child = os.fork()
            if not child:
                seen = []
                for call in (session._check, grant.check, session.lock("x").acquire().__await__().__next__):
                    try:
                        call()
                    except RuntimeError as exc:
                        seen.append("after a fork the child must connect() itself" in str(exc))
                report("child", seen)
                while True:
                    signal.pause()
            return child
        """)
        [token] = await parent.event()
        assert await parent.event() == ["child", [True, True, True]]
        await parent.do("grant.check()")
        assert [holder.pid for holder in await holders(session, "x")] == [parent.pid]
        token = await parent.do("return grant.token")
        parent.process.kill()
        try:
            async with asyncio.timeout(BOUND):
                assert (await session.lock("x").acquire()).token == token + 1
        finally:
            os.kill(child, signal.SIGKILL)  # it was alive


async def test_a_full_disk_changes_nothing_and_releases_wait_for_room(url):
    async with Worker(url) as worker, holdfast.connect(url) as session:
        token = await worker.do("globals()['lock'] = session.lock('x'); return (await lock.acquire()).token")
        await worker.do("""
            import resource
            globals()["limits"] = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        """)
        with pytest.raises(WorkerError, match="EngineError"):
            await worker.do("await session.lock('another').acquire()")
        released = worker.begin("await lock.release()")
        waiting = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(session, "x")
        assert not released.done()
        assert [holder.pid for holder in await holders(session, "x")] == [worker.pid]
        await worker.do("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, limits)")
        await released
        assert (await waiting).token == token + 1
        await worker.do("async with session.lock('another'): pass")
        await assert_nothing_is_left(session, "another")


async def test_all_are_told_when_the_directory_is_removed(url, tmp_path):
    """Sessions that come then begin with a new one, so those that were there must not believe in theirs."""
    async with Worker(url) as holder, Worker(url) as waiter:
        body = holder.begin("async with session.lock('x'): report('in'); await asyncio.sleep(60)")
        await holder.event()
        async with holdfast.connect(url) as session:
            waiting = waiter.begin("await session.lock('x').acquire()")
            await until_waiting(session, "x")
        shutil.rmtree(tmp_path / "locks")
        with pytest.raises(WorkerError, match=r"LeaseLost.*has been removed"):
            await body
        with pytest.raises(WorkerError, match=r"SessionLost.*has been removed"):
            await waiting
        async with holdfast.connect(url) as session, session.lock("x"):
            await assert_only_new(session)


async def assert_only_new(session):
    assert [holder.id for holder in await holders(session, "x")] == [session.id]


@contextlib.contextmanager
def public_directory():
    """One that another user can get to, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory) / "locks"


NOBODY = 65534
AS_NOBODY = f"""
    import holdfast
    os.seteuid({NOBODY})
    try:
        async with holdfast.connect({{url!r}}):
            pass
    finally:
        os.seteuid(0)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@as_root
async def test_another_user_is_refused(url):
    with public_directory() as path:
        async with holdfast.connect(f"sqlite://{path}") as session, session.lock("x"), Worker(url) as worker:
            with pytest.raises(WorkerError, match=f"EngineError.*belongs to user 0, not to {NOBODY}"):
                await worker.do(AS_NOBODY.format(url=f"sqlite://{path}"))
        assert path.stat().st_uid == 0


@as_root
async def test_a_directory_that_cannot_be_written_is_refused(url):
    with public_directory() as path:
        path.mkdir(0o500)
        os.chown(path, NOBODY, NOBODY)
        async with Worker(url) as worker:
            with pytest.raises(WorkerError, match=r"EngineError: cannot use the directory .*Permission denied"):
                await worker.do(AS_NOBODY.format(url=f"sqlite://{path}"))
        assert not [*path.iterdir()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_i_may_not_write_is_refused(tmp_path):
    (tmp_path / "locks").mkdir(0o500)
    with pytest.raises(EngineError, match="Permission denied"):
        await holdfast.connect(f"sqlite://{tmp_path}/locks").__aenter__()


async def test_a_directory_that_becomes_read_only_is_refused_to_who_comes_and_kept_by_who_is_there():
    """The sessions that are there have their files open."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with public_directory() as path, tempfile.TemporaryDirectory() as other:
        path.mkdir(0o700)
        os.chown(path, NOBODY, NOBODY)
        url = f"sqlite://{path}"
        async with Worker(f"sqlite://{other}") as worker:
            seen = await worker.do(f"""
                import holdfast
                os.seteuid({NOBODY})
                try:
                    async with holdfast.connect({url!r}) as mine, mine.lock("x") as grant:
                        os.chmod({str(path / "s")!r}, 0o500)
                        try:
                            await holdfast.connect({url!r}).__aenter__()
                        except OSError as exc:
                            seen = str(exc)
                        async with mine.lock("y"):
                            grant.check()
                        os.chmod({str(path / "s")!r}, 0o700)
                    return seen
                finally:
                    os.seteuid(0)
            """)
            assert "Permission denied" in seen


async def test_the_log_of_the_database_is_cut_when_it_is_long(tmp_path, monkeypatch):
    monkeypatch.setattr(write_ahead_log, "_LONGEST_LOG", 2 << 20)
    monkeypatch.setattr(database, "CHECKPOINT_EVERY", 20)
    monkeypatch.setattr(write_ahead_log, "_CHECKPOINT_PAUSE", 0)
    log = tmp_path / "state.db-wal"
    async with holdfast.connect(f"sqlite://{tmp_path}") as session:
        lock = session.lock("l")
        for _ in range(2):  # and again
            longest = 0
            async with asyncio.timeout(BOUND):
                while log.stat().st_size >= longest:
                    longest = log.stat().st_size
                    async with lock:
                        pass
            assert longest > 2 << 20
