"""`holdfast.debug.dump()` tells who holds what and who waits for what, without anything having been noted before."""

import asyncio
import contextlib
import json
import threading
import types
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from interpreters import BOUND, PYPY

import holdfast
import holdfast.debug
from holdfast import threads

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")
LOCKS = [holdfast.Lock, threads.Lock, asyncio.Lock]


@contextlib.asynccontextmanager
async def started(**coroutines: Coroutine[Any, Any, object]) -> AsyncIterator[dict[str, asyncio.Task[Any]]]:
    """Tasks of these names, each suspended in its last wait."""
    tasks = {}
    for name, coroutine in coroutines.items():
        tasks[name] = asyncio.create_task(coroutine, name=name)
        for _ in range(5):
            await asyncio.sleep(0)
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())


async def hold(manager: Any) -> None:
    async with manager:
        await asyncio.Event().wait()  # HOLD


async def enter(manager: Any) -> None:
    async with manager:  # ENTER
        pass


def line_of(mark: str) -> int:
    """The line of this file with this comment."""
    lines = Path(__file__).read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


def files_of(primitive: holdfast.debug.WaitedFor) -> set[str]:
    people = (*primitive.holders, *primitive.waiters)
    return {each.place.file for each in people if each.place is not None}


def only(dump: holdfast.debug.Dump, kind: str) -> holdfast.debug.WaitedFor:
    """The one primitive of this kind that a line of this file waits for or holds."""
    [found] = [primitive for primitive in dump.primitives if primitive.kind == kind and __file__ in files_of(primitive)]
    return found


def names(people: tuple[Any, ...]) -> list[str]:
    return [each.name for each in people]


@pytest.mark.parametrize("make", LOCKS)
async def test_the_holder_of_a_lock_and_those_that_wait_in_their_order(make: Any) -> None:
    lock = make()
    async with started(holder=hold(lock), first=enter(lock), second=lock.acquire(), third=enter(lock)):
        found = only(holdfast.debug.dump(), "Lock")
    assert names(found.holders) == ["task 'holder'"]
    assert names(found.waiters) == ["task 'first'", "task 'second'", "task 'third'"]
    assert found.unknown == 0
    place = found.holders[0].place
    assert place is not None
    assert (place.file, place.line, place.function) == (__file__, line_of("HOLD") - 1, "hold")
    assert found.waiters[0].place == holdfast.debug.Place(__file__, line_of("ENTER"), "enter")


async def test_a_bare_acquire_is_an_unknown_holder() -> None:
    lock = holdfast.Lock()
    await lock.acquire()
    async with started(waiter=enter(lock)):
        dump = holdfast.debug.dump()
    found = only(dump, "Lock")
    assert (found.holders, found.unknown) == ((), 1)
    assert "held by a holder unknown: acquire() without 'async with'" in str(dump)


async def test_the_task_that_calls_it_holds_what_its_with_statements_name() -> None:
    class Service:
        def __init__(self) -> None:
            self.lock = holdfast.Lock()
            self.rw = threads.RWLock()

    service = Service()
    async with service.lock, service.rw.writer:
        waiting = [asyncio.create_task(enter(each)) for each in (service.lock, service.rw.reader)]
        await asyncio.sleep(0)
        dump = holdfast.debug.dump()
    await asyncio.wait(waiting)
    current = asyncio.current_task()
    assert current is not None
    assert names(only(dump, "Lock").holders) == [f"task {current.get_name()!r}"]
    assert names(only(dump, "RWLock").holders) == [f"task {current.get_name()!r}"]


async def test_a_lock_that_was_handed_over() -> None:
    lock = holdfast.Lock()
    await lock.acquire()
    async with started(first=enter(lock), second=enter(lock)):
        lock.release()
        dump = holdfast.debug.dump()
    [holder] = only(dump, "Lock").holders
    assert (holder.name, holder.has_run) == ("task 'first'", False)
    assert "which was handed it and has not run yet" in str(holder)


@contextlib.asynccontextmanager
async def in_a_function(lock: Any) -> AsyncIterator[None]:
    async with lock:
        yield


async def through_generator(lock: Any) -> None:
    async def items() -> AsyncIterator[int]:
        async with lock:
            yield 1

    async for _ in items():
        await asyncio.Event().wait()


