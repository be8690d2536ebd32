"""The Lock on both of its paths: outside the critical section while there is no waiter, and inside it."""

import contextlib
import threading
import types
from functools import partial
from typing import Any

import pytest
from tests.test_idle import ByHand, kept_by

from holdfast import threads
from holdfast.threads import lock as lock_module
from holdfast.threads.critical_section import this_thread

from .by_hand import HandLoop, OtherThreads, at_line, contended, is_free, lines, wait_once

NOT_ACQUIRED = "Lock is not acquired"


class Met:
    """Stands in for the `_held` of a Lock, and calls a function before and after release() unlocks it."""

    def __init__(self, lock, before=lambda: None, after=lambda: None):
        self.held = lock._held
        self.before = before
        self.after = after
        lock._held = self
        self.acquire = self.held.acquire
        self.locked = self.held.locked

    def release(self):
        before, self.before = self.before, lambda: None
        after, self.after = self.after, lambda: None
        before()
        self.held.release()
        after()


@types.coroutine
def suspend():
    yield


# A release has seen that there is no waiter. Before it unlocks, another thread joins the queue. Without the GIL that
# thread comes as far as the section, in which the release is.


@pytest.mark.usefixtures("either_way")
def test_who_comes_during_a_release_gets_it(loops):
    lock = threads.Lock()
    others, tasks = OtherThreads(lock), {}

    def come(loop):
        tasks[loop] = loop.start(lock.acquire())

    assert lock.try_acquire()
    Met(lock, before=lambda: [others.do(partial(come, loop)) for loop in loops])
    lock.release()
    others.finish()
    for loop in loops:
        loop.turn()
    # Without the GIL all of them joined after the release, in the order in which they got the section.
    first, second = loops if lock_module.ONE_AT_A_TIME or tasks[loops[0]].done() else reversed(loops)
    assert tasks[first].result()
    assert not tasks[second].done()
    assert lock.locked()
    lock.release()
    second.turn()
    assert tasks[second].result()
    assert lock.locked()
    lock.release()
    assert is_free(lock)


TASKS = {"acquire()": threads.Lock.acquire, "async with": threads.Lock.__aenter__}
THREADS = {
    "sync.acquire()": lambda lock: lock.sync.acquire(),
    "sync.acquire(False)": lambda lock: lock.sync.acquire(False),
    "with lock.sync": lambda lock: lock.sync.__enter__(),
}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_comes_just_after_that_does_not_overtake(name, loops):
    """A task that comes while the lock is unlocked for a moment hands it to the first waiter.

    Without the GIL neither is in the queue by then, so one of the two gets the lock, and the other waits.
    """
    lock = threads.Lock()
    here, there = loops
    others, tasks = OtherThreads(lock), []

    async def take():
        await TASKS[name](lock)

    assert lock.try_acquire()
    Met(
        lock,
        before=lambda: others.do(lambda: tasks.append((here, here.start(lock.acquire())))),
        after=lambda: others.do(lambda: tasks.append((there, there.start(take())))),
    )
    lock.release()
    others.finish()
    tasks.sort(key=lambda task: task[0] is there)  # in the order in which they came
    for loop in loops:
        loop.turn()
    done = [task.done() for _, task in tasks]
    assert done == [True, False] if lock_module.ONE_AT_A_TIME else sorted(done) == [False, True]
    assert lock.locked()
    lock.release()
    for loop, task in tasks:
        loop.turn()
        assert task.done()
    assert lock.locked()
    lock.release()
    assert is_free(lock)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", THREADS)
def test_a_thread_that_comes_just_after_that_does_not_overtake(name, loops, instead_of_waiting):
    lock = threads.Lock()
    here, _ = loops
    others, tasks, taken = OtherThreads(lock), [], []
    instead_of_waiting(lambda: None)
    assert lock.try_acquire()
    Met(
        lock,
        before=lambda: others.do(lambda: tasks.append(here.start(lock.acquire()))),
        after=lambda: others.do(lambda: taken.append(THREADS[name](lock))),
    )
    lock.release()
    others.finish()
    here.turn()
    assert taken == [not tasks[0].done()]
    if taken == [True]:
        assert not lock_module.ONE_AT_A_TIME
        lock.release()
        here.turn()
    assert tasks[0].result()
    lock.release()
    assert is_free(lock)


@pytest.mark.usefixtures("either_way")
def test_with_a_waiter_it_is_never_unlocked_on_the_way():
    """Without the GIL this holds wherever another thread could look at the queue."""

    def scenario(number):
        loop = HandLoop()
        lock, waiter = contended(threads.Lock, (loop,))
        seen = []
        there = at_line(number, lambda: seen.append(lock.locked()), lock.release)
        loop.turn()
        assert seen == [True] * there
        assert waiter.result()
        loop.close()
        return there

    lines(scenario)


@pytest.mark.usefixtures("either_way")
def test_without_the_gil_it_is_unlocked_in_the_section():
    lock = threads.Lock()
    inside = []
    assert lock.try_acquire()
    Met(lock, before=lambda: inside.append(this_thread.state.inside))
    lock.release()
    assert inside == [not lock_module.ONE_AT_A_TIME]
    assert is_free(lock)


