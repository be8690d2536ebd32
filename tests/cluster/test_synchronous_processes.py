"""A SyncSession and the processes around it: forks, kills, signals, and the end of the interpreter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from interpreters import BOUND
from tests.stopping import stop

from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.loop_in_thread import loop_thread

from .blocking import in_thread, until, waiting
from .engines import Place
from .running import in_child

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
OF_REDIS = "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"
SHARED = "embedded", "valkey", "etcd"


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, tmp_path: Any) -> Place:
    return Place(request.param, tmp_path)


# Forks


def test_a_child_is_refused_what_its_parent_has_opened(place: Place) -> None:
    with place.connect().sync as session:
        lock = session.lock("x")

        def child() -> bool:
            signal.alarm(60)
            for use in [lock.acquire, lock.release, session.names, grant.check, session.event("e").set]:
                with pytest.raises(SessionLost, match="process"):
                    use()
            with pytest.raises(SessionLost, match=r"write 'with holdfast.connect\(\).sync as session:' in this"):
                session.lock("y").acquire()
            session.close()  # does nothing
            with place.connect().sync as own:
                return own.lock("x").acquire(blocking=False) is None and bool(own.lock("y").acquire(timeout=BOUND))

        with lock as grant:
            assert in_child(child)
            grant.check()
        assert not lock.locked()


def test_the_body_ends_in_the_child_as_well(place: Place) -> None:
    with place.connect().sync as session:

        def child() -> bool:
            signal.alarm(60)
            entered.__exit__(None, None, None)  # the end of a `with` in the child does nothing
            session.__exit__(None, None, None)
            return True

        entered = session.lock("x")
        with entered as grant:
            assert in_child(child)
            grant.check()


def test_it_opens_again_in_a_child_that_asks_for_that(place: Place) -> None:
    with place.connect(reopen=True).sync as session:
        lock = session.lock("x")

        def child() -> bool:
            signal.alarm(60)
            with pytest.raises(SessionLost, match="process"):
                grant.check()
            ends = [in_thread(lambda: session.lock("y").acquire(timeout=BOUND)) for _ in range(3)]  # at the same time
            until(lambda: any(end.done() for end in ends))
            [got] = [end.result() for end in ends if end.done()][:1]
            assert lock.acquire(blocking=False) is None  # its parent has it
            assert session.id != identity
            assert session.label.endswith(f":{os.getpid()}")
            session.close()
            return bool(got)

        with lock as grant:
            identity = session.id
            assert in_child(child)
            grant.check()
            assert session.id == identity
        assert not session.lock("y").locked()


def test_a_fork_while_other_threads_wait(place: Place) -> None:
    with place.connect(reopen=True).sync as session, place.connect().sync as other:
        holder = other.lock("x")
        holder.acquire()
        waiter = session.lock("x")
        end = in_thread(lambda: waiter.acquire(timeout=BOUND))
        until(lambda: waiting(other) == 1)

        def child() -> bool:
            signal.alarm(60)
            with session.lock("y"):
                return threading.active_count() >= 2

        assert in_child(child)
        holder.release()
        assert end.result(BOUND)
        waiter.release()


def test_a_child_that_ends_leaves_its_parents_session(place: Place) -> None:
    with place.connect().sync as session, place.connect().sync as other:

        def child() -> bool:
            loop_thread._end_all()  # as the interpreter does at its end
            return session.over is not None

        with session.lock("x") as grant:
            assert in_child(child)
            grant.check()
            other.lock("y").acquire()
            assert session.inspect("y").holders


@pytest.mark.parametrize("reopen", [False, True])
def test_a_session_that_was_made_before_a_fork_is_opened_in_the_child(place: Place, reopen: bool) -> None:
    session = place.connect(reopen=reopen).sync

    def in_the_child() -> bool:
        if not reopen:
            session.open()
        with session.lock("x") as grant:
            grant.check()
        session.close()
        return True

    assert in_child(in_the_child)
    assert in_child(in_the_child)
    assert in_the_child()


# Programs


def program(place: Place, body: str, *, stdin: int | None = None) -> subprocess.Popen[str]:
    """A program in which `session` is open."""
    source = f"""
        import os, signal, sys, threading, time
        import holdfast

        def report(what):
            print(what, flush=True)

        session = holdfast.connect({place.url!r}, **{place.options()!r}).sync.open()
    """
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", OF_REDIS, "-c", textwrap.dedent(source) + textwrap.dedent(body)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, and what it has printed, without what asyncio says of a busy machine in development mode."""
    out, err = running.communicate(timeout=BOUND)
    return running.returncode, out, re.sub(r"^Executing .* took [\d.]+ seconds\n", "", err, flags=re.MULTILINE)


