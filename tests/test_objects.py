"""What the methods return, and what can be asked of a primitive: rows L1, L2, L6 and P3, and the coroutines."""

import asyncio
import collections.abc
import copy
import dataclasses
import gc
import inspect
import math
import pickle
import re
import types
import warnings
import weakref
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest
from interpreters import drop, refcounting

import holdfast
from holdfast import Barrier, BoundedSemaphore, Condition, Event, Lock, Semaphore, threads

LOCKS = [Lock, Condition, Semaphore, BoundedSemaphore]


def run_without_waiting(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


async def iterations(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# Coroutines

COROUTINES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "Lock.acquire": (Lock, lambda lock: lock.acquire()),
    "Semaphore.acquire": (Semaphore, lambda semaphore: semaphore.acquire()),
    "BoundedSemaphore.acquire": (BoundedSemaphore, lambda semaphore: semaphore.acquire()),
    "Event.wait": (Event, lambda event: event.wait()),
    "Condition.acquire": (Condition, lambda condition: condition.acquire()),
    "Condition.wait": (Condition, lambda condition: condition.wait()),
    "Condition.wait_for": (Condition, lambda condition: condition.wait_for(lambda: True)),
    "Barrier.wait": (lambda: Barrier(1), lambda barrier: barrier.wait()),
    "Barrier.abort": (lambda: Barrier(1), lambda barrier: barrier.abort()),
    "Barrier.reset": (lambda: Barrier(1), lambda barrier: barrier.reset()),
}


@pytest.mark.parametrize("name", COROUTINES)
def test_calling_without_awaiting_changes_nothing_and_warns(name: str) -> None:
    make, call = COROUTINES[name]
    primitive = make()
    before = repr(primitive), primitive.statistics()
    coroutines = [call(primitive)]
    assert isinstance(coroutines[0], collections.abc.Coroutine)
    assert asyncio.iscoroutine(coroutines[0])
    assert inspect.isawaitable(coroutines[0])
    assert (repr(primitive), primitive.statistics()) == before
    awaited_never = f"coroutine '.*{name.split('.')[1]}' was never awaited"
    with pytest.warns(RuntimeWarning, match=awaited_never):
        drop(coroutines)
    assert (repr(primitive), primitive.statistics()) == before


@pytest.mark.parametrize("name", COROUTINES)
def test_closed_before_it_started_changes_nothing(name: str) -> None:
    make, call = COROUTINES[name]
    primitive = make()
    before = repr(primitive), primitive.statistics()
    call(primitive).close()
    assert (repr(primitive), primitive.statistics()) == before


@pytest.mark.parametrize("name", COROUTINES)
def test_methods_are_coroutine_functions(name: str) -> None:
    make, _ = COROUTINES[name]
    method = getattr(make(), name.split(".")[1])
    assert inspect.iscoroutinefunction(method)


async def test_wherever_asyncio_takes_a_coroutine() -> None:
    lock, semaphore, event, condition = Lock(), Semaphore(5), Event(), Condition()
    event.set()
    assert await asyncio.create_task(lock.acquire()) is True
    assert await asyncio.wait_for(semaphore.acquire(), 1) is True
    assert await asyncio.gather(event.wait(), semaphore.acquire(), condition.acquire()) == [True] * 3
    assert await asyncio.ensure_future(semaphore.acquire()) is True
    assert await asyncio.shield(semaphore.acquire()) is True
    done, _ = await asyncio.wait([asyncio.ensure_future(semaphore.acquire())])
    assert done.pop().result() is True
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(event.wait())
    assert waiting.result() is True
    future = asyncio.run_coroutine_threadsafe(event.wait(), asyncio.get_running_loop())
    assert await asyncio.wrap_future(future) is True


async def test_acquire_and_wait_return_true() -> None:
    for make in LOCKS:
        primitive = make()
        assert await primitive.acquire() is True
        waiter = asyncio.create_task(primitive.acquire())
        await iterations()
        primitive.release()
        assert await waiter is True
    event = Event()
    event_waiter = asyncio.create_task(event.wait())
    await iterations()
    event.set()
    assert await event_waiter is True
    assert await event.wait() is True
    condition = Condition()
    await condition.acquire()
    condition_waiter = asyncio.create_task(condition.wait())
    await iterations()
    await condition.acquire()
    condition.notify()
    condition.release()
    assert await condition_waiter is True


async def test_a_waiting_task_shows_where_it_waits() -> None:
    lock = Lock()
    await lock.acquire()

    async def visit() -> None:
        async with lock:
            pass

    direct = asyncio.create_task(lock.acquire())
    within = asyncio.create_task(visit())
    await iterations()
    assert "Lock.acquire() running at" in repr(direct)
    assert "wait_for=<Future pending" in repr(direct)
    assert [frame.f_code.co_name for frame in direct.get_stack()] == ["acquire"]
    assert within.get_stack()[0].f_code.co_name == "visit"
    lock.release()
    await direct
    lock.release()
    await within


async def test_async_mock_with_a_spec() -> None:
    lock = AsyncMock(spec=Lock)
    assert isinstance(lock.acquire, AsyncMock)
    assert not isinstance(lock.release, AsyncMock)
    assert not isinstance(lock.locked, AsyncMock)
    await lock.acquire()
    lock.release()
    lock.acquire.assert_awaited_once()
    event = AsyncMock(spec=Event())
    event.wait.return_value = True
    assert await event.wait() is True
    event.set()
    barrier = AsyncMock(spec=Barrier)
    barrier.wait.return_value = 1
    assert await barrier.wait() == 1
    condition = AsyncMock(spec=Condition)
    await condition.wait()
    condition.notify()
    assert not isinstance(condition.notify, AsyncMock)


@pytest.mark.parametrize("make", LOCKS)
async def test_mock_with_a_spec_in_async_with(make: type) -> None:
    for mock in (MagicMock(spec=make), AsyncMock(spec=make)):
        async with mock:
            pass
        mock.__aenter__.assert_awaited_once()
        mock.__aexit__.assert_awaited_once()


@pytest.mark.parametrize("make", [asyncio.Condition, Condition])
@pytest.mark.parametrize("spec", [asyncio.Lock, Lock, asyncio.Lock(), Lock()], ids=["a", "b", "c", "d"])
@pytest.mark.parametrize("mock", [Mock, MagicMock, AsyncMock, partial(create_autospec, instance=True)])
async def test_a_condition_over_a_mock_of_a_lock(make: Any, spec: Any, mock: Any) -> None:
    """For isinstance() it is a lock, and has the methods of one. It is used as asyncio's Condition uses it."""
    lock = mock(spec)
    condition = make(lock)
    assert "locked" in repr(condition)
    async with condition:
        lock.acquire.assert_awaited_once()
        waiter = asyncio.create_task(condition.wait())
        await asyncio.sleep(0)
        lock.release.assert_called_once()
        condition.notify()
        await waiter
        assert lock.acquire.await_count == 2
    assert lock.release.call_count == 2


# `async with`


@pytest.mark.parametrize("make", LOCKS)
def test_uncontended_async_with_creates_no_coroutine(make: Callable[[], Any]) -> None:
    primitive = make()
    entering = primitive.__aenter__()
    assert primitive.locked()
    leaving = primitive.__aexit__(None, None, None)
    assert not primitive.locked()
    again = primitive.__aenter__()
    for awaitable in (entering, leaving, again):
        assert not isinstance(awaitable, types.CoroutineType)
        assert isinstance(awaitable, collections.abc.Coroutine)
        assert awaitable is entering


@pytest.mark.parametrize("make", LOCKS)
async def test_what_entering_returns_is_a_coroutine_all_the_same(make: Callable[[], Any]) -> None:
    primitive = make()
    assert await asyncio.create_task(primitive.__aenter__()) is None
    assert await asyncio.wait_for(primitive.__aexit__(None, None, None), 1) is None
    entering = primitive.__aenter__()
    assert run_without_waiting(entering) is None
    entering.close()
    with pytest.raises(ZeroDivisionError):
        entering.throw(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        entering.throw(ZeroDivisionError)
    assert primitive.locked()
    waiting = primitive.__aenter__()
    assert isinstance(waiting, collections.abc.Coroutine)
    task = asyncio.create_task(waiting)
    await iterations()
    assert not task.done()
    primitive.release()
    assert await task is None


@pytest.mark.parametrize("make", LOCKS)
async def test_async_with_gives_none(make: Callable[[], Any]) -> None:
    primitive = make()
    async with primitive as value:
        assert value is None


async def test_the_methods_of_the_class_condition_are_those_of_its_lock() -> None:
    lock = Lock()
    condition = Condition(lock)
    assert await Condition.acquire(condition) is True
    assert lock.locked()
    assert Condition.locked(condition)
    Condition.release(condition)
    assert not lock.locked()
    assert not Condition.locked(condition)


async def test_subclass_with_its_own_acquire_is_used_by_async_with() -> None:
    calls = []

    class Counted(Lock):
        async def acquire(self) -> bool:
            calls.append("acquire")
            return await super().acquire()

        def release(self) -> None:
            calls.append("release")
            super().release()

    async with Counted():
        assert calls == ["acquire"]
    assert calls == ["acquire", "release"]


async def test_subclass_with_its_own_async_with_keeps_it() -> None:
    """Also if it has its own acquire(), and also what is derived from it."""
    calls = []

    class Own(Lock):
        async def acquire(self) -> bool:
            calls.append("acquire")
            return await super().acquire()

        async def __aenter__(self) -> None:
            calls.append("enter")

    class Derived(Own):
        pass

    for cls in (Own, Derived):
        await cls().__aenter__()
    assert calls == ["enter", "enter"]


def test_subclass_with_a_base_that_wants_to_know_of_it() -> None:
    class Tagged:
        tag = ""

        def __init_subclass__(cls, *, tag: str, **kwargs: object) -> None:
            super().__init_subclass__(**kwargs)
            cls.tag = tag

    class TaggedLock(Lock, Tagged, tag="mine"):
        pass

    assert TaggedLock.tag == "mine"


# The forms that asyncio deprecated in 3.7: L6


def deprecated() -> Any:
    return pytest.warns(DeprecationWarning, match="write 'async with lock:'")


@types.coroutine
def generator(primitive: Any) -> Generator[Any, Any, Any]:
    return (yield from primitive)


@types.coroutine
def with_yield_from(primitive: Any, inside: Callable[[], None]) -> Generator[Any, Any, None]:
    with (yield from primitive):
        inside()


async def plain_await(primitive: Any) -> Any:
    return await primitive


async def yield_from(primitive: Any) -> Any:
    return await generator(primitive)


FORMS = [plain_await, yield_from]


@pytest.mark.parametrize("make", LOCKS)
@pytest.mark.parametrize("form", FORMS)
async def test_await_and_yield_from(make: Callable[[], Any], form: Callable[[Any], Any]) -> None:
    primitive = make()
    with deprecated() as caught:
        await form(primitive)
    assert caught[0].filename == __file__
    assert primitive.locked()
    with deprecated():
        waiter = asyncio.create_task(form(primitive))
        await iterations()
    assert not waiter.done()
    primitive.release()
    await waiter
    assert primitive.locked()
    primitive.release()
    assert not primitive.locked()


@pytest.mark.parametrize("make", LOCKS)
async def test_with_await(make: Callable[[], Any]) -> None:
    primitive = make()
    with deprecated():
        with await primitive as value:
            assert value is None
            assert primitive.locked()
        assert not primitive.locked()
        with pytest.raises(ZeroDivisionError), await primitive:
            raise ZeroDivisionError
        assert not primitive.locked()


@pytest.mark.parametrize("make", LOCKS)
async def test_with_yield_from(make: Callable[[], Any]) -> None:
    primitive = make()
    inside = []
    with deprecated():
        await with_yield_from(primitive, lambda: inside.append(primitive.locked()))
    assert inside == [True]
    assert not primitive.locked()


async def test_with_await_ends_once() -> None:
    lock = Lock()
    with deprecated():
        held = await lock
    with held:
        assert lock.locked()
    assert not lock.locked()
    with pytest.raises(RuntimeError, match="write 'async with lock:'"), held:
        pytest.fail("entered")
    assert not lock.locked()


async def test_deprecated_forms_wait_in_line_and_can_be_cancelled() -> None:
    lock = Lock()
    await lock.acquire()
    with deprecated():
        first, second = [asyncio.create_task(plain_await(lock)) for _ in range(2)]
        await iterations()
    lock.release()
    first.cancel()
    await iterations()
    assert first.cancelled()
    with second.result():
        assert lock.locked()
    assert not lock.locked()


@pytest.mark.parametrize("make", LOCKS)
def test_deprecated_form_warns_when_it_is_written_not_when_it_is_made(make: Callable[[], Any]) -> None:
    primitive = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inspect.isawaitable(primitive)
    assert not primitive.locked()


# repr: P3


async def check_repr(primitive: Any, idle: str, busy: str, wait: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    form = rf"<holdfast\.{type(primitive).__name__} object at 0x[0-9a-f]+ \[(.*)\]>"
    match = re.fullmatch(form, repr(primitive))
    assert match
    assert match[1] == idle
    waiters = [asyncio.create_task(wait()) for _ in range(2)]
    await iterations()
    match = re.fullmatch(form, repr(primitive))
    assert match
    assert match[1] == busy
    for waiter in waiters:
        waiter.cancel()
    await iterations()


async def test_repr() -> None:
    lock, semaphore, event, condition, barrier = Lock(), Semaphore(2), Event(), Condition(), Barrier(3)
    await check_repr(event, "unset", "unset, waiters:2", event.wait)
    event.set()
    assert repr(event).endswith(" [set]>")
    await check_repr(barrier, "filling, waiters:0/3", "filling, waiters:2/3", barrier.wait)
    await barrier.abort()
    assert repr(barrier).endswith(" [broken]>")
    assert repr(lock).endswith(" [unlocked]>")
    await lock.acquire()
    await check_repr(lock, "locked", "locked, waiters:2", lock.acquire)
    await check_repr(semaphore, "unlocked, value:2", "locked", semaphore.acquire)
    await check_repr(semaphore, "locked", "locked, waiters:2", semaphore.acquire)
    bounded = BoundedSemaphore(0)
    await check_repr(bounded, "locked", "locked, waiters:2", bounded.acquire)

    async def wait() -> None:
        async with condition:
            await condition.wait()

    await check_repr(condition, "unlocked", "unlocked, waiters:2", wait)
    async with condition:
        assert repr(condition).endswith(" [locked]>")


async def test_repr_is_asyncios_but_for_the_module() -> None:
    def forms(classes: Any) -> list[str]:
        made = [
            classes.Lock(),
            classes.Event(),
            classes.Condition(),
            classes.Semaphore(3),
            classes.Semaphore(0),
            classes.BoundedSemaphore(2),
            classes.Barrier(2),
        ]
        reprs = [re.sub(r"0x\w+", "", repr(primitive)) for primitive in made]
        return [re.sub(r"^<[\w.]+\.(\w+) ", r"<\1 ", form) for form in reprs]

    assert forms(holdfast) == forms(asyncio)


def test_repr_of_a_subclass_names_its_module() -> None:
    class Mine(Lock):
        pass

    assert re.fullmatch(rf"<{__name__}\..*Mine object at 0x[0-9a-f]+ \[unlocked\]>", repr(Mine()))


# statistics()


async def test_statistics() -> None:
    lock, semaphore, event, condition, barrier = Lock(), Semaphore(2), Event(), Condition(), Barrier(3)
    assert dataclasses.asdict(lock.statistics()) == {"locked": False, "tasks_waiting": 0}
    assert dataclasses.asdict(condition.statistics()) == {"locked": False, "tasks_waiting": 0}
    assert dataclasses.asdict(semaphore.statistics()) == {"value": 2, "tasks_waiting": 0}
    assert dataclasses.asdict(event.statistics()) == {"is_set": False, "tasks_waiting": 0}
    assert dataclasses.asdict(barrier.statistics()) == {"parties": 3, "tasks_waiting": 0, "broken": False}

    async def wait() -> None:
        async with condition:
            await condition.wait()

    await lock.acquire()
    calls = [lock.acquire, *[semaphore.acquire] * 3, event.wait, wait, barrier.wait, barrier.wait]
    tasks = [asyncio.create_task(call()) for call in calls]
    await iterations()
    assert dataclasses.asdict(lock.statistics()) == {"locked": True, "tasks_waiting": 1}
    assert dataclasses.asdict(condition.statistics()) == {"locked": False, "tasks_waiting": 1}
    assert dataclasses.asdict(semaphore.statistics()) == {"value": 0, "tasks_waiting": 1}
    assert dataclasses.asdict(event.statistics()) == {"is_set": False, "tasks_waiting": 1}
    assert dataclasses.asdict(barrier.statistics()) == {"parties": 3, "tasks_waiting": 2, "broken": False}
    lock.release()
    event.set()
    await barrier.abort()
    assert lock.statistics().tasks_waiting == 0
    assert lock.statistics().locked
    assert event.statistics().is_set
    assert barrier.statistics().broken
    for task in tasks:
        task.cancel()
    await iterations()


@pytest.mark.parametrize("make", [*LOCKS, Event, lambda: Barrier(2)])
def test_statistics_are_frozen_and_of_one_moment(make: Callable[[], Any]) -> None:
    primitive = make()
    statistics = primitive.statistics()
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.tasks_waiting = 5
    assert statistics == primitive.statistics()
    assert hash(statistics) == hash(primitive.statistics())
    assert copy.copy(statistics) == pickle.loads(pickle.dumps(statistics)) == statistics
    if hasattr(primitive, "acquire"):
        run_without_waiting(primitive.acquire())
        assert statistics != primitive.statistics()


@pytest.mark.parametrize("cls", [Lock, Semaphore, Event, Condition, Barrier])
def test_before_its_init_it_has_nothing(cls: Any) -> None:
    """As a class in Python: it can be copied, and what is not there raises."""
    blank = cls.__new__(cls)
    assert vars(copy.copy(blank)) == {}
    with pytest.raises(AttributeError):
        _ = blank._queue


# try_acquire()


@pytest.mark.parametrize("make", [Lock, Semaphore, BoundedSemaphore])
async def test_try_acquire_never_jumps_the_queue(make: Callable[[], Any]) -> None:
    primitive = make()
    assert primitive.try_acquire() is True
    assert primitive.try_acquire() is False
    first, second = [asyncio.create_task(primitive.acquire()) for _ in range(2)]
    await iterations()
    primitive.release()
    assert primitive.try_acquire() is False
    await iterations()
    assert first.done()
    assert not second.done()
    primitive.release()
    assert primitive.try_acquire() is False
    second.cancel()  # granted, and given back when its task runs
    assert primitive.try_acquire() is False
    await iterations()
    assert primitive.try_acquire() is True


async def test_try_acquire_takes_no_free_permit_while_a_granted_waiter_has_not_run() -> None:
    semaphore = Semaphore(0)
    waiter = asyncio.create_task(semaphore.acquire())
    await iterations()
    semaphore.release()
    semaphore.release()
    assert semaphore.try_acquire() is False
    assert await waiter
    assert semaphore.try_acquire() is True


# Classes


@pytest.mark.parametrize("name", ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"])
def test_subclasses_of_asyncios(name: str) -> None:
    assert issubclass(getattr(holdfast, name), getattr(asyncio, name))


def test_bounded_semaphore_is_a_semaphore() -> None:
    assert issubclass(BoundedSemaphore, Semaphore)


def test_broken_barrier_error_is_asyncios() -> None:
    assert holdfast.BrokenBarrierError is asyncio.BrokenBarrierError


def test_signatures_are_asyncios_with_loop() -> None:
    for name in ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore"):
        ours = inspect.signature(getattr(holdfast, name)).parameters
        theirs = inspect.signature(getattr(asyncio, name)).parameters
        assert [*ours] == [*theirs, "loop"]
        assert ours["loop"].kind is inspect.Parameter.KEYWORD_ONLY
        for parameter in theirs:
            assert ours[parameter].default == theirs[parameter].default
    assert [*inspect.signature(Barrier).parameters] == ["parties"]


@refcounting
@pytest.mark.parametrize("make", [*LOCKS, Event])
async def test_idle_primitive_needs_no_collector(make: Callable[[], Any]) -> None:
    primitive = make()
    wait, wake = (primitive.wait, primitive.set) if make is Event else (primitive.acquire, primitive.release)
    if make is not Event:
        await primitive.acquire()
    waiters = [asyncio.create_task(wait()) for _ in range(3)]
    await iterations()
    waiters.pop(1).cancel()
    wake()
    await iterations()
    wake()
    await asyncio.gather(*waiters)
    wake()
    gone = weakref.ref(primitive)
    gc.disable()
    try:
        del primitive, wait, wake, waiters
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("make", [asyncio.Semaphore, Semaphore, threads.Semaphore])
async def test_a_semaphore_without_a_limit(make: type) -> None:
    semaphore = make(math.inf)
    async with asyncio.timeout(10):
        for _ in range(1000):
            async with semaphore:
                await semaphore.acquire()
    assert not semaphore.locked()
    for _ in range(2000):
        semaphore.release()
    assert repr(semaphore).endswith("[unlocked, value:inf]>")
    if make is not asyncio.Semaphore:
        assert semaphore.try_acquire()
        assert semaphore.statistics().value == math.inf
        semaphore._value = 0  # as a subclass may have it
        waiters = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        semaphore._value = math.inf
        semaphore.release()
        await asyncio.gather(*waiters)


@pytest.mark.parametrize("make", [asyncio.BoundedSemaphore, BoundedSemaphore])
async def test_a_bounded_semaphore_without_a_bound(make: type) -> None:
    """Of all permits there are, all are still free."""
    semaphore = make(math.inf)
    await semaphore.acquire()
    with pytest.raises(ValueError, match="released too many times"):
        semaphore.release()
