"""One test for each race that a well-known library shipped: its schedule, step by step, and what must come of it.

The list is RACES.md, "In one process"; each test says who got it wrong and where that is recorded. A task is one
letter. `await step()` is one iteration of the event loop, in which each task that is ready runs once.
"""

import asyncio
import functools
import itertools
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from holdfast import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Event, Lock, Semaphore
from holdfast.tasks.barrier import BarrierStatistics
from holdfast.tasks.semaphore import SemaphoreStatistics

try:
    import uvloop
except ImportError:  # the extra 'test' brings it where it exists
    uvloop = None


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


LOOPS = {"asyncio": asyncio.new_event_loop}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = eager_loop
if uvloop is not None:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS.values(), ids=LOOPS, autouse=True)
def run(request):
    """Run an async test in a new loop."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)

    return run


@pytest.fixture(params=[Lock, Semaphore, BoundedSemaphore, Condition])
def mutex(request):
    """Whatever lets one task in at a time."""
    return request.param()


class LockOfAUser(Lock):
    """A subclass that a Condition has to take through its methods."""

    async def acquire(self) -> bool:
        return await super().acquire()


@pytest.fixture(params=[Lock, asyncio.Lock, LockOfAUser], ids=["over Lock", "over asyncio.Lock", "over a subclass"])
def condition(request):
    return Condition(request.param())


async def step(iterations: int = 1) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)


async def settle() -> None:
    """More iterations than any schedule here takes: who has not gone on by now never will."""
    await step(20)


async def start(*coroutines: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """A task for each, every one of them waiting."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await step(2)
    assert not any(task.done() for task in tasks)
    return tasks


async def wait_under(condition: Condition) -> bool:
    async with condition:
        return await condition.wait()


async def notify_under(condition: Condition, n: int = 1) -> None:
    async with condition:
        condition.notify(n)


class Watched:
    """Await a coroutine; count how often it runs, and note what is thrown into it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.runs = 0
        self.thrown: list[BaseException] = []

    def __await__(self) -> Generator[Any, Any, Any]:
        advance = functools.partial(self.coroutine.send, None)
        while True:
            self.runs += 1
            try:
                future = advance()
            except StopIteration as stop:
                return stop.value
            # What the await of a future does: this is the frame that the task talks to.
            try:
                yield future
            except BaseException as error:
                self.thrown.append(error)
                advance = functools.partial(self.coroutine.throw, error)
            else:
                advance = functools.partial(self.coroutine.send, None)


class ByHand:
    """A coroutine that has gone as far as it gets, without a task: the test says when it runs on, or is closed."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.awaited = coroutine.send(None)

    @property
    def may_go_on(self) -> bool:
        return self.awaited.done()

    def result(self) -> Any:
        """Run to the end."""
        with pytest.raises(StopIteration) as stop:
            self.coroutine.send(None)
        return stop.value.value

    def close(self) -> None:
        self.coroutine.close()

    def throw(self, error: BaseException) -> None:
        with pytest.raises(type(error)) as raised:
            self.coroutine.throw(error)
        assert raised.value is error


async def start_leaver(coroutine: Coroutine[Any, Any, Any], how: str) -> Callable[[], object]:
    """Let somebody wait; return the call that makes them leave."""
    if how == "closed":
        return ByHand(coroutine).close
    (task,) = await start(coroutine)
    return task.cancel


def in_another_thread(call: Callable[[], object]) -> BaseException | None:
    """What `call` raises there, while the loop of this thread stands still."""
    raised: list[BaseException | None] = []

    def target() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return raised[0]


# A task is cancelled, and somebody else never wakes


async def test_bpo_27585_a_task_cancelled_between_wake_up_and_run_passes_the_lock_on(mutex):
    """A holds, B and C wait. A releases, which wakes B; B is cancelled before it runs. C must get the lock.

    asyncio's Lock before 3.7: C slept for ever.
    """
    await mutex.acquire()
    b, c = await start(mutex.acquire(), mutex.acquire())
    mutex.release()
    b.cancel()
    await step()  # B runs, and gives back
    assert b.cancelled()
    assert not c.done()
    assert mutex.locked()
    await step()
    assert c.done()
    mutex.release()
    assert not mutex.locked()


