"""The Condition: what the tests over all mutexes do not cover."""

import asyncio
import threading
import types

import pytest
from tests.test_idle import ByHand

from holdfast import threads
from holdfast.blocking import wait_for as wait_for_module
from holdfast.threads.thread_waiter import ThreadWaiter

from .by_hand import HandLoop, at_line, is_free, lines, wait_once

NOT_LOCKED = "on un-acquired lock"


@pytest.mark.parametrize("view", [True, False])
def test_the_given_lock_is_the_one_used(view):
    lock = threads.Lock()
    condition = threads.Condition(lock.sync if view else lock)
    with condition.sync:
        assert lock.locked()
        assert condition.sync.locked()
    assert not condition.sync.locked()
    with lock.sync:
        assert condition.locked()
        assert not condition.sync.acquire(False)
    assert condition.sync.acquire()
    condition.sync.release()
    assert is_free(condition)


@pytest.mark.parametrize("make", [threading.Lock, asyncio.Lock, threads.Semaphore, threads.Condition])
def test_what_is_no_lock_of_this_tier(make):
    with pytest.raises(TypeError, match="Condition needs a"):
        threads.Condition(make())


def test_it_must_be_held(loops):
    condition = threads.Condition()
    with pytest.raises(RuntimeError, match=NOT_LOCKED):
        condition.sync.wait()
    task = loops[0].start(condition.wait())
    with pytest.raises(RuntimeError, match=NOT_LOCKED):
        task.result()
    for notify in (condition.notify, condition.sync.notify, condition.sync.notify_all):
        with pytest.raises(RuntimeError, match=NOT_LOCKED):
            notify()
    assert condition.statistics().tasks_waiting == 0
    assert condition._queue is None
    assert is_free(condition)


def test_a_thread_wakes_all(loops):
    condition = threads.Condition()
    returned = []

    async def wait():
        async with condition:
            returned.append(await condition.wait())

    for loop in loops:
        loop.start(wait())
    with condition.sync:
        condition.sync.notify_all()
    for loop in loops:
        loop.turn()
    assert returned == [True, True]
    assert is_free(condition)


def test_closed_while_it_takes_the_lock_again(loops):
    """The notification goes to another task, and the closed coroutine does not go on."""
    here, there = loops
    condition = threads.Condition()
    started, returned = [], []

    async def wait():
        async with condition:
            await condition.wait()
            returned.append(1)

    async def start():
        started.append(ByHand(wait()))

    here.run_until_complete(start())
    second = there.start(wait_once(condition))
    with condition.sync:
        condition.notify()
        here.turn()
        assert started[0].may_go_on
        started[0].go_on()
        assert not started[0].may_go_on
        started[0].close()
    there.turn()
    assert second.done()
    assert returned == []
    assert is_free(condition)


def test_loop_closes_under_one_that_was_cancelled(loops):
    """The task takes the lock again when its loop closes. It was not notified, so no other task is woken."""
    here, there = loops
    condition = threads.Condition()
    first, second = here.start(wait_once(condition)), there.start(wait_once(condition))
    first._log_destroy_pending = False
    with condition.sync:
        first.cancel()
        here.turn()
        here.close()
        assert condition._lock.statistics().tasks_waiting == 0
    there.turn()
    assert not second.done()
    assert condition.statistics().tasks_waiting == 1
    assert is_free(condition)


# Within a change


@pytest.mark.parametrize("waiters", range(4))
def test_handler_notifies_within_a_change_of_another(waiters):
    """Whether the notification is deferred or comes at once, it wakes two waiters if there are two."""

    def scenario(number):
        loop = HandLoop()
        condition, other = threads.Condition(), threads.Semaphore(0)
        tasks = [loop.start(wait_once(condition)) for _ in range(waiters)]
        with condition.sync:
            there = at_line(number, lambda: condition.notify(2), other.try_acquire)
        loop.turn(10)
        assert sum(task.done() for task in tasks) == (min(2, waiters) if there else 0)
        for task in tasks:
            task.cancel()
        loop.turn(10)
        loop.close()
        return there

    lines(scenario)


def test_handler_notifies_without_the_lock_within_a_change_of_another():
    def scenario(number):
        condition, other = threads.Condition(), threads.Semaphore(0)
        errors = []

        def notify():
            with pytest.raises(RuntimeError, match=NOT_LOCKED) as raised:
                condition.notify()
            errors.append(raised.value)

        there = at_line(number, notify, other.try_acquire)
        assert len(errors) == there
        return there

    lines(scenario)


# The time of a thread


@pytest.fixture(name="waits")
def passing_time(monkeypatch):
    """Collect the timeouts of all waits, each of which takes 3 seconds on a clock of its own."""
    waits = []
    monkeypatch.setattr(ThreadWaiter, "wait", lambda self, timeout: waits.append(timeout))
    clock = types.SimpleNamespace(monotonic=lambda: 100.0 + 3 * len(waits))
    monkeypatch.setattr(wait_for_module, "time", clock)
    return waits


@pytest.mark.parametrize(("timeout", "waited"), [(None, -1), (7, 7), (0, 0), (-5, 0)])
def test_wait_lasts_as_long_as_its_timeout(timeout, waited, waits):
    condition = threads.Condition()
    with condition.sync:
        assert condition.sync.wait(timeout) is False
    assert waits == [waited]


@pytest.mark.parametrize(("timeout", "waited"), [(None, [-1, -1]), (10, [10, 7])])
def test_wait_for_returns_what_the_predicate_does(timeout, waited, waits):
    condition = threads.Condition()
    answers = ["", "", "at last"]
    with condition.sync:
        assert condition.sync.wait_for(lambda: answers.pop(0), timeout) == "at last"
    assert waits == waited


@pytest.mark.parametrize(("timeout", "waited"), [(0, []), (-5, []), (5, [5, 2]), (6, [6, 3])])
def test_wait_for_runs_out_of_time(timeout, waited, waits):
    condition = threads.Condition()
    with condition.sync:
        assert condition.sync.wait_for(lambda: "", timeout) == ""
    assert waits == waited


def test_wait_for_what_is_true_needs_no_lock(waits):
    assert threads.Condition().sync.wait_for(lambda: "already") == "already"
    assert waits == []


@pytest.mark.parametrize("wait", ["wait", "wait_for"])
def test_a_timeout_that_is_no_number_is_refused_and_nobody_waits(wait):
    condition = threads.Condition()
    with condition.sync:
        with pytest.raises((ValueError, OverflowError), match=r"NaN|too large"):  # the latter is PyPy's
            condition.sync.wait(float("nan")) if wait == "wait" else condition.sync.wait_for(bool, float("nan"))
        assert "waiters" not in repr(condition)
        assert condition.locked()
    assert is_free(condition)
