"""One queue for threads and tasks; how waiters are woken; the error of a blocking call in a coroutine."""

import asyncio
import re
import threading

import pytest

from holdfast import threads
from holdfast.threads.thread_waiter import ThreadWaiter

from .by_hand import wait_once


@pytest.mark.parametrize("kind", [threads.Lock, threads.Semaphore, threads.BoundedSemaphore])
def test_first_come_first_served(kind, loops, monkeypatch):
    """Tasks of two loops and a thread get it in the order in which they asked."""
    mutex = kind()
    order = []
    joined = threading.Event()
    wait = ThreadWaiter.wait
    monkeypatch.setattr(ThreadWaiter, "wait", lambda self, timeout: (joined.set(), wait(self, timeout)))

    async def take(name):
        async with mutex:
            order.append(name)

    def block():
        with mutex.sync:
            order.append("thread")

    assert mutex.sync.acquire()
    loops[0].start(take("a"))
    loops[1].start(take("b"))
    thread = threading.Thread(target=block)
    thread.start()
    joined.wait()
    loops[0].start(take("c"))
    assert not mutex.try_acquire()
    mutex.release()
    assert not mutex.sync.acquire(False)
    loops[1].turn()
    assert order == []
    loops[0].turn()
    loops[1].turn()
    thread.join()
    loops[0].turn()
    assert order == ["a", "b", "thread", "c"]
    assert not mutex.locked()


def test_woken_in_its_own_loop_without_its_self_pipe(loops):
    async def main():
        lock, event, condition, barrier = threads.Lock(), threads.Event(), threads.Condition(), threads.Barrier(2)

        await lock.acquire()
        tasks = [*map(asyncio.ensure_future, (lock.acquire(), event.wait(), wait_once(condition), barrier.wait()))]
        await asyncio.sleep(0)
        lock.release()
        event.set()
        async with condition:
            condition.notify()
        await barrier.wait()
        await asyncio.gather(*tasks)

    loops[0].run_until_complete(main())
    assert loops[0].sent == 0


@pytest.mark.usefixtures("woken_by_calls")
def test_several_of_one_loop_are_woken_with_one_call(loops):
    event, semaphore = threads.Event(), threads.Semaphore(0)
    for _ in range(5):
        loops[0].start(event.wait())
    event.set()
    assert loops[0].sent == 1
    tasks = [loops[1].start(semaphore.acquire()) for _ in range(5)]
    for _ in range(3):
        semaphore.release()
    semaphore.sync.release(2)
    assert loops[1].sent == 1
    loops[1].turn()
    assert all(task.done() for task in tasks)


@pytest.mark.usefixtures("woken_by_calls")
def test_of_different_primitives_too(loops):
    event, semaphore, lock = threads.Event(), threads.Semaphore(0), threads.Lock()
    assert lock.sync.acquire()
    tasks = [loops[0].start(wait()) for wait in (event.wait, semaphore.acquire, lock.acquire)]
    lock.release()
    semaphore.release()
    event.set()
    assert loops[0].sent == 1
    loops[0].turn()
    assert all(task.done() for task in tasks)


BLOCKING = {
    "lock": (lambda: threads.Lock(), lambda view: (view.acquire(), view.acquire()), "async with lock:"),
    "with": (lambda: threads.Lock(), lambda view: (view.acquire(), view.__enter__()), "async with lock:"),
    "semaphore": (lambda: threads.Semaphore(0), lambda view: view.acquire(timeout=1), "async with semaphore:"),
    "event": (lambda: threads.Event(), lambda view: view.wait(), "await event.wait()"),
    "condition": (lambda: threads.Condition(), lambda view: (view.acquire(), view.wait()), "await condition.wait()"),
    "barrier": (lambda: threads.Barrier(2), lambda view: view.wait(), "await barrier.wait()"),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_a_call_that_would_block_the_loop_is_an_error(name):
    make, call, instead = BLOCKING[name]

    async def main():
        shared = make()
        with pytest.raises(RuntimeError, match=re.escape(instead)):
            call(shared.sync)
        assert shared.statistics() is not None
        assert getattr(shared.statistics(), "tasks_waiting", 0) == 0
        assert shared._queue is None

    asyncio.run(main())


def test_a_call_that_does_not_block_is_none():
    async def main():
        lock, event = threads.Lock(), threads.Event()
        with lock.sync:
            assert not lock.sync.acquire(False)
            assert not lock.sync.acquire(timeout=0)
        event.set()
        assert event.sync.wait()
        assert threads.Barrier(1).sync.wait() == 0

    asyncio.run(main())


@pytest.mark.parametrize("n", [1, 5])
def test_cancelling_many_keeps_nothing(n, loops):
    lock = threads.Lock()
    assert lock.sync.acquire()
    tasks = [loops[i % 2].start(lock.acquire()) for i in range(10 * n)]
    for task in tasks[::-1]:
        task.cancel()
    for loop in loops:
        loop.turn()
    lock.release()
    assert lock._queue is None


def test_views():
    lock = threads.Lock()
    assert lock.sync == lock.sync
    assert lock.sync != threads.Lock().sync
    assert lock.sync != lock
    assert len({lock.sync, lock.sync}) == 1
    assert repr(lock.sync).startswith("<unlocked holdfast.threads.SyncLock object at")
    assert repr(lock).startswith("<holdfast.threads.Lock object at")
    with lock.sync:
        assert repr(lock.sync).startswith("<locked ")
    assert repr(type("Own", (threads.Lock,), {"__module__": __name__})()).startswith(f"<{__name__}.Own object at")
    assert "unset" in repr(threads.Event().sync)
    assert "value=3" in repr(threads.BoundedSemaphore(3).sync)
    assert "SyncBoundedSemaphore" in repr(threads.BoundedSemaphore(3).sync)
    assert "waiters=0/2" in repr(threads.Barrier(2).sync)
    assert "unlocked" in repr(threads.Condition().sync)
