"""A process forks while it has sessions of the embedded engine, and parent and child go on with the same directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest
from interpreters import BOUND, PYPY

import holdfast
from holdfast.cluster import EngineError, SessionLost
from holdfast.cluster.engines.embedded import connection as connection_module
from holdfast.cluster.engines.embedded.engine import EmbeddedEngine
from holdfast.testing.engine_suite import count

from .engines import run  # noqa: F401
from .worker import Worker, until_waiting

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


CHILD = """
    import subprocess, sys, threading, time, traceback, warnings
    import holdfast
    from holdfast.cluster.engines.embedded import write_ahead_log
    warnings.simplefilter("ignore")  # Python 3.12 warns of threads, with reason
    running = asyncio.get_running_loop()

    async def life():
        async with holdfast.connect({url!r}) as mine:
            report("up", os.getpid())
            await asyncio.to_thread(os.read, gate, 1)
            async with mine.lock("x") as grant:
                report("holds", grant.token)
                await asyncio.to_thread(os.read, gate, 1)
                grant.check()
                report("held", len(await mine.names()))
        report("closed")

    def child():
        signal.alarm(60)  # whatever happens to the test
        try:
            asyncio.run(life())
        except BaseException:
            report("failed", traceback.format_exc())
        finally:
            os._exit(0)

    def fork():
        if not os.fork():
            child()

    gate = os.open({gate!r}, os.O_RDWR)
    globals().update(fork=fork, child=child, gate=gate, sys=sys, threading=threading, time=time)
    globals().update(write_ahead_log=write_ahead_log)
"""
"""How to make a child that has a session of its own. It goes on at a byte from the gate."""

FORKS = {
    "in a task": "fork()",
    "in another thread, while the loop is busy": """
        async def work():
            while True:
                async with session.lock("y"):
                    pass

        working = asyncio.create_task(work())
        await asyncio.sleep(0.05)
        await asyncio.to_thread(fork)
        working.cancel()
    """,
    "in a change": """
        def change(stored):
            fork()
            return "text", None

        await session.engine.apply("a text", change)
    """,
    "by a signal, in a change": """
        def change(stored):
            os.kill(os.getpid(), signal.SIGUSR1)
            return "text", None

        signal.signal(signal.SIGUSR1, lambda *args: fork())
        await session.engine.apply("a text", change)
    """,
    "in a reading": """
        forked = []
        execute = session.engine._database.execute

        def forking(*args):
            rows = execute(*args)
            if not forked:
                forked.append(fork())
            return rows

        session.engine._database.execute = forking
        await session.names()
    """,
    "during a checkpoint": """
        begun = threading.Event()
        copy = write_ahead_log._copy

        def copying(connection):
            def slowly():
                [row] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                begun.set()
                time.sleep(0.3)
                return row

            busy, pages, copied = connection.run(slowly)
            return pages - copied

        write_ahead_log._copy, write_ahead_log._LONGEST_LOG = copying, 0
        session.engine._database.log.shorten_if_due()
        await asyncio.to_thread(begun.wait)
        fork()
        write_ahead_log._copy, write_ahead_log._LONGEST_LOG = copy, 16 << 20
    """,
    "by multiprocessing": """
        import multiprocessing
        stdin, sys.stdin = sys.stdin, None  # which a thread reads, and the child would close
        multiprocessing.get_context("fork").Process(target=child).start()
        sys.stdin = stdin
    """,
    "by a child that forks again": """
        if not os.fork():
            fork()
            os._exit(0)
    """,
    "with a terminal": """
        out = os.dup(1)
        if not os.forkpty()[0]:
            os.dup2(out, 1)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent's end hangs it up
            child()
        os.close(out)
    """,
}


@pytest.mark.parametrize("ending", ["closes", "is killed"])
@pytest.mark.parametrize("way", FORKS)
async def test_child_and_others_are_never_two_holders(url, tmp_path, way, ending):
    """SQLite's notes about its locks are the parent's: the last one to close would remove the log under the child."""
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    opener = os.open(gate, os.O_RDWR)
    child = 0
    async with Worker(url) as parent:
        try:
            await parent.do(CHILD.format(url=url, gate=gate))
            first = await parent.do("async with session.lock('x') as grant: return grant.token")
            await parent.do(FORKS[way])
            what, child = await parent.event()
            assert what == "up", child
            if ending == "closes":
                await parent.do("async with session.lock('y'): pass")  # it goes on, and has its connection again
                await parent.do("await session.close()")
            else:
                os.kill(parent.pid, signal.SIGKILL)
                while parent.process.returncode is None:
                    await asyncio.sleep(0.005)
            for _ in range(2):
                async with holdfast.connect(url):
                    pass
            os.write(opener, b"\n")
            assert await parent.event() == ["holds", first + 1]
            async with holdfast.connect(url) as session:
                waiting = asyncio.create_task(session.lock("x").acquire())
                await until_waiting(session, "x")
                names = len(await session.names())
                os.write(opener, b"\n")
                assert await parent.event() == ["held", names]
                assert (await waiting).token == first + 2
            assert await parent.event() == ["closed"]
        finally:
            with contextlib.suppress(ProcessLookupError):
                if child:
                    os.kill(child, signal.SIGKILL)  # else the pipe from there stays open
            os.close(opener)


@contextlib.contextmanager
def forked():
    """Yields whether this is the child, which ends with the block; what it raises comes out in the parent."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid:
        os.close(into)
        with open(out, "rb") as answer:
            yield False
            told = answer.read().decode()
        os.waitpid(pid, 0)
        assert told == "well"
    else:
        told = "well"
        try:
            yield True
        except BaseException as exc:
            told = repr(exc)
        finally:
            os.write(into, told.encode())
            os._exit(0)