@pytest.mark.parametrize("order", ["cancel, release", "release, cancel"])
async def test_bpo_32734_cancel_and_release_in_one_iteration_wake_one_task(mutex, order):
    """A holds, B, C and D wait. In one iteration B is cancelled and A releases. One of C and D must wake, not both.

    asyncio's Lock before 3.8: the release woke one, the cancelled one another, and two were in.
    """
    await mutex.acquire()
    b, c, d = await start(mutex.acquire(), mutex.acquire(), mutex.acquire())
    for call in order.split(", "):
        {"cancel": b.cancel, "release": mutex.release}[call]()
    await settle()
    assert b.cancelled()
    assert c.done()
    assert not d.done()
    assert mutex.locked()
    mutex.release()
    await step()
    assert d.done()
    mutex.release()
    assert not mutex.locked()


async def test_gh_90155_a_semaphore_survives_the_cancellation_of_a_woken_task():
    """A holds the one permit, B and C wait. A releases; B is cancelled while its wake-up is scheduled.

    asyncio's Semaphore of 3.9.12 to 3.11: the flag "a wake-up is scheduled" stayed up, and nobody woke any more.
    """
    semaphore = Semaphore(1)
    await semaphore.acquire()
    b, c = await start(semaphore.acquire(), semaphore.acquire())
    semaphore.release()
    b.cancel()
    await step(2)
    assert b.cancelled()
    assert c.done()
    for _ in range(3):  # not dead
        (late,) = await start(semaphore.acquire())
        semaphore.release()
        await step()
        assert late.done()
    semaphore.release()
    assert semaphore.statistics() == SemaphoreStatistics(value=1, tasks_waiting=0)


ANYIO_CALLS = ["release", "cancel", "late", "try"]


@pytest.mark.parametrize("order", [*itertools.permutations(ANYIO_CALLS)], ids=" ".join)
@pytest.mark.parametrize(("cls", "limit"), [(Lock, 1), (Condition, 1), (Semaphore, 2), (BoundedSemaphore, 2)])
async def test_anyio_1145_1170_a_grant_and_a_cancellation_in_one_iteration(cls, limit, order):
    """All is taken, B and C wait. In one iteration, in every order: somebody releases, B is cancelled, D comes, and
    E tries without waiting. B's place must go to C, then D; never may more be in than the limit.

    anyio's Lock and Semaphore (#1145, #947, #1075) lost the wake-up, its CapacityLimiter (#1170) let in too many.
    """
    lock = Lock()
    primitive = cls(lock) if cls is Condition else cls() if cls is Lock else cls(limit)
    try_acquire = lock.try_acquire if cls is Condition else primitive.try_acquire
    for _ in range(limit):
        await primitive.acquire()
    inside = limit
    most = limit
    entered = []

    async def enter(name: str) -> None:
        nonlocal inside, most
        await primitive.acquire()
        inside += 1
        most = max(most, inside)
        entered.append(name)
        await asyncio.Event().wait()

    def release() -> None:
        nonlocal inside
        inside -= 1
        primitive.release()

    tasks = {"B": asyncio.create_task(enter("B")), "C": asyncio.create_task(enter("C"))}
    await step(2)

    def late() -> None:
        tasks["D"] = asyncio.create_task(enter("D"))

    def attempt() -> None:
        assert not try_acquire()

    calls = {"release": release, "cancel": lambda: tasks["B"].cancel(), "late": late, "try": attempt}
    for call in order:
        calls[call]()
    await settle()
    assert entered == ["C"]
    assert inside == limit
    for _ in range(limit):
        release()
    await settle()
    assert entered == ["C", "D"]
    assert most == limit


@pytest.mark.parametrize("where", ["woken", "waiting for the lock"])
async def test_gh_112202_a_notification_of_a_cancelled_task_goes_to_another(condition, where):
    """B and C wait. A notifies one, B, which is cancelled before it runs, or while it waits for the lock. C must be
    notified instead: it is one item for one consumer.

    asyncio's Condition before 3.13, trio 0.35, anyio #398: the item stays, and C sleeps.
    """
    b, c = await start(wait_under(condition), wait_under(condition))
    async with condition:
        condition.notify()
        if where == "waiting for the lock":
            await step()
        b.cancel()
        await settle()
        assert not b.done()  # it has to have the lock to leave
    await settle()
    assert b.cancelled()
    assert c.done()
    assert not condition.locked()


