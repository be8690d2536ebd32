"""Several event loops and threads: rows C1, L5 and P2, for every primitive.

A loop is paused when `run_until_complete` returned and left tasks behind.
"""

import asyncio
import gc
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Self

import pytest
from interpreters import BOUND, closing, collect_in_pypy

from holdfast import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Event, Lock, Semaphore

PATIENCE = BOUND  # seconds until a test gives up on another thread


def run_without_waiting(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that need not wait, with or without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("it waits")


async def iterations(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def state(primitive: Any) -> tuple[str, Any]:
    return repr(primitive), primitive.statistics()


@dataclass(frozen=True)
class Kind:
    """How to make tasks wait for a primitive, and how to wake the first."""

    make: Callable[..., Any]
    hold: Callable[[Any], Any]
    """From now on `wait` waits."""
    wait: Callable[[Any], Coroutine[Any, Any, Any]]
    wake: Callable[[Any], Any]
    woken: Any = True
    """What `wait` returns then."""
    in_errors: bool = True
    """Whether errors name the primitive itself, and not the lock in it."""


def nothing(primitive: Any) -> None:
    pass


def take(primitive: Any) -> None:
    assert primitive.try_acquire()


def free(primitive: Any) -> None:
    """Release what is locked."""
    if hasattr(primitive, "locked") and primitive.locked():
        primitive.release()


async def wait_for_notification(condition: Condition) -> bool:
    async with condition:
        return await condition.wait()


def notify(condition: Condition) -> None:
    run_without_waiting(condition.acquire())
    try:
        condition.notify()
    finally:
        condition.release()


async def wait_for_the_end_of_the_barrier(barrier: Barrier) -> str:
    try:
        await barrier.wait()
    except BrokenBarrierError:
        return "broken"
    return "complete"


KINDS = {
    "Lock": Kind(Lock, take, Lock.acquire, Lock.release),
    "Semaphore": Kind(Semaphore, take, Semaphore.acquire, Semaphore.release),
    "BoundedSemaphore": Kind(BoundedSemaphore, take, BoundedSemaphore.acquire, BoundedSemaphore.release),
    "Event": Kind(Event, Event.clear, Event.wait, Event.set),
    "Condition": Kind(Condition, nothing, wait_for_notification, notify),
    "Condition's lock": Kind(
        Condition,
        lambda condition: run_without_waiting(condition.acquire()),
        lambda condition: condition.acquire(),
        lambda condition: condition.release(),
        in_errors=False,
    ),
    "Barrier": Kind(
        lambda: Barrier(3),
        nothing,
        wait_for_the_end_of_the_barrier,
        lambda barrier: run_without_waiting(barrier.reset()),
        "broken",
    ),
}
BINDABLE = [name for name in KINDS if name != "Barrier"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def new_loop() -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    """Makes loops that are closed at the end of the test, their tasks cancelled."""
    loops = []

    def new() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loops.append(loop)
        return loop

    yield new
    for loop in loops:
        if not loop.is_closed():
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(iterations())
            loop.close()


NewLoop = Callable[[], asyncio.AbstractEventLoop]


def start(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task of a loop that then pauses, the task having gone as far as it gets."""
    task = loop.create_task(coroutine)
    loop.run_until_complete(iterations())
    return task


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *args: Any) -> Any:
    """The result of a plain call that is made while the loop runs."""

    async def main() -> Any:
        return call(*args)

    return loop.run_until_complete(main())


class LoopThread:
    """A loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="other")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    async def _cancel_all(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await iterations()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        async def main() -> asyncio.Task[Any]:
            task = asyncio.create_task(coroutine)
            await iterations()
            return task

        return self.run(main())

    def result(self, task: asyncio.Task[Any]) -> Any:
        async def main() -> Any:
            return await task

        return self.run(main())


@pytest.fixture
def other() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


# An idle primitive may move


def test_idle_primitive_serves_one_loop_after_another(kind: Kind) -> None:
    primitive = kind.make()

    async def contend() -> None:
        kind.hold(primitive)
        waiters = [asyncio.create_task(kind.wait(primitive)) for _ in range(2)]
        await iterations()
        assert not any(waiter.done() for waiter in waiters)
        kind.wake(primitive)
        await iterations()
        if not waiters[1].done():
            kind.wake(primitive)
        assert await asyncio.gather(*waiters) == [kind.woken] * 2
        free(primitive)

    for _ in range(3):
        asyncio.run(contend())


def test_idle_primitive_moves_to_another_loop_while_the_first_is_paused(kind: Kind, new_loop: NewLoop) -> None:
    first, second = new_loop(), new_loop()
    primitive = kind.make()
    for loop in (first, second, first):
        kind.hold(primitive)
        waiter = start(loop, kind.wait(primitive))
        assert not waiter.done()
        kind.wake(primitive)
        loop.run_until_complete(iterations())
        assert waiter.result() == kind.woken
        free(primitive)


def test_cancelled_waiters_do_not_keep_a_primitive_in_their_loop(kind: Kind, new_loop: NewLoop) -> None:
    first, second = new_loop(), new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    cancelled = start(first, kind.wait(primitive))
    cancelled.cancel()  # its task does not run before the primitive is used elsewhere
    waiter = start(second, kind.wait(primitive))
    assert primitive.statistics().tasks_waiting == (1 if kind.in_errors else 0)
    first.run_until_complete(iterations())
    assert cancelled.cancelled()
    assert not waiter.done()
    call_in(second, kind.wake, primitive)
    second.run_until_complete(iterations())
    assert waiter.result() == kind.woken


def test_cancelled_condition_waiter_takes_its_lock_again_after_the_lock_moved(new_loop: NewLoop) -> None:
    first, second = new_loop(), new_loop()
    condition = Condition()

    async def hold(until: asyncio.Event) -> None:
        async with condition:
            await until.wait()

    cancelled = start(first, wait_for_notification(condition))
    cancelled.cancel()
    until = asyncio.Event()
    holder = start(second, hold(until))
    first.run_until_complete(iterations())
    assert not cancelled.done()
    until.set()
    second.run_until_complete(holder)  # whose release meets a waiter of the first loop
    assert condition.locked()
    first.run_until_complete(iterations())
    assert cancelled.cancelled()
    assert not condition.locked()


def test_cancelled_condition_waiter_keeps_its_place_against_another_loop(new_loop: NewLoop) -> None:
    """Cancelled in the line for the lock: it still waits for it, though its task has not run."""
    first, second = new_loop(), new_loop()
    condition = Condition()
    cancelled = start(first, wait_for_notification(condition))
    run_without_waiting(condition.acquire())
    condition.notify()
    first.run_until_complete(iterations())
    cancelled.cancel()
    refused = start(second, condition.acquire())
    assert isinstance(refused.exception(), RuntimeError)
    condition.release()
    first.run_until_complete(iterations())
    assert cancelled.cancelled()
    assert not condition.locked()


# Waiting across loops is refused; for waking across loops see test_elsewhere.py


def check_message(message: str, kind: Kind, primitive: Any, *loops: asyncio.AbstractEventLoop) -> None:
    """It names the object, the loops, and what to use instead."""
    if kind.in_errors:
        assert repr(primitive).split(" [")[0] in message
    for loop in loops:
        assert repr(loop).split(" running=")[0] in message
    assert "make one for each loop" in message
    assert "holdfast.threads" in message
    assert "call_soon_threadsafe()" in message
    assert "run_coroutine_threadsafe()" in message


def test_waiting_is_refused_while_tasks_of_a_paused_loop_wait(kind: Kind, new_loop: NewLoop) -> None:
    first, second = new_loop(), new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    waiter = start(first, kind.wait(primitive))
    before = state(primitive)
    refused = start(second, kind.wait(primitive))
    error = refused.exception()
    assert isinstance(error, RuntimeError)
    assert state(primitive) == before
    assert not waiter.done()
    check_message(str(error), kind, primitive, first, second)
    call_in(first, kind.wake, primitive)
    first.run_until_complete(iterations())
    assert waiter.result() == kind.woken


def test_waiting_is_refused_while_a_granted_task_of_a_paused_loop_has_not_run(kind: Kind, new_loop: NewLoop) -> None:
    if kind.make is Event:
        pytest.skip("nothing is granted: see the next test")
    first, second = new_loop(), new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    granted = start(first, kind.wait(primitive))
    kind.wake(primitive)
    before = state(primitive)
    refused = start(second, kind.wait(primitive))
    assert isinstance(refused.exception(), RuntimeError)
    assert state(primitive) == before
    first.run_until_complete(iterations())
    assert granted.result() == kind.woken


def test_an_event_may_be_waited_for_while_a_woken_task_of_a_paused_loop_has_not_run(new_loop: NewLoop) -> None:
    first, second = new_loop(), new_loop()
    event = Event()
    woken = start(first, event.wait())
    event.set()
    event.clear()
    waiter = start(second, event.wait())
    first.run_until_complete(iterations())
    assert woken.result() is True
    assert not waiter.done()
    call_in(second, event.set)
    second.run_until_complete(iterations())
    assert waiter.result() is True
    assert repr(event).endswith("[set]>")


def test_the_repr_of_an_event_counts_the_woken_tasks_that_have_not_run(new_loop: NewLoop) -> None:
    loop = new_loop()
    event = Event()
    tasks = [start(loop, event.wait()) for _ in range(2)]
    event.set()
    assert repr(event).endswith("[set, waiters:2]>")
    tasks[0].cancel()  # granted before: it leaves with an error
    loop.run_until_complete(iterations())
    assert tasks[0].cancelled()
    assert tasks[1].result() is True
    assert repr(event).endswith("[set]>")


def test_waiting_is_refused_while_tasks_of_another_thread_wait(
    kind: Kind, new_loop: NewLoop, other: LoopThread
) -> None:
    here = new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    waiter = other.start(kind.wait(primitive))
    before = state(primitive)
    refused = start(here, kind.wait(primitive))
    error = refused.exception()
    assert isinstance(error, RuntimeError)
    assert state(primitive) == before
    check_message(str(error), kind, primitive, other.loop, here)
    other.loop.call_soon_threadsafe(kind.wake, primitive)
    assert other.result(waiter) == kind.woken


def test_waking_between_two_runs_of_a_loop_is_legal(kind: Kind, new_loop: NewLoop) -> None:
    loop = new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    waiter = start(loop, kind.wait(primitive))
    kind.wake(primitive)
    assert not waiter.done()
    assert loop.run_until_complete(waiter) == kind.woken


def test_waking_is_legal_anywhere_if_nobody_waits(kind: Kind, new_loop: NewLoop, other: LoopThread) -> None:
    first, second = new_loop(), new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    waiter = start(first, kind.wait(primitive))
    kind.wake(primitive)
    first.run_until_complete(iterations())
    assert waiter.result() == kind.woken
    free(primitive)
    kind.hold(primitive)
    call_in(second, kind.wake, primitive)
    kind.hold(primitive)
    other.run(asyncio.to_thread(kind.wake, primitive))


# Loops that are closed while tasks wait in them


@pytest.fixture(params=["kept", "collected"])
def left(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Close a loop, and keep its tasks alive by a reference or drop them."""
    kept = []

    def leave(loop: asyncio.AbstractEventLoop, tasks: list[Any]) -> None:
        loop.set_exception_handler(lambda loop, context: None)  # it would log that pending tasks are destroyed
        loop.close()
        if request.param == "kept":
            kept.extend(tasks)
        tasks.clear()
        gc.collect()

    yield leave
    kept.clear()
    gc.collect()


def check_usable(kind: Kind, primitive: Any) -> None:
    """In a new loop, tasks wait and are woken as ever."""

    async def main() -> None:
        kind.hold(primitive)
        waiter = asyncio.create_task(kind.wait(primitive))
        await iterations()
        assert not waiter.done()
        kind.wake(primitive)
        await iterations()
        assert waiter.result() == kind.woken
        assert primitive.statistics().tasks_waiting == 0

    asyncio.run(main())


@pytest.mark.parametrize("waiters", [1, 3])
def test_queued_waiters_of_a_closed_loop_are_skipped(
    kind: Kind, new_loop: NewLoop, left: Callable[..., Any], waiters: int
) -> None:
    loop = new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    left(loop, [start(loop, kind.wait(primitive)) for _ in range(waiters)])
    kind.wake(primitive)
    check_usable(kind, primitive)


def test_queued_waiters_of_a_closed_loop_do_not_keep_others_from_waiting(
    kind: Kind, new_loop: NewLoop, left: Callable[..., Any]
) -> None:
    first, second = new_loop(), new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    left(first, [start(first, kind.wait(primitive))])
    waiter = start(second, kind.wait(primitive))
    assert not waiter.done()
    assert primitive.statistics().tasks_waiting <= 1
    call_in(second, kind.wake, primitive)
    second.run_until_complete(iterations())
    assert waiter.result() == kind.woken


@pytest.mark.parametrize("waiters", [1, 3])
def test_what_was_granted_in_a_closed_loop_and_not_taken_is_given_back(
    kind: Kind, new_loop: NewLoop, left: Callable[..., Any], waiters: int
) -> None:
    loop = new_loop()
    primitive = kind.make()
    kind.hold(primitive)
    tasks = [start(loop, kind.wait(primitive)) for _ in range(waiters)]
    kind.wake(primitive)
    left(loop, tasks)
    if hasattr(primitive, "locked"):
        assert not primitive.locked()
    check_usable(kind, primitive)


def test_permits_granted_in_a_closed_loop_are_all_given_back(new_loop: NewLoop, left: Callable[..., Any]) -> None:
    loop = new_loop()
    semaphore = Semaphore(0)
    tasks = [start(loop, semaphore.acquire()) for _ in range(4)]
    for _ in range(3):
        semaphore.release()
    left(loop, tasks)
    assert [semaphore.try_acquire() for _ in range(4)] == [True, True, True, False]


def test_complete_barrier_round_of_a_closed_loop_is_forgotten(new_loop: NewLoop, left: Callable[..., Any]) -> None:
    loop = new_loop()
    barrier = Barrier(3)
    tasks: list[Any] = [start(loop, barrier.wait()) for _ in range(2)]

    def complete_and_stop() -> None:
        assert run_without_waiting(barrier.wait()) == 2
        next_round = barrier.wait()
        next_round.send(None)
        tasks.append(next_round)
        raise SystemExit  # the loop stops here, before the tasks of the round run

    loop.call_soon(complete_and_stop)
    with pytest.raises(SystemExit):
        loop.run_forever()
    left(loop, tasks)

    async def again() -> None:
        assert sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))) == [0, 1, 2]

    asyncio.run(again())


def test_notification_of_a_closed_loop_is_forgotten(new_loop: NewLoop, left: Callable[..., Any]) -> None:
    loop = new_loop()
    condition = Condition()
    tasks = [start(loop, wait_for_notification(condition)) for _ in range(2)]
    run_without_waiting(condition.acquire())
    condition.notify()
    loop.run_until_complete(iterations())  # the first waits for the lock now
    left(loop, tasks)
    condition.release()
    assert not condition.locked()
    check_usable(KINDS["Condition"], condition)


def test_notification_on_its_way_to_a_task_is_not_passed_on_to_a_new_loop(
    new_loop: NewLoop, left: Callable[..., Any]
) -> None:
    loop = new_loop()
    condition = Condition()
    tasks = [start(loop, wait_for_notification(condition)) for _ in range(2)]
    notify(condition)
    left(loop, tasks)
    check_usable(KINDS["Condition"], condition)


def test_waiting_where_a_loop_was_closed_with_a_grant_takes_it(new_loop: NewLoop, left: Callable[..., Any]) -> None:
    for name in ("Lock", "Semaphore", "BoundedSemaphore", "Condition's lock"):
        kind = KINDS[name]
        loop = new_loop()
        primitive = kind.make()
        kind.hold(primitive)
        tasks = [start(loop, kind.wait(primitive)) for _ in range(2)]
        kind.wake(primitive)
        left(loop, tasks)
        assert asyncio.run(kind.wait(primitive)) is True
        assert primitive.locked()


# Giving back, from anywhere


@types.coroutine
def suspend() -> Generator[None, None, None]:
    yield


async def hold_for_ever(primitive: Any) -> None:
    async with primitive:
        await suspend()


@pytest.fixture(params=["Lock", "Semaphore", "BoundedSemaphore", "Condition's lock"])
def held(request: pytest.FixtureRequest) -> tuple[Any, list[Any], Kind]:
    """A primitive, and a cycle that only the collector ends, with a coroutine inside `async with` in it."""
    kind = KINDS[request.param]
    primitive = kind.make()
    holder = hold_for_ever(primitive)
    holder.send(None)
    assert primitive.locked()
    cycle: list[Any] = [holder]
    cycle.append(cycle)
    return primitive, cycle, kind


def test_collector_in_another_thread_gives_back(held: tuple[Any, list[Any], Kind], other: LoopThread) -> None:
    primitive, cycle, kind = held
    waiter = other.start(kind.wait(primitive))
    assert not waiter.done()
    cycle.pop(0).close()
    assert other.result(waiter) is True
    assert primitive.locked()


@closing
def test_collector_ends_a_cycle_in_another_thread(other: LoopThread) -> None:
    lock = Lock()
    holder = hold_for_ever(lock)
    holder.send(None)
    cycle: list[Any] = [holder]
    cycle.append(cycle)
    waiter = other.start(lock.acquire())
    del holder, cycle
    gc.collect()
    assert other.result(waiter) is True


def test_giving_back_to_a_waiter_of_a_paused_loop(held: tuple[Any, list[Any], Kind], new_loop: NewLoop) -> None:
    first, second = new_loop(), new_loop()
    primitive, cycle, kind = held
    waiter = start(first, kind.wait(primitive))
    call_in(second, cycle.pop(0).close)
    assert primitive.locked()
    first.run_until_complete(iterations())
    assert waiter.result() is True


def test_giving_back_to_a_waiter_of_a_closed_loop(
    held: tuple[Any, list[Any], Kind], new_loop: NewLoop, left: Callable[..., Any]
) -> None:
    loop = new_loop()
    primitive, cycle, kind = held
    left(loop, [start(loop, kind.wait(primitive))])
    cycle.pop(0).close()
    assert not primitive.locked()
    check_usable(kind, primitive)


def test_giving_back_to_a_loop_that_closes_before_it_notices(held: tuple[Any, list[Any], Kind]) -> None:
    """The grant is on its way to the other thread when that loop stops for good."""
    primitive, cycle, kind = held
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    ready, go_on = threading.Event(), threading.Event()

    async def wait_and_stop() -> None:
        task = asyncio.create_task(kind.wait(primitive))
        await iterations()
        ready.set()
        assert go_on.wait(PATIENCE)
        loop.stop()  # at the end of this iteration
        await task

    stopping = loop.create_task(wait_and_stop())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert ready.wait(PATIENCE)
    cycle.pop(0).close()
    assert primitive.locked()  # on its way
    go_on.set()
    thread.join(PATIENCE)
    loop.close()
    collect_in_pypy()
    assert not primitive.locked()
    del stopping
    gc.collect()
    check_usable(kind, primitive)


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "BoundedSemaphore", "Condition's lock"])
def test_granted_waiter_closed_in_another_thread_gives_back(name: str, other: LoopThread) -> None:
    kind = KINDS[name]
    primitive = kind.make()
    kind.hold(primitive)

    async def by_hand() -> Coroutine[Any, Any, Any]:
        waiter = kind.wait(primitive)
        waiter.send(None)
        return waiter

    first = other.run(by_hand())
    second = other.start(kind.wait(primitive))
    other.loop.call_soon_threadsafe(kind.wake, primitive)
    other.run(iterations())
    assert not second.done()
    first.close()
    assert other.result(second) is True


def test_notified_waiter_closed_in_another_thread_passes_it_on(other: LoopThread) -> None:
    condition = Condition()

    async def by_hand() -> Coroutine[Any, Any, Any]:
        waiter = wait_for_notification(condition)
        waiter.send(None)
        return waiter

    first = other.run(by_hand())
    second = other.start(wait_for_notification(condition))
    other.loop.call_soon_threadsafe(notify, condition)
    other.run(iterations())
    assert not second.done()
    first.close()
    assert other.result(second) is True
    assert not condition.locked()


def test_giving_back_without_waiters_after_the_loop_closed(held: tuple[Any, list[Any], Kind]) -> None:
    primitive, cycle, kind = held
    cycle.pop(0).close()
    assert not primitive.locked()
    check_usable(kind, primitive)


# loop=


BOUND_CALLS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    "Lock": [
        ("acquire", lambda lock: run_without_waiting(lock.acquire())),
        ("__aenter__", lambda lock: run_without_waiting(enter(lock))),
        ("try_acquire", lambda lock: lock.try_acquire()),
        ("release", lambda lock: lock.release()),
    ],
    "Event": [
        ("wait", lambda event: run_without_waiting(event.wait())),
        ("set", lambda event: event.set()),
        ("clear", lambda event: event.clear()),
    ],
    "Condition": [
        ("acquire", lambda condition: run_without_waiting(condition.acquire())),
        ("__aenter__", lambda condition: run_without_waiting(enter(condition))),
        ("release", lambda condition: condition.release()),
        ("wait", lambda condition: run_without_waiting(condition.wait())),
        ("wait_for", lambda condition: run_without_waiting(condition.wait_for(lambda: False))),
        ("notify", lambda condition: condition.notify()),
        ("notify_all", lambda condition: condition.notify_all()),
    ],
}
BOUND_CALLS["Semaphore"] = BOUND_CALLS["BoundedSemaphore"] = BOUND_CALLS["Lock"]


async def enter(primitive: Any) -> None:
    await primitive.__aenter__()


@pytest.mark.parametrize("busy", [False, True], ids=["free", "held"])
@pytest.mark.parametrize(
    ("name", "call"),
    [pytest.param(name, call, id=f"{name}.{method}") for name, calls in BOUND_CALLS.items() for method, call in calls],
)
def test_bound_primitive_refuses_another_loop(
    name: str, call: Callable[[Any], Any], busy: bool, new_loop: NewLoop
) -> None:
    bound, another = new_loop(), new_loop()
    kind = KINDS[name if name != "Condition" else "Condition's lock"]
    primitive = kind.make(loop=bound)
    if busy:
        call_in(bound, kind.hold, primitive)
    before = state(primitive)
    with pytest.raises((RuntimeError, ValueError)) as refused:
        call_in(another, call, primitive)
    assert state(primitive) == before
    if busy:  # else another error may come first: what is free cannot be released
        assert isinstance(refused.value, RuntimeError)
        assert "is bound to" in str(refused.value)
        check_message(str(refused.value), kind, primitive, bound, another)


@pytest.mark.parametrize("name", BINDABLE)
def test_bound_primitive_serves_its_loop(name: str, new_loop: NewLoop) -> None:
    loop = new_loop()
    kind = KINDS[name]
    primitive = kind.make(loop=loop)
    for _ in range(2):
        call_in(loop, kind.hold, primitive)
        waiter = start(loop, kind.wait(primitive))
        assert not waiter.done()
        call_in(loop, kind.wake, primitive)
        loop.run_until_complete(iterations())
        assert waiter.result() == kind.woken
        if hasattr(primitive, "locked") and primitive.locked():
            call_in(loop, primitive.release)


@pytest.mark.parametrize("name", BINDABLE)
def test_bound_primitive_stays_bound_after_use(name: str, new_loop: NewLoop) -> None:
    bound, another = new_loop(), new_loop()
    kind = KINDS[name]
    primitive = kind.make(loop=bound)
    call_in(bound, kind.hold, primitive)
    waiter = start(bound, kind.wait(primitive))
    call_in(bound, kind.wake, primitive)
    bound.run_until_complete(waiter)
    if name == "Event":
        call_in(bound, primitive.clear)
    with pytest.raises(RuntimeError, match="is bound to"):
        another.run_until_complete(kind.wait(primitive))


@pytest.mark.parametrize("name", BINDABLE)
def test_loop_none_binds_to_nothing(name: str) -> None:
    kind = KINDS[name]
    primitive = kind.make(loop=None)
    for _ in range(2):
        check_usable(kind, primitive)
        free(primitive)


# Created outside a running loop


def test_created_without_a_loop(kind: Kind) -> None:
    made = []
    thread = threading.Thread(target=lambda: made.append(kind.make()))
    thread.start()
    thread.join(PATIENCE)
    check_usable(kind, made[0])


def test_used_without_a_loop_as_long_as_nothing_waits() -> None:
    lock, semaphore, event, condition, barrier = Lock(), Semaphore(2), Event(), Condition(), Barrier(1)
    for primitive in (lock, semaphore, condition):
        run_without_waiting(primitive.acquire())
        primitive.release()
        run_without_waiting(enter(primitive))
        primitive.release()
    event.set()
    assert run_without_waiting(event.wait())
    run_without_waiting(condition.acquire())
    condition.notify_all()
    run_without_waiting(barrier.abort())
    run_without_waiting(barrier.reset())
    assert not barrier.broken


@pytest.mark.parametrize("name", [name for name in KINDS if name != "Condition"])
def test_waiting_without_a_loop_is_an_error(name: str) -> None:
    kind = KINDS[name]
    primitive = kind.make()
    kind.hold(primitive)
    before = state(primitive)
    with pytest.raises(RuntimeError, match="no running event loop"):
        kind.wait(primitive).send(None)
    assert state(primitive) == before


def test_what_is_closed_in_another_thread_reaches_a_waiter_whose_loop_sleeps() -> None:
    """The collector may close a holder in any thread. The loop of the next one waits for I/O, and must be told."""
    lock = Lock()
    got_it = threading.Event()
    loop = asyncio.new_event_loop()
    waits = threading.Event()

    async def wait() -> None:
        holder.send(None)
        loop.call_later(0, waits.set)
        async with lock:
            got_it.set()

    holder = hold_for_ever(lock)
    thread = threading.Thread(target=loop.run_until_complete, args=(wait(),))
    thread.start()
    assert waits.wait(PATIENCE)
    holder.close()
    told = got_it.wait(PATIENCE)
    loop.call_soon_threadsafe(lambda: None)  # so that it ends, told or not
    thread.join(PATIENCE)
    assert told
    assert not lock.locked()
    assert "waiters" not in repr(lock)
    loop.close()


@pytest.mark.parametrize("name", BINDABLE)
def test_bound_it_may_be_used_where_no_loop_runs(name: str) -> None:
    loop = asyncio.new_event_loop()
    primitive = KINDS[name].make(loop=loop)
    if name == "Event":
        primitive.set()
        primitive.clear()
    elif hasattr(primitive, "try_acquire"):
        assert primitive.try_acquire()
        primitive.release()
    loop.close()


def test_waking_nobody_but_cancelled_tasks_of_a_paused_loop_is_no_error() -> None:
    event = Event()
    paused, running = asyncio.new_event_loop(), asyncio.new_event_loop()
    waiter = paused.create_task(event.wait())
    paused.run_until_complete(asyncio.sleep(0))
    waiter.cancel()
    call_in(running, event.set)
    assert event.is_set()
    with pytest.raises(asyncio.CancelledError):
        paused.run_until_complete(waiter)
    paused.close()
    running.close()


def test_a_subclass_that_overrides_release_is_released_through_it_when_closed() -> None:
    released = []

    class Counted(Semaphore):
        def release(self) -> None:
            released.append(self)
            super().release()

    semaphore = Counted()
    holder = hold_for_ever(semaphore)
    holder.send(None)
    holder.close()
    assert released == [semaphore]
    assert not semaphore.locked()


def test_a_subclass_that_overrides_nothing_is_closed_in_another_loop_as_the_class_is(new_loop: NewLoop) -> None:
    """A release() there would refuse to wake a waiter of the paused loop."""

    class Same(Semaphore):
        pass

    semaphore = Same()
    first, second = new_loop(), new_loop()
    holder = hold_for_ever(semaphore)
    holder.send(None)
    waiter = start(first, semaphore.acquire())
    call_in(second, holder.close)
    first.run_until_complete(iterations())
    assert waiter.result() is True


def test_dead_entries_are_forgotten_with_the_loop_of_their_tasks() -> None:
    lock = Lock()
    first = asyncio.new_event_loop()
    run_without_waiting(lock.acquire())
    waiters = [first.create_task(lock.acquire()) for _ in range(5)]
    first.run_until_complete(asyncio.sleep(0))
    waiters[2].cancel()
    first.run_until_complete(asyncio.sleep(0))
    assert lock.statistics().tasks_waiting == 4
    first.close()
    for waiter in waiters:
        waiter._log_destroy_pending = False  # type: ignore[attr-defined]

    async def wait() -> int:
        waiter = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        waiting = lock.statistics().tasks_waiting
        lock.release()
        await waiter
        lock.release()
        return waiting

    assert asyncio.run(wait()) == 1
    assert not lock.locked()


@pytest.mark.parametrize(
    ("cls", "error"),
    [(Lock, RuntimeError), (BoundedSemaphore, ValueError)],
)
def test_closed_in_its_body_after_it_has_released_the_lock_is_told(cls: Any, error: type[Exception]) -> None:
    async def hold() -> None:
        async with lock:
            lock.release()
            await suspend()

    lock = cls()
    holder = hold()
    holder.send(None)
    with pytest.raises(error, match="Release it once for each"):
        holder.close()


@pytest.mark.parametrize("method", ["acquire", "release"])
def test_a_condition_calls_what_the_subclass_of_its_lock_overrides(method: str) -> None:
    calls = []

    class Acquiring(Lock):
        async def acquire(self) -> Any:
            calls.append("acquire")
            return await super().acquire()

    class Releasing(Lock):
        def release(self) -> None:
            calls.append("release")
            super().release()

    async def main() -> None:
        condition = Condition(Acquiring() if method == "acquire" else Releasing())
        waiter = asyncio.create_task(wait_for_notification(condition))
        await asyncio.sleep(0)
        async with condition:
            condition.notify()
        await waiter

    asyncio.run(main())
    assert calls == [method] * 3


def test_a_condition_over_a_bound_lock_is_made_where_no_loop_runs() -> None:
    loop = asyncio.new_event_loop()
    condition = Condition(Lock(loop=loop))
    call_in(loop, lambda: run_without_waiting(condition.acquire()))
    condition.release()
    loop.close()


def test_taking_the_lock_again_where_tasks_of_another_loop_wait_for_it_is_an_error() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    condition = Condition()

    async def consume() -> None:
        await condition.acquire()
        await condition.wait()

    consumer = first.create_task(consume())
    first.run_until_complete(asyncio.sleep(0))

    run_without_waiting(condition.acquire())
    condition.notify()
    other = second.create_task(condition.acquire())
    second.run_until_complete(asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="has waiting tasks in"):
        first.run_until_complete(consumer)
    call_in(second, condition.release)
    assert second.run_until_complete(other)
    call_in(second, condition.release)
    first.close()
    second.close()