def use_by_itself(url):
    async def main():
        async with asyncio.timeout(BOUND), holdfast.connect(url) as session, session.lock("x") as grant:
            return grant.token

    return asyncio.run(main())


async def opened(tmp_path, namespace="n"):
    engine = EmbeddedEngine(tmp_path / "locks", namespace)
    await engine.open("a session", lambda *args: None)
    return engine


async def test_a_change_in_which_the_process_forks_is_made_once(tmp_path):
    engine = await opened(tmp_path)
    made = []

    def change(stored):
        with forked() as is_child:
            if is_child:
                with pytest.raises(SessionLost, match=r"after a fork the child must connect\(\) itself"):
                    engine._database.execute("SELECT 1")
        made.append(stored.text)
        return count(stored)

    for number in range(1, 4):
        assert await engine.apply("x", change) == number
    assert made == [None, "1", "2"]
    assert await engine.read("x") == "3"
    await engine.close()


async def test_in_the_child_the_change_does_not_happen(tmp_path):
    engine = await opened(tmp_path)
    parent = os.getpid()
    children = []

    def change(stored):
        if not children:
            children.append(os.fork())
        return count(stored)

    try:
        done = await engine.apply("x", change)
    except SessionLost:
        assert os.getpid() != parent
        os._exit(7)
    if os.getpid() != parent:
        os._exit(8)
    assert done == 1
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
    assert await engine.read("x") == "1"
    await engine.close()


async def test_a_fork_of_a_program_that_is_started_is_one_as_well(tmp_path):
    engine = await opened(tmp_path)

    def change(stored):
        subprocess.run(["true"], check=True, preexec_fn=lambda: None)
        return count(stored)

    assert await engine.apply("x", change) == 1
    assert await engine.apply("x", change) == 2
    await engine.close()


async def test_many_sessions_of_one_process_in_some_directories_and_a_child_that_uses_all(tmp_path):
    urls = [f"sqlite://{tmp_path}/{name}" for name in "aabc"]
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(holdfast.connect(url)) for url in urls]
        for _ in range(3):
            locks = [session.lock("y") for session in sessions[1:]]
            grants = [await lock.acquire() for lock in locks]
            with forked() as is_child:
                if is_child:
                    tokens = [use_by_itself(url) for url in urls]
                    assert tokens[0] < tokens[1]
            for lock, grant in zip(locks, grants, strict=True):
                grant.check()
                await lock.release()
    for url in urls:
        assert not [*(tmp_path / url[-1]).glob("state.db-*")], "the last one has not removed the log"


async def test_threads_with_loops_of_their_own_go_on_while_others_fork(tmp_path, url):
    """Whatever each is in the middle of: a transaction, an opening, a closing."""
    tokens, errors, stop = [], [], threading.Event()

    async def work():
        while not stop.is_set():
            async with holdfast.connect(url) as session:
                for _ in range(3):
                    async with session.lock("x") as grant:
                        tokens.append(grant.token)

    def thread():
        try:
            asyncio.run(work())
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        async with holdfast.connect(url) as session:
            for _ in range(20):
                async with session.lock("x") as grant:
                    tokens.append(grant.token)
                with forked() as is_child:
                    if is_child:
                        use_by_itself(url)
                await asyncio.sleep(0)
    finally:
        stop.set()
        for each in threads:
            await asyncio.to_thread(each.join)
    assert not errors
    assert len(set(tokens)) == len(tokens)