@pytest.mark.parametrize("order", ["notify, cancel", "cancel, notify"])
async def test_anyio_398_a_notification_and_a_cancellation_in_one_iteration(condition, order):
    """B, C and D wait. In one iteration B is cancelled and A notifies one. C must wake, D must not.

    anyio's Condition: the notification was lost.
    """
    b, c, d = await start(*(wait_under(condition) for _ in range(3)))
    async with condition:
        for call in order.split(", "):
            {"cancel": b.cancel, "notify": condition.notify}[call]()
    await settle()
    assert b.cancelled()
    assert c.done()
    assert not d.done()
    assert not condition.locked()


@pytest.mark.parametrize("leave", ["cancelled", "closed"])
async def test_aiorwlock_a_leaving_waiter_no_longer_blocks_those_who_could_go(leave):
    """A permit is on its way to B, another one is free, and C and D stand behind B. B leaves: both must go.

    aiorwlock 1.5.1: a queued writer is cancelled, and the readers behind it stay until the reader inside leaves.
    """
    semaphore = Semaphore(0)
    leave_now = await start_leaver(semaphore.acquire(), leave)
    semaphore.release()
    semaphore.release()
    c, d = ByHand(semaphore.acquire()), ByHand(semaphore.acquire())
    assert not c.may_go_on
    leave_now()
    await step()
    assert c.may_go_on
    assert d.may_go_on
    assert c.result()
    assert d.result()
    assert semaphore.statistics() == SemaphoreStatistics(value=0, tasks_waiting=0)


@pytest.mark.parametrize("leave", ["cancelled", "closed"])
async def test_aiorwlock_a_leaving_party_no_longer_blocks_the_next_round(leave):
    """A and B are let go; before A runs, C and D come for the next round. A leaves: C and D must go.

    As above, with the barrier's waiters that stand behind a round that has not left yet.
    """
    barrier = Barrier(2)
    leave_now = await start_leaver(barrier.wait(), leave)
    assert await barrier.wait() == 1
    c, d = ByHand(barrier.wait()), ByHand(barrier.wait())
    assert not c.may_go_on
    leave_now()
    await step()
    assert (c.result(), d.result()) == (0, 1)
    assert barrier.statistics() == BarrierStatistics(parties=2, tasks_waiting=0, broken=False)


# Who is in, and who is told so


async def test_bpo_45997_the_releaser_does_not_overtake(mutex):
    """A holds, B waits. A releases and acquires again without a pause. B must get it first.

    asyncio's Semaphore before 3.11: A won every time, as B's wake-up came too late.
    """
    order = []

    async def again_and_again(name: str) -> None:
        for _ in range(3):
            await mutex.acquire()
            order.append(name)
            await step()
            mutex.release()

    tasks = [asyncio.create_task(again_and_again(name)) for name in "ABC"]
    await asyncio.gather(*tasks)
    assert "".join(order) == "ABCABCABC"


async def test_bpo_45997_a_latecomer_does_not_overtake_either(mutex):
    """A holds, B waits. A releases, and in the same iteration C asks, with B on its way. B must get it first."""
    await mutex.acquire()
    (b,) = await start(mutex.acquire())
    mutex.release()
    c = ByHand(mutex.acquire())
    assert not c.may_go_on
    await step()
    assert b.done()
    assert not c.may_go_on
    mutex.release()
    assert c.may_go_on
    assert c.result()


async def test_gh_97028_a_semaphore_with_waiters_is_locked():
    """A holds one of two permits, B the other, C waits. A releases, and C has not run yet: locked() must be true, as
    acquire() would wait. So too when a second permit comes free meanwhile.

    asyncio's Semaphore before 3.11: False.
    """
    semaphore = Semaphore(2)
    await semaphore.acquire()
    await semaphore.acquire()
    (c,) = await start(semaphore.acquire())
    assert semaphore.locked()
    for free in (0, 1):
        semaphore.release()
        assert semaphore.locked()
        assert not semaphore.try_acquire()
        assert semaphore.statistics().value == free
    await step()
    assert c.done()
    assert not semaphore.locked()
    assert semaphore.try_acquire()
    assert semaphore.locked()


async def test_gh_138121_a_lock_on_its_way_to_the_next_task_is_locked(mutex):
    """A holds, B waits. A releases, and B has not run yet: locked() must be true, as acquire() would wait.

    asyncio's Lock, still open: False.
    """
    await mutex.acquire()
    (b,) = await start(mutex.acquire())
    mutex.release()
    assert not b.done()
    assert mutex.locked()
    await step()
    assert b.done()
    assert mutex.locked()
    mutex.release()
    assert not mutex.locked()


