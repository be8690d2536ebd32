"""Tests and tracers put an acquire() or release() of their own into the class: `async with` goes through it."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

import holdfast
from holdfast import BoundedSemaphore, Condition, Lock, Semaphore, threads
from holdfast.tasks.keyed_lock import KeyLock


class OwnLock(Lock):
    pass


class OwnSemaphore(BoundedSemaphore):
    pass


CLASSES = {
    "Lock": Lock,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "subclass of Lock": OwnLock,
    "subclass of BoundedSemaphore": OwnSemaphore,
    "threads.Lock": threads.Lock,
    "threads.Semaphore": threads.Semaphore,
    "threads.BoundedSemaphore": threads.BoundedSemaphore,
}


@pytest.fixture(params=CLASSES)
def cls(request: pytest.FixtureRequest) -> Any:
    return CLASSES[request.param]


async def three_blocks(mutex: Any) -> None:
    """One where it is free, one that is in the way of another."""

    async def use() -> None:
        async with mutex:
            pass

    await use()
    async with mutex:
        waiting = asyncio.create_task(use())
        await asyncio.sleep(0)
    await waiting
    assert not mutex.locked()


def tracking(owner: Any, calls: list[str]) -> tuple[Any, Any]:
    """An acquire() and a release() that do the owner's, and write down that they were called."""
    acquire, release = owner.acquire, owner.release

    async def tracking_acquire(self: Any) -> Any:
        calls.append("acquire")
        return await acquire(self)

    def tracking_release(self: Any) -> None:
        calls.append("release")
        release(self)

    return tracking_acquire, tracking_release


@contextmanager
def by_mock(owner: Any, calls: list[str]) -> Iterator[None]:
    acquire, release = tracking(owner, calls)
    with mock.patch.object(owner, "acquire", acquire), mock.patch.object(owner, "release", release):
        yield


@contextmanager
def by_hand(owner: Any, calls: list[str]) -> Iterator[None]:
    acquire, release = owner.acquire, owner.release
    owner.acquire, owner.release = tracking(owner, calls)
    yield
    owner.acquire, owner.release = acquire, release


@pytest.fixture(params=[by_mock, by_hand])
def patched(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_async_with_goes_through_what_is_put_into_the_class(cls: Any, patched: Any) -> None:
    """Of an object made before and of one made meanwhile; and no longer when it is undone."""
    before, calls = cls(), []
    asyncio.run(three_blocks(before))
    with patched(cls, calls):
        for mutex in (before, cls()):
            calls.clear()
            asyncio.run(three_blocks(mutex))
            assert sorted(calls) == ["acquire"] * 3 + ["release"] * 3
    calls.clear()
    asyncio.run(three_blocks(before))
    asyncio.run(three_blocks(cls()))
    assert calls == []


class OneKey(KeyLock[str]):
    def __init__(self) -> None:
        super().__init__(holdfast.KeyedLock(), "key")


@pytest.mark.parametrize("of", [holdfast.KeyedLock, threads.KeyedLock, None], ids=["tasks", "threads", "subclass"])
def test_async_with_of_a_key_goes_through_what_is_put_into_the_class(of: Any, patched: Any) -> None:
    def make() -> Any:
        return of()["key"] if of else OneKey()

    before, calls = make(), []
    asyncio.run(three_blocks(before))
    with patched(type(before), calls):
        for mutex in (before, make()):
            calls.clear()
            asyncio.run(three_blocks(mutex))
            assert sorted(calls) == ["acquire"] * 3 + ["release"] * 3
    calls.clear()
    asyncio.run(three_blocks(before))
    asyncio.run(three_blocks(make()))
    assert calls == []


def test_what_is_put_into_the_getitem_of_a_keyed_lock_is_seen() -> None:
    locks = holdfast.KeyedLock[str]()
    kept = locks["key"]
    with mock.patch.object(holdfast.KeyedLock, "__getitem__", lambda self, key: (self, key)):
        assert locks["key"] == (locks, "key")  # type: ignore[comparison-overlap]
    assert type(locks["key"]) is type(kept)


def test_what_is_put_into_a_class_above_it_is_seen() -> None:
    class Above(Lock):
        pass

    class Below(Above):
        pass

    calls: list[str] = []
    lock = Below()
    with by_mock(Above, calls):
        asyncio.run(three_blocks(lock))
    assert calls.count("acquire") == 3


def test_a_condition_goes_through_what_is_in_the_class_of_its_lock(patched: Any) -> None:
    """Its wait() as well, as it takes the lock again."""

    async def main() -> None:
        condition = Condition()
        await three_blocks(condition)
        assert calls.count("acquire") == 3

        async def wait() -> None:
            async with condition:
                await condition.wait()

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        async with condition:
            condition.notify()
        await waiting
        assert calls.count("acquire") == calls.count("release") == 6

    calls: list[str] = []
    with patched(Lock, calls):
        asyncio.run(main())
    calls.clear()
    asyncio.run(three_blocks(Condition()))
    assert calls == []


def test_a_condition_made_before_sees_it_in_async_with() -> None:
    condition, calls = Condition(), []
    with by_mock(Lock, calls):
        asyncio.run(three_blocks(condition))
    assert calls.count("acquire") == 3


def one_key() -> KeyLock[str]:
    return holdfast.KeyedLock[str]()["key"]


@pytest.mark.skipif(not (holdfast.accelerated and sys.version_info >= (3, 12)), reason="costs something here")
@pytest.mark.parametrize("make", [Lock, Semaphore, one_key])
def test_async_with_goes_through_what_is_put_into_the_object(make: Any) -> None:
    mutex, calls = make(), []
    acquire = mutex.acquire

    async def tracking_acquire() -> Any:
        calls.append("acquire")
        return await acquire()

    with mock.patch.object(mutex, "acquire", tracking_acquire):
        asyncio.run(three_blocks(mutex))
    assert calls == ["acquire"] * 3
    asyncio.run(three_blocks(mutex))
    assert calls == ["acquire"] * 3


def test_an_error_of_it_comes_out(cls: Any) -> None:
    async def main() -> None:
        mutex = cls()
        with mock.patch.object(cls, "acquire", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
            async with mutex:
                pass
        assert not mutex.locked()
        async with mutex:
            assert mutex.locked()

    asyncio.run(main())
