"""`holdfast dump PID`: who holds what inside of another process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from tests.stopping import stop

from .running import BOUND, run

since_3_14 = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="Python runs a script for another process since 3.14"
)
IDLE = """
    import asyncio, holdfast

    async def main():
        lock = holdfast.Lock()
        async with lock:
            print("stuck", flush=True)
            async with lock:
                pass

    asyncio.run(main())
"""
BUSY = """
    print("stuck", flush=True)
    while True:
        pass
"""
WITHOUT = """
    import sys
    sys.modules["holdfast"] = None
    print("stuck", flush=True)
    while True:
        pass
"""


@contextlib.contextmanager
def stuck(program, **pipes):
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **pipes) as process:
        try:
            assert process.stdout.readline() == "stuck\n"
            yield process
        finally:
            process.kill()


def dump(pid, *options):
    ended = run("dump", str(pid), *options)
    if "may not look into process" in ended.stderr:
        pytest.skip("this process may not look into others")
    return ended


@since_3_14
@pytest.mark.skipif(sys.platform != "linux", reason="it is woken on Linux alone")
def test_a_loop_in_which_nothing_happens():
    with stuck(IDLE) as process:
        ended = dump(process.pid, "--timeout", str(BOUND))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith(
            "holdfast: 1 of 1 task and 1 thread waits for 1 primitive\ndeadlock: task 'Task-1' ("
        )
        found = json.loads(dump(process.pid, "--json", "--timeout", str(BOUND)).stdout)
        assert found["deadlocks"][0]["certain"] is True
        assert process.poll() is None


@since_3_14
def test_a_process_that_is_busy_or_lacks_holdfast():
    with stuck(BUSY) as process:
        assert dump(process.pid, "--timeout", str(BOUND)).stdout.startswith("holdfast: 0 of 0 tasks and 1 thread wait")
    with stuck(WITHOUT) as process:
        ended = dump(process.pid, "--timeout", str(BOUND))
    assert ended.returncode == 125
    assert f"process {process.pid} could not make a dump: ModuleNotFoundError(" in ended.stderr


@since_3_14
@pytest.mark.skipif(sys.platform != "linux", reason="it is woken on Linux alone")
def test_one_that_does_not_answer():
    with stuck(IDLE) as process:
        ended = dump(process.pid, "--timeout", "0")
        assert ended.returncode == 124
        assert "has not answered within 0 s" in ended.stderr
        stop(process.pid)
        ended = dump(process.pid, "--timeout", str(BOUND))
        assert ended.returncode == 125
        assert f"kill -CONT {process.pid} lets it go on" in ended.stderr
        assert state_of(process.pid) == "T"


@since_3_14
@pytest.mark.skipif(sys.platform != "linux", reason="what is stopped is known on Linux alone")
def test_nothing_is_left_in_one_that_is_stopped():
    with stuck(BUSY, stderr=subprocess.PIPE) as process:
        stop(process.pid)
        assert "lets it go on" in dump(process.pid, "--timeout", str(BOUND)).stderr
        os.kill(process.pid, signal.SIGCONT)
        assert dump(process.pid, "--timeout", str(BOUND)).returncode == 0
        process.kill()
        assert process.stderr.read() == ""


def state_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@since_3_14
def test_one_that_cannot_be_asked():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    gone = run("dump", str(ended.pid))
    assert gone.returncode == 125
    assert f"there is no process {ended.pid}" in gone.stderr
    with subprocess.Popen(["sleep", str(BOUND)]) as other:
        try:
            refused = dump(other.pid)
        finally:
            other.kill()
    assert refused.returncode == 125
    assert f"process {other.pid} cannot be asked: " in refused.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="it is possible from 3.14 on")
def test_what_to_do_instead():
    ended = run("dump", "1")
    assert ended.returncode == 125
    assert "needs Python 3.14 or later, here and there: set HOLDFAST_DUMP_ON_SIGNAL=SIGUSR1" in ended.stderr


@pytest.mark.parametrize("pid", ["0", "-1", "x"])
def test_no_process(pid):
    assert run("dump", "--", pid).returncode == 2