@pytest.mark.parametrize("who", range(3))
async def test_gh_155233_a_barrier_gives_each_index_once(who):
    """A, B, C wait at a barrier of four; one of them is cancelled while it fills; then D and E come.

    asyncio's Barrier, still open: the index is counted from the tasks inside, and D gets that of another.
    """
    barrier = Barrier(4)
    tasks = await start(*(barrier.wait() for _ in range(3)))
    gone = tasks.pop(who)
    gone.cancel()
    await step()
    tasks += await start(barrier.wait())
    assert barrier.n_waiting == 3
    last = await barrier.wait()
    await step()
    assert gone.cancelled()
    assert [*(task.result() for task in tasks), last] == [0, 1, 2, 3]


# Condition.wait() has the lock when it ends, and raises what was thrown into it


async def test_bpo_22970_a_task_cancelled_while_it_takes_the_lock_again_holds_it(condition):
    """B waits and is notified; A has the lock still. B is cancelled, twice: it must not end before it has the lock.

    asyncio's Condition before 3.5.2: B left without it, and its `async with` released the lock of A.
    """
    held = []

    async def wait() -> None:
        async with condition:
            try:
                await condition.wait()
            finally:
                held.append(condition.locked() and not inside)

    (b,) = await start(wait())
    async with condition:
        inside = True
        condition.notify()
        await step()
        for _ in range(2):
            b.cancel()
            await step(2)
        assert not b.done()
        assert held == []
        inside = False
    await settle()
    assert held == [True]
    assert not condition.locked()


@pytest.mark.parametrize("notified", [True, False])
async def test_bpo_32841_a_cancellation_while_it_takes_the_lock_again_is_not_swallowed(condition, notified):
    """B waits, and is notified, or cancelled, while A has the lock. B is cancelled then: wait() must raise.

    asyncio's Condition before 3.7: it returned True.
    """
    (b,) = await start(wait_under(condition))
    async with condition:
        if notified:
            condition.notify()
        else:
            b.cancel()
        await step()
        b.cancel()
    await settle()
    assert b.cancelled()
    assert not condition.locked()


@pytest.mark.parametrize("where", ["waiting", "notified", "waiting for the lock", "on the way to the lock"])
async def test_gh_111693_the_error_that_comes_out_is_the_one_that_was_thrown_in(condition, where):
    """B waits; A has the lock. B is cancelled with a message, at each place where wait() can be.

    asyncio's Condition before 3.13: a fresh CancelledError came out, without the message.
    """
    waiting = Watched(condition.wait())

    async def wait() -> None:
        async with condition:
            await waiting

    (b,) = await start(wait())
    await condition.acquire()
    if where != "waiting":
        condition.notify()
    if where.endswith("the lock"):
        await step()
    if where.startswith("on the way"):
        condition.release()
    b.cancel("the reason")
    await step()
    if not where.startswith("on the way"):
        condition.release()
    with pytest.raises(asyncio.CancelledError) as raised:
        await b
    assert raised.value.args == ("the reason",)
    assert raised.value is waiting.thrown[-1]
    assert not condition.locked()


async def test_gh_112202_whom_nobody_notified_wakes_nobody(condition):
    """1000 tasks wait, 500 of them are cancelled, nobody was notified: none of the others may wake.

    asyncio's Condition since 3.13: each cancelled one wakes another.
    """
    wake_ups = 0

    async def wait() -> None:
        nonlocal wake_ups
        async with condition:
            while True:
                await condition.wait()
                wake_ups += 1

    tasks = await start(*(wait() for _ in range(1000)))
    for task in tasks[::2]:
        task.cancel()
    await step(2000)  # over an asyncio.Lock, they take it in turn
    assert sum(task.done() for task in tasks) == 500
    assert wake_ups == 0


async def test_anyio_884_cancelled_in_every_iteration_it_does_not_spin():
    """B waits for the lock in Condition.wait(), and is cancelled in every iteration until it ends.

    anyio's Condition: B ran each time, and slept again: a core was busy until the lock came free.
    """
    condition = Condition()
    waiting = Watched(condition.wait())

    async def wait() -> None:
        async with condition:
            await waiting

    (b,) = await start(wait())
    await condition.acquire()
    for _ in range(100):
        b.cancel()
        await step()
    assert waiting.runs <= 3  # it starts; it is cancelled, and waits for the lock; it is told again, at most once
    condition.release()
    await settle()
    assert b.cancelled()
    assert not condition.locked()


