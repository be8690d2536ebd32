"""A primitive that nobody uses any more keeps nothing of those who did, however they left."""

import asyncio
import contextlib
import gc
import types
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from holdfast import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Event, Lock, Semaphore

CLASSES = [Lock, Event, Condition, Semaphore, BoundedSemaphore, Barrier]


async def step(iterations: int = 1) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)


class ByHand:
    """A coroutine that has gone as far as it gets, without a task."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.awaited: asyncio.Future[Any] | None = None
        self.go_on()

    @property
    def may_go_on(self) -> bool:
        return self.awaited is not None and self.awaited.done()

    def go_on(self) -> None:
        """To the end, or to the next wait."""
        try:
            self.awaited = self.coroutine.send(None)
        except StopIteration:
            self.awaited = None

    def close(self) -> None:
        self.awaited = None
        self.coroutine.close()


async def wait_under(condition: Condition) -> None:
    async with condition:
        await condition.wait()


def kept_by(primitive: object) -> int:
    """How many objects can be reached from here. (It is asked for the number, not the size, to be exact.)"""
    not_ours = (type, types.ModuleType, types.FunctionType, types.CodeType, asyncio.AbstractEventLoop)
    seen = {id(primitive)}
    found = [primitive]
    for item in found:
        for other in gc.get_referents(item):
            if id(other) not in seen and not isinstance(other, not_ours):
                seen.add(id(other))
                found.append(other)
    return len(found)


def new(cls: type) -> Any:
    return cls(3) if cls is Barrier else cls()


async def use_event(event: Event, waiter: Callable, leave: Callable) -> None:
    waiters = [waiter(event.wait()) for _ in range(5)]
    await step(2)
    leave(waiters)
    event.set()
    leave(waiters)
    await step(2)
    event.clear()


async def use_mutex(mutex: Any, waiter: Callable, leave: Callable) -> None:
    await mutex.acquire()
    waiters = [waiter(mutex.acquire()) for _ in range(5)]
    await step(2)
    leave(waiters)
    for _ in range(5):
        mutex.release()
        leave(waiters)
        await step(2)
        if not mutex.locked():
            break


async def use_condition(condition: Condition, waiter: Callable, leave: Callable) -> None:
    waiters = [waiter(wait_under(condition)) for _ in range(5)]
    await step(2)
    async with condition:
        leave(waiters)
        condition.notify(2)
        leave(waiters)
        await step(2)
        leave(waiters)
        condition.notify_all()
    leave(waiters)
    await step(10)
    async with condition:
        condition.notify()  # a condition keeps its empty queue until then


async def attend(barrier: Barrier) -> None:
    with contextlib.suppress(BrokenBarrierError):
        await barrier.wait()


async def use_barrier(barrier: Barrier, waiter: Callable, leave: Callable) -> None:
    for parties, end in ((2, barrier.reset), (2, barrier.abort), (3, None)):
        waiters = [waiter(attend(barrier)) for _ in range(parties)]
        await step(2)
        leave(waiters)
        if end is not None:
            await end()
        leave(waiters)
        await step(3)
        await barrier.reset()
    await step(3)


USES = {Event: use_event, Condition: use_condition, Barrier: use_barrier}
LEAVING = {
    "nobody": [],
    "the first": [0],
    "the last": [-1],
    "the second": [1],
    "all": range(5),
    "all, newest first": range(-1, -6, -1),
}


@pytest.mark.parametrize("who", LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize("how", ["cancelled", "closed"])
@pytest.mark.parametrize("cls", CLASSES)
async def test_an_idle_primitive_keeps_nothing(cls, how, who):
    """Tasks wait, some of them leave early, at every stage, the others get what they wait for. In the end the
    primitive is as small as a new one.
    """
    pending: list[ByHand] = []

    def waiter(coroutine: Coroutine[Any, Any, Any]) -> Any:
        if how == "closed":
            pending.append(ByHand(coroutine))
            return pending[-1]
        return asyncio.create_task(coroutine)

    def leave(waiters: list) -> None:
        for index in who:
            if -len(waiters) <= index < len(waiters):
                getattr(waiters[index], "close" if how == "closed" else "cancel")()

    primitive = new(cls)
    before = kept_by(primitive)
    using = asyncio.create_task(USES.get(cls, use_mutex)(primitive, waiter, leave))
    while not using.done():
        await step()
        for waiting in pending:
            if waiting.may_go_on:
                waiting.go_on()
    await using
    del using
    if getattr(primitive, "locked", bool)():
        primitive.release()
    assert "waiters:0" in repr(primitive) if cls is Barrier else "waiters" not in repr(primitive)
    assert kept_by(primitive) == before


async def test_the_only_waiter_is_cancelled():
    """It is the oldest, which leaves by a short way."""
    event = Event()
    before = kept_by(event)
    task = asyncio.create_task(event.wait())
    await step()
    assert kept_by(event) > before
    task.cancel()
    await asyncio.wait([task])
    del task
    assert kept_by(event) == before


@pytest.mark.parametrize("how", ["served", "cancelled", "closed"])
async def test_a_lock_in_use_keeps_nothing_of_who_wanted_it_back_and_has_gone(how):
    """Its queue remembers who keeps a place there even if cancelled, and is in use all the time."""

    async def kept_after(many: int) -> int:
        condition = Condition()
        waiting = [ByHand(wait_under(condition)) for _ in range(many)]
        await condition.acquire()
        condition.notify_all()
        for waiter in waiting:
            waiter.go_on()  # it asks for the lock
        staying = ByHand(condition.acquire())
        for waiter in waiting:
            if how == "cancelled":
                waiter.awaited.cancel()
                waiter.awaited = waiter.coroutine.throw(asyncio.CancelledError)
            elif how == "closed":
                waiter.close()
        condition.release()
        for waiter in waiting if how != "closed" else ():
            with contextlib.suppress(asyncio.CancelledError):
                waiter.go_on()
        assert staying.may_go_on
        kept = kept_by(condition)
        staying.go_on()
        return kept

    assert await kept_after(20) == await kept_after(2)
