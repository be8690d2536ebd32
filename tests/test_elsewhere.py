"""What is asked for elsewhere than in the loop of the waiters: in another thread, or in another loop. Row C1.

asyncio lets it pass, and it works there as long as the loop has something else to do. Here the loop is told.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.test_loops import (
    KINDS,
    PATIENCE,
    Kind,
    LoopThread,
    call_in,
    check_message,
    free,
    iterations,
    notify,
    run_without_waiting,
    start,
    state,
    wait_for_notification,
    wait_for_the_end_of_the_barrier,
)
from tests.threads.by_hand import at_line, lines

from holdfast import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Event, Lock, Semaphore
from holdfast.tasks.twins import reference
from holdfast.testing import Run, explore

try:
    import uvloop
except ImportError:  # the extra 'test' brings it where it exists
    uvloop = None

LOOPS = {"asyncio": asyncio.new_event_loop} | ({} if uvloop is None else {"uvloop": uvloop.new_event_loop})


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(params=LOOPS)
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopThread]:
    """A loop that runs in another thread, and sleeps."""
    monkeypatch.setattr(asyncio, "new_event_loop", LOOPS[request.param])
    thread = LoopThread()
    monkeypatch.undo()
    with thread:
        yield thread


@contextmanager
def loops(count: int) -> Iterator[list[asyncio.AbstractEventLoop]]:
    made = [asyncio.new_event_loop() for _ in range(count)]
    try:
        yield made
    finally:
        for loop in made:
            loop.close()


def in_a_thread(call: Callable[..., Any], *args: Any) -> Any:
    """Its result, called in another thread, in which no loop runs."""
    results: list[Any] = []

    def target() -> None:
        try:
            results.append(call(*args))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(PATIENCE)
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    return result


def in_a_loop(call: Callable[..., Any], *args: Any) -> Any:
    with loops(1) as (loop,):
        return call_in(loop, call, *args)


WHERE = {"a thread": in_a_thread, "another loop": in_a_loop}


@pytest.fixture(params=WHERE)
def elsewhere(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return WHERE[request.param]


@contextmanager
def standing_still(other: LoopThread) -> Iterator[None]:
    """Meanwhile the other loop is in the middle of a step."""
    in_it, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        in_it.set()
        assert go_on.wait(PATIENCE)

    other.loop.call_soon_threadsafe(stand_still)
    assert in_it.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()


# Who waits is woken


def test_a_loop_that_sleeps_in_another_thread_is_woken(
    kind: Kind, other: LoopThread, elsewhere: Callable[..., Any]
) -> None:
    primitive = kind.make()
    kind.hold(primitive)
    waiter = other.start(kind.wait(primitive))
    elsewhere(kind.wake, primitive)
    assert other.result(waiter) == kind.woken
    free(primitive)
    assert primitive.statistics().tasks_waiting == 0
    assert "waiters" not in repr(primitive).replace("waiters:0", "")


def test_a_paused_loop_sees_it_when_it_runs(kind: Kind, elsewhere: Callable[..., Any]) -> None:
    """In the iteration in which asyncio's waiter would run."""
    with loops(1) as (paused,):
        primitive = kind.make()
        kind.hold(primitive)
        waiter = start(paused, kind.wait(primitive))
        elsewhere(kind.wake, primitive)
        assert not waiter.done()
        paused.run_until_complete(asyncio.sleep(0))
        if "Condition" not in repr(primitive):  # which takes its lock in between
            assert waiter.done()
        assert paused.run_until_complete(waiter) == kind.woken


