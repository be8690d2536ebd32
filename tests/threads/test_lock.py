"""The Lock in both of its ways: without the section as long as nobody waits, and within it."""

import contextlib
import threading
import types
from typing import Any

import pytest
from tests.test_idle import ByHand, kept_by

from holdfast import threads
from holdfast.threads import lock as lock_module
from holdfast.threads._section import here

from .by_hand import HandLoop, at_line, contended, is_free, lines, wait_once

NOT_ACQUIRED = "Lock is not acquired"


class Met:
    """What a Lock is made of, with a look at both sides of the unlocking in release()."""

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


# A release has seen that nobody waits. Before it unlocks, the first one joins.


def test_who_joins_during_a_release_gets_it(loops):
    lock = threads.Lock()
    tasks = []
    assert lock.try_acquire()
    Met(lock, before=lambda: tasks.extend(loop.start(lock.acquire()) for loop in loops))
    lock.release()
    for loop, task in zip(loops, tasks, strict=True):
        loop.turn()
        assert task.result()
        assert lock.locked()
        lock.release()
    assert is_free(lock)


TASKS = {"acquire()": threads.Lock.acquire, "async with": threads.Lock.__aenter__}
THREADS = {
    "sync.acquire()": lambda lock: lock.sync.acquire(),
    "sync.acquire(False)": lambda lock: lock.sync.acquire(False),
    "with lock.sync": lambda lock: lock.sync.__enter__(),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_comes_just_after_that_does_not_overtake(name, loops):
    """The lock is unlocked for a moment, and who comes then sees to it that the first in the line gets it."""
    lock = threads.Lock()
    tasks = []

    async def take():
        await TASKS[name](lock)

    assert lock.try_acquire()
    Met(
        lock,
        before=lambda: tasks.append(loops[0].start(lock.acquire())),
        after=lambda: tasks.append(loops[1].start(take())),
    )
    lock.release()
    for loop in loops:
        loops[1].turn()
        loops[0].turn()
        assert [task.done() for task in tasks] == [True, loop is loops[1]]
        assert lock.locked()
        lock.release()
    assert is_free(lock)


@pytest.mark.parametrize("name", THREADS)
def test_a_thread_that_comes_just_after_that_does_not_overtake(name, loops, instead_of_waiting):
    lock = threads.Lock()
    tasks, taken = [], []
    instead_of_waiting(lambda: None)
    assert lock.try_acquire()
    Met(
        lock,
        before=lambda: tasks.append(loops[0].start(lock.acquire())),
        after=lambda: taken.append(THREADS[name](lock)),
    )
    lock.release()
    assert taken == [False]
    loops[0].turn()
    assert tasks[0].result()
    lock.release()
    assert is_free(lock)


@pytest.mark.usefixtures("either_way")
def test_with_a_waiter_it_is_never_unlocked_on_the_way():
    """Nor is it without the GIL at any moment at which another thread might look for a queue."""

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
    Met(lock, before=lambda: inside.append(here.me.inside))
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
    """Both count: the waiter has had it, and it is free."""

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
    """The second is an error, which nobody knows yet if the first has to be put off."""

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
    """A wait() without an `async with` is closed while somebody else holds the lock, and is owed an exit.

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
    """So a `finally` may release it."""
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
            assert not here.me.inside
            self.released += 1
            super().release()

    lock = Own()
    ByHand(enter(lock)).close()
    assert lock.released == 1
    assert is_free(lock)


def test_closed_after_it_was_released_within_a_change_of_another():
    """Whose change it is has nothing to do with that, and gets no error."""

    def scenario(number):
        lock, other = threads.Lock(), threads.Semaphore(0)
        holder = ByHand(enter(lock))
        lock.release()
        there = at_line(number, holder.close, other.try_acquire)
        assert is_free(lock)
        holder.close()
        return there

    lines(scenario)


# A thread that takes it again after Condition.wait()


def test_thread_is_interrupted_while_it_takes_the_lock_again(loops, instead_of_waiting):
    """It comes out when the lock is held, and the notification goes to another."""
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
