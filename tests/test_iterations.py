"""In which iteration of the event loop things happen: rows L2, E2, N3, S3, P1 and C2, to the iteration.

Most tests are one program run twice, on asyncio's classes and on holdfast's. Both must write the same log of
(iteration, event). The others pin what holdfast does better, or what asyncio changed between versions.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest

import holdfast

try:
    import uvloop
except ImportError:
    uvloop = None

step = asyncio.sleep  # `await step(0)` is one iteration of the loop


class Log:
    """What happened, and in which iteration of the running loop."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self._iteration = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._count)

    def _count(self) -> None:
        self._iteration += 1
        self._loop.call_soon(self._count)

    def __call__(self, *event: Any) -> None:
        self.entries.append((self._iteration, *event))


Program = Callable[[ModuleType, Log], Coroutine[Any, Any, None]]
NewLoop = Callable[[], asyncio.AbstractEventLoop]


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def uvloop_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()


LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop_loop, id="uvloop", marks=pytest.mark.skipif(uvloop is None, reason="needs uvloop")),
    pytest.param(
        eager_loop,
        id="eager",
        marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12"),
    ),
]


def log_of(program: Program, classes: ModuleType, new_loop: NewLoop = asyncio.new_event_loop) -> list[tuple[Any, ...]]:
    async def main() -> list[tuple[Any, ...]]:
        log = Log()
        await program(classes, log)
        for _ in range(20):
            await step(0)
        return log.entries

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())


def tasks(*coroutines: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(coroutine) for coroutine in coroutines]


async def visit(lock: Any, log: Log, name: str, iterations: int = 1) -> None:
    """Hold the lock for so many iterations."""
    log(name, "wants")
    try:
        async with lock:
            log(name, "enters")
            for _ in range(iterations):
                await step(0)
            log(name, "leaves")
    except asyncio.CancelledError:
        log(name, "cancelled")
    log(name, "gone")


# Lock and semaphores


async def lock_is_handed_over(classes: ModuleType, log: Log) -> None:
    lock = classes.Lock()
    tasks(*(visit(lock, log, name) for name in "abcd"))
    await step(0)


async def lock_without_awaits_in_the_body(classes: ModuleType, log: Log) -> None:
    lock = classes.Lock()
    await lock.acquire()
    tasks(*(visit(lock, log, name, 0) for name in "abcd"))
    await step(0)
    lock.release()


async def lock_released_and_taken_again_at_once(classes: ModuleType, log: Log) -> None:
    lock = classes.Lock()
    await lock.acquire()
    tasks(*(visit(lock, log, name, 0) for name in "ab"))
    await step(0)
    lock.release()
    await visit(lock, log, "main")


async def lock_queued_waiter_cancelled(classes: ModuleType, log: Log) -> None:
    lock = classes.Lock()
    await lock.acquire()
    a, _, _ = tasks(*(visit(lock, log, name) for name in "abc"))
    await step(0)
    a.cancel()
    await step(0)
    lock.release()


async def lock_granted_waiter_cancelled(classes: ModuleType, log: Log) -> None:
    lock = classes.Lock()
    await lock.acquire()
    a, _, _ = tasks(*(visit(lock, log, name) for name in "abc"))
    await step(0)
    lock.release()
    a.cancel()


async def semaphore_is_handed_over(classes: ModuleType, log: Log) -> None:
    semaphore = classes.Semaphore(2)
    tasks(*(visit(semaphore, log, name, iterations) for iterations, name in enumerate("abcdef", 1)))


async def bounded_semaphore_is_handed_over(classes: ModuleType, log: Log) -> None:
    semaphore = classes.BoundedSemaphore(2)
    tasks(*(visit(semaphore, log, name, 7 - iterations) for iterations, name in enumerate("abcdef", 1)))


async def semaphore_nobody_overtakes_a_granted_waiter(classes: ModuleType, log: Log) -> None:
    semaphore = classes.Semaphore(0)
    tasks(visit(semaphore, log, "a"))
    await step(0)
    for _ in range(3):
        semaphore.release()
    log("locked", semaphore.locked())
    await visit(semaphore, log, "main", 0)
    log("locked", semaphore.locked())


