"""A greenlet beside an event loop sees the loop of its thread. With gevent's locks it does not block that loop."""

import asyncio
import importlib.util
import subprocess
import sys

import pytest
from interpreters import BOUND

from holdfast import threads
from holdfast.blocking import would_block


@pytest.fixture
def cooperative(monkeypatch):
    monkeypatch.setattr(would_block, "COOPERATIVE", True)


@pytest.fixture
def beside(loops):
    """Have a loop that runs in this thread, but not on this stack: as a greenlet sees it."""
    asyncio._set_running_loop(loops[0])
    yield loops[0]
    asyncio._set_running_loop(None)


def test_beside_a_loop_it_may_wait(cooperative, beside):
    lock = threads.Lock()
    assert lock.sync.acquire()
    assert not lock.sync.acquire(timeout=0.01)  # it has waited
    lock.release()
    assert not lock.locked()


def test_with_the_locks_of_python_it_would_block_the_loop(beside):
    lock = threads.Lock()
    assert lock.sync.acquire()
    with pytest.raises(RuntimeError, match="would block the event loop"):
        lock.sync.acquire(timeout=0.01)


def test_in_a_task_or_a_callback_it_would_block_the_loop(cooperative, loops):
    lock = threads.Lock()
    errors = []

    def block():
        with pytest.raises(RuntimeError, match="would block the event loop") as error:
            lock.sync.acquire(timeout=0.01)
        errors.append(error)

    async def task():
        block()

    assert lock.sync.acquire()
    loops[0].start(task())
    loops[0].once(block)
    assert len(errors) == 2


def test_of_other_loops_there_is_no_telling(cooperative):
    class OtherLoop(asyncio.AbstractEventLoop):
        pass

    lock = threads.Lock()
    assert lock.sync.acquire()
    asyncio._set_running_loop(OtherLoop())
    try:
        with pytest.raises(RuntimeError, match="would block the event loop"):
            lock.sync.acquire(timeout=0.01)
    finally:
        asyncio._set_running_loop(None)


PROGRAM = """
import gevent.monkey
gevent.monkey.patch_all()
import asyncio, asyncio_gevent, gevent
from holdfast import threads

lock = threads.Lock()

async def main():
    async with lock:
        beside = gevent.spawn(use)
        await asyncio.sleep(0.05)
        print("released")
    await asyncio.sleep(0.05)
    beside.join(60)

def use():
    with lock.sync:
        print("got it")

asyncio_gevent.EventLoop().run_until_complete(main())
"""


@pytest.mark.skipif(importlib.util.find_spec("asyncio_gevent") is None, reason="asyncio-gevent is not installed")
def test_a_greenlet_of_gevent_waits_beside_a_loop():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=BOUND)
    assert result.stdout.split("\n") == ["released", "got it", ""], result.stderr
