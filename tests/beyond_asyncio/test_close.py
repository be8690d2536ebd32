"""close(): nobody waits any more, holders go on, and the errors say why."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

import holdfast
import holdfast.threads

from .turns import turns


async def wait_on(condition: Any) -> None:
    async with condition:
        await condition.wait()


def wait_in_thread(condition: Any) -> None:
    with condition.sync:
        condition.sync.wait()


@dataclass(frozen=True)
class Case:
    """A primitive for which tasks and threads have to wait."""

    make: Callable[[ModuleType], Any]
    wait: Callable[[Any], Awaitable[object]]
    block: Callable[[Any], object]
    take: Callable[[Any], object] = lambda primitive: True
    """Take all of it, so that others wait; without a loop."""
    give_back: Callable[[Any], object] = lambda primitive: None
    is_idle: Callable[[Any], bool] = lambda primitive: True


CASES = {
    "Lock": Case(
        lambda library: library.Lock(),
        lambda lock: lock.acquire(),
        lambda lock: lock.sync.acquire(),
        lambda lock: lock.try_acquire(),
        lambda lock: lock.release(),
        lambda lock: not lock.locked(),
    ),
    "Semaphore": Case(
        lambda library: library.Semaphore(3),
        lambda semaphore: semaphore.acquire(2),
        lambda semaphore: semaphore.sync.acquire(n=2),
        lambda semaphore: semaphore.try_acquire(3),
        lambda semaphore: semaphore.release(3),
        lambda semaphore: semaphore.statistics().value == 3,
    ),
    "BoundedSemaphore": Case(
        lambda library: library.BoundedSemaphore(1),
        lambda semaphore: semaphore.acquire(),
        lambda semaphore: semaphore.sync.acquire(),
        lambda semaphore: semaphore.try_acquire(),
        lambda semaphore: semaphore.release(),
        lambda semaphore: semaphore.statistics().value == 1,
    ),
    "RWLock.reader": Case(
        lambda library: library.RWLock(),
        lambda rw: rw.reader.acquire(),
        lambda rw: rw.reader.sync.acquire(),
        lambda rw: rw.writer.try_acquire(),
        lambda rw: rw.writer.release(),
        lambda rw: not rw.writer.locked(),
    ),
    "RWLock.writer": Case(
        lambda library: library.RWLock(),
        lambda rw: rw.writer.acquire(),
        lambda rw: rw.writer.sync.acquire(),
        lambda rw: rw.reader.try_acquire(),
        lambda rw: rw.reader.release(),
        lambda rw: not rw.writer.locked(),
    ),
    "Event": Case(lambda library: library.Event(), lambda event: event.wait(), lambda event: event.sync.wait()),
    "Condition": Case(lambda library: library.Condition(), wait_on, wait_in_thread),
    "Barrier": Case(
        lambda library: library.Barrier(9), lambda barrier: barrier.wait(), lambda barrier: barrier.sync.wait()
    ),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@cases
async def test_who_waits_and_who_comes_is_told_why(library: ModuleType, case: Case) -> None:
    primitive = case.make(library)
    assert case.take(primitive)
    tasks = [asyncio.create_task(case.wait(primitive)) for _ in range(3)]  # type: ignore[arg-type]
    await turns()
    tasks[1].cancel()
    assert not primitive.is_closed()
    primitive.close("the service ends")
    primitive.close("it has ended")
    assert primitive.is_closed()
    tasks.append(asyncio.create_task(case.wait(primitive)))  # type: ignore[arg-type]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(1), asyncio.CancelledError)
    for error in results:
        assert isinstance(error, holdfast.Closed)
        assert error.reason == "the service ends"
        assert str(error).endswith("is closed: the service ends")
    assert len({*map(id, results)}) == 3, "tasks must not share an error: each adds to its traceback"
    assert ", closed]" in repr(primitive)


@cases
async def test_holders_finish(library: ModuleType, case: Case) -> None:
    primitive = case.make(library)
    case.take(primitive)
    waiting = asyncio.create_task(case.wait(primitive))  # type: ignore[arg-type]
    await turns()
    primitive.close()
    with pytest.raises(holdfast.Closed, match=r"is closed$"):
        await waiting
    case.give_back(primitive)
    assert case.is_idle(primitive)
    assert primitive.is_closed()


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "BoundedSemaphore", "RWLock.writer"])
async def test_who_was_granted_keeps_it(library: ModuleType, name: str) -> None:
    case = CASES[name]
    primitive = case.make(library)
    case.take(primitive)
    granted = asyncio.create_task(case.wait(primitive))  # type: ignore[arg-type]
    await turns()
    case.give_back(primitive)
    primitive.close()
    assert await granted is True


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "BoundedSemaphore", "RWLock.reader", "RWLock.writer"])
async def test_nothing_is_taken_any_more(library: ModuleType, name: str) -> None:
    primitive = CASES[name].make(library)
    primitive.close()
    takers = [primitive] if hasattr(primitive, "acquire") else [primitive.reader, primitive.writer]
    for each in takers:
        with pytest.raises(holdfast.Closed):
            each.try_acquire()
        with pytest.raises(holdfast.Closed):
            async with each:
                raise AssertionError("it came in")
    if isinstance(primitive, asyncio.Semaphore):
        with pytest.raises(holdfast.Closed):
            async with primitive.permits(1):
                raise AssertionError("it came in")


async def test_the_body_goes_on_and_its_end_is_no_error(library: ModuleType) -> None:
    lock, semaphore, rw = library.Lock(), library.Semaphore(2), library.RWLock()
    for primitive, entered in ((lock, lock), (semaphore, semaphore), (rw, rw.writer)):
        async with entered:
            primitive.close()
        assert not entered.locked()


async def test_a_refused_waiter_of_a_condition_holds_the_lock(library: ModuleType) -> None:
    condition = library.Condition()
    order = []

    async def consumer() -> None:
        async with condition:
            try:
                await condition.wait()
            except holdfast.Closed:
                assert condition.locked()
                order.append("refused")

    task = asyncio.create_task(consumer())
    await turns()
    async with condition:  # the lock is open still
        condition.close()
        await turns()
        order.append("closer is in")
    await task
    assert order == ["closer is in", "refused"]
    assert not condition.locked()


async def test_a_notified_waiter_gets_its_lock_back_though_that_is_closed(library: ModuleType) -> None:
    lock = library.Lock()
    condition = library.Condition(lock)

    async def consumer() -> bool:
        async with condition:
            return bool(await condition.wait())

    consumers = [asyncio.create_task(consumer()) for _ in range(3)]
    await turns()
    async with condition:
        condition.notify(2)
        await turns()
        lock.close()  # the notified ones stand in its line, and have held it before
        consumers[0].cancel()
        await turns()
    results = await asyncio.gather(*consumers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [True, True], "the notification of the cancelled one goes to the third"
    assert not lock.locked()
    with pytest.raises(holdfast.Closed):
        await lock.acquire()


async def test_a_set_event_has_happened(library: ModuleType) -> None:
    event = library.Event()
    event.set()
    event.close()
    assert await event.wait() is True
    event.clear()
    with pytest.raises(holdfast.Closed):
        await event.wait()
    event.set()
    assert await event.wait() is True


async def test_a_predicate_that_is_true_needs_no_wait(library: ModuleType) -> None:
    condition = library.Condition()
    items = ["last"]
    condition.close()
    async with condition:
        assert await condition.wait_for(lambda: items)
        items.clear()
        with pytest.raises(holdfast.Closed):
            await condition.wait_for(lambda: items)


async def test_a_complete_round_leaves_a_closed_barrier(library: ModuleType) -> None:
    barrier = library.Barrier(2)
    parties = [asyncio.create_task(barrier.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert await parties[1] in (0, 1)
    barrier.close()
    assert await parties[0] in (0, 1)
    with pytest.raises(holdfast.Closed):
        await parties[2]
    await barrier.reset()
    with pytest.raises(holdfast.Closed):
        await barrier.wait()


def test_in_one_loop_after_another(library: ModuleType) -> None:
    primitive = library.Lock()
    primitive.try_acquire()

    async def leave_waiting() -> None:
        tasks.append(asyncio.ensure_future(primitive.acquire()))
        await turns()

    tasks: list[asyncio.Task[bool]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_waiting())
    loop.close()
    primitive.close("between two loops")

    async def come() -> None:
        with pytest.raises(holdfast.Closed, match="between two loops"):
            await primitive.acquire()

    asyncio.run(come())


def test_bound_to_a_loop() -> None:
    loop = asyncio.new_event_loop()
    lock = holdfast.Lock(loop=loop)
    lock.close()
    with pytest.raises(holdfast.Closed):
        loop.run_until_complete(lock.acquire())
    loop.close()


@cases
def test_threads_are_told(case: Case) -> None:
    primitive = case.make(holdfast.threads)
    assert case.take(primitive)
    errors: list[BaseException] = []

    def block() -> None:
        try:
            case.block(primitive)
        except holdfast.Closed as error:
            errors.append(error)

    threads = [threading.Thread(target=block, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = threading.Event()
    while waiting(primitive) < 2:
        deadline.wait(0.001)
    primitive.close(ValueError("no more"))
    for thread in threads:
        thread.join(20)
    assert [str(error).rpartition(": ")[2] for error in errors] == ["no more"] * 2
    assert {type(error.__cause__) for error in errors} == {ValueError}
    case.give_back(primitive)
    assert case.is_idle(primitive)
    with pytest.raises(holdfast.Closed):
        case.block(primitive)


def waiting(primitive: Any) -> int:
    statistics = primitive.statistics()
    return int(statistics.n_waiting if hasattr(statistics, "n_waiting") else statistics.tasks_waiting)


async def test_tasks_of_another_loop_are_told() -> None:
    lock = holdfast.threads.Lock()
    lock.try_acquire()

    def elsewhere() -> str:
        async def wait() -> str:
            try:
                await lock.acquire()
            except holdfast.Closed as error:
                return str(error.reason)
            return "it came in"

        return asyncio.run(wait())

    thread = asyncio.create_task(asyncio.to_thread(elsewhere))
    while lock.statistics().tasks_waiting < 1:
        await asyncio.sleep(0.001)
    lock.sync.close("from the other loop")
    assert lock.sync.is_closed()
    assert await thread == "from the other loop"


async def test_a_rate_limiter_gives_no_more() -> None:
    limiter = holdfast.RateLimiter(1, per=3600)
    assert limiter.try_acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await turns()
    limiter.close()
    for call in (lambda: waiting, limiter.acquire):
        with pytest.raises(holdfast.Closed):
            await call()  # type: ignore[operator]
    with pytest.raises(holdfast.Closed):
        limiter.try_acquire()


def test_the_error_can_be_copied_and_sent() -> None:
    error = holdfast.Closed("it is closed", {"code": 3})
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(again), again.reason) == ("it is closed", {"code": 3})


@cases
async def test_a_reason_that_has_no_text(library: ModuleType, case: Case) -> None:
    class Reason:
        def __str__(self) -> str:
            raise KeyError("no text")

    primitive, reason = case.make(library), Reason()
    case.take(primitive)
    waiting = asyncio.create_task(case.wait(primitive))  # type: ignore[arg-type]
    await turns()
    primitive.close(reason)
    with pytest.raises(holdfast.Closed, match="a reason of type Reason") as caught:
        await waiting
    assert caught.value.reason is reason


async def test_a_closed_rate_limiter_leaves_no_timer() -> None:
    limiter = holdfast.RateLimiter(1, per=3600)
    limiter.try_acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await turns()
    reference = weakref.ref(limiter)
    limiter.close()
    with pytest.raises(holdfast.Closed):
        await waiting
    del limiter, waiting
    await turns()
    gc.collect()
    assert reference() is None, "the loop keeps it until a timer rings"