async def semaphore_released_for_several_at_once(classes: ModuleType, log: Log) -> None:
    semaphore = classes.Semaphore(0)
    tasks(*(visit(semaphore, log, name, 0) for name in "abc"))
    await step(0)
    semaphore.release()
    semaphore.release()
    tasks(*(visit(semaphore, log, name, 0) for name in "xy"))


async def semaphore_late_comers_behind_a_granted_waiter(classes: ModuleType, log: Log) -> None:
    semaphore = classes.Semaphore(0)
    tasks(visit(semaphore, log, "a", 3))
    await step(0)
    semaphore.release()
    semaphore.release()
    semaphore.release()
    tasks(*(visit(semaphore, log, name, 2) for name in "xyz"))


async def semaphore_granted_waiter_cancelled_with_free_permits(classes: ModuleType, log: Log) -> None:
    semaphore = classes.Semaphore(0)
    a, _ = tasks(visit(semaphore, log, "a"), visit(semaphore, log, "b"))
    await step(0)
    semaphore.release()
    semaphore.release()
    semaphore.release()
    a.cancel()
    tasks(visit(semaphore, log, "x"))


async def semaphore_queued_waiter_cancelled(classes: ModuleType, log: Log) -> None:
    semaphore = classes.Semaphore(0)
    a, _ = tasks(visit(semaphore, log, "a"), visit(semaphore, log, "b"))
    await step(0)
    a.cancel()
    semaphore.release()
    await step(0)
    await step(0)
    log("locked", semaphore.locked())


# Event


async def watch(event: Any, log: Log, name: str, times: int = 1) -> None:
    for _ in range(times):
        try:
            log(name, await event.wait())
        except asyncio.CancelledError:
            log(name, "cancelled")


async def event_set(classes: ModuleType, log: Log) -> None:
    event = classes.Event()
    tasks(*(watch(event, log, name) for name in "abc"))
    await step(0)
    event.set()
    await watch(event, log, "main")


async def event_set_and_cleared(classes: ModuleType, log: Log) -> None:
    event = classes.Event()
    tasks(*(watch(event, log, name, 2) for name in "abc"))
    await step(0)
    event.set()
    event.clear()
    tasks(watch(event, log, "late"))
    await step(0)
    await step(0)
    log("main sets again")
    event.set()


async def event_set_and_waiters_cancelled(classes: ModuleType, log: Log) -> None:
    event = classes.Event()
    a, b, _ = tasks(*(watch(event, log, name, 2) for name in "abc"))
    await step(0)
    a.cancel()
    event.set()
    b.cancel()


# Condition


async def consume(condition: Any, log: Log, name: str) -> None:
    async with condition:
        log(name, "waits")
        try:
            log(name, await condition.wait())
            await step(0)
        except asyncio.CancelledError:
            log(name, "cancelled")
    log(name, "gone")


async def condition_notify_all(classes: ModuleType, log: Log) -> None:
    condition = classes.Condition()
    tasks(*(consume(condition, log, name) for name in "abcd"))
    await step(0)
    async with condition:
        condition.notify_all()
        await step(0)
        await step(0)
        log("main leaves")


async def condition_notify_one_by_one(classes: ModuleType, log: Log) -> None:
    condition = classes.Condition()
    tasks(*(consume(condition, log, name) for name in "abcd"))
    await step(0)
    for n in (1, 2, 1):
        async with condition:
            condition.notify(n)
            log("main notifies", n)
        await step(0)


async def condition_woken_queue_for_the_lock_behind_who_waits(classes: ModuleType, log: Log) -> None:
    condition = classes.Condition()
    tasks(*(consume(condition, log, name) for name in "ab"))
    await step(0)
    async with condition:
        tasks(visit(condition, log, "x"))
        await step(0)
        condition.notify_all()
        tasks(visit(condition, log, "y"))


