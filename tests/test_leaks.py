"""100,000 rounds of each operation leave no object and no reference behind."""

import asyncio
import contextlib
import gc
import itertools
import sys
from collections.abc import Awaitable, Callable

import pytest
from interpreters import refcounting

from holdfast import Barrier, Condition, Event, KeyedLock, Lock, Semaphore

pytestmark = refcounting
ROUNDS = 100_000
SLACK = ROUNDS // 200
"""Blocks that may be left: caches of the interpreter (asyncio's own Barrier leaves up to 94). A leak would be one for
each round."""

step = asyncio.sleep
Round = Callable[[], Awaitable[object]]


def entering(primitive: Lock | Semaphore | Condition) -> Round:
    async def once() -> None:
        async with primitive:
            pass

    return once


def entering_key_by_key(locks: KeyedLock[object]) -> Round:
    numbers = itertools.count()

    async def once() -> None:
        async with locks[next(numbers)]:
            pass

    return once


def trying_a_key(locks: KeyedLock[object]) -> Round:
    async def once() -> None:
        assert locks["key"].try_acquire()
        assert not locks["key"].try_acquire()
        locks["key"].release()
        with contextlib.suppress(RuntimeError):
            locks["key"].release()
        with contextlib.suppress(TypeError):
            locks[[]].try_acquire()

    return once


def keeping_many(locks: KeyedLock[object]) -> Round:
    """More locks of keys than are kept to be used again, and one that refers to itself."""

    async def once() -> None:
        kept = [locks[key] for key in "abc"]
        kept[0].itself = kept[0]  # type: ignore[attr-defined]

    return once


def acquiring(primitive: Lock | Semaphore | Condition) -> Round:
    async def once() -> None:
        await primitive.acquire()
        primitive.release()

    return once


def trying(primitive: Lock | Semaphore) -> Round:
    async def once() -> None:
        assert primitive.try_acquire()
        assert not primitive.try_acquire()
        primitive.release()

    return once


def failing(primitive: Lock) -> Round:
    async def once() -> None:
        with contextlib.suppress(RuntimeError):
            primitive.release()

    return once


def never_awaited(primitive: Lock) -> Round:
    async def once() -> None:
        primitive.acquire().close()

    return once


def by_hand(primitive: Lock) -> Round:
    """A coroutine that is sent into, thrown into, closed."""

    async def once() -> None:
        await primitive.acquire()
        for end in ("throw", "close", "drop"):
            coroutine = primitive.acquire()
            coroutine.send(None)
            if end == "throw":
                with contextlib.suppress(ZeroDivisionError):
                    coroutine.throw(ZeroDivisionError())
            elif end == "close":
                coroutine.close()
        primitive.release()

    return once


def looking(primitive: Lock) -> Round:
    async def once() -> None:
        coroutine = primitive.acquire()
        assert [coroutine.cr_frame, coroutine.cr_code, coroutine.__qualname__, repr(coroutine)]
        coroutine.close()

    return once


def waiting_when_set(event: Event) -> Round:
    async def once() -> None:
        event.set()
        await event.wait()
        event.clear()

    return once


def handing_over(primitive: Lock | Semaphore) -> Round:
    async def once() -> None:
        await primitive.acquire()
        waiter = asyncio.create_task(primitive.acquire())
        await step(0)
        primitive.release()
        await waiter
        primitive.release()

    return once


def cancelling(primitive: Lock | Semaphore, granted: bool) -> Round:
    async def once() -> None:
        await primitive.acquire()
        waiter = asyncio.create_task(primitive.acquire())
        await step(0)
        if granted:
            primitive.release()
        waiter.cancel()
        await asyncio.wait([waiter])
        if not granted:
            primitive.release()

    return once


def entering_contended(primitive: Lock | Condition) -> Round:
    async def visit() -> None:
        async with primitive:
            pass

    async def once() -> None:
        async with primitive:
            waiter = asyncio.create_task(visit())
            await step(0)
        await waiter

    return once


def waking(event: Event) -> Round:
    async def once() -> None:
        waiter = asyncio.create_task(event.wait())
        await step(0)
        event.set()
        event.clear()
        await waiter

    return once