# Release it once for each acquire()


@pytest.mark.usefixtures("either_way")
def test_release_of_a_lock_that_is_not_held():
    lock = threads.Lock()
    for release in (lock.release, lock.sync.release):
        with pytest.raises(RuntimeError, match=NOT_ACQUIRED):
            release()
    assert is_free(lock)


@pytest.mark.usefixtures("either_way")
def test_handler_releases_within_a_release():
    """Both releases count: the waiter has had the lock, and it is free in the end."""

    def scenario(number):
        loop = HandLoop()
        lock, waiter = contended(threads.Lock, (loop,))
        there = at_line(number, lock.release, lock.release)
        loop.turn()
        assert waiter.result()
        assert lock.locked() is not there
        loop.close()
        return there

    lines(scenario)


@pytest.mark.usefixtures("either_way")
def test_handler_releases_what_is_not_held_within_a_change_of_another():
    def scenario(number):
        lock, semaphore = threads.Lock(), threads.Semaphore(0)
        errors = []

        def release():
            with pytest.raises(RuntimeError, match=NOT_ACQUIRED) as raised:
                lock.release()
            errors.append(raised.value)

        there = at_line(number, release, semaphore.try_acquire)
        assert len(errors) == there
        assert is_free(lock)
        return there

    lines(scenario)


@pytest.mark.usefixtures("either_way")
def test_handler_releases_twice_within_a_change_of_another():
    """The second is an error. If the first is deferred, no error can be raised for the second yet."""

    def scenario(number):
        lock, semaphore = threads.Lock(), threads.Semaphore(0)
        assert lock.try_acquire()

        def release_twice():
            lock.release()
            with contextlib.suppress(RuntimeError):
                lock.release()

        there = at_line(number, release_twice, semaphore.try_acquire)
        assert lock.locked() is not there
        return there

    lines(scenario)


# Closed coroutines


async def enter(lock):
    async with lock:
        await suspend()


def in_another_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def leave_a_debt(condition, loop):
    """Close a wait() that has no `async with` around it while another task holds the lock, so that an exit is owed.

    On return the lock is held.
    """

    async def start():
        assert await condition.acquire()
        bare = condition.wait()
        bare.send(None)
        assert condition.try_acquire()
        bare.close()

    loop.run_until_complete(start())
    assert condition.locked()


def test_debt_does_not_outlive_an_acquire(loops):
    condition = threads.Condition()
    leave_a_debt(condition, loops[0])
    in_another_thread(condition.release)

    async def start_and_close():
        ByHand(enter(condition)).close()

    loops[0].run_until_complete(start_and_close())
    assert is_free(condition)


def test_debt_does_not_outlive_a_release(loops):
    condition = threads.Condition()
    leave_a_debt(condition, loops[0])
    condition.release()
    entered: list[Any] = []
    in_another_thread(lambda: entered.append(ByHand(enter(condition))))
    assert condition.locked()
    entered[0].close()
    assert is_free(condition)


def test_closed_while_the_lock_is_free_it_has_it_again(loops):
    """So a `finally` around the wait may release the lock."""
    condition = threads.Condition()

    async def wait():
        await condition.acquire()
        try:
            await condition.wait()
        finally:
            assert condition.locked()
            condition.release()

    async def start_and_close():
        ByHand(wait()).close()

    loops[0].run_until_complete(start_and_close())
    assert is_free(condition)


def test_a_subclass_that_overrides_release_is_released_through_it_when_closed():
    class Own(threads.Lock):
        released = 0

        def release(self):
            assert not this_thread.state.inside
            self.released += 1
            super().release()

    lock = Own()
    ByHand(enter(lock)).close()
    assert lock.released == 1
    assert is_free(lock)


def test_closed_after_it_was_released_within_a_change_of_another():
    """The interrupted thread has nothing to do with the lock, and gets no error."""

    def scenario(number):
        lock, other = threads.Lock(), threads.Semaphore(0)
        holder = ByHand(enter(lock))
        lock.release()
        there = at_line(number, holder.close, other.try_acquire)
        assert is_free(lock)
        holder.close()
        return there

    lines(scenario)


# A thread that takes the lock again after Condition.wait()


def test_thread_is_interrupted_while_it_takes_the_lock_again(loops, instead_of_waiting):
    """The exception comes out when the lock is held, and the notification goes to another waiter."""
    condition = threads.Condition()
    idle = kept_by(condition._lock)
    steps = []
    others = []

    def step():
        steps.append(1)
        if len(steps) == 1:
            others.append(loops[0].start(wait_once(condition)))
            assert condition.sync.acquire()
            condition.notify()
        elif len(steps) == 2:
            raise KeyboardInterrupt
        elif len(steps) == 3:
            condition.release()

    instead_of_waiting(step)
    with condition.sync:
        with pytest.raises(KeyboardInterrupt):
            condition.sync.wait()
        assert condition.locked()
    for _ in range(3):
        loops[0].turn()
    assert others[0].done()
    assert is_free(condition)
    assert kept_by(condition._lock) == idle
