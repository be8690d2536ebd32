"""A dump comes at a signal."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest
from interpreters import BOUND, PYPY

import holdfast
import holdfast.debug
from holdfast import threads

pytestmark = [
    pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them"),
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals here"),
]


@pytest.fixture
def number() -> Iterator[int]:
    before = signal.getsignal(signal.SIGUSR1)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("as_json", [False, True])
async def test_it_is_written(number: int, as_json: bool) -> None:
    file, lock = io.StringIO(), holdfast.Lock()
    holdfast.debug.on_signal(number, file=file, json=as_json)
    async with lock:
        waiting = asyncio.create_task(lock.acquire(), name="waits")
        await asyncio.sleep(0)
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)
    await waiting
    written = file.getvalue()
    if as_json:
        [primitive] = json.loads(written)["primitives"]
        assert primitive["waiters"][0]["name"] == "task 'waits'"
    else:
        assert "waited for by task 'waits'" in written


def test_while_the_main_thread_waits_for_a_lock(number: int) -> None:
    file, lock = io.StringIO(), threads.Lock()
    holdfast.debug.on_signal(number, file=file)

    def signals_and_releases() -> None:
        while "waited for by thread 'MainThread'" not in file.getvalue():  # it may come before the wait has begun
            before = len(file.getvalue())
            os.kill(os.getpid(), number)
            while len(file.getvalue()) == before:  # another signal would come in the middle of the dump
                time.sleep(0.01)
        lock.release()

    lock.sync.acquire()
    other = threading.Thread(target=signals_and_releases)
    other.start()
    assert lock.sync.acquire(timeout=BOUND)
    other.join(BOUND)


def test_only_in_the_main_thread(number: int) -> None:
    errors = []

    def asks() -> None:
        try:
            holdfast.debug.on_signal(number)
        except ValueError as exc:
            errors.append(exc)

    thread = threading.Thread(target=asks)
    thread.start()
    thread.join(BOUND)
    assert len(errors) == 1


def run(name: str) -> subprocess.CompletedProcess[str]:
    program = """
        import os, signal
        import holdfast
        os.kill(os.getpid(), signal.SIGUSR1)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=os.environ | {"HOLDFAST_DUMP_ON_SIGNAL": name},
    )


@pytest.mark.parametrize("name", ["SIGUSR1", "usr1"])
def test_in_the_environment(name: str) -> None:
    ended = run(name)
    assert ended.returncode == 0
    assert ended.stderr.startswith("holdfast: 0 of 0 tasks and 1 thread wait for 0 primitives")


@pytest.mark.parametrize("name", ["SIGNONE", "SIGKILL"])
def test_a_signal_that_cannot_be_had_is_a_warning(name: str) -> None:
    ended = run(name)
    assert ended.returncode == -signal.SIGUSR1
    assert f"RuntimeWarning: HOLDFAST_DUMP_ON_SIGNAL={name} has no effect: " in ended.stderr
