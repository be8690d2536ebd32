"""One test for each bug that users of other libraries have reported, and that these primitives must not have."""

from __future__ import annotations

import asyncio
import gc
from types import ModuleType

import pytest

import holdfast
from holdfast.testing import Run, explore

from .turns import turns


async def take(lock: object, name: str, order: list[str]) -> None:
    async with lock:
        order.append(name)


# Readers and writers


async def test_asyncex_134_and_aiorwlock_a_cancelled_writer_lets_the_readers_behind_it_in(library: ModuleType) -> None:
    """In Nito.AsyncEx, aiorwlock 1.5.1 and rustfs #2795 they sleep until the reader that is in has left."""
    lock, order = library.RWLock(), []
    await lock.reader.acquire()
    writer = asyncio.create_task(take(lock.writer, "writer", order))
    await turns()
    readers = [asyncio.create_task(take(lock.reader, "reader", order)) for _ in range(2)]
    await turns()
    writer.cancel()
    await turns()
    assert order == ["reader", "reader"]
    await asyncio.gather(*readers)
    lock.reader.release()


async def test_aiorwlock_writers_that_come_one_after_the_other_do_not_starve_a_reader(library: ModuleType) -> None:
    """With aiorwlock 1.5.1, a reader beside two writers waited until they stopped."""
    lock, order = library.RWLock(), []
    await lock.writer.acquire()
    tasks = []
    for name in ("writer 1", "reader", "writer 2"):
        tasks.append(asyncio.create_task(take(lock.reader if name == "reader" else lock.writer, name, order)))
        await turns()
    lock.writer.release()
    await asyncio.gather(*tasks)
    assert order == ["writer 1", "reader", "writer 2"]


async def test_curator_621_and_tokio_2957_a_downgrade_lets_no_writer_in_that_waits(library: ModuleType) -> None:
    lock, order = library.RWLock(), []
    await lock.writer.acquire()
    other = asyncio.create_task(take(lock.writer, "writer", order))
    await turns()
    lock.writer.downgrade()
    await turns()
    assert order == []
    assert not lock.writer.try_acquire()
    lock.reader.release()
    await other


async def test_tokio_7282_two_readers_that_want_to_write_are_not_promised_it(library: ModuleType) -> None:
    """Each would wait for the other. There is no such call; who asks as a writer stands in line, and can give up."""
    lock, order = library.RWLock(), []

    async def upgrade() -> None:
        async with lock.reader:
            assert not lock.writer.try_acquire()
            await turns()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await lock.writer.acquire()

    await asyncio.gather(upgrade(), upgrade())
    await take(lock.writer, "writer", order)
    assert order == ["writer"]


# Semaphores


async def test_kotlin_1553_a_release_of_several_resumes_several(library: ModuleType) -> None:
    semaphore = library.Semaphore(0)
    tasks = [asyncio.create_task(semaphore.acquire(n)) for n in (1, 2, 1)]
    await turns()
    semaphore.release(4)
    await turns()
    assert all(task.done() for task in tasks)


async def test_kotlin_1553_a_release_of_one_does_not_resume_who_waits_for_two(library: ModuleType) -> None:
    semaphore = library.Semaphore(0)
    task = asyncio.create_task(semaphore.acquire(2))
    await turns()
    semaphore.release(1)
    await turns()
    assert not task.done()
    semaphore.release(1)
    await task
    assert semaphore.statistics().value == 0


async def test_curio_245_a_semaphore_that_grows_keeps_its_bound(library: ModuleType) -> None:
    """release() in a loop, which is the usual recipe, breaks it."""
    semaphore = library.BoundedSemaphore(1)
    semaphore.resize(2)
    await semaphore.acquire()
    await semaphore.acquire()
    semaphore.release(2)
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()


async def test_tokio_8021_a_closed_semaphore_is_not_opened_by_taking_permits_away(library: ModuleType) -> None:
    semaphore = library.BoundedSemaphore(3)
    await semaphore.acquire()
    semaphore.close("over")
    semaphore.resize(1)
    semaphore.release()
    assert semaphore.is_closed()
    with pytest.raises(holdfast.Closed, match="over"):
        await semaphore.acquire()


# Rate limiters