# A coroutine that waits is closed, by the garbage collector or at the end of its loop


CLOSERS = {
    "closed": ByHand.close,
    "interrupted": lambda waiter: waiter.throw(KeyboardInterrupt()),
}
closers = pytest.mark.parametrize("leave", CLOSERS.values(), ids=CLOSERS)


@closers
async def test_a_woken_waiter_that_is_closed_passes_the_lock_on(mutex, leave):
    """A holds, B and C wait. A releases, which wakes B; B's coroutine is closed. C must get the lock.

    asyncio: its Lock leaves C asleep for ever, its Semaphore loses the permit.
    """
    await mutex.acquire()
    b, c = ByHand(mutex.acquire()), ByHand(mutex.acquire())
    mutex.release()
    leave(b)
    assert mutex.locked()
    assert c.may_go_on
    assert c.result()
    mutex.release()
    assert not mutex.locked()


@closers
async def test_a_woken_waiter_that_is_closed_and_was_the_last_frees_the_lock(mutex, leave):
    """A holds, B waits. A releases, which wakes B; B's coroutine is closed. D must find the lock free."""
    await mutex.acquire()
    b = ByHand(mutex.acquire())
    mutex.release()
    leave(b)
    assert not mutex.locked()
    await asyncio.wait_for(mutex.acquire(), 1)


@closers
async def test_a_queued_waiter_that_is_closed_is_passed_over(mutex, leave):
    """A holds, B and C wait. B's coroutine is closed, then A releases. C must get the lock."""
    await mutex.acquire()
    b, c = ByHand(mutex.acquire()), ByHand(mutex.acquire())
    leave(b)
    assert not c.may_go_on
    mutex.release()
    assert c.may_go_on


@closers
async def test_a_notified_waiter_that_is_closed_passes_the_notification_on(condition, leave):
    """B and C wait. A notifies one, B, whose coroutine is closed. C must be notified instead.

    asyncio's Condition before 3.13: the notification was lost.
    """
    waiting = await start(wait_under(condition))  # so that B is not the only one to have come early
    b, c = ByHand(wait_under(condition)), ByHand(wait_under(condition))
    async with condition:
        condition.notify(2)
    await step()
    assert waiting[0].done()
    leave(b)
    await step()
    assert c.may_go_on
    assert not condition.locked()
    assert c.result()
    assert not condition.locked()


def test_a_waiter_woken_in_a_loop_that_ends_passes_the_lock_on_in_the_next_loop(run, mutex):
    """In one loop A holds, B waits and is woken; the loop ends before B runs. In another one C must get the lock. B's
    coroutine is closed only then: C must keep it.

    asyncio: as above.
    """
    b = []

    async def one_loop() -> None:
        await mutex.acquire()
        b.append(ByHand(mutex.acquire()))
        mutex.release()

    async def another_loop() -> None:
        await asyncio.wait_for(mutex.acquire(), 1)
        b.pop().close()
        assert mutex.locked()
        d = ByHand(mutex.acquire())
        assert not d.may_go_on
        d.close()

    run(one_loop())
    run(another_loop())


@pytest.mark.parametrize("where", ["waiting", "notified", "waiting for the lock"])
@pytest.mark.parametrize("waiters", [1, 2])
async def test_a_waiter_closed_in_async_with_leaves_the_lock_of_another_task_alone(condition, waiters, where):
    """B waits in `async with c: await c.wait()`; A holds the lock. B's coroutine is closed: A must keep the lock, and
    D must wait for it.

    asyncio's Condition: the exit of the `async with` releases the lock of A.
    """
    waiting = [ByHand(wait_under(condition)) for _ in range(waiters)]
    await condition.acquire()
    if where != "waiting":
        condition.notify_all()
    if where == "waiting for the lock":
        for b in waiting:
            b.coroutine.send(None)
    for b in waiting:
        b.close()
    assert condition.locked()
    (d,) = await start(condition.acquire())
    condition.release()
    await step(2)
    assert d.done()
    assert condition.locked()
    condition.release()
    assert not condition.locked()


