"""What is measured. Each workload is one batch, written once for all libraries.

It returns the nanoseconds of the operations that it is named after, and how many they were. Making tasks and
bringing them to where they wait is not timed. Waking or cancelling a task counts until it has ended.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from .clock import now
from .competitors import Condition, Library, Lock
from .loops import Loop, Work

Timing = tuple[int, int]
Workload = Callable[[Library, int], Coroutine[Any, Any, Timing]]
Cancels = list[Callable[[], object]]
Wait = Callable[[], Awaitable[object]]
"""What a task does to wait."""
Settle = Callable[[], Awaitable[None]]
"""Returns when those that have begun to wait have got there."""
Prepare = Callable[[Library], Coroutine[Any, Any, tuple[Wait, Settle]]]


@dataclass(frozen=True)
class Row:
    """A workload at one size; rows with the same title make a curve."""

    family: str
    title: str
    size: int
    workload: Workload
    unit: str = "waiters"
    contended: bool = True

    @property
    def label(self) -> str:
        return f"{self.title}, {self.size:,} {self.unit}" if self.contended else self.title


class Crowd:
    """Tasks that arrive, wait for something, and leave."""

    def __init__(self, loop: Loop, size: int) -> None:
        self._loop = loop
        self._size = size
        self._arrived = 0
        self._left = 0
        self._all_left = loop.flag()

    def member(self, wait: Wait) -> Work:
        async def work() -> None:
            self._arrived += 1
            try:
                await wait()
            finally:
                self._left += 1
                if self._left == self._size:
                    self._all_left.set()

        return work

    async def waits(self) -> None:
        """Return once all have arrived, and wait."""
        while self._arrived < self._size:
            await self._loop.pause()
        for _ in range(3):
            await self._loop.pause()

    async def has_left(self) -> None:
        await self._all_left.wait()


def wait_under(condition: Condition) -> Wait:
    guard, wait = condition.raw, condition.wait

    async def body() -> None:
        async with guard:
            await wait()

    return body


def settle_under(condition: Condition) -> Settle:
    async def body() -> None:
        async with condition.raw:  # behind all of them, so they have let go of it and wait
            pass

    return body


# Uncontended


def entering(make: Callable[[Library], Lock | Condition]) -> Workload:
    async def workload(library: Library, n: int) -> Timing:
        guard = make(library).raw
        start = now()
        for _ in range(n):
            async with guard:
                pass
        return now() - start, n

    return workload


def acquiring(make: Callable[[Library], Lock | Condition]) -> Workload:
    async def workload(library: Library, n: int) -> Timing:
        lock = make(library)
        acquire, release = lock.acquire, lock.release
        start = now()
        for _ in range(n):
            await acquire()
            release()
        return now() - start, n

    return workload


async def set_event(library: Library, n: int) -> Timing:
    setters = [library.event().set for _ in range(n)]
    start = now()
    for set_ in setters:
        set_()
    return now() - start, n


async def wait_for_set_event(library: Library, n: int) -> Timing:
    event = library.event()
    event.set()
    wait = event.wait
    start = now()
    for _ in range(n):
        await wait()
    return now() - start, n


# Hand-off


def handing_off(make: Callable[[Library], Lock]) -> Workload:
    """All tasks want it all the time: each `release()` wakes another task."""

    async def workload(library: Library, n: int) -> Timing:
        lock = make(library)
        acquire, release = lock.acquire, lock.release
        turns = max(4, 1000 // n)

        async def take_turns() -> None:
            for _ in range(turns):
                await acquire()
                release()

        crowd = Crowd(library.loop, n)
        async with library.loop.tasks() as tasks:
            await acquire()
            for _ in range(n):
                tasks.start(crowd.member(take_turns))
            await crowd.waits()
            start = now()
            release()
            await crowd.has_left()
            elapsed = now() - start
        return elapsed, n * turns

    return workload


# One task wakes many


async def release_in_a_row(library: Library, n: int) -> Timing:
    semaphore = library.semaphore(0)
    release = semaphore.release
    crowd = Crowd(library.loop, n)
    async with library.loop.tasks() as tasks:
        for _ in range(n):
            tasks.start(crowd.member(semaphore.acquire))
        await crowd.waits()
        start = now()
        for _ in range(n):
            release()
        await crowd.has_left()
        elapsed = now() - start
    return elapsed, n


async def notify_in_a_row(library: Library, n: int) -> Timing:
    condition = library.condition()
    notify = condition.notify
    crowd = Crowd(library.loop, n)
    async with library.loop.tasks() as tasks:
        for _ in range(n):
            tasks.start(crowd.member(wait_under(condition)))
        await crowd.waits()
        async with condition.raw:  # as in settle_under()
            start = now()
            for _ in range(n):
                notify()
        await crowd.has_left()
        elapsed = now() - start
    return elapsed, n


async def notify_all(library: Library, n: int) -> Timing:
    condition = library.condition()
    crowd = Crowd(library.loop, n)
    async with library.loop.tasks() as tasks:
        for _ in range(n):
            tasks.start(crowd.member(wait_under(condition)))
        await crowd.waits()
        async with condition.raw:
            start = now()
            condition.notify_all()
        await crowd.has_left()
        elapsed = now() - start
    return elapsed, n


async def broadcast(library: Library, n: int) -> Timing:
    event = library.event()
    crowd = Crowd(library.loop, n)
    async with library.loop.tasks() as tasks:
        for _ in range(n):
            tasks.start(crowd.member(event.wait))
        await crowd.waits()
        start = now()
        event.set()
        await crowd.has_left()
        elapsed = now() - start
    return elapsed, n


# Working together


async def meet(library: Library, n: int) -> Timing:
    """The cost of one task's wait(), over some rounds of the same tasks; this one is a party."""
    wait = library.barrier(n).wait
    rounds = max(4, 500 // n)

    async def attend() -> None:
        for _ in range(rounds):
            await wait()

    crowd = Crowd(library.loop, n - 1)
    async with library.loop.tasks() as tasks:
        for _ in range(n - 1):
            tasks.start(crowd.member(attend))
        await crowd.waits()
        start = now()
        await attend()
        await crowd.has_left()
        elapsed = now() - start
    return elapsed, n * rounds


async def pass_items(library: Library, n: int) -> Timing:
    """As many producers as consumers around a buffer for ten items: two conditions over one lock."""
    lock = library.lock()
    not_empty, not_full = library.condition(lock), library.condition(lock)
    filled, emptied = not_empty.notify, not_full.notify
    wait_filled, wait_emptied = not_empty.wait, not_full.wait
    buffer: list[int] = []
    items = 500

    async def produce() -> None:
        for item in range(items):
            async with not_full.raw:
                while len(buffer) >= 10:
                    await wait_emptied()
                buffer.append(item)
                filled()

    async def consume() -> None:
        for _ in range(items):
            async with not_empty.raw:
                while not buffer:
                    await wait_filled()
                buffer.pop()
                emptied()

    crowd = Crowd(library.loop, n)
    async with library.loop.tasks() as tasks:
        start = now()
        for _ in range(n // 2):
            tasks.start(crowd.member(produce))
            tasks.start(crowd.member(consume))
        await crowd.has_left()
        elapsed = now() - start
    return elapsed, n // 2 * items


# Cancelling


def oldest_first(cancels: Cancels) -> Cancels:
    return cancels


def newest_first(cancels: Cancels) -> Cancels:
    return cancels[::-1]


def at_random(cancels: Cancels) -> Cancels:
    return random.Random(1).sample(cancels, len(cancels))


async def wait_for_lock(library: Library) -> tuple[Wait, Settle]:
    lock = library.lock()
    await lock.acquire()
    return lock.acquire, library.loop.pause


async def wait_for_condition(library: Library) -> tuple[Wait, Settle]:
    condition = library.condition()
    return wait_under(condition), settle_under(condition)


def cancelling(prepare: Prepare, order: Callable[[Cancels], Cancels]) -> Workload:
    async def workload(library: Library, n: int) -> Timing:
        wait, settle = await prepare(library)
        crowd = Crowd(library.loop, n)
        async with library.loop.tasks() as tasks:
            cancels = order([tasks.start_cancellable(crowd.member(wait)) for _ in range(n)])
            await crowd.waits()
            await settle()
            start = now()
            for cancel in cancels:
                cancel()
            await crowd.has_left()
            elapsed = now() - start
        return elapsed, n

    return workload


def _lock(library: Library) -> Lock:
    return library.lock()


def _semaphore(library: Library) -> Lock:
    return library.semaphore()


def _condition(library: Library) -> Condition:
    return library.condition()


def _rows() -> list[Row]:
    rows = [
        Row("Uncontended", f"{name}, {form}", 500, build(make), contended=False)
        for form, build in (("async with", entering), ("acquire and release", acquiring))
        for name, make in (("Lock", _lock), ("Semaphore", _semaphore), ("Condition", _condition))
    ]
    rows += [
        Row("Uncontended", "Event, set", 500, set_event, contended=False),
        Row("Uncontended", "Event, wait when set", 500, wait_for_set_event, contended=False),
    ]
    curves: list[tuple[str, str, str, Workload, tuple[int, ...]]] = [
        ("Hand-off", "Lock, hand-off", "tasks", handing_off(_lock), (2, 10, 100, 1_000)),
        ("Hand-off", "Semaphore, hand-off", "tasks", handing_off(_semaphore), (2, 10, 100, 1_000)),
        ("In a row", "Semaphore, release() in a row", "waiters", release_in_a_row, (100, 1_000, 10_000, 50_000)),
        ("In a row", "Condition, notify(1) in a row", "waiters", notify_in_a_row, (100, 1_000, 10_000, 50_000)),
        ("Broadcast", "Event, set()", "waiters", broadcast, (10, 1_000, 100_000)),
        ("Broadcast", "Condition, notify_all()", "waiters", notify_all, (10, 1_000, 100_000)),
        ("Barrier", "Barrier, wait()", "parties", meet, (2, 10, 1_000)),
        ("Bounded buffer", "Bounded buffer on Conditions", "tasks", pass_items, (2, 10, 100)),
        *(
            ("Cancel", f"{name}, cancel {label}", "waiters", cancelling(prepare, order), (1_000, 10_000, 50_000))
            for name, prepare, label, order in (
                ("Lock", wait_for_lock, "oldest first", oldest_first),
                ("Lock", wait_for_lock, "newest first", newest_first),
                ("Lock", wait_for_lock, "at random", at_random),
                ("Condition", wait_for_condition, "at random", at_random),
            )
        ),
    ]
    for family, title, unit, workload, sizes in curves:
        rows += [Row(family, title, size, workload, unit) for size in sizes]
    return rows


ROWS = _rows()