ENDS = {
    "the end of the program": "",
    "sys.exit()": "sys.exit()",
    "an exception": "raise SystemExit(0)",
    "in a thread": """
        def work():
            session.lock("in a thread").acquire()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """,
    "with daemon threads that wait": """
        def wait():
            try:
                session.lock("x").acquire()
            except holdfast.SessionLost:
                pass

        for _ in range(3):
            threading.Thread(target=wait, daemon=True).start()
    """,
    "in a body": """
        with session.lock("y"):
            sys.exit()
    """,
    "with something to be told": """
        session.lock("y", on_lost=lambda grant: None, hold_at_most=1000).acquire()
    """,
    "with atexit": """
        import atexit
        atexit.register(lambda: session.lock("at the end").acquire())
    """,
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_stays_locked_when_a_program_ends(place: Place, end: str) -> None:
    body = 'session.lock("x").acquire()\nreport("holds")\n' + textwrap.dedent(ENDS[end])
    code, out, err = ended(program(place, body))
    assert (code, out, err) == (0, "holds\n", "")
    with place.connect(ttl=1000 if place.is_server else None).sync as session:
        for name in session.names():
            assert session.lock(name).acquire(blocking=False), name  # it was given back, and not left to its ttl


def test_ctrl_c_while_a_program_waits(place: Place) -> None:
    with place.connect().sync as session:
        lock = session.lock("x")
        lock.acquire()
        body = """
            try:
                session.lock("x").acquire()
            except KeyboardInterrupt:
                report(session.lock("x").locked())
                raise
        """
        running = program(place, body)
        until(lambda: waiting(session) == 1)
        running.send_signal(signal.SIGINT)
        code, out, err = ended(running)
        assert code == -signal.SIGINT
        assert out == "True\n"
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert waiting(session) == 0


def test_a_signal_whose_handler_returns_changes_nothing(place: Place) -> None:
    with place.connect().sync as session:
        lock = session.lock("x")
        lock.acquire()
        body = """
            signal.signal(signal.SIGUSR1, lambda *args: report("signalled"))
            with session.lock("x") as grant:
                grant.check()
                report("holds")
        """
        running = program(place, body)
        until(lambda: waiting(session) == 1)
        running.send_signal(signal.SIGUSR1)
        assert running.stdout is not None
        assert running.stdout.readline() == "signalled\n"
        assert waiting(session) == 1
        lock.release()
        assert ended(running)[:2] == (0, "holds\n")


def test_threads_tasks_and_processes_with_kills(place: Place) -> None:
    """One line. A process that is killed as it holds the lock, or as it waits, is passed over."""
    hold = """
        with session.lock("x") as grant:
            report(grant.token)
            sys.stdin.readline()
    """
    with place.connect().sync as session:
        lock = session.lock("x")
        lock.acquire()
        others = []
        for number in range(3):
            others.append(program(place, hold))
            until(lambda number=number: waiting(session) == number + 1)
        mine = session.lock("x")
        end = in_thread(lambda: mine.acquire(timeout=BOUND))
        until(lambda: waiting(session) == 4)
        others[1].kill()  # it waits
        others[1].wait()
        lock.release()
        tokens = [int(_line(others[0]))]
        others[0].kill()  # it holds
        others[0].wait()
        tokens.append(int(_line(others[2])))
        assert not end.done()
        others[2].communicate("\n", timeout=BOUND)
        grant = end.result(BOUND)
        assert grant
        tokens.append(grant.token)
        assert tokens == sorted(tokens)
        for other in others:
            for pipe in (other.stdin, other.stdout, other.stderr):
                if pipe is not None:
                    pipe.close()


def _line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_process_that_is_stopped_loses_its_lease(tmp_path: Any) -> None:
    place = Place("embedded", tmp_path)
    body = """
        lock = session.lock("x", on_lost=lambda grant: report("lost"))
        try:
            with lock as grant:
                report(grant.token)
                grant.lost.wait()
                grant.check()
        except holdfast.LeaseLost:
            report("raised")
    """
    place.options = lambda **options: {"namespace": place.namespace, "ttl": 0.5, **options}  # type: ignore[method-assign]
    running = program(place, body)
    token = int(_line(running))
    stop(running.pid)
    try:
        with place.connect(ttl=BOUND).sync as session:
            grant = session.lock("x").acquire(timeout=BOUND)
            assert grant
            assert grant.token > token
    finally:
        running.send_signal(signal.SIGCONT)
    code, out, _ = ended(running)
    assert code == 0
    assert sorted(out.split()) == ["lost", "raised"]


def test_what_is_lost_in_a_fork_is_said_once(place: Place) -> None:
    with place.connect(reopen=True).sync as session:
        lock = session.lock("x")
        lock.acquire()

        def child() -> bool:
            signal.alarm(60)
            assert session.names() == ["x"]
            with pytest.raises(LeaseLost, match="process"):
                lock.release()
            with pytest.raises(RuntimeError, match="is not acquired"):
                lock.release()
            return True

        assert in_child(child)
        lock.release()