async def test_a_waiter_closed_in_async_with_leaves_the_lock_that_conditions_share_alone():
    """The same; B waits in one condition, and A holds the lock by another condition over the same lock."""
    for lock in Lock(), asyncio.Lock(), LockOfAUser():
        one, other = Condition(lock), Condition(lock)
        b, b2 = ByHand(wait_under(one)), ByHand(wait_under(other))
        async with other:
            b.close()
            assert lock.locked()
            b2.close()
            assert lock.locked()
        assert not lock.locked()


async def test_a_waiter_closed_in_async_with_while_the_lock_is_free_leaves_it_free(condition):
    """B waits in `async with c: await c.wait()`; nobody holds the lock. B's coroutine is closed: still nobody does.

    asyncio's Condition: RuntimeError, as the exit releases what is not locked.
    """
    b = ByHand(wait_under(condition))
    b.close()
    assert not condition.locked()
    async with condition:
        assert condition.locked()
    assert not condition.locked()


# Timeouts


@pytest.mark.parametrize("behind", [False, True], ids=["alone", "one waits behind"])
@pytest.mark.parametrize("first", ["timeout", "release"])
@pytest.mark.parametrize("form", ["wait_for", "timeout"])
async def test_gh_86296_a_timeout_and_a_grant_in_one_iteration(mutex, form, first, behind):
    """A holds, B waits in `wait_for(lock.acquire(), t)`. Timeout and release come due in one iteration. B must either
    have the lock, and no TimeoutError, or the other way round; then the next one has it.

    asyncio before 3.12: TimeoutError, and the lock was held by nobody.
    """

    async def acquire() -> None:
        if form == "wait_for":
            await asyncio.wait_for(mutex.acquire(), 0.02)
        else:
            async with asyncio.timeout(0.02):
                await mutex.acquire()

    loop = asyncio.get_running_loop()
    await mutex.acquire()
    if first == "release":
        loop.call_later(0.01, mutex.release)
    b = asyncio.create_task(acquire())
    await step()
    if first == "timeout":
        loop.call_later(0.025, mutex.release)
    c = asyncio.create_task(mutex.acquire())
    await step()
    if not behind:
        c.cancel()
        await step()
    time.sleep(0.04)  # the loop stands still until both are due
    await settle()

    assert b.done()
    if b.exception() is None:
        assert not c.done() or c.cancelled()
        assert mutex.locked()
        mutex.release()
        await step(2)
    else:
        assert isinstance(b.exception(), TimeoutError)
    if behind:
        assert c.done()
        assert mutex.locked()
        mutex.release()
    assert not mutex.locked()


@pytest.mark.parametrize("order", ["cancel, release", "release, cancel"])
@pytest.mark.parametrize("form", ["wait_for", "timeout"])
async def test_gh_86296_a_cancellation_of_wait_for_and_a_grant_in_one_iteration(mutex, form, order):
    """A holds, B waits in `wait_for(lock.acquire(), t)`, C behind it. In one iteration B is cancelled and A releases.
    B must either have the lock, and go on, or be cancelled, and then C has it.

    As above. (Python 3.11's wait_for lets B go on; that is not ours to mend, and loses nothing.)
    """

    async def acquire() -> None:
        if form == "wait_for":
            await asyncio.wait_for(mutex.acquire(), 60)
        else:
            async with asyncio.timeout(60):
                await mutex.acquire()

    await mutex.acquire()
    b, c = await start(acquire(), mutex.acquire())
    for call in order.split(", "):
        {"cancel": b.cancel, "release": mutex.release}[call]()
    await settle()
    assert b.done()
    if not b.cancelled():
        assert not c.done()
        mutex.release()
        await step(2)
    assert c.done()
    assert mutex.locked()
    mutex.release()
    assert not mutex.locked()


# What many waiters cost


class CountedFuture(asyncio.Future):
    """Counts how often any of them is compared, hashed, or asked for its state: the steps of a search."""

    looked_at = 0

    def __eq__(self, other: object) -> bool:
        CountedFuture.looked_at += 1
        return self is other

    def __hash__(self) -> int:
        CountedFuture.looked_at += 1
        return id(self)

    def done(self) -> bool:
        CountedFuture.looked_at += 1
        return super().done()

    def cancelled(self) -> bool:
        CountedFuture.looked_at += 1
        return super().cancelled()


class CountingLoop(asyncio.SelectorEventLoop):
    def create_future(self) -> asyncio.Future:
        return CountedFuture(loop=self)


