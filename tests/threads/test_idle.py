"""A primitive without waiters and without grants under way keeps no memory for them, also while it is held."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.test_idle import kept_by

from holdfast import threads

from .by_hand import contended, each_mutex


@each_mutex
def test_as_soon_as_the_last_task_goes_on(make, loops):
    mutex = make()
    assert mutex.sync.acquire()
    idle = kept_by(mutex)
    tasks = [loop.start(mutex.acquire()) for loop in loops]
    for loop, task in zip(loops, tasks, strict=True):
        mutex.release()
        assert kept_by(mutex) > idle
        loop.turn()
        assert task.result()
    assert kept_by(mutex) == idle


@each_mutex
def test_as_soon_as_a_thread_goes_on(make, instead_of_waiting):
    mutex = make()
    assert mutex.sync.acquire()
    idle = kept_by(mutex)
    instead_of_waiting(mutex.release)
    assert mutex.sync.acquire()
    assert kept_by(mutex) == idle
    instead_of_waiting(lambda: None)
    assert not mutex.sync.acquire(timeout=1)
    assert kept_by(mutex) == idle


@each_mutex
def test_as_soon_as_the_last_one_has_left(make, loops):
    mutex, first, second = contended(make, loops)
    first.cancel()
    loops[0].turn()
    second.cancel()
    loops[1].turn()
    assert not mutex.try_acquire()
    fresh = make()
    assert fresh.try_acquire()
    assert kept_by(mutex) == kept_by(fresh)


@each_mutex
def test_as_soon_as_one_that_was_granted_has_left(make, loops):
    mutex = make()
    idle = kept_by(mutex)
    assert mutex.try_acquire()
    task = loops[0].start(mutex.acquire())
    mutex.release()
    task.cancel()
    loops[0].turn()
    assert task.cancelled()
    assert kept_by(mutex) == idle


@each_mutex
def test_as_soon_as_a_loop_is_closed_under_the_last_one(make, loops):
    mutex = make()
    assert mutex.sync.acquire()
    idle = kept_by(mutex)
    task = loops[0].start(mutex.acquire())
    task._log_destroy_pending = False
    loops[0].close()
    assert not mutex.try_acquire()
    assert kept_by(mutex) == idle


@pytest.mark.parametrize("kind", [threads.Lock, threads.Semaphore, threads.BoundedSemaphore])
@pytest.mark.parametrize("cancelled", [False, True])
def test_as_soon_as_one_asks_after_a_loop_was_closed(kind, cancelled, loops):
    """This includes a task that was cancelled, and has not run since a release passed over it."""
    mutex = kind()
    assert mutex.sync.acquire()
    idle = kept_by(mutex)
    task = loops[0].start(mutex.acquire())
    task._log_destroy_pending = False
    if cancelled:
        task.cancel()
        mutex.release()
        assert mutex.sync.acquire(False)
    loops[0].close()
    assert mutex.statistics().tasks_waiting == 0
    assert kept_by(mutex) == idle


def notify(condition: threads.Condition) -> None:
    with condition.sync:
        condition.notify_all()


WAITING: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "Event": (threads.Event, lambda event: (event.set(), event.clear())),
    "Condition": (threads.Condition, notify),
}


@pytest.mark.parametrize("name", WAITING)
def test_as_soon_as_all_have_been_woken(name, loops):
    make, wake = WAITING[name]
    shared = make()
    idle = kept_by(shared)

    async def wait() -> None:
        if name == "Condition":
            await shared.acquire()
        await shared.wait()
        if name == "Condition":
            shared.release()

    tasks = [loop.start(wait()) for loop in loops]
    wake(shared)
    for loop in loops:
        loop.turn()
    for loop in loops:
        loop.turn()
    assert all(task.done() for task in tasks)
    assert kept_by(shared) == idle


def test_as_soon_as_a_round_has_left(loops):
    barrier = threads.Barrier(2)
    idle = kept_by(barrier)
    tasks = [loop.start(barrier.wait()) for loop in loops]
    loops[0].turn()
    assert sorted(task.result() for task in tasks) == [0, 1]
    assert kept_by(barrier) == idle