def test_aiolimiter_who_asks_for_many_is_not_overtaken_by_those_who_ask_for_one() -> None:
    """With aiolimiter 1.3.0, an acquire(8) that came first was served after 60 later acquire(1)."""

    async def scenario(run: Run) -> None:
        limiter, order = holdfast.RateLimiter(10), []
        await limiter.acquire(10)

        async def take(n: int) -> None:
            await limiter.acquire(n)
            order.append(n)

        many = asyncio.create_task(take(8))
        await turns()
        await asyncio.gather(*(take(1) for _ in range(60)), many)
        assert order == [8, *[1] * 60]

    explore(scenario, cancels=0, timers=0).check()


# Keyed locks


async def test_draft_detective_654_a_lock_that_is_held_is_not_evicted(library: ModuleType) -> None:
    """lru_cache throws out what was not used lately, whoever holds it."""
    locks, order = library.KeyedLock(), []
    async with locks["busy"]:
        for number in range(1000):
            await take(locks[number], "other", order)
        assert not locks["busy"].try_acquire()
        assert [*locks] == ["busy"]


async def test_cyberdrop_1317_a_lock_does_not_die_between_look_up_and_use(library: ModuleType) -> None:
    """In a WeakValueDictionary it may: a KeyError."""
    locks, order = library.KeyedLock(), []
    lock = locks["key"]
    await take(locks["key"], "first", order)
    gc.collect()
    async with lock:
        assert not locks["key"].try_acquire()


async def test_litellm_26569_an_old_reference_and_a_new_one_are_one_lock(library: ModuleType) -> None:
    locks = library.KeyedLock()
    old = locks["key"]
    await old.acquire()
    old.release()
    async with locks["key"]:
        assert old.locked()
        assert not old.try_acquire()


async def test_lightrag_3439_keys_that_are_not_used_any_more_leave_nothing(library: ModuleType) -> None:
    locks, order = library.KeyedLock(), []
    await asyncio.gather(*(take(locks[number % 100], "", order) for number in range(1000)))
    assert len(order) == 1000
    assert not locks._entries


# Single flight


class Body:
    """A body that takes until `go_on`, and as long to be cancelled as until `cleaned_up`."""

    def __init__(self) -> None:
        self.begun = self.at_work = 0
        self.go_on, self.cleaned_up = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        self.at_work += 1
        assert self.at_work == 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            await self.cleaned_up.wait()
            raise
        finally:
            self.at_work -= 1
        return number


async def test_hass_meteoswiss_69_the_first_caller_that_is_cancelled_does_not_take_the_others_with_it(
    library: ModuleType,
) -> None:
    """Also remnic #2015 and coil #3566."""
    flights, body = library.SingleFlight(), Body()
    first, second = (asyncio.create_task(flights.run("key", body.__call__)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    body.go_on.set()
    assert await second == 1
    assert first.cancelled()


async def test_janos_4_a_cancelled_caller_does_not_let_the_body_run_twice(library: ModuleType) -> None:
    """There it removed the key while the body ran for the others."""
    flights, body = library.SingleFlight(), Body()
    first, second = (asyncio.create_task(flights.run("key", body.__call__)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    third = asyncio.create_task(flights.run("key", body.__call__))
    await turns()
    body.go_on.set()
    assert await asyncio.gather(second, third) == [1, 1]


async def test_tailscale_18919_a_newcomer_does_not_get_the_cancellation_of_a_flight_that_is_over(
    library: ModuleType,
) -> None:
    flights, body = library.SingleFlight(), Body()
    first = asyncio.create_task(flights.run("key", body.__call__))
    await turns()
    first.cancel()
    await turns()  # the body cleans up
    newcomer = asyncio.create_task(flights.run("key", body.__call__))
    await turns()
    assert body.begun == 1
    body.cleaned_up.set()
    body.go_on.set()
    assert await newcomer == 2


async def test_haruki_59_a_body_that_fails_does_not_keep_its_place_for_ever(library: ModuleType) -> None:
    flights = library.SingleFlight()

    async def fail() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await flights.run("key", fail)
    assert len(flights) == 0


def test_deer_flow_5062_a_value_that_is_made_in_one_loop_is_there_in_the_next(library: ModuleType) -> None:
    """A guard made of asyncio.Lock breaks when a second loop comes."""
    once = library.Once()
    made = []

    async def make() -> str:
        made.append(1)
        return "value"

    assert [asyncio.run(once.get(make)) for _ in range(2)] == ["value"] * 2
    assert made == [1]
