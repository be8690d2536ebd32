"""Several permits at once, and a BoundedSemaphore that changes its size: for tasks, and for tasks with threads."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import holdfast.threads

from .turns import turns


def free(semaphore: Any) -> int:
    return int(semaphore.statistics().value)


async def test_several_are_taken_and_put_back_at_once(library: ModuleType) -> None:
    semaphore = library.Semaphore(5)
    assert await semaphore.acquire(3) is True
    assert free(semaphore) == 2
    assert semaphore.try_acquire(2)
    assert not semaphore.try_acquire()
    semaphore.release(n=4)
    semaphore.release()
    assert free(semaphore) == 5


@pytest.mark.parametrize("keyword", [False, True])
async def test_asyncios_calls_stay_valid(library: ModuleType, keyword: bool) -> None:
    semaphore = library.Semaphore(2)
    await (semaphore.acquire(n=1) if keyword else semaphore.acquire())
    async with semaphore:
        assert semaphore.locked()
    semaphore.release(n=1) if keyword else semaphore.release()
    assert free(semaphore) == 2


async def test_who_needs_many_is_not_overtaken(library: ModuleType) -> None:
    semaphore, order = library.Semaphore(3), []

    async def take(n: int, name: str) -> None:
        await semaphore.acquire(n)
        order.append(name)

    await semaphore.acquire(2)
    async with asyncio.TaskGroup() as tasks:
        for n, name in ((3, "three"), (1, "one"), (2, "two")):
            tasks.create_task(take(n, name))
        await turns()
        assert order == []
        assert free(semaphore) == 1
        assert semaphore.locked()
        assert not semaphore.try_acquire(), "it would overtake"
        semaphore.release(2)
        await turns()
        assert order == ["three"]
        semaphore.release(3)
        await turns()
        assert order == ["three", "one", "two"]
    assert free(semaphore) == 0


async def test_who_leaves_without_a_grant_lets_those_behind_in(library: ModuleType) -> None:
    """aiorwlock 1.5.1, Nito.AsyncEx #134 and .NET's ReaderWriterLockSlim let them sleep on."""
    semaphore = library.Semaphore(2)
    await semaphore.acquire()
    large = asyncio.create_task(semaphore.acquire(2))
    await turns()
    small = asyncio.create_task(semaphore.acquire())
    await turns()
    assert not small.done()
    large.cancel()
    await turns()
    assert small.done()


async def test_who_is_cancelled_and_has_not_left_is_waited_for(library: ModuleType) -> None:
    semaphore = library.Semaphore(2)
    await semaphore.acquire()
    large = asyncio.create_task(semaphore.acquire(2))
    await turns()
    behind = asyncio.create_task(semaphore.acquire())
    await turns()
    large.cancel()
    assert not semaphore.try_acquire(), "what is free is for the one behind"
    await turns()
    assert behind.done()
    assert semaphore.locked()


async def test_who_is_cancelled_after_the_grant_gives_all_back(library: ModuleType) -> None:
    semaphore = library.Semaphore(0)
    large = asyncio.create_task(semaphore.acquire(3))
    small = [asyncio.create_task(semaphore.acquire()) for _ in range(4)]
    await turns()
    semaphore.release(3)
    large.cancel()
    await turns()
    assert [each.done() for each in small] == [True, True, True, False]
    semaphore.release()
    await turns()
    assert free(semaphore) == 0


async def test_a_release_of_several_wakes_several(library: ModuleType) -> None:
    semaphore = library.Semaphore(0)
    waiters = [asyncio.create_task(semaphore.acquire(n)) for n in (1, 2, 1, 3)]
    await turns()
    semaphore.release(5)
    await turns()
    assert [each.done() for each in waiters] == [True, True, True, False]
    assert free(semaphore) == 1
    semaphore.release(2)
    await turns()
    assert waiters[-1].done()
    assert free(semaphore) == 0


async def test_permits_in_async_with(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(4)
    three = semaphore.permits(3)
    for _ in range(2):
        async with three as nothing:
            assert nothing is None
            assert free(semaphore) == 1
        assert free(semaphore) == 4
    with pytest.raises(ZeroDivisionError):
        async with three:
            raise ZeroDivisionError
    assert free(semaphore) == 4
    assert "3 permits" in repr(three)


async def test_a_coroutine_that_is_closed_puts_back_all(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(4)

    async def body() -> None:
        async with semaphore.permits(3):
            await asyncio.sleep(math.inf)

    coroutine = body()
    coroutine.send(None)
    assert free(semaphore) == 1
    coroutine.close()
    assert free(semaphore) == 4


@pytest.mark.parametrize("call", ["acquire", "try_acquire", "release", "permits"])
@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError)])
async def test_what_is_no_number_of_permits(library: ModuleType, call: str, n: Any, error: type[Exception]) -> None:
    semaphore = library.BoundedSemaphore(4)
    await semaphore.acquire(2)
    with pytest.raises(error, match="permits"):
        await getattr(semaphore, call)(n)
    assert free(semaphore) == 2