def run_and_count(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(main)


async def wait_for_lock() -> Callable[[], Coroutine]:
    lock = Lock()
    await lock.acquire()
    return lock.acquire


async def wait_for_permit() -> Callable[[], Coroutine]:
    return Semaphore(0).acquire


async def wait_for_event() -> Callable[[], Coroutine]:
    return Event().wait


async def wait_for_notification() -> Callable[[], Coroutine]:
    return functools.partial(wait_under, Condition())


async def wait_for_parties() -> Callable[[], Coroutine]:
    return Barrier(10_000).wait


def newest_first(tasks: list) -> list:
    return tasks[::-1]


def oldest_first(tasks: list) -> list:
    return tasks


def from_the_middle(tasks: list) -> list:
    half = len(tasks) // 2
    return [task for pair in zip(tasks[half:], tasks[half - 1 :: -1], strict=True) for task in pair]


def all_but_the_ends(tasks: list) -> list:
    return tasks[-2:0:-1]


@pytest.mark.parametrize("run", [run_and_count], ids=["counting"])
@pytest.mark.parametrize("order", [newest_first, oldest_first, from_the_middle, all_but_the_ends])
@pytest.mark.parametrize(
    "waits", [wait_for_lock, wait_for_permit, wait_for_event, wait_for_notification, wait_for_parties]
)
async def test_cancelling_many_waiters_takes_linear_work_in_any_order(run, waits, order):
    """n tasks wait, and are cancelled in one iteration, newest first, say. Four times the tasks may take four times
    the work.

    asyncio, by design: each is searched for from the oldest on, which is sixteen times the work.
    """

    async def work(n: int) -> int:
        wait = await waits()
        tasks = await start(*(wait() for _ in range(n)))
        before = CountedFuture.looked_at
        cancelled = order(tasks)
        for task in cancelled:
            task.cancel()
        await step(2)
        assert all(task.done() for task in cancelled)
        return CountedFuture.looked_at - before

    few = 200 + await work(200)
    assert await work(800) < 5 * few


# Threads


@pytest.mark.parametrize("cls", [Lock, Semaphore, BoundedSemaphore, Condition])
async def test_release_from_another_thread(cls):
    """A holds, B waits, the loop is idle; another thread releases, and B is woken.

    asyncio: B sleeps on, as nothing wakes the loop, until something else does. So it works where the loop is busy, and
    programs rely on that.
    """
    mutex = cls()
    await mutex.acquire()
    (b,) = await start(mutex.acquire())
    before = repr(mutex)
    assert in_another_thread(mutex.release) is None
    assert mutex.locked()
    assert repr(mutex) == before  # until the loop comes to it
    await asyncio.wait_for(b, 10)
    assert mutex.locked()
    mutex.release()
    assert not mutex.locked()


async def test_set_from_another_thread():
    """A waits for an event; another thread sets it. As above."""
    event = Event()
    (a,) = await start(event.wait())
    assert in_another_thread(event.set) is None
    assert event.is_set()
    assert await asyncio.wait_for(a, 10) is True


@pytest.mark.parametrize("call", ["notify", "notify_all"])
async def test_notify_from_another_thread(condition, call):
    """B waits, A has the lock; another thread notifies. As above."""
    (b,) = await start(wait_under(condition))
    async with condition:
        assert in_another_thread(getattr(condition, call)) is None
    await asyncio.wait_for(b, 10)


@pytest.mark.parametrize("call", ["abort", "reset"])
async def test_a_barrier_is_broken_from_another_thread(call):
    """A waits at a barrier of two; another thread, with a loop of its own, aborts or resets. As above."""
    barrier = Barrier(2)
    (a,) = await start(barrier.wait())
    assert in_another_thread(lambda: asyncio.run(getattr(barrier, call)())) is None
    assert barrier.broken == (call == "abort")
    with pytest.raises(BrokenBarrierError):
        await asyncio.wait_for(a, 10)
    assert barrier.broken == (call == "abort")


async def test_a_barrier_does_not_let_another_loop_wait():
    """A waits at a barrier of two; another thread, with a loop of its own, comes. asyncio refuses that as well."""
    barrier = Barrier(2)
    (a,) = await start(barrier.wait())
    before = repr(barrier)
    error = in_another_thread(lambda: asyncio.run(barrier.wait()))
    assert isinstance(error, RuntimeError)
    assert "holdfast.threads" in str(error)
    assert repr(barrier) == before
    assert not a.done()
    assert await barrier.wait() == 1
    assert await a == 0
