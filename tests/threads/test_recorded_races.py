"""Races that other libraries shipped, as they can happen between loops and threads. Each test names the library.

The list is RACES.md, "In one process". The races in which a waiter stops waiting just as it is granted are in
test_races.py. That nothing is lost when a loop ends is explored in tests/exploration/test_threads.py.
"""

import asyncio
import threading

import pytest

from holdfast import threads
from holdfast.threads.task_waiter import TaskWaiter

from .by_hand import HandLoop, contended, each_mutex, is_free, wait_once


@pytest.mark.parametrize("released_first", [True, False])
@each_mutex
def test_bpo_32734_cancel_and_release_at_once_wake_one(make, released_first, loops):
    """asyncio: a second waiter was woken although one was granted already."""
    here, there = loops
    mutex, first, second = contended(make, loops)
    third = here.start(mutex.acquire())
    if released_first:
        mutex.release()
        first.cancel()
    else:
        first.cancel()
        mutex.release()
    here.turn()
    there.turn()
    assert first.cancelled()
    assert second.result()
    here.turn()
    assert not third.done()
    mutex.release()
    here.turn()
    assert third.result()
    mutex.release()
    assert is_free(mutex)


@each_mutex
def test_bpo_45997_the_releaser_does_not_overtake(make, loops):
    """asyncio: `release(); acquire()` got the lock again, although others waited for it."""
    here, there = loops
    mutex = make()
    order = []

    async def twice():
        for _ in range(2):
            async with mutex:
                order.append("first")
                await asyncio.sleep(0)

    async def once():
        async with mutex:
            order.append("second")

    task = here.create_task(twice())
    here.turn(1)
    other = there.start(once())
    here.turn()
    there.turn()
    here.turn()
    assert order == ["first", "second", "first"]
    assert task.done()
    assert other.done()


@each_mutex
def test_bpo_45997_a_thread_does_not_overtake_either(make, loops):
    mutex, first, second = contended(make, loops)
    mutex.release()
    assert not mutex.sync.acquire(False)
    assert not mutex.try_acquire()
    for loop, task in zip(loops, (first, second), strict=True):
        loop.turn()
        assert task.result()
        assert not mutex.try_acquire()
        mutex.release()
    assert is_free(mutex)


@each_mutex
def test_gh_97028_gh_138121_locked_while_others_wait_and_while_it_is_on_its_way(make, loops):
    """asyncio: locked() was False, though acquire() would have waited."""
    mutex, first, _ = contended(make, loops)
    assert mutex.locked()
    mutex.release()
    assert mutex.locked()
    assert not first.done()
    for loop in loops:
        loop.turn()
        assert mutex.locked()
        mutex.release()
    assert not mutex.locked()


@each_mutex
def test_a_granted_waiter_that_is_closed_passes_it_on(make, loops):
    """asyncio, unreported: after a GeneratorExit in place of CancelledError, the next waiter slept for ever."""
    here, there = loops
    mutex, first, second = contended(make, loops)
    first._log_destroy_pending = False
    mutex.release()
    first.get_coro().close()
    there.turn()
    assert second.result()
    mutex.release()
    assert is_free(mutex)
    here._ready.clear()


@pytest.mark.parametrize("behind", [True, False])
@each_mutex
def test_gh_86296_time_is_up_when_another_loop_grants_it(make, behind, loops):
    """asyncio before 3.12: wait_for() raised TimeoutError, and the lock stayed locked without a holder."""
    here, there = loops
    mutex = make()
    assert mutex.sync.acquire()
    first = here.start(asyncio.wait_for(mutex.acquire(), 1000))
    second = there.start(mutex.acquire()) if behind else None
    (timer,) = here._scheduled
    mutex.release()
    timer._run()
    timer.cancel()
    here.turn(6)
    there.turn()
    if first.exception() is None:
        mutex.release()
        there.turn()
    else:
        assert isinstance(first.exception(), TimeoutError)
    if behind:
        assert second.result()
        mutex.release()
    assert is_free(mutex)


def test_gh_155233_a_barrier_gives_each_index_once(loops):
    """asyncio, open: two parties got the same index after one was cancelled while it waited."""
    here, there = loops
    barrier = threads.Barrier(3)
    first, second = here.start(barrier.wait()), there.start(barrier.wait())
    first.cancel()
    here.turn()
    third, fourth = here.start(barrier.wait()), there.start(barrier.wait())
    for loop in loops:
        loop.turn()
    assert {second.result(), third.result(), fourth.result()} == {0, 1, 2}