async def test_a_fork_that_fails_leaves_all_as_it_was(url):
    """CPython calls the same hooks then."""
    async with holdfast.connect(url) as session, session.lock("x") as grant:
        connection_module._forking.before()
        connection_module._forking.after_in_parent()
        async with session.lock("y"):
            grant.check()


async def test_a_fork_does_not_wait_for_ever_for_another_thread_and_its_child_does_not_connect(url, monkeypatch):
    monkeypatch.setattr(connection_module, "LONGEST_WAIT", 0.1)
    entered, leave = threading.Event(), threading.Event()
    async with holdfast.connect(url) as session:
        connection = session.engine._database._connection

        def stay():
            connection.run(lambda: (connection.execute("SELECT 1"), entered.set(), leave.wait(BOUND)))

        staying = asyncio.create_task(asyncio.to_thread(stay))
        await asyncio.to_thread(entered.wait)
        with forked() as is_child:
            if is_child:
                with pytest.raises(EngineError, match="start it by exec"):
                    use_by_itself(url)
        leave.set()
        await staying
        async with session.lock("x"):
            pass


WITHOUT_HOOKS = """
import asyncio, ctypes, os, sys
import holdfast
from holdfast.cluster.engines.embedded import connection
url, when, hook = sys.argv[1:]
libc = ctypes.PyDLL(None)

async def use():
    async with holdfast.connect(url) as session:
        async with session.lock("x") as grant:
            if when == "while a session is open":
                fork()
    if when == "when none is open any more":
        fork()

def fork():
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    pid = libc.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("child has ended with", code, flush=True)
        return
    try:
        asyncio._leave_task(loop, task)  # asyncio and the interpreter have hooks for these
        asyncio._set_running_loop(None)
        if hook == "in the child only":
            connection._forking.after_in_child()
        async def main():
            async with holdfast.connect(url) as session, session.lock("y"):
                pass
        asyncio.run(main())
        os.write(1, b"it could connect\\n")
    except BaseException as exc:
        os.write(1, f"{type(exc).__name__}: {exc}\\n".encode())
    finally:
        os._exit(0)

asyncio.set_event_loop(None)
asyncio.run(use())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux to fork")
@pytest.mark.skipif(PYPY, reason="PyPy has no ctypes.PyDLL")
@pytest.mark.parametrize("hook", ["none", "in the child only"])
@pytest.mark.parametrize(
    ("when", "expected"),
    [("while a session is open", "EngineError: "), ("when none is open any more", "it could connect\n")],
)
async def test_a_fork_by_code_that_is_not_pythons(url, when, expected, hook):
    """The hook before a fork is not called, so the child has its parent's notes, or none if nothing was open."""
    command = [sys.executable, "-c", WITHOUT_HOOKS, url, when, hook]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    lines = out.decode()
    assert lines.startswith(expected), lines
    assert lines.endswith("child has ended with 0\n")
    assert ("start it by exec" in lines) == expected.startswith("EngineError")


IN_A_STEP = """
import asyncio, ctypes, os, holdfast
from holdfast.cluster import SessionLost

def raises(expected, coroutine):
    try:
        coroutine.send(None)
    except expected:
        return True
    return False

async def main():
    async with holdfast.connect("memory:") as session:
        held, free = session.lock("held"), session.lock("free")
        async with held:
            child = ctypes.PyDLL(None).fork()
            if not child:
                try:
                    left = held.__aexit__(None, None, None)
                    os._exit(0 if raises(SessionLost, free.acquire()) and raises(StopIteration, left) else 1)
                finally:
                    os._exit(2)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux to fork")
@pytest.mark.skipif(PYPY, reason="PyPy has no ctypes.PyDLL")
def test_a_fork_by_code_that_is_not_pythons_is_noticed_by_a_session_that_is_used():
    """As one by C code is. The child acquires nothing, and leaves its parent's bodies without doing anything."""
    done = subprocess.run([sys.executable, "-c", IN_A_STEP], capture_output=True, text=True, timeout=BOUND)
    assert done.stdout == "0\n", done.stderr