@pytest.mark.parametrize("call", ["acquire", "try_acquire", "permits"])
async def test_more_than_there_are_is_an_error_at_once(library: ModuleType, call: str) -> None:
    semaphore = library.BoundedSemaphore(2)
    with pytest.raises(ValueError, match="at most 2"):
        await getattr(semaphore, call)(3)


async def test_a_bounded_semaphore_counts_what_is_put_back(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(4)
    await semaphore.acquire(2)
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release(3)
    assert free(semaphore) == 2
    semaphore.release(2)
    with pytest.raises(ValueError, match=r"all its 4 permits|4 are free"):
        semaphore.release()


async def test_an_infinite_one(library: ModuleType) -> None:
    semaphore = library.Semaphore(math.inf)
    await semaphore.acquire(1000)
    semaphore.release(7)
    assert not semaphore.locked()
    with pytest.raises(ValueError, match="inf"):
        library.BoundedSemaphore(math.inf).resize(3)


async def test_resize_to_more(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(1)
    await semaphore.acquire()
    waiters = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
    await turns()
    semaphore.resize(3)
    await turns()
    assert [each.done() for each in waiters] == [True, True, False]
    assert await asyncio.wait_for(asyncio.shield(asyncio.create_task(asyncio.sleep(0, True))), 1)
    with pytest.raises(ValueError, match="at most 3"):
        semaphore.try_acquire(4)
    semaphore.release(3)
    await turns()
    assert waiters[2].done()
    semaphore.release()
    assert free(semaphore) == 3


async def test_resize_to_fewer_lets_holders_finish(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(4)
    await semaphore.acquire(4)
    semaphore.resize(2)
    waiter = asyncio.create_task(semaphore.acquire())
    for _ in range(2):
        semaphore.release()
        await turns()
        assert not waiter.done()
        assert semaphore.locked()
    semaphore.release()
    await turns()
    assert waiter.done()
    semaphore.release(2)
    assert free(semaphore) == 2
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()


async def test_who_waits_for_more_than_there_are_any_more_is_told(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(3)
    await semaphore.acquire(2)
    waiters = [asyncio.create_task(semaphore.acquire(n)) for n in (3, 1)]
    await turns()
    semaphore.resize(2)
    await turns()
    with pytest.raises(ValueError, match="at most 2"):
        waiters[0].result()
    assert not waiters[1].done()
    semaphore.release()
    await turns()
    assert waiters[1].done()


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), ("2", TypeError), (math.inf, ValueError)])
async def test_what_is_no_size(library: ModuleType, value: Any, error: type[Exception]) -> None:
    semaphore = library.BoundedSemaphore(3)
    with pytest.raises(error):
        semaphore.resize(value)
    assert free(semaphore) == 3


async def test_ten_thousand_waiters_with_different_needs(library: ModuleType) -> None:
    semaphore, got = library.Semaphore(0), []

    async def take(n: int) -> None:
        await semaphore.acquire(n % 3 + 1)
        got.append(n)

    tasks = [asyncio.create_task(take(n)) for n in range(10_000)]
    await turns()
    for task in reversed(tasks[1::2]):
        task.cancel()
    await turns()
    semaphore.release(sum(n % 3 + 1 for n in range(0, 10_000, 2)))
    await turns(8)
    assert got == [*range(0, 10_000, 2)]
    assert free(semaphore) == 0
    assert semaphore.statistics().tasks_waiting == 0


def test_a_closed_loop_gives_back_all_that_it_was_granted(library: ModuleType) -> None:
    semaphore = library.Semaphore(0)
    loop = asyncio.new_event_loop()
    task = loop.create_task(semaphore.acquire(3))
    loop.run_until_complete(turns())
    semaphore.release(3)
    loop.close()
    assert free(semaphore) in (0, 3)  # as it is looked at when it is used next
    assert semaphore.try_acquire(3)
    del task


def test_threads_and_tasks_stand_in_one_line() -> None:
    semaphore, order = holdfast.threads.Semaphore(0), []

    def thread() -> None:
        with semaphore.sync.permits(3):
            order.append("thread")
        assert semaphore.sync.acquire(timeout=60, n=2)
        order.append("thread again")

    async def main() -> None:
        first = asyncio.create_task(semaphore.acquire(2))
        await turns()
        second = threading.Thread(target=thread)
        second.start()
        while semaphore.statistics().tasks_waiting < 2:
            await asyncio.sleep(0.001)
        third = asyncio.create_task(semaphore.acquire())
        await turns()
        semaphore.release(2)
        await first
        assert not third.done()
        semaphore.release(3)
        await third
        assert order[0] == "thread"
        await asyncio.to_thread(second.join)

    asyncio.run(main())
    assert order == ["thread", "thread again"]
    assert free(semaphore) == 0


def test_a_thread_gives_up() -> None:
    semaphore = holdfast.threads.BoundedSemaphore(3)
    assert semaphore.sync.acquire(n=2)
    assert not semaphore.sync.acquire(timeout=0.01, n=2)
    assert not semaphore.sync.acquire(blocking=False, n=2)
    assert semaphore.sync.acquire(n=1)
    with pytest.raises(ValueError, match="at most 3"):
        semaphore.sync.acquire(n=4)
    semaphore.sync.release(3)
    assert free(semaphore) == 3


def test_a_thread_that_waits_for_too_much_is_told_when_the_size_changes() -> None:
    semaphore, raised = holdfast.threads.BoundedSemaphore(3), []
    assert semaphore.sync.acquire(n=2)

    def thread() -> None:
        with pytest.raises(ValueError, match="at most 2") as caught:
            semaphore.sync.acquire(n=3)
        raised.append(caught)

    waiting = threading.Thread(target=thread)
    waiting.start()
    while not semaphore.statistics().tasks_waiting:
        threading.Event().wait(0.001)
    semaphore.resize(2)
    waiting.join(60)
    assert raised
    semaphore.sync.release(2)
    assert free(semaphore) == 2


# What breakers have found


def test_what_a_closed_loop_was_granted_can_be_had_at_once(library: ModuleType) -> None:
    semaphore = library.Semaphore(1)
    assert semaphore.try_acquire()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(semaphore.acquire())
    loop.run_until_complete(turns())
    semaphore.release()
    loop.close()
    assert semaphore.try_acquire()
    del waiting


async def test_a_release_from_another_thread_hands_out_nothing_while_too_many_are_taken(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(6)
    await semaphore.acquire(6)
    waiter = asyncio.create_task(semaphore.acquire())
    await turns()
    semaphore.resize(2)
    for taken in (5, 4, 3, 2):
        thread = threading.Thread(target=semaphore.release)
        thread.start()
        thread.join()
        await asyncio.sleep(0.01)
        assert not waiter.done()
        assert semaphore.statistics().value == 2 - taken
    semaphore.release()
    await turns()
    assert waiter.done()


@pytest.mark.parametrize("n", [1.0, 2.0, None])
async def test_a_number_that_is_no_integer(library: ModuleType, n: Any) -> None:
    semaphore = library.Semaphore(4)
    with pytest.raises(TypeError, match="integer"):
        await semaphore.acquire(n)
    for call in (semaphore.try_acquire, semaphore.release, semaphore.permits):
        with pytest.raises(TypeError, match="integer"):
            call(n)
    if library is holdfast.threads:
        with pytest.raises(TypeError, match="integer"):
            semaphore.sync.acquire(n=n)
        with pytest.raises(TypeError, match="integer"):
            semaphore.sync.release(n)
    assert semaphore.statistics().value == 4


def test_a_loop_that_was_closed_is_forgotten_in_the_middle_of_a_release() -> None:
    """What the closed loop's tasks held back is looked at again while permits are handed out: none is given twice."""
    semaphore = holdfast.threads.Semaphore(3)

    async def wait_and_leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await semaphore.acquire()

    semaphore.try_acquire(3)
    loop = asyncio.new_event_loop()
    got: list[int] = []

    def take(n: int) -> None:
        semaphore.sync.acquire(n=n)
        got.append(n)

    threads = []
    for number, n in enumerate((3, 2)):
        threads.append(threading.Thread(target=take, args=(n,), daemon=True))
        threads[-1].start()
        while semaphore.statistics().tasks_waiting <= number:
            threading.Event().wait(0.001)
        if number == 0:
            loop.run_until_complete(wait_and_leave())  # so the queue knows this loop
    loop.close()
    semaphore.release(3)
    threads[0].join(30)
    assert got == [3]
    assert free(semaphore) == 0, "the second one has to wait"
    semaphore.release(3)
    threads[1].join(30)
    assert got == [3, 2]
    assert free(semaphore) == 1


@pytest.mark.parametrize("make", [lambda: holdfast.threads.Semaphore(9), lambda: holdfast.threads.RateLimiter(9)])
def test_a_number_of_permits_is_not_taken_for_blocking(make: Callable[[], Any]) -> None:
    primitive = make()
    with pytest.raises(TypeError, match="n=3"):
        primitive.sync.acquire(3)
    assert primitive.sync.acquire(1)
    assert primitive.sync.acquire(0)