async def condition_over_a_given_lock(classes: ModuleType, log: Log) -> None:
    lock = asyncio.Lock()
    condition = classes.Condition(lock)
    tasks(*(consume(condition, log, name) for name in "ab"))
    await step(0)
    async with lock:
        condition.notify_all()
        tasks(visit(lock, log, "x"))
        await step(0)


async def condition_queued_waiter_cancelled(classes: ModuleType, log: Log) -> None:
    condition = classes.Condition()
    a, _ = tasks(*(consume(condition, log, name) for name in "ab"))
    await step(0)
    async with condition:
        condition.notify(2)
    await step(0)
    a.cancel()
    await step(0)


async def condition_bounded_buffer(classes: ModuleType, log: Log) -> None:
    condition = classes.Condition()
    buffer: list[int] = []

    async def produce() -> None:
        for item in range(6):
            async with condition:
                await condition.wait_for(lambda: len(buffer) < 2)
                buffer.append(item)
                log("put", item)
                condition.notify_all()

    async def take(name: str) -> None:
        for _ in range(3):
            async with condition:
                await condition.wait_for(lambda: buffer)
                log(name, buffer.pop(0))
                condition.notify_all()

    await asyncio.gather(produce(), take("a"), take("b"))


SAME_AS_ASYNCIO = [
    lock_is_handed_over,
    lock_without_awaits_in_the_body,
    lock_released_and_taken_again_at_once,
    lock_queued_waiter_cancelled,
    lock_granted_waiter_cancelled,
    semaphore_is_handed_over,
    bounded_semaphore_is_handed_over,
    semaphore_nobody_overtakes_a_granted_waiter,
    semaphore_released_for_several_at_once,
    pytest.param(
        semaphore_late_comers_behind_a_granted_waiter,
        marks=pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio wakes them one by one before 3.13"),
    ),
    semaphore_granted_waiter_cancelled_with_free_permits,
    semaphore_queued_waiter_cancelled,
    event_set,
    event_set_and_cleared,
    event_set_and_waiters_cancelled,
    condition_notify_all,
    condition_notify_one_by_one,
    condition_woken_queue_for_the_lock_behind_who_waits,
    condition_over_a_given_lock,
    condition_queued_waiter_cancelled,
    condition_bounded_buffer,
]


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("program", SAME_AS_ASYNCIO, ids=lambda program: program.__name__)
def test_same_iterations_as_asyncio(program: Program, new_loop: NewLoop) -> None:
    log = log_of(program, holdfast, new_loop)
    assert log == log_of(program, asyncio, new_loop)
    assert len(log) > 2


# What asyncio does not do, or not in every version


def test_granted_waiter_runs_in_the_next_iteration() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        lock, semaphore, event = classes.Lock(), classes.Semaphore(0), classes.Event()
        await lock.acquire()
        tasks(visit(lock, log, "a"), visit(semaphore, log, "b"), watch(event, log, "c"))
        await step(0)
        await step(0)
        log("grant")
        lock.release()
        semaphore.release()
        event.set()

    log = log_of(program, holdfast)
    assert (2, "grant") in log
    assert [entry for entry in log if entry[0] == 3] == [(3, "a", "enters"), (3, "b", "enters"), (3, "c", True)]


def test_release_to_a_waiter_that_is_cancelled_already_goes_to_the_next_at_once() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        lock = classes.Lock()
        await lock.acquire()
        a, _ = tasks(*(visit(lock, log, name, 0) for name in "ab"))
        await step(0)
        await step(0)
        a.cancel()
        lock.release()
        assert lock.locked()

    assert log_of(program, holdfast)[2:] == [
        (3, "a", "cancelled"),
        (3, "a", "gone"),
        (3, "b", "enters"),
        (3, "b", "leaves"),
        (3, "b", "gone"),
    ]


def test_barrier_leaves_in_one_iteration() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        barrier = classes.Barrier(4)

        async def arrive(name: str) -> None:
            log(name, "index", await barrier.wait())

        tasks(*map(arrive, "abc"))
        await step(0)
        await step(0)
        await arrive("d")

    assert log_of(program, holdfast) == [
        (2, "d", "index", 3),
        (3, "a", "index", 0),
        (3, "b", "index", 1),
        (3, "c", "index", 2),
    ]