def notifying(condition: Condition, cancelled: bool) -> Round:
    async def visit() -> None:
        async with condition:
            await condition.wait()

    async def once() -> None:
        waiter = asyncio.create_task(visit())
        await step(0)
        async with condition:
            condition.notify()
            if cancelled:
                waiter.cancel()
            await step(0)  # it has to wait for the lock
        await asyncio.wait([waiter])

    return once


def meeting(barrier: Barrier, cancelled: bool) -> Round:
    async def once() -> None:
        waiter = asyncio.create_task(barrier.wait())
        await step(0)
        if cancelled:
            waiter.cancel()
        else:
            await barrier.wait()
        await asyncio.wait([waiter])

    return once


def meeting_again(barrier: Barrier) -> Round:
    """The next round fills while this one leaves."""

    async def twice() -> None:
        await barrier.wait()
        await barrier.wait()

    async def once() -> None:
        await asyncio.gather(twice(), twice())

    return once


OPERATIONS: dict[str, Callable[[], Round]] = {
    "Lock, async with": lambda: entering(Lock()),
    "Semaphore, async with": lambda: entering(Semaphore()),
    "Semaphore(10**30), async with": lambda: entering(Semaphore(10**30)),
    "Condition, async with": lambda: entering(Condition()),
    "Lock, acquire and release": lambda: acquiring(Lock()),
    "Semaphore, acquire and release": lambda: acquiring(Semaphore(1000)),
    "Condition, acquire and release": lambda: acquiring(Condition()),
    "Lock, try_acquire": lambda: trying(Lock()),
    "Semaphore, try_acquire": lambda: trying(Semaphore()),
    "Lock, refused release": lambda: failing(Lock()),
    "Lock, never awaited": lambda: never_awaited(Lock()),
    "Lock, by hand": lambda: by_hand(Lock()),
    "Lock, looked at": lambda: looking(Lock()),
    "Event, wait when set": lambda: waiting_when_set(Event()),
    "Lock, hand-over": lambda: handing_over(Lock()),
    "Semaphore, hand-over": lambda: handing_over(Semaphore()),
    "Lock, cancelled": lambda: cancelling(Lock(), granted=False),
    "Lock, cancelled when granted": lambda: cancelling(Lock(), granted=True),
    "Semaphore, cancelled when granted": lambda: cancelling(Semaphore(), granted=True),
    "Lock, async with, contended": lambda: entering_contended(Lock()),
    "Condition, async with, contended": lambda: entering_contended(Condition()),
    "Event, set": lambda: waking(Event()),
    "Condition, notify": lambda: notifying(Condition(), cancelled=False),
    "Condition, notify, cancelled": lambda: notifying(Condition(), cancelled=True),
    "KeyedLock, async with": lambda: entering(KeyedLock()["key"]),  # type: ignore[arg-type]
    "KeyedLock, async with, key by key": lambda: entering_key_by_key(KeyedLock()),
    "KeyedLock, try_acquire": lambda: trying_a_key(KeyedLock()),
    "KeyedLock, locks in cycles": lambda: keeping_many(KeyedLock()),
    "Barrier, wait": lambda: meeting(Barrier(2), cancelled=False),
    "Barrier, wait, cancelled": lambda: meeting(Barrier(2), cancelled=True),
    "Barrier, wait again": lambda: meeting_again(Barrier(2)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_nothing_is_left(operation: str) -> None:
    once = OPERATIONS[operation]()
    for _ in range(1_000):
        await once()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(ROUNDS):
        await once()
    gc.collect()
    assert sys.getallocatedblocks() - before < SLACK


async def test_no_reference_is_left_to_what_is_shared() -> None:
    """None, True and small integers are no blocks, and some of them are immortal only since 3.12."""
    shared = [None, True, False, 0, 1]
    lock = Lock()
    rounds = [OPERATIONS[name]() for name in OPERATIONS if "contended" not in name]
    for once in rounds:
        await once()
    before = [sys.getrefcount(item) for item in shared]
    for once in rounds:
        for _ in range(1_000):
            await once()
    after = [sys.getrefcount(item) for item in shared]
    assert all(abs(now - then) < 200 for now, then in zip(after, before, strict=True))
    assert not lock.locked()
