"""A coroutine that waits, and is collected: what it was granted goes on, as if it had been closed.

PyPy closes no coroutine that it collects, but for ours, which ask for it.
"""

import asyncio

import pytest
from interpreters import PYPY, closing, drop

from holdfast import Barrier, BoundedSemaphore, Condition, Event, Lock, Semaphore, threads

MUTEXES = [Lock, Semaphore, BoundedSemaphore, Condition]
MUTEXES += [threads.Lock, threads.Semaphore, threads.BoundedSemaphore, threads.Condition]
each_mutex = pytest.mark.parametrize("make", MUTEXES, ids=lambda make: f"{make.__module__}.{make.__name__}")


def start(coroutine):
    """Run it up to where it waits, as a list that alone refers to it."""
    coroutine.send(None)
    return [coroutine]


async def enter(mutex):
    async with mutex:
        pass


async def iterations():
    for _ in range(5):
        await asyncio.sleep(0)


@each_mutex
@pytest.mark.parametrize("how", ["acquire", "async with", "in another"])
async def test_a_grant_of_what_is_collected_goes_to_the_next(make, how):
    mutex, left = make(), []

    async def other():
        try:
            await enter(mutex)
        finally:
            left.append("other")

    await mutex.acquire()
    collected = start({"acquire": mutex.acquire, "async with": lambda: enter(mutex), "in another": other}[how]())
    following = asyncio.create_task(mutex.acquire())
    await iterations()
    mutex.release()
    await iterations()
    assert not following.done()
    drop(collected)
    await iterations()
    assert following.done()
    assert left == ([] if PYPY or how != "in another" else ["other"])
    assert mutex.locked()
    mutex.release()
    assert not mutex.locked()


@each_mutex
async def test_who_is_collected_in_the_line_has_left_it(make):
    mutex = make()
    await mutex.acquire()
    drop(start(mutex.acquire()))
    mutex.release()
    assert not mutex.locked()


@pytest.mark.parametrize("make", [Event, threads.Event])
async def test_who_waits_for_an_event_and_is_collected_is_not_counted(make):
    event = make()
    collected = start(event.wait())
    assert "waiters:1" in repr(event)
    drop(collected)
    assert "waiters" not in repr(event)
    collected = start(event.wait())
    event.set()
    drop(collected)
    assert "waiters" not in repr(event)


@pytest.mark.parametrize("make", [Barrier, threads.Barrier])
async def test_who_waits_at_a_barrier_and_is_collected_is_no_party(make):
    barrier = make(2)
    drop(start(barrier.wait()))
    assert barrier.n_waiting == 0
    assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]


@closing
@each_mutex
async def test_what_a_coroutine_held_that_is_collected_is_released(make):
    mutex = make()

    async def hold():
        async with mutex:
            await asyncio.Event().wait()

    holder = start(hold())
    assert mutex.locked()
    drop(holder)
    assert not mutex.locked()


@closing
@pytest.mark.parametrize("make", [Condition, threads.Condition])
async def test_a_notification_of_who_is_collected_goes_to_the_next(make):
    condition = make()

    async def consume():
        async with condition:
            await condition.wait()

    collected = start(consume())
    following = asyncio.create_task(consume())
    await iterations()
    async with condition:
        condition.notify()
    drop(collected)
    await iterations()
    assert following.done()