def test_barrier_of_one_never_waits() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        barrier = classes.Barrier(1)
        for _ in range(3):
            log(await barrier.wait())

    assert log_of(program, holdfast) == [(0, 0)] * 3


async def test_cancelled_task_is_no_party_of_a_barrier_even_before_it_runs() -> None:
    barrier = holdfast.Barrier(2)
    (cancelled,) = tasks(barrier.wait())
    await step(0)
    await step(0)
    cancelled.cancel()
    arrival = barrier.wait()
    arrival.send(None)  # waits, in this very step
    arrival.close()
    (waiter,) = tasks(barrier.wait())
    await step(0)
    await step(0)
    assert cancelled.cancelled()
    assert not waiter.done()
    assert await barrier.wait() == 1
    assert await waiter == 0


def test_next_round_of_a_barrier_waits_for_the_round_before() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        barrier = classes.Barrier(2)

        async def arrive(name: str) -> None:
            for _ in range(2):
                log(name, await barrier.wait(), barrier.n_waiting)

        tasks(*map(arrive, "ab"))

    log = log_of(program, holdfast)
    assert [event[0] for _, *event in log] in (["b", "a", "a", "b"], ["b", "a", "b", "a"])
    assert sorted(event[1] for _, *event in log[:2]) == [0, 1]
    assert sorted(event[1] for _, *event in log[2:]) == [0, 1]


class LoopThatKeepsHandles(asyncio.SelectorEventLoop):
    """Remembers what call_soon() has returned."""

    def __init__(self) -> None:
        super().__init__()
        self.handles: list[asyncio.Handle] = []

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        self.handles.append(super().call_soon(*args, **kwargs))
        return self.handles[-1]


def test_a_complete_round_of_a_barrier_leaves_nothing_to_run_in_the_next_iteration() -> None:
    """Who came early is spared for one iteration, which a callback ends: not if the round is complete before."""

    async def main() -> None:
        barrier = holdfast.Barrier(2)

        async def attend() -> None:
            for _ in range(5):
                await barrier.wait()

        loop = asyncio.get_running_loop()
        assert isinstance(loop, LoopThatKeepsHandles)
        await asyncio.gather(*tasks(attend(), attend()))
        assert sum(handle.cancelled() for handle in loop.handles) == 4
        assert barrier._sparing is None

    with asyncio.Runner(loop_factory=LoopThatKeepsHandles) as runner:
        runner.run(main())


def test_barrier_aborted_and_reset_wake_in_the_next_iteration() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        barrier = classes.Barrier(3)

        async def arrive(name: str) -> None:
            try:
                await barrier.wait()
            except holdfast.BrokenBarrierError:
                log(name, "broken")

        for end in (barrier.abort, barrier.reset, barrier.reset):
            tasks(*map(arrive, "ab"))
            await step(0)
            await step(0)
            log("main")
            await end()
            await step(0)

    log = log_of(program, holdfast)
    # The second pair meets a barrier that is broken already.
    assert log == [
        (2, "main"),
        (3, "a", "broken"),
        (3, "b", "broken"),
        (4, "a", "broken"),
        (4, "b", "broken"),
        (5, "main"),
        (8, "main"),
        (9, "a", "broken"),
        (9, "b", "broken"),
    ]


def test_cancelled_waiters_that_nobody_notified_wake_no_other() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        condition = classes.Condition()
        waiters = tasks(*(consume(condition, log, name) for name in "abcd"))
        await step(0)
        waiters[0].cancel()
        waiters[2].cancel()
        await step(0)
        for _ in range(5):
            await step(0)
        log("main")
        waiters[1].cancel()
        waiters[3].cancel()

    waiting, after = [], []
    for iteration, *event in log_of(program, holdfast):
        (waiting if iteration == 1 else after).append(event)
    assert waiting == [[name, "waits"] for name in "abcd"]
    assert after[:4] == [["a", "cancelled"], ["a", "gone"], ["c", "cancelled"], ["c", "gone"]]
    assert after[4] == ["main"]