async def in_generator(lock: Any) -> None:
    async def items() -> AsyncIterator[int]:
        async with lock:
            await asyncio.Event().wait()
            yield 1

    async for _ in items():
        pass


async def in_exit_stack(lock: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(lock)
        await asyncio.Event().wait()


async def beside_others(lock: Any) -> None:
    with contextlib.suppress(ValueError), contextlib.nullcontext():
        async with asyncio.timeout(None), lock, contextlib.nullcontext():
            try:
                await asyncio.sleep(0)
            finally:
                await asyncio.Event().wait()


async def in_sub_coroutine(lock: Any) -> None:
    @types.coroutine
    def step() -> Any:
        yield from hold(lock).__await__()

    await step()


async def in_function(lock: Any) -> None:
    async with in_a_function(lock):
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "use", [through_generator, in_generator, in_exit_stack, beside_others, in_sub_coroutine, in_function]
)
@pytest.mark.parametrize("make", LOCKS)
async def test_however_it_is_held(make: Any, use: Any) -> None:
    lock = make()
    async with started(holder=use(lock), waiter=enter(lock)):
        found = only(holdfast.debug.dump(), "Lock")
    assert names(found.holders) == ["task 'holder'"]
    place = found.holders[0].place
    assert place is not None
    assert place.file == __file__


async def test_a_generator_that_two_tasks_have_is_nobody_s() -> None:
    semaphore = holdfast.BoundedSemaphore(2)
    await semaphore.acquire()

    async def items() -> AsyncIterator[int]:
        async with semaphore:
            yield 1

    async def begins(generator: Any) -> None:
        await anext(generator)
        await asyncio.Event().wait()

    async def keeps(generator: Any) -> None:
        await asyncio.Event().wait()
        await anext(generator)

    shared = items()
    async with started(one=begins(shared), waiter=enter(semaphore)):
        assert names(only(holdfast.debug.dump(), "BoundedSemaphore").holders) == ["task 'one'"]
        async with started(two=keeps(shared)):
            found = only(holdfast.debug.dump(), "BoundedSemaphore")
    assert (found.holders, found.unknown) == ((), 2)
    await shared.aclose()


async def test_more_holders_than_there_can_be_are_none() -> None:
    lock = holdfast.Lock()

    async def lets_go() -> None:
        async with lock:
            lock.release()
            await asyncio.Event().wait()

    async with started(one=lets_go(), two=hold(lock), waiter=enter(lock)):
        found = only(holdfast.debug.dump(), "Lock")
        assert (found.holders, found.unknown) == ((), 1)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(lock.acquire())  # so that `one` finds it locked when it leaves its block
        await asyncio.sleep(0)
    await waiting


@pytest.mark.parametrize("tier", [holdfast, threads])
async def test_every_kind(tier: Any) -> None:
    keyed, rw, semaphore = tier.KeyedLock(), tier.RWLock(), tier.BoundedSemaphore(3)
    condition, event, barrier = tier.Condition(), tier.Event(), tier.Barrier(2)

    async def notified() -> None:
        async with condition:
            await condition.wait()

    async def events() -> None:
        await event.wait()

    async with started(
        reader=hold(rw.reader),
        permits=hold(semaphore.permits(2)),
        key=hold(keyed["a"]),
        others_key=hold(keyed.all("b", "c")),
        notified=notified(),
        writer=enter(rw.writer),
        late_reader=enter(rw.reader),
        semaphore=semaphore.acquire(2),
        waits_for_key=enter(keyed["a"]),
        waits_for_keys=enter(keyed.all("c", "b")),
        waits_for_event=events(),
        party=enter(barrier),
    ):
        dump = holdfast.debug.dump()
    assert [names(only(dump, "RWLock").holders), names(only(dump, "RWLock").waiters)] == [
        ["task 'reader'"],
        ["task 'writer'", "task 'late_reader'"],
    ]
    found = only(dump, "BoundedSemaphore")
    assert (found.holders[0].permits, found.waiters[0].needs, found.unknown) == (2, 2, 0)
    keys = [primitive for primitive in dump.primitives if primitive.kind == "KeyedLock"]
    assert [names(each.holders) for each in keys] == [["task 'key'"], ["task 'others_key'"]]
    assert keys[0].name.startswith("<lock of 'a' in <holdfast.")
    for kind, name in {"Condition": "notified", "Barrier": "party"}.items():
        assert names(only(dump, kind).waiters) == [f"task {name!r}"]
        assert only(dump, kind).holders == ()
    assert ["task 'waits_for_event'"] in [names(each.waiters) for each in dump.primitives if each.kind == "Event"]
    assert dump.deadlocks == ()