def test_gh_111693_the_error_that_comes_out_is_the_one_that_was_thrown_in(loops):
    """asyncio before 3.13: a fresh CancelledError came out of wait(), without the message."""
    here, _ = loops
    condition = threads.Condition()

    task = here.start(wait_once(condition))
    with condition.sync:
        condition.notify()
        here.turn()
        task.cancel("the reason")
        here.turn()
        assert not task.done()
    here.turn()
    with pytest.raises(asyncio.CancelledError) as raised:
        task.result()
    assert raised.value.args == ("the reason",)


def test_gh_112202_whom_nobody_notified_wakes_nobody(loops):
    """asyncio since 3.13: each waiter that was cancelled woke another one."""
    condition = threads.Condition()
    wake_ups = []

    async def wait():
        async with condition:
            while True:
                await condition.wait()
                wake_ups.append(1)

    tasks = [loops[number % 2].start(wait()) for number in range(20)]
    for task in tasks[::3]:
        task.cancel()
    for loop in (*loops, *loops):
        loop.turn(30)
    assert sum(task.done() for task in tasks) == len(tasks[::3])
    assert wake_ups == []
    assert condition.statistics().tasks_waiting == len(tasks) - len(tasks[::3])


def test_anyio_884_cancelled_in_every_iteration_it_does_not_spin(loops):
    """anyio: until the lock was free the task ran in each iteration, and kept a core busy."""
    here, _ = loops
    condition = threads.Condition()
    runs = []

    class Watched:
        def __init__(self, coroutine):
            self.coroutine = coroutine

        def __await__(self):
            wait = self.coroutine.__await__()
            send, value = wait.send, None
            while True:
                runs.append(1)
                try:
                    awaited = send(value)
                except StopIteration as done:
                    return done.value
                try:
                    value = yield awaited
                    send = wait.send
                except BaseException as exc:
                    value, send = exc, wait.throw

    async def wait():
        async with condition:
            await Watched(condition.wait())

    task = here.start(wait())
    with condition.sync:
        for _ in range(50):
            task.cancel()
            here.turn(1)
        assert len(runs) <= 3  # it starts; it is cancelled, and waits for the lock; it may be cancelled once more
    here.turn()
    assert task.cancelled()
    assert is_free(condition)


@pytest.mark.parametrize(
    "order", [slice(None, None, -1), slice(None), slice(-2, 0, -1)], ids=["newest", "oldest", "in"]
)
@pytest.mark.parametrize("kind", [threads.Lock, threads.Semaphore, threads.Event])
def test_cancelling_many_takes_linear_work_in_any_order(kind, order, loops, monkeypatch):
    """Four times the tasks take four times the work. asyncio, by design: it looks for each one from the oldest on."""
    looked_at = []

    def count(self, other):
        looked_at.append(1)
        return self is other

    monkeypatch.setattr(TaskWaiter, "__eq__", count)
    monkeypatch.setattr(TaskWaiter, "__hash__", lambda self: looked_at.append(1) or id(self))
    done = TaskWaiter.done
    monkeypatch.setattr(TaskWaiter, "done", lambda self: looked_at.append(1) or done(self))

    def work(n):
        shared = kind()
        if kind is not threads.Event:
            assert shared.sync.acquire()
        wait = shared.wait if kind is threads.Event else shared.acquire
        tasks = [loops[number % 2].create_task(wait()) for number in range(n)]
        for loop in loops:
            loop.turn(2)
        before = len(looked_at)
        for task in tasks[order]:
            task.cancel()
        for loop in loops:
            loop.turn(2)
        assert all(task.done() for task in tasks[order])
        return len(looked_at) - before

    few = 100 + work(100)
    assert work(400) < 5 * few


@pytest.mark.usefixtures("woken_by_calls")
@pytest.mark.parametrize("call", ["release", "set", "notify"])
def test_a_waiting_task_notices_what_another_thread_does(call):
    """asyncio, by design: the sleeping loop does not notice, and this test would never end."""
    joined = threading.Event()

    async def main():
        if call == "set":
            shared = threads.Event()
            waiting = asyncio.ensure_future(shared.wait())
        elif call == "release":
            shared = threads.Lock()
            assert shared.sync.acquire()
            waiting = asyncio.ensure_future(shared.acquire())
        else:
            shared = threads.Condition()

            async def wait():
                async with shared:
                    await shared.wait()

            waiting = asyncio.ensure_future(wait())

        def act():
            joined.wait()
            if call == "notify":
                with shared.sync:
                    shared.notify()
            else:
                getattr(shared, call)()

        thread = threading.Thread(target=act)
        thread.start()
        loop = asyncio.get_running_loop()
        select = loop._selector.select

        def sleep(timeout):
            """Let the other thread begin when the loop has nothing else to do than to wait for it."""
            if timeout is None:
                joined.set()
            return select(timeout)

        loop._selector.select = sleep
        await waiting
        thread.join()

    loop = HandLoop()
    try:
        loop.run_until_complete(main())
        assert loop.sent >= 1
    finally:
        loop.close()
