"""A loop ends between a grant and the next step of the granted task: the next waiter gets the grant at once.

Since Python 3.14 a future refers to the task that awaits it, so the primitive must drop its references to both.
"""

import asyncio
import gc
import threading
import weakref

import pytest
from interpreters import collect_in_pypy

from holdfast import threads

from .by_hand import HandLoop, contended, each_mutex, finish, is_free


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def release_and_stop(mutex):
    mutex.release()
    asyncio.get_running_loop().stop()


@each_mutex
@pytest.mark.parametrize("way", ["task", "callback"])
def test_granted_by_its_own_loop_just_before_that_ends(make, way, loops, no_collector):
    mutex = make()
    assert mutex.sync.acquire()
    ending, other = HandLoop(), loops[0]
    ending.set_exception_handler(lambda loop, context: None)  # it would log that a pending task is destroyed
    ending.start(mutex.acquire())
    behind = other.start(mutex.acquire())
    if way == "task":
        ending.create_task(release_and_stop(mutex))
        ending.run_forever()
    else:
        ending.once(mutex.release)
    assert mutex.locked()
    assert not behind.done()
    ending.close()
    collect_in_pypy()
    other.turn()
    assert behind.done()
    mutex.release()
    assert is_free(mutex)


def test_woken_by_an_event_its_task_is_kept_by_its_loop_alone(no_collector):
    event = threads.Event()
    ending = HandLoop()
    ending.set_exception_handler(lambda loop, context: None)
    woken = weakref.ref(ending.start(event.wait()))

    async def set_and_stop():
        event.set()
        asyncio.get_running_loop().stop()

    ending.create_task(set_and_stop())
    ending.run_forever()
    assert woken() is not None
    ending.close()
    collect_in_pypy()
    assert woken() is None
    assert "waiters" not in repr(event)


def test_granted_by_a_thread_that_is_blocked_since(no_collector):
    """Without the GIL, what this thread has made and another thread drops is finalized when this thread runs again."""
    here, there = HandLoop(), HandLoop()
    lock, first, second = contended(threads.Lock, (here, there))
    first._log_destroy_pending = False
    released, go_on = threading.Event(), threading.Event()

    def release():
        lock.release()
        released.set()
        go_on.wait()

    thread = threading.Thread(target=release)
    thread.start()
    released.wait()
    try:
        here.close()
        there.turn()
        assert second.done()
    finally:
        go_on.set()
        thread.join()
        finish(there)