def test_notified_and_cancelled_waiter_passes_it_on_when_it_has_the_lock() -> None:
    async def program(classes: ModuleType, log: Log) -> None:
        condition = classes.Condition()
        a, _ = tasks(consume(condition, log, "a"), consume(condition, log, "b"))
        await step(0)
        async with condition:
            condition.notify()
            a.cancel()
            tasks(visit(condition, log, "x"))
            await step(0)
            await step(0)
            log("main leaves")

    events = [tuple(event) for _, *event in log_of(program, holdfast)]
    assert events.index(("main leaves",)) < events.index(("a", "cancelled"))
    assert events.index(("a", "cancelled")) < events.index(("b", True))


# `async with`


@pytest.mark.parametrize(
    "make", [holdfast.Lock, holdfast.Condition, holdfast.Semaphore, holdfast.BoundedSemaphore], ids=lambda c: c.__name__
)
async def test_entering_acts_at_once_if_it_need_not_wait(make: Callable[[], Any]) -> None:
    primitive = make()
    entering = primitive.__aenter__()
    assert primitive.locked()
    assert await entering is None
    leaving = primitive.__aexit__(None, None, None)
    assert not primitive.locked()
    assert not await leaving


# Timeouts (C2): whatever iteration they meet the grant in, nothing is lost and nothing is leaked


class LoopWithOwnClock(asyncio.SelectorEventLoop):
    """Time passes when the test says so."""

    now = 0.0

    def time(self) -> float:
        return self.now


def run_without_waiting(coroutine: Coroutine[Any, Any, Any]) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)


class Case:
    """Something to wait for under a timeout, what grants it, and what must be true afterwards."""

    def wait(self) -> Coroutine[Any, Any, Any]:
        raise NotImplementedError

    def grant(self) -> None:
        raise NotImplementedError

    async def check(self, got: list[bool]) -> None:
        """Each waiter in `got` had it, or ran out of time."""
        raise NotImplementedError