@pytest.mark.parametrize("tier", [holdfast, threads])
async def test_who_waits_to_be_notified_does_not_hold_the_lock(tier: Any) -> None:
    lock = tier.Lock()
    condition = tier.Condition(lock)

    async def notified() -> None:
        async with lock:
            await condition.wait()

    async with started(notified=notified(), holder=hold(lock), waiter=enter(lock)):
        found = only(holdfast.debug.dump(), "Lock")
    assert names(found.holders) == ["task 'holder'"]


async def test_who_waits_for_the_rate() -> None:
    limiter = holdfast.RateLimiter(1, per=1000)
    limiter.try_acquire()
    async with started(waiter=enter(limiter)):
        found = only(holdfast.debug.dump(), "RateLimiter")
    assert (names(found.waiters), found.holders, found.unknown) == (["task 'waiter'"], (), 0)


async def test_a_timeout_is_seen() -> None:
    lock = holdfast.Lock()
    await lock.acquire()

    async def patient() -> None:
        async with asyncio.timeout(1000):
            await lock.acquire()

    async with started(patient=patient(), waits_for=asyncio.wait_for(lock.acquire(), 1000), endless=enter(lock)):
        waiters = only(holdfast.debug.dump(), "Lock").waiters
    timeouts = {waiter.name: waiter.timeout for waiter in waiters}
    assert timeouts.pop("task 'patient'")
    assert not timeouts.pop("task 'endless'")


def test_threads() -> None:
    lock, other, go = threads.Lock(), threads.Lock(), threading.Event()
    entered = [threading.Event(), threading.Event()]

    def holder() -> None:
        with lock.sync:
            entered[0].set()
            go.wait(BOUND)

    def waiter() -> None:
        entered[1].set()
        with other.sync, lock.sync:
            pass

    people = [threading.Thread(target=each, name=each.__name__) for each in (holder, waiter)]
    for thread, event in zip(people, entered, strict=True):
        thread.start()
        assert event.wait(BOUND)
    dump = holdfast.debug.dump()
    while not any(names(primitive.waiters) == ["thread 'waiter'"] for primitive in dump.primitives):
        dump = holdfast.debug.dump()  # it has asked, and does not wait yet
    go.set()
    for thread in people:
        thread.join(BOUND)
    found = only(dump, "Lock")
    assert (names(found.holders), names(found.waiters)) == (["thread 'holder'"], ["thread 'waiter'"])
    assert dump.deadlocks == ()


async def test_it_is_plain_data() -> None:
    lock = holdfast.Lock()
    async with started(holder=hold(lock), waiter=enter(lock)):
        dump = holdfast.debug.dump()
    data = json.loads(dump.to_json())
    assert data == json.loads(json.dumps(dump.as_dict()))
    [found] = [each for each in data["primitives"] if each["kind"] == "Lock"]
    assert found["holders"][0]["name"] == "task 'holder'"
    assert found["waiters"][0]["place"]["file"] == __file__
    assert str(dump).startswith("holdfast: ")
    assert "waited for by task 'waiter' (test_dump.py:" in str(dump)


async def test_nothing_of_the_program_is_called() -> None:
    class Touchy:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"asked for {name}")

        @property
        def __class__(self) -> type:
            raise AssertionError("asked for its class")

    touchy, lock = Touchy(), holdfast.Lock()

    async def use() -> None:
        mine = touchy
        async with lock:
            await asyncio.Event().wait()
        del mine

    async with started(holder=use(), waiter=enter(lock)):
        assert names(only(holdfast.debug.dump(), "Lock").holders) == ["task 'holder'"]


def test_it_is_there_without_an_import_of_its_own() -> None:
    assert holdfast.debug.dump().threads >= 1
    assert "debug" in dir(holdfast)