def test_what_it_changes_is_seen_at_once(other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    lock, semaphore, event, barrier = Lock(), Semaphore(0), Event(), Barrier(2)
    run_without_waiting(lock.acquire())
    waits = [lock.acquire(), semaphore.acquire(), event.wait(), wait_for_the_end_of_the_barrier(barrier)]
    waiters = [other.start(wait) for wait in waits]
    with standing_still(other):

        def change() -> None:
            lock.release()
            assert lock.locked()  # it is on its way
            assert not lock.try_acquire()
            semaphore.release()
            assert semaphore.locked()
            assert not semaphore.try_acquire()
            event.set()
            assert event.is_set()
            assert run_without_waiting(event.wait()) is True
            run_without_waiting(barrier.abort())
            assert barrier.broken
            with pytest.raises(BrokenBarrierError):
                run_without_waiting(barrier.wait())

        elsewhere(change)
        assert not any(waiter.done() for waiter in waiters)
    assert [other.result(waiter) for waiter in waiters] == [True, True, True, "broken"]
    assert lock.locked()
    assert semaphore.locked()


# In order, and nothing is lost


def test_permits_are_handed_on_and_the_rest_is_added(other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    semaphore = Semaphore(0)
    waiters = [other.start(semaphore.acquire()) for _ in range(2)]
    with standing_still(other):
        elsewhere(lambda: [semaphore.release() for _ in range(5)])
    for waiter in waiters:
        other.result(waiter)
    assert other.run(value_of(semaphore)) == 3


async def value_of(semaphore: Semaphore) -> int:
    await iterations()
    return semaphore.statistics().value


def test_a_permit_whose_waiter_is_cancelled_meanwhile_is_added(
    other: LoopThread, elsewhere: Callable[..., Any]
) -> None:
    for primitive in (Lock(), Semaphore(), BoundedSemaphore()):
        assert primitive.try_acquire()
        waiter = other.start(primitive.acquire())
        with standing_still(other):
            other.loop.call_soon_threadsafe(waiter.cancel)
            elsewhere(primitive.release)
            assert primitive.locked()
        other.run(iterations())
        assert waiter.cancelled()
        assert not primitive.locked()
        if isinstance(primitive, BoundedSemaphore):
            with pytest.raises(ValueError, match="too many times"):
                primitive.release()


def test_first_come_first_served(other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    semaphore = Semaphore(0)
    got: list[int] = []

    async def use(number: int) -> None:
        await semaphore.acquire()
        got.append(number)

    waiters = [other.start(use(number)) for number in range(3)]
    with standing_still(other):
        for _ in range(3):
            elsewhere(semaphore.release)
    for waiter in waiters:
        other.result(waiter)
    assert got == [0, 1, 2]


def test_an_event_that_is_cleared_at_once_wakes_who_waited(other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    event = Event()
    waiters = [other.start(event.wait()) for _ in range(2)]
    with standing_still(other):

        def pulse() -> None:
            event.set()
            event.clear()
            event.set()
            event.clear()

        elsewhere(pulse)
        assert not event.is_set()
    assert [other.result(waiter) for waiter in waiters] == [True, True]
    late = other.start(event.wait())
    assert not late.done()
    elsewhere(event.set)
    assert other.result(late) is True
    assert "waiters" not in repr(event)


@pytest.mark.parametrize(("n", "woken"), [(1, 1), (2, 2), (0.5, 1), (float("inf"), 3), (0, 0)])
def test_notify_wakes_so_many(n: float, woken: int, other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    condition = Condition()
    waiters = [other.start(wait_for_notification(condition)) for _ in range(3)]

    def notify_some() -> None:
        run_without_waiting(condition.acquire())
        condition.notify(n)
        condition.release()

    with standing_still(other):
        elsewhere(notify_some)
    for waiter in waiters[:woken]:
        assert other.result(waiter) is True
    other.run(iterations())
    assert [waiter.done() for waiter in waiters] == [True] * woken + [False] * (3 - woken)


def test_notify_all_wakes_all(other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    condition = Condition()
    waiters = [other.start(wait_for_notification(condition)) for _ in range(3)]

    def notify_all() -> None:
        run_without_waiting(condition.acquire())
        condition.notify_all()
        condition.release()

    elsewhere(notify_all)
    assert [other.result(waiter) for waiter in waiters] == [True] * 3


def test_a_barrier_is_aborted_and_then_reset(other: LoopThread, elsewhere: Callable[..., Any]) -> None:
    barrier = Barrier(2)
    waiter = other.start(wait_for_the_end_of_the_barrier(barrier))
    with standing_still(other):

        def abort_and_reset() -> None:
            run_without_waiting(barrier.abort())
            run_without_waiting(barrier.reset())

        elsewhere(abort_and_reset)
    assert other.result(waiter) == "broken"
    assert not barrier.broken
    both = [other.start(barrier.wait()) for _ in range(2)]
    assert [other.result(task) for task in both] == [0, 1]


def test_a_reset_spares_who_comes_for_the_next_round(other: LoopThread) -> None:
    """The same as in its own loop."""
    barrier = Barrier(2)
    waiter = other.start(wait_for_the_end_of_the_barrier(barrier))
    in_a_loop(lambda: run_without_waiting(barrier.reset()))
    assert other.result(waiter) == "broken"
    assert barrier.statistics().tasks_waiting == 0
    assert repr(barrier).endswith("[filling, waiters:0/2]>")


# Two threads at once: what the other does in the middle of a step. The Lock's twin of each is atomic.


def race(monkeypatch: pytest.MonkeyPatch, cls: Any, before: Callable[[], Any], after: Callable[[], Any]) -> None:
    """Let another thread do this just before, and just after, a task makes its queue visible, once."""
    enter_line = cls._enter_line

    def interrupted(self: Any) -> Any:
        monkeypatch.undo()
        in_a_thread(before)
        line = enter_line(self)
        in_a_thread(after)
        return line

    monkeypatch.setattr(cls, "_enter_line", interrupted)


def nothing() -> None:
    pass


MOMENTS = ["before", "after"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("cls", [Lock, Semaphore, BoundedSemaphore])
def test_released_as_a_task_is_about_to_wait(cls: Any, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        mutex = cls()
        assert mutex.try_acquire()
        race(monkeypatch, cls, **{"before": nothing, "after": nothing} | {moment: mutex.release})
        await asyncio.wait_for(mutex.acquire(), PATIENCE)
        assert mutex.locked()
        mutex.release()
        assert not mutex.locked()
        assert mutex._queue is None

    asyncio.run(main())


@pytest.mark.parametrize("moment", MOMENTS)
def test_set_as_a_task_is_about_to_wait(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        event = Event()
        race(monkeypatch, Event, **{"before": nothing, "after": nothing} | {moment: event.set})
        await asyncio.wait_for(event.wait(), PATIENCE)
        assert event._queue is None
        assert "waiters" not in repr(event)

    asyncio.run(main())


@pytest.mark.parametrize("moment", MOMENTS)
def test_aborted_as_a_task_is_about_to_wait(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        barrier = Barrier(2)

        def abort() -> None:
            run_without_waiting(barrier.abort())

        race(monkeypatch, Barrier, **{"before": nothing, "after": nothing} | {moment: abort})
        with pytest.raises(BrokenBarrierError):
            await asyncio.wait_for(barrier.wait(), PATIENCE)
        assert barrier._queue is None

    asyncio.run(main())


@pytest.mark.parametrize("cls", [Lock, Semaphore, Event])
def test_without_the_gil_a_task_may_begin_to_wait_within_a_change(
    cls: Any, other: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any line of the Python body; the compiled twin's is one step."""
    python = reference(cls)
    module = sys.modules[python.__repr__.__module__]
    monkeypatch.setattr(module, "ONE_AT_A_TIME", False)

    def scenario(number: int) -> bool:
        primitive = python()
        waiters: list[asyncio.Task[Any]] = []
        if cls is Event:
            wait, change = primitive.wait, primitive.set
        else:
            wait, change = primitive.acquire, primitive.release
            assert primitive.try_acquire()
        there = at_line(number, lambda: waiters.append(other.start(wait())), change)
        for waiter in waiters:
            assert other.result(waiter) is True
        return there

    lines(scenario)


class InterruptedLoop(asyncio.SelectorEventLoop):
    """Something happens just before a waiter is put into the line, once."""

    interruption: Callable[[], Any] | None = None

    def create_future(self) -> asyncio.Future[Any]:
        if self.interruption is not None:
            interruption, self.interruption = self.interruption, None
            in_a_thread(interruption)
        return super().create_future()


def test_woken_by_another_thread_after_the_last_look_and_before_it_is_in_the_line(kind: Kind) -> None:
    async def main() -> None:
        primitive = kind.make()
        kind.hold(primitive)

        async def wait() -> Any:
            loop.interruption = lambda: kind.wake(primitive)
            return await kind.wait(primitive)

        waiter = asyncio.create_task(wait())
        await asyncio.wait({waiter}, timeout=PATIENCE)
        assert loop.interruption is None
        assert waiter.done()
        assert waiter.result() == kind.woken
        free(primitive)
        assert primitive.statistics().tasks_waiting == 0

    loop = InterruptedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_notified_between_the_release_of_the_lock_and_the_line() -> None:
    async def main() -> None:
        condition = Condition()
        await condition.acquire()
        release = condition.release

        def release_and_let_another_notify() -> None:
            condition.release = release  # type: ignore[method-assign]
            release()
            in_a_thread(notify, condition)

        condition.release = release_and_let_another_notify  # type: ignore[method-assign]
        await asyncio.wait_for(condition.wait(), PATIENCE)
        release()

    asyncio.run(main())


def test_set_while_the_loop_sets_and_clears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread has seen the first queue; those in the next one are woken as well."""

    async def main() -> None:
        event = Event()
        first = asyncio.create_task(event.wait())
        await iterations()
        second: list[asyncio.Task[Any]] = []
        elsewhere = type(event._queue).elsewhere

        async def set_clear_and_wait() -> None:
            event.set()
            event.clear()
            second.append(asyncio.create_task(event.wait()))
            await iterations()

        def interrupted(self: Any, *args: Any) -> Any:
            loop = elsewhere(self, *args)
            asyncio.run_coroutine_threadsafe(set_clear_and_wait(), loop).result(PATIENCE)
            return loop

        monkeypatch.setattr(type(event._queue), "elsewhere", interrupted)
        await asyncio.to_thread(event.set)
        monkeypatch.undo()
        assert await asyncio.wait_for(asyncio.gather(first, *second), PATIENCE) == [True, True]

    asyncio.run(main())


def test_the_loop_makes_a_new_line_as_another_thread_takes_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is in the new one is left there, for the next set()."""

    async def main() -> None:
        event = Event()
        first = asyncio.create_task(event.wait())
        await iterations()
        second: list[asyncio.Task[Any]] = []
        loop = asyncio.get_running_loop()
        queues = type(event._queue)
        detach = queues.detach

        async def set_clear_and_wait() -> None:
            event.set()
            event.clear()
            second.append(asyncio.create_task(event.wait()))
            await iterations()

        def interrupted(self: Any) -> None:
            monkeypatch.undo()
            asyncio.run_coroutine_threadsafe(set_clear_and_wait(), loop).result(PATIENCE)
            detach(self)

        monkeypatch.setattr(queues, "detach", interrupted)
        await asyncio.to_thread(event.set)
        await iterations()
        assert first.done()
        assert not second[0].done()
        event.set()
        assert await asyncio.wait_for(second[0], PATIENCE) is True

    asyncio.run(main())


class StartsMeanwhile(asyncio.SelectorEventLoop):
    """A loop that another thread starts just after it was seen not to run."""

    looks = None
    told = 0

    def is_running(self) -> bool:
        if self.looks is None:
            return super().is_running()
        self.looks += 1
        return self.looks > 1

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        self.told += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def test_a_loop_that_is_started_meanwhile_is_told(kind: Kind) -> None:
    loop = StartsMeanwhile()
    try:
        primitive = kind.make()
        kind.hold(primitive)
        waiter = start(loop, kind.wait(primitive))
        loop.told, loop.looks = 0, 0
        kind.wake(primitive)
        loop.looks = None
        assert loop.told > 0
        assert loop.run_until_complete(waiter) == kind.woken
    finally:
        loop.close()


def test_threads_that_release_and_set_as_tasks_wait() -> None:
    """For real: what comes in comes out, whatever the threads do."""
    rounds, threads = 300, 3

    async def main() -> None:
        semaphore, lock = Semaphore(0), Lock()
        there, back = Event(), threading.Semaphore(0)
        items = 0

        def release() -> None:
            for _ in range(rounds):
                semaphore.release()

        def answer() -> None:
            for _ in range(rounds):
                assert back.acquire(timeout=PATIENCE)
                there.set()

        def unlock() -> None:
            for _ in range(rounds):
                assert unlocking.acquire(timeout=PATIENCE)
                lock.release()

        unlocking = threading.Semaphore(0)
        workers = [asyncio.to_thread(call) for call in (*[release] * threads, answer, unlock)]

        async def acquire() -> None:
            nonlocal items
            for _ in range(rounds):
                await semaphore.acquire()
                items += 1

        async def ask() -> None:
            for _ in range(rounds):
                there.clear()
                back.release()
                await there.wait()

        async def relock() -> None:
            await lock.acquire()
            for _ in range(rounds):
                unlocking.release()
                await lock.acquire()

        async with asyncio.timeout(PATIENCE * 3):
            await asyncio.gather(*workers, *[acquire() for _ in range(threads)], ask(), relock())
        assert items == rounds * threads
        assert semaphore.statistics().value == 0
        assert lock.locked()
        lock.release()
        assert not lock.locked()
        assert lock._queue is semaphore._queue is there._queue is None

    asyncio.run(main())


# The loop is closed before it comes to it


@pytest.mark.parametrize("make_loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("name", ["Lock", "Semaphore", "BoundedSemaphore", "Condition's lock"])
def test_a_loop_that_is_closed_before_it_comes_to_it_does_not_keep_it(
    name: str, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    kind = KINDS[name]
    primitive = kind.make()
    kind.hold(primitive)
    close_with_errands(make_loop(), kind.wait(primitive), lambda: kind.wake(primitive))
    assert not primitive.locked()
    kind.hold(primitive)
    assert primitive.locked()


@pytest.mark.parametrize("make_loop", LOOPS.values(), ids=LOOPS)
def test_who_waited_in_a_loop_that_is_closed_before_it_comes_to_it_is_gone(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    event, condition, barrier = Event(), Condition(), Barrier(2)
    close_with_errands(make_loop(), event.wait(), event.set)
    close_with_errands(make_loop(), wait_for_notification(condition), lambda: notify(condition))
    close_with_errands(make_loop(), wait_for_notification(condition), lambda: notify_all_of(condition))
    close_with_errands(make_loop(), barrier.wait(), lambda: run_without_waiting(barrier.reset()))
    assert event.is_set()
    assert not condition.locked()
    assert repr(barrier).endswith("[filling, waiters:0/2]>")
    close_with_errands(make_loop(), barrier.wait(), lambda: run_without_waiting(barrier.abort()))
    assert barrier.broken

    async def again() -> None:
        event.clear()
        await barrier.reset()
        tasks = [asyncio.create_task(wait) for wait in (event.wait(), wait_for_notification(condition), barrier.wait())]
        await iterations()
        assert not any(task.done() for task in tasks)
        event.set()
        notify(condition)
        await barrier.wait()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    asyncio.run(again())


def notify_all_of(condition: Condition) -> None:
    run_without_waiting(condition.acquire())
    condition.notify_all()
    condition.release()


def close_with_errands(loop: asyncio.AbstractEventLoop, wait: Any, wake: Callable[[], Any]) -> None:
    """A task waits; the loop stands still and another thread wakes it; then the loop stops for good."""

    def woken_and_stopped() -> None:
        in_a_thread(wake)
        loop.stop()  # at the end of this iteration

    async def stopping() -> None:
        loop.call_soon(woken_and_stopped)

    waiter = loop.create_task(wait)
    loop.run_until_complete(iterations())
    loop.create_task(stopping())
    loop.run_forever()
    assert not waiter.done()
    loop.close()
    waiter._log_destroy_pending = False
    del waiter
    gc.collect()


# asyncio's debug mode


def test_debug_mode_refuses_to_wake_a_task_of_another_thread(
    kind: Kind, other: LoopThread, elsewhere: Callable[..., Any]
) -> None:
    primitive = kind.make()
    kind.hold(primitive)
    waiter = other.start(kind.wait(primitive))
    other.loop.set_debug(True)
    before = state(primitive)
    with pytest.raises(RuntimeError, match="Non-thread-safe operation") as refused:
        elsewhere(kind.wake, primitive)
    assert state(primitive) == before
    check_message(str(refused.value), kind, primitive, other.loop)
    other.loop.set_debug(False)
    elsewhere(kind.wake, primitive)
    assert other.result(waiter) == kind.woken


def test_debug_mode_refuses_as_much_as_asyncio(kind: Kind, other: LoopThread) -> None:
    """Its own call_soon(): not if the loop is paused, and not if nobody is to be woken."""
    primitive = kind.make()
    kind.hold(primitive)
    with loops(1) as (paused,):
        paused.set_debug(True)
        waiter = start(paused, kind.wait(primitive))
        in_a_thread(kind.wake, primitive)
        assert paused.run_until_complete(waiter) == kind.woken
    free(primitive)
    kind.hold(primitive)
    waiter = other.start(kind.wait(primitive))
    with standing_still(other):
        waiter.cancel()
        other.loop.set_debug(True)
        in_a_thread(kind.wake, primitive)
        other.loop.set_debug(False)
    other.run(iterations())
    assert waiter.cancelled()


def test_debug_mode_refuses_no_giving_back(other: LoopThread) -> None:
    lock = Lock()

    async def hold() -> None:
        async with lock:
            await asyncio.get_running_loop().create_future()

    with loops(1) as (loop,):
        holding = hold()
        call_in(loop, holding.send, None)
        waiter = other.start(lock.acquire())
        other.loop.set_debug(True)
        holding.close()
        assert other.result(waiter) is True
        other.loop.set_debug(False)


# async with


@pytest.mark.parametrize("cls", [Lock, Semaphore, BoundedSemaphore, Condition])
def test_the_end_of_async_with_lets_the_error_of_its_body_pass(cls: Any, other: LoopThread) -> None:
    """One lock, two loops in two threads."""
    mutex = cls()
    with loops(1) as (loop,):

        async def hold() -> None:
            async with mutex:
                waiters.append(await asyncio.to_thread(other.start, mutex.acquire()))
                raise ZeroDivisionError("the body's own")

        waiters: list[Any] = []
        with pytest.raises(ZeroDivisionError) as raised:
            loop.run_until_complete(hold())
        loop.run_until_complete(loop.shutdown_default_executor())
    assert raised.value.__context__ is None
    assert other.result(waiters[0]) is True
    assert mutex.locked()
    mutex.release()
    assert not mutex.locked()


# Every schedule of two loops


async def waiters_and_a_releaser(run: Run) -> None:
    """Two tasks wait for a permit in one loop, and the permits come from another one."""
    semaphore = Semaphore(0)
    got: list[str] = []
    there = run.another_loop()

    async def take(name: str) -> None:
        await semaphore.acquire()
        got.append(name)

    for name in "AB":
        run.spawn(take, name, name=name, loop=there)
    run.at_end(lambda: semaphore.statistics().value + len(got) == 3)
    run.at_end(lambda: semaphore._queue is None)
    for _ in range(3):
        semaphore.release()
        await asyncio.sleep(0)


async def waiters_and_a_setter(run: Run) -> None:
    event = Event()
    there = run.another_loop()

    async def wait() -> None:
        await event.wait()

    for name in "AB":
        run.spawn(wait, name=name, loop=there)
    run.at_end(lambda: event.is_set() and event._queue is None and "waiters" not in repr(event))
    event.set()
    event.clear()
    await asyncio.sleep(0)
    event.set()


def two_loops_in_turn(run: Run) -> None:
    """A holder in one loop, waiters in the other."""
    lock = Lock()
    inside: list[str] = []
    there = run.another_loop()

    async def use(name: str) -> None:
        async with lock:
            inside.append(name)
            try:
                assert inside == [name]
                await asyncio.sleep(0)
            finally:
                inside.remove(name)

    run.spawn(use, "holder", name="holder")
    for name in "AB":
        run.spawn(use, name, name=name, loop=there)
    run.at_end(lambda: not lock.locked() and lock._queue is None)


@pytest.mark.parametrize("scenario", [waiters_and_a_releaser, waiters_and_a_setter])
@pytest.mark.parametrize("bounds", [{"cancels": 1, "deliveries": 1, "switches": 1}, {"kills": 1, "deliveries": 1}])
def test_every_schedule_of_two_loops(scenario: Callable[[Run], None], bounds: dict[str, int]) -> None:
    explore(scenario, **bounds).check()


def test_every_schedule_of_a_holder_here_and_waiters_there() -> None:
    explore(two_loops_in_turn, cancels=1, deliveries=1).check()
