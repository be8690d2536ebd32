"""`holdfast deadlocks`: circles through several processes, and through several machines."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from interpreters import PYPY
from tests.cluster.servers import shared
from tests.stopping import stop

from holdfast.cli.commands.deadlocks import _silence

from . import found as found_by_hand
from .running import BOUND, run, until

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")
CROSSED = """
import asyncio, socket, sys
url, first, second, host = sys.argv[1:]
if host:
    socket.gethostname = lambda: host  # as on another machine
import holdfast

async def main():
    async with holdfast.connect(url or None) as session, session.lock(first):
        print("in", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print("asks", flush=True)
        async with session.lock(second):
            pass

asyncio.run(main())
"""


@contextlib.contextmanager
def crossed(url="", hosts=("", "")):
    """Two processes, each of which holds a lock and waits for the other's."""
    with contextlib.ExitStack() as stack:
        processes = []
        for first, second, host in (("A", "B", hosts[0]), ("B", "A", hosts[1])):
            process = subprocess.Popen(
                [sys.executable, "-c", CROSSED, url, first, second, host],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            stack.callback(process.send_signal, signal.SIGCONT)
            processes.append(process)
        for process in processes:
            assert process.stdout.readline() == "in\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "asks\n"
        yield processes


def found(*arguments):
    result = run("deadlocks", "--json", *arguments)
    assert result.returncode in (0, 1), result.stderr
    deadlocks = json.loads(result.stdout)
    assert result.returncode == bool(deadlocks)
    return deadlocks


def test_two_processes():
    assert found() == []
    result = run("deadlocks")
    assert (result.stdout, result.returncode) == ("no deadlock\n", 0)
    with crossed() as processes:
        until(found, "the deadlock")
        result = run("deadlocks")
        assert result.returncode == 1
        assert result.stdout.startswith("deadlock: task 'Task-1' in ")
        assert "waits for lock 'A', which task 'Task-1' in" in result.stdout
        ((deadlock,),) = [found()]
        assert sorted(step["session"]["pid"] for step in deadlock["steps"]) == sorted(each.pid for each in processes)
        assert deadlock["names"] == ["A", "B"]
        rows = json.loads(run("top", "--json").stdout)
        assert {row["name"]: row["deadlock"] for row in rows} == {"A": True, "B": True}
        table = run("top").stdout
        assert table.count("in a deadlock") == 2
        processes[0].kill()
        until(lambda: not found(), "the end of the deadlock")
        rows = json.loads(run("top", "--json", "--all").stdout)
        assert not any(row["deadlock"] for row in rows)


def test_two_machines():
    url = shared().url
    with crossed(url, ("db1", "db2")):
        until(lambda: found("--url", url), "the deadlock")
        ((deadlock,),) = [found("--url", url)]
        assert sorted(step["session"]["host"] for step in deadlock["steps"]) == ["db1", "db2"]


def test_a_process_that_is_stopped_does_not_answer():
    with crossed() as processes:
        until(found, "the deadlock")
        stop(processes[1].pid)
        began = time.monotonic()
        result = run("deadlocks", "--within", "0.5")
        assert result.returncode == 125
        assert f"(pid {processes[1].pid} on " in result.stderr
        assert "has not answered within 0.5 s" in result.stderr
        assert time.monotonic() - began < BOUND / 2


def test_bad_input():
    result = run("deadlocks", "--within", "0")
    assert result.returncode == 2
    assert "--within must be a number of seconds above 0, not 0" in result.stderr


@pytest.mark.parametrize(("asks", "answers"), [(0.2, False), (None, True), (None, False)])
def test_why_a_session_is_silent(asks, answers):
    session = SimpleNamespace(engine=SimpleNamespace(polls=asks))
    text = _silence(session, replace(found_by_hand.session("web"), polls=answers), 2.0)
    assert text.startswith("session session web (pid 1 on web1) ")
    assert ("as this command polls" in text) is (asks is not None)
    assert ("polls, as poll= in its URL says" in text) is answers
    assert ("has not answered within 2 s" in text) is (asks is None and not answers)