class Permit(Case):
    def __init__(self, make: Callable[[], Any], waiters: int) -> None:
        self.primitive = make()
        run_without_waiting(self.primitive.acquire())

    def wait(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.acquire()

    def grant(self) -> None:
        self.primitive.release()

    async def check(self, got: list[bool]) -> None:
        assert sum(got) <= 1
        assert self.primitive.locked() == any(got)
        if any(got):
            self.primitive.release()
        assert not self.primitive.locked()
        assert await self.primitive.acquire()
        assert self.primitive.locked()


class Entered(Permit):
    """The same through `async with`."""

    def wait(self) -> Coroutine[Any, Any, Any]:
        return self.enter()

    async def enter(self) -> bool:
        await self.primitive.__aenter__()
        return True


class Set(Case):
    def __init__(self, waiters: int) -> None:
        self.event = holdfast.Event()

    def wait(self) -> Coroutine[Any, Any, Any]:
        return self.event.wait()

    def grant(self) -> None:
        self.event.set()

    async def check(self, got: list[bool]) -> None:
        assert await self.event.wait()
        self.event.clear()
        assert self.event.statistics().tasks_waiting == 0


class Notified(Case):
    def __init__(self, lock: Callable[[], Any], method: str, waiters: int) -> None:
        self.condition = holdfast.Condition(lock())
        self.method = method
        self.notified = 0

    async def wait(self) -> Any:
        async with self.condition:
            if self.method == "wait":
                return await self.condition.wait()
            return await self.condition.wait_for(lambda: self.notified)

    def grant(self) -> None:
        run_without_waiting(self.condition.acquire())
        self.notified += 1
        self.condition.notify()
        self.condition.release()

    async def check(self, got: list[bool]) -> None:
        assert not self.condition.locked()
        assert sum(got) <= 1
        assert self.condition.statistics().tasks_waiting == 0


class Met(Case):
    def __init__(self, waiters: int) -> None:
        self.barrier = holdfast.Barrier(waiters + 1)
        self.last: asyncio.Task[int] | None = None

    def wait(self) -> Coroutine[Any, Any, Any]:
        return self.meet()

    async def meet(self) -> bool:
        await self.barrier.wait()
        return True

    def grant(self) -> None:
        self.last = asyncio.get_running_loop().create_task(self.barrier.wait())

    async def check(self, got: list[bool]) -> None:
        assert self.last is not None
        if any(got):
            assert self.last.done()
        if not self.last.done():
            assert self.barrier.n_waiting == 1
            self.last.cancel()
            await step(0)
        assert self.barrier.n_waiting == 0
        again = [asyncio.create_task(self.barrier.wait()) for _ in range(self.barrier.parties)]
        assert sorted(await asyncio.gather(*again)) == list(range(self.barrier.parties))


CASES = {
    "Lock.acquire": lambda waiters: Permit(holdfast.Lock, waiters),
    "Semaphore.acquire": lambda waiters: Permit(holdfast.Semaphore, waiters),
    "BoundedSemaphore.acquire": lambda waiters: Permit(holdfast.BoundedSemaphore, waiters),
    "Condition.acquire": lambda waiters: Permit(holdfast.Condition, waiters),
    "Lock.__aenter__": lambda waiters: Entered(holdfast.Lock, waiters),
    "Semaphore.__aenter__": lambda waiters: Entered(holdfast.Semaphore, waiters),
    "Event.wait": Set,
    "Condition.wait": lambda waiters: Notified(holdfast.Lock, "wait", waiters),
    "Condition.wait, asyncio.Lock": lambda waiters: Notified(asyncio.Lock, "wait", waiters),
    "Condition.wait_for": lambda waiters: Notified(holdfast.Lock, "wait_for", waiters),
    "Barrier.wait": Met,
}

MOMENTS = ["timer before", "timer after", *range(-3, 6)]
"""When the grant is made: as a timer that is due together with the timeout, or that many steps after it is due."""


async def with_wait_for(case: Case) -> bool:
    try:
        return bool(await asyncio.wait_for(case.wait(), 10))
    except TimeoutError:
        return False


async def with_timeout(case: Case) -> bool:
    try:
        async with asyncio.timeout(10):
            return bool(await case.wait())
    except TimeoutError:
        return False


async def without(case: Case) -> bool:
    return bool(await case.wait())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("limited", [with_wait_for, with_timeout], ids=lambda limited: limited.__name__)
@pytest.mark.parametrize("name", CASES)
def test_timeout_meets_grant(name: str, limited: Callable[[Case], Any], moment: int | str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LoopWithOwnClock)
        case = CASES[name](1)
        (waiter,) = tasks(limited(case))
        await step(0)
        await step(0)
        if isinstance(moment, str):
            loop.call_at(9 if moment == "timer before" else 11, case.grant)
        for now in range(-3, 6):
            if now == 0:
                loop.now = 20
            if now == moment:
                case.grant()
            await step(0)
        for _ in range(20):
            await step(0)
        await case.check([waiter.result()])

    with asyncio.Runner(loop_factory=LoopWithOwnClock) as runner:
        runner.run(main())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("limited", [with_wait_for, with_timeout], ids=lambda limited: limited.__name__)
@pytest.mark.parametrize("name", [name for name in CASES if name != "Barrier.wait"])
def test_grant_that_a_timeout_met_goes_to_the_next_waiter(
    name: str, limited: Callable[[Case], Any], moment: int | str
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LoopWithOwnClock)
        case = CASES[name](2)
        first, second = tasks(limited(case), without(case))
        await step(0)
        await step(0)
        if isinstance(moment, str):
            loop.call_at(9 if moment == "timer before" else 11, case.grant)
        for now in range(-3, 6):
            if now == 0:
                loop.now = 20
            if now == moment:
                case.grant()
            await step(0)
        for _ in range(20):
            await step(0)
        if isinstance(case, Set):
            assert second.done()
        else:
            assert second.done() != first.result()
        got = [first.result(), second.done() and second.result()]
        if not second.done():
            second.cancel()
            for _ in range(5):
                await step(0)
        await case.check(got)

    with asyncio.Runner(loop_factory=LoopWithOwnClock) as runner:
        runner.run(main())
