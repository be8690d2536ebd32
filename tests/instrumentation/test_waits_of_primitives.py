"""What hooks are told of tasks and threads that wait for a primitive of this process, on both twins and in threads."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from interpreters import BOUND

import holdfast
import holdfast.threads
from holdfast.instrumentation import Hook, named

TIERS = {
    "tasks": SimpleNamespace(made=holdfast, who="tasks"),
    "threads": SimpleNamespace(made=holdfast.threads, who="threads"),
}


class Notes(Hook):
    """Notes what it is told, without the seconds, which it checks."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.seconds: list[float] = []

    def began_to_wait(self, kind: str, name: str) -> None:
        self.told.append(("began", kind, name))

    def waited(self, kind: str, name: str, seconds: float, outcome: str) -> None:
        assert 0 <= seconds < BOUND
        self.seconds.append(seconds)
        self.told.append((outcome, kind, name))

    def acquired(self, kind: str, name: str) -> None:
        self.told.append(("acquired", kind, name))

    def take(self) -> list[tuple[str, ...]]:
        told, self.told = self.told, []
        return told

    def outcomes(self) -> list[str]:
        return [each[0] for each in self.take()]


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A tier, with a hook that notes what it is told."""
    notes = Notes()
    remove = holdfast.instrument(notes)
    yield SimpleNamespace(**vars(TIERS[request.param]), notes=notes, remove=remove)
    remove()


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def begun(*coroutines: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(each) for each in coroutines]
    await turns()
    return tasks


LOCKS = {
    "lock": lambda made: made.Lock(),
    "semaphore": lambda made: made.Semaphore(1),
    "reader-writer lock": lambda made: made.RWLock(),
    "keyed lock": lambda made: made.KeyedLock(),
}


def usable(primitive: Any) -> Any:
    """What has acquire() and release()."""
    return (
        primitive.writer if hasattr(primitive, "writer") else primitive["a"] if hasattr(primitive, "all") else primitive
    )


@pytest.mark.parametrize("kind", LOCKS)
async def test_who_has_to_wait_is_told_with_kind_and_name_and_who_has_not_is_not(tier, kind):
    primitive = named(LOCKS[kind](tier.made), "db")
    lock = usable(primitive)
    async with lock:
        assert tier.notes.take() == []
        first, second, third = await begun(*(lock.acquire() for _ in range(3)))
        of = f"{kind} of {tier.who}", "db"
        assert tier.notes.take() == 3 * [("began", *of)]
        second.cancel()
        await turns()
        assert tier.notes.take() == [("cancelled", *of)]
        await asyncio.sleep(0.01)
    await first
    assert tier.notes.take() == [("granted", *of)]
    assert tier.notes.seconds[-1] >= 0.009
    lock.release()
    await third
    lock.release()
    assert tier.notes.take() == [("granted", *of)]


async def test_several_permits_and_tokens(tier):
    semaphore = tier.made.Semaphore(2)
    await semaphore.acquire(2)
    (task,) = await begun(semaphore.acquire(2))
    semaphore.release(2)
    await task
    kind = f"semaphore of {tier.who}", ""
    assert tier.notes.take() == [("began", *kind), ("granted", *kind)]
    limiter = named(tier.made.RateLimiter(1000, burst=1), "calls")
    await limiter.acquire()
    await limiter.acquire()
    kind = f"rate limiter of {tier.who}", "calls"
    assert tier.notes.take() in ([("began", *kind), ("granted", *kind)], [])  # the token may have come meanwhile
    limiter = tier.made.RateLimiter(0.001)
    await limiter.acquire()
    (task,) = await begun(limiter.acquire())
    task.cancel()
    await asyncio.wait([task])
    assert tier.notes.outcomes() == ["began", "cancelled"]


async def test_an_event_and_a_barrier(tier):
    event = tier.made.Event()
    tasks = await begun(event.wait(), event.wait())
    event.set()
    await asyncio.gather(*tasks)
    kind = f"event of {tier.who}", ""
    assert tier.notes.take() == 2 * [("began", *kind)] + 2 * [("granted", *kind)]
    await event.wait()
    barrier = tier.made.Barrier(2)
    await asyncio.gather(barrier.wait(), barrier.wait())
    kind = f"barrier of {tier.who}", ""
    assert tier.notes.take() == [("began", *kind), ("granted", *kind)]
    tasks = await begun(barrier.wait())
    await barrier.abort()
    await asyncio.wait(tasks)
    assert isinstance(tasks[0].exception(), asyncio.BrokenBarrierError)
    assert tier.notes.take() == [("began", *kind), ("failed", *kind)]


async def test_a_condition_is_waited_for_and_then_its_lock(tier):
    condition = named(tier.made.Condition(), "change")

    async def wait() -> None:
        async with condition:
            await condition.wait()

    (task,) = await begun(wait())
    change, lock = (f"condition of {tier.who}", "change"), (f"lock of {tier.who}", "change")
    assert tier.notes.take() == [("began", *change)]
    async with condition:
        condition.notify()
        await turns()
        assert tier.notes.take() == [("granted", *change), ("began", *lock)]
        task.cancel()
        await turns()
        task.cancel()
        await turns()
        assert tier.notes.take() == []  # it has to have the lock back, and still waits for it
    await asyncio.wait([task])
    assert task.cancelled()
    assert tier.notes.take() == [("granted", *lock)]


async def test_who_is_cancelled_after_the_grant_has_not_got_it(tier):
    lock = tier.made.Lock()
    await lock.acquire()
    first, second = await begun(lock.acquire(), lock.acquire())
    lock.release()
    first.cancel()
    await second
    assert tier.notes.outcomes() == ["began", "began", "cancelled", "granted"]
    assert first.cancelled()


async def test_a_timeout_is_a_cancellation_and_close_is_told(tier):
    lock = tier.made.Lock()
    await lock.acquire()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await lock.acquire()
    tasks = await begun(lock.acquire())
    lock.close("done")
    await asyncio.wait(tasks)
    assert "is closed: done" in str(tasks[0].exception())
    assert tier.notes.outcomes() == ["began", "cancelled", "began", "closed"]


async def test_a_coroutine_that_is_closed_waits_no_more(tier):
    lock = tier.made.Lock()
    await lock.acquire()
    waiting = lock.acquire()
    waiting.send(None)
    waiting.close()
    del waiting
    gc.collect()
    await turns()
    assert tier.notes.outcomes() == ["began", "cancelled"]


def test_who_waits_in_a_loop_that_is_closed_waits_no_more(tier):
    lock = tier.made.Lock()
    assert lock.try_acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(lock.acquire())
    loop.run_until_complete(turns())
    loop.close()
    lock.release()
    assert not lock.locked()
    task._log_destroy_pending = False
    del task, loop
    gc.collect()

    async def something_is_told() -> None:
        other = tier.made.Event()
        tasks = await begun(other.wait())
        other.set()
        await asyncio.gather(*tasks)

    asyncio.run(something_is_told())
    assert sorted(tier.notes.outcomes()) == ["began", "began", "cancelled", "granted"]


async def test_a_hook_that_was_removed_hears_of_the_ends_of_what_it_knows(tier):
    lock = tier.made.Lock()
    await lock.acquire()
    tasks = await begun(lock.acquire())
    tier.remove()
    tasks += await begun(lock.acquire())
    for _ in tasks:
        lock.release()
        await turns()
    await asyncio.gather(*tasks)
    assert tier.notes.outcomes() == ["began", "granted"]


async def test_a_hook_that_raises_disturbs_no_wait(tier, caplog):
    class Broken(Hook):
        def began_to_wait(self, kind: str, name: str) -> None:
            raise RuntimeError("a bug of the hook's")

        def waited(self, kind: str, name: str, seconds: float, outcome: str) -> None:
            raise asyncio.CancelledError

    remove = holdfast.instrument(Broken())
    try:
        lock = tier.made.Lock()
        await lock.acquire()
        tasks = await begun(lock.acquire(), lock.acquire())
        lock.release()
        await turns()
        lock.release()
        assert await asyncio.gather(*tasks) == [True, True]
    finally:
        remove()
    assert tier.notes.outcomes() == ["began", "began", "granted", "granted"]
    (record,) = [each for each in caplog.records if each.name == "holdfast.instrumentation"]
    assert "has raised an error" in record.getMessage()


async def test_a_hook_may_use_the_primitive_itself(tier):
    class Meddling(Hook):
        def began_to_wait(self, kind: str, name: str) -> None:
            if lock.locked():
                lock.release()

    lock = tier.made.Lock()
    remove = holdfast.instrument(Meddling())
    try:
        await lock.acquire()
        async with asyncio.timeout(BOUND):
            await lock.acquire()  # which the hook has released
        assert lock.locked()
    finally:
        remove()
    lock.release()
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0


def test_a_hook_is_installed_once(tier):
    with pytest.raises(RuntimeError, match="is installed already, and would count everything twice"):
        holdfast.instrument(tier.notes)
    tier.remove()
    holdfast.instrument(tier.notes)()


@pytest.mark.parametrize(
    ("primitive", "name", "error", "message"),
    [
        (lambda: object(), "x", TypeError, "needs a primitive of holdfast or holdfast.threads, not <object"),
        (lambda: holdfast.threads.Lock().sync, "x", TypeError, "has that of the primitive it belongs to"),
        (holdfast.Lock, 7, TypeError, "name must be a string, not 7"),
        (holdfast.Lock, "", ValueError, "name must not be empty"),
    ],
)
def test_what_cannot_be_named_is_refused(primitive, name, error, message):
    with pytest.raises(error, match=message):
        named(primitive(), name)


async def test_the_lock_of_a_condition_keeps_a_name_of_its_own(tier):
    lock = named(tier.made.Lock(), "mine")
    named(tier.made.Condition(lock), "change")
    await lock.acquire()
    tasks = await begun(lock.acquire())
    lock.release()
    await asyncio.gather(*tasks)
    assert {each[2] for each in tier.notes.take()} == {"mine"}


async def test_every_wait_ends_once_whatever_comes_between(tier):
    """Random cancellations, in random order: what has begun is as much as what has ended."""
    random_ = random.Random(25)
    lock, semaphore, condition = tier.made.Lock(), tier.made.Semaphore(2), tier.made.Condition()

    async def use(number: int) -> None:
        for _ in range(6):
            match random_.randrange(3):
                case 0:
                    async with lock:
                        await asyncio.sleep(0)
                case 1:
                    n = random_.randint(1, 2)
                    async with semaphore.permits(n):
                        await asyncio.sleep(0)
                case _:
                    async with condition:
                        condition.notify(2)
                        if number % 2:
                            await asyncio.wait_for(condition.wait(), 0.001)

    async with asyncio.timeout(BOUND):
        tasks = [asyncio.create_task(use(number)) for number in range(20)]
        while not all(task.done() for task in tasks):
            random_.choice(tasks).cancel()
            await turns(random_.randrange(3))
        await asyncio.wait(tasks)
    await turns()
    told = Counter(tier.notes.outcomes())
    began = told.pop("began")
    assert began == told.total() > 20
    assert {*told} <= {"granted", "cancelled"}
    assert not lock.locked()
    assert not condition.locked()


def test_threads_that_wait_and_whose_time_is_up():
    notes = Notes()
    remove = holdfast.instrument(notes)
    try:
        lock = named(holdfast.threads.Lock(), "shared")
        with lock.sync:
            assert not lock.sync.acquire(timeout=0.001)
            thread = threading.Thread(target=lock.sync.acquire)
            thread.start()
            while not lock.statistics().tasks_waiting:
                pass
        thread.join(BOUND)
        kind = "lock of threads", "shared"
        assert notes.take() == [("began", *kind), ("cancelled", *kind), ("began", *kind), ("granted", *kind)]
    finally:
        remove()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_hears_of_its_own_waits_alone():
    """In a child, asyncio's running loop is none, so it may run one of its own."""
    notes = Notes()
    remove = holdfast.instrument(notes)

    async def contend(lock: holdfast.Lock) -> None:
        await lock.acquire()
        tasks = await begun(lock.acquire())
        lock.release()
        await asyncio.gather(*tasks)

    async def parent() -> tuple[int, holdfast.Lock]:
        lock = holdfast.Lock()
        await lock.acquire()
        (task,) = await begun(lock.acquire())
        pid = os.fork()
        if not pid:
            code = 1
            try:
                notes.take()
                asyncio._set_running_loop(None)
                task._log_destroy_pending = False
                lock.release()  # the waiter is the parent's, and so is the end of its wait
                thread = threading.Thread(target=asyncio.run, args=(contend(holdfast.Lock()),))
                thread.start()
                thread.join()
                code = 0 if notes.outcomes() == ["began", "granted"] else 2
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        lock.release()
        await task
        return pid, lock

    try:
        pid, _ = asyncio.run(parent())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert notes.outcomes() == ["began", "granted"]
    finally:
        remove()


@pytest.mark.skipif(not holdfast.accelerated, reason="all of the above was on the pure twin")
def test_the_pure_twin_tells_the_same():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "tasks", __file__],
        env=os.environ | {"HOLDFAST_PURE_PYTHON": "1"},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
