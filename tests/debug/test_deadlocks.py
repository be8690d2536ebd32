"""A planted deadlock is found and told; a program without one is not accused."""

import asyncio
import contextlib
import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from interpreters import BOUND, PYPY

import holdfast
import holdfast.debug
from holdfast import threads

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")


@contextlib.asynccontextmanager
async def stuck(**coroutines: Coroutine[Any, Any, object]) -> AsyncIterator[holdfast.debug.Dump]:
    """A dump, once these tasks are suspended. They are cancelled at the end."""
    tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in coroutines.items()]
    for _ in range(10):
        await asyncio.sleep(0)
    try:
        yield holdfast.debug.dump()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def both(first: Any, second: Any) -> None:
    async with first:
        await asyncio.sleep(0)
        async with second:
            pass


def who(deadlock: holdfast.debug.Deadlock) -> set[str]:
    return {step.name for step in deadlock.steps}


def tasks(*names: str) -> set[str]:
    return {f"task {name!r}" for name in names}


@pytest.mark.parametrize("make", [holdfast.Lock, threads.Lock, asyncio.Lock, lambda: holdfast.BoundedSemaphore(1)])
async def test_two_tasks(make: Any) -> None:
    a, b = make(), make()
    async with stuck(one=both(a, b), two=both(b, a), behind=both(a, b)) as dump:
        [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == tasks("one", "two")
    assert deadlock.behind == 1
    text = str(deadlock)
    assert text.startswith("deadlock: task 'one' (test_deadlocks.py:")
    assert "which task 'two' holds (test_deadlocks.py:" in text
    assert text.endswith("1 more waits behind them")


@pytest.mark.parametrize("make", [holdfast.Lock, threads.Lock])
async def test_five_tasks(make: Any) -> None:
    locks = [make() for _ in range(5)]
    ring = {f"t{i}": both(locks[i], locks[(i + 1) % 5]) for i in range(5)}
    async with stuck(**ring) as dump:
        [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == tasks(*ring)
    holders = [step.held_by for step in deadlock.steps]
    assert holders == [step.name for step in [*deadlock.steps[1:], deadlock.steps[0]]]


@pytest.mark.parametrize("tier", [holdfast, threads])
async def test_a_task_that_waits_for_what_it_holds(tier: Any) -> None:
    lock, keyed, rw = tier.Lock(), tier.KeyedLock(), tier.RWLock()
    async with stuck(
        lock=both(lock, lock), key=both(keyed["a"], keyed.all("a", "b")), upgrade=both(rw.reader, rw.writer)
    ) as dump:
        found = dump.deadlocks
    assert [who(deadlock) for deadlock in found] == [tasks("key"), tasks("lock"), tasks("upgrade")]
    assert all(deadlock.certain and "which it holds itself" in str(deadlock) for deadlock in found)


async def test_through_a_function_and_a_group() -> None:
    """One holds the lock and waits for its children to end; a child waits for the lock."""
    lock = holdfast.Lock()

    async def in_group() -> None:
        async with lock, asyncio.TaskGroup() as group:
            group.create_task(both(lock, holdfast.Lock()), name="child")

    async def gathers() -> None:
        other = holdfast.Lock()
        async with other:
            await asyncio.gather(asyncio.create_task(both(other, lock), name="gathered"))

    async def waits() -> None:
        third = holdfast.Lock()
        async with third:
            await asyncio.wait([asyncio.create_task(both(third, lock), name="waited")])

    async with stuck(parent=in_group(), gathers=gathers(), waits=waits()) as dump:
        found = [who(deadlock) for deadlock in dump.deadlocks if deadlock.certain]
        orphans = [task for task in asyncio.all_tasks() if task.get_name() == "waited"]
    assert sorted(map(sorted, found)) == sorted(
        map(sorted, [tasks("parent", "child"), tasks("gathers", "gathered"), tasks("waits", "waited")])
    )
    assert "waits for task 'child' to end" in " ".join(map(str, dump.deadlocks))
    await asyncio.wait(orphans)


@pytest.mark.parametrize("tier", [holdfast, threads])
async def test_one_that_has_some_of_the_keys_of_all(tier: Any) -> None:
    keyed = tier.KeyedLock()

    async def one_by_one() -> None:
        async with keyed["late"]:
            for _ in range(3):
                await asyncio.sleep(0)
            async with keyed["early"]:
                pass

    async def all_at_once() -> None:
        async with keyed.all("early", "late"):
            pass

    async def expects_it() -> None:
        async with keyed["early"]:
            await asyncio.sleep(0)

    async with stuck(zero=expects_it(), one=one_by_one(), two=all_at_once()) as dump:
        [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == tasks("one", "two")


async def test_a_thread_that_has_some_of_the_keys_of_all() -> None:
    keyed: threads.KeyedLock[str] = threads.KeyedLock()

    def all_at_once() -> None:
        with keyed.all("early", "late").sync:
            pass

    async with keyed["late"]:
        thread = in_thread(all_at_once, "thread")
        while not keyed["early"].locked():
            await asyncio.sleep(0)
        task = asyncio.create_task(wait_for_key(keyed["early"]), name="task")
        await asyncio.sleep(0)
        found = holdfast.debug.dump()
        while len(found.primitives) < 2:
            await asyncio.sleep(0)
            found = holdfast.debug.dump()
    thread.join(BOUND)
    await task
    holders = {tuple(holder.name for holder in primitive.holders) for primitive in found.primitives}
    assert ("thread 'thread'",) in holders
    [place] = [holder.place for each in found.primitives for holder in each.holders if "thread" in holder.name]
    assert place is not None
    assert place.function.endswith("all_at_once")


async def wait_for_key(lock: Any) -> None:
    async with lock:
        pass


async def test_a_generator_that_is_iterated_and_named() -> None:
    lock, other = holdfast.Lock(), holdfast.Lock()

    async def items() -> AsyncIterator[int]:
        async with lock:
            yield 1

    async def iterates() -> None:
        async with contextlib.aclosing(items()) as named:  # type: ignore[type-var]
            async for _ in named:
                await asyncio.sleep(0)
                async with other:
                    pass

    async with stuck(one=iterates(), two=both(other, lock)) as dump:
        [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == tasks("one", "two")


async def test_a_semaphore_with_and_without_a_way_out() -> None:
    semaphore, lock = holdfast.BoundedSemaphore(2), holdfast.Lock()

    async def holds_a_permit() -> None:
        async with semaphore:
            await asyncio.Event().wait()

    async with stuck(one=both(semaphore, lock), two=both(lock, semaphore)) as dump:
        assert dump.deadlocks == ()  # there is a second permit, so `two` goes on
    async with stuck(other=holds_a_permit(), one=both(semaphore, lock), two=both(lock, semaphore)) as dump:
        assert dump.deadlocks == ()  # `other` may release its permit
        assert len(dump.primitives) == 3
    third = holdfast.Lock()
    async with stuck(
        one=both(semaphore, lock), other=both(semaphore, third), two=both(lock, semaphore), three=both(third, semaphore)
    ) as dump:
        assert [(deadlock.certain, deadlock.behind) for deadlock in dump.deadlocks] == [(True, 2)]


async def test_a_permit_that_an_unknown_holder_has_is_a_way_out() -> None:
    semaphore, lock = holdfast.BoundedSemaphore(2), holdfast.Lock()
    await semaphore.acquire()
    async with stuck(one=both(semaphore, lock), two=both(lock, semaphore)) as dump:
        assert dump.deadlocks == ()
        assert [primitive.unknown for primitive in dump.primitives] == [0, 1]


async def test_one_ahead_in_the_line_that_leaves_is_a_way_out() -> None:
    """A writer with a timeout keeps a reader from coming in."""
    rw, lock = holdfast.RWLock(), holdfast.Lock()

    async def writes() -> None:
        async with asyncio.timeout(1000), rw.writer:
            pass

    async def reads_late() -> None:
        async with lock:
            for _ in range(3):
                await asyncio.sleep(0)
            async with rw.reader:
                pass

    async with stuck(one=both(rw.reader, lock), two=reads_late(), writer=writes()) as dump:
        [deadlock] = dump.deadlocks
        assert who(deadlock) == tasks("one", "two")
        assert not deadlock.certain
    assert "another one that waits with them has a timeout" in str(deadlock)


async def test_a_semaphore_that_does_not_know_how_many_permits_there_are() -> None:
    semaphore, lock = holdfast.Semaphore(1), holdfast.Lock()
    async with stuck(one=both(semaphore, lock), two=both(lock, semaphore)) as dump:
        [deadlock] = dump.deadlocks
    assert not deadlock.certain
    assert str(deadlock).startswith("may be a deadlock: ")
    assert "a BoundedSemaphore does" in str(deadlock)


async def test_a_timeout_makes_it_uncertain() -> None:
    a, b = holdfast.Lock(), holdfast.Lock()

    async def patient() -> None:
        async with asyncio.timeout(1000):
            await both(b, a)

    async with stuck(one=both(a, b), two=patient()) as dump:
        [deadlock] = dump.deadlocks
    assert not deadlock.certain
    assert "a timeout ends the wait of task 'two'" in str(deadlock)


async def test_a_lock_that_is_released_inside_its_block() -> None:
    """It is let go for a while, and another task has it, which cannot be seen."""
    lock = holdfast.Lock()

    async def lets_go() -> None:
        async with lock:
            lock.release()
            await asyncio.sleep(0)
            await lock.acquire()

    async def has_it() -> None:
        await lock.acquire()
        await asyncio.Event().wait()

    async with stuck(lets_go=lets_go(), other=has_it()) as dump:
        assert [deadlock.certain for deadlock in dump.deadlocks] == [False]
        assert "may have been released inside the block" in str(dump)
        lock.release()  # by the test, for `other`


async def test_one_that_is_cancelled_and_has_not_run_yet_goes_on() -> None:
    """It holds the second permit of a semaphore, so it helps the two that wait for one another."""
    semaphore, lock, third = holdfast.BoundedSemaphore(2), holdfast.Lock(), holdfast.Lock()
    async with stuck(
        one=both(semaphore, lock), other=both(semaphore, third), two=both(lock, semaphore), three=both(third, semaphore)
    ) as dump:
        assert [deadlock.certain for deadlock in dump.deadlocks] == [True]
        [other] = [task for task in asyncio.all_tasks() if task.get_name() == "other"]
        other.cancel()
        assert holdfast.debug.dump().deadlocks == ()


async def test_a_timeout_of_one_that_awaits_them() -> None:
    a, b = holdfast.Lock(), holdfast.Lock()

    async def parent() -> None:
        async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
            group.create_task(both(a, b), name="one")
            group.create_task(both(b, a), name="two")

    async with stuck(parent=parent()) as dump:
        [deadlock] = dump.deadlocks
    assert deadlock.certain  # until the timeout, nothing can help them
    assert "to end has a timeout, which will cancel it" in str(deadlock)


async def test_a_condition_over_a_lock_of_asyncio() -> None:
    """Who is notified needs the lock again, and another one that holds it waits for what that one holds."""
    foreign, other = asyncio.Lock(), holdfast.Lock()
    condition = holdfast.Condition(foreign)

    async def notified() -> None:
        async with other, condition:
            await condition.wait()

    async def notifies() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        async with condition:
            condition.notify()
            async with other:
                pass

    async with stuck(notified=notified(), notifies=notifies()) as dump:
        [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == tasks("notified", "notifies")


async def test_who_waits_to_be_notified_is_in_no_circle() -> None:
    condition, other = holdfast.Condition(), holdfast.Lock()

    async def notified() -> None:
        async with other, condition:
            await condition.wait()

    async with stuck(notified=notified(), two=both(condition, other)) as dump:
        assert dump.deadlocks == ()


def in_thread(function: Callable[[], object], name: str) -> threading.Thread:
    thread = threading.Thread(target=function, name=name)
    thread.start()
    return thread


def look_until_found() -> holdfast.debug.Dump:
    for _ in range(10**6):
        dump = holdfast.debug.dump()
        if dump.deadlocks:
            return dump
    raise AssertionError("no deadlock is found")


async def test_a_task_and_a_thread() -> None:
    a, b, c = threads.Lock(), threads.Lock(), threads.Lock()
    is_held = threading.Event()

    def in_a_thread(first: threads.Lock, second: threads.Lock, third: threads.Lock) -> None:
        with first.sync:
            is_held.set()
            with second.sync, third.sync:
                pass

    async def in_a_task() -> None:
        async with a:
            await asyncio.to_thread(is_held.wait, BOUND)
            async with b:
                pass

    task = asyncio.create_task(in_a_task(), name="task")
    await asyncio.sleep(0)
    thread = in_thread(lambda: in_a_thread(b, c, a), "thread")
    dump = await asyncio.to_thread(look_until_found)
    task.cancel()
    await asyncio.wait([task])
    thread.join(BOUND)
    [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == {"task 'task'", "thread 'thread'"}


def test_two_loops_in_two_threads() -> None:
    a, b = threads.Lock(), threads.Lock()
    both_hold = threading.Barrier(2)
    running: list[asyncio.Task[None]] = []

    async def main(first: threads.Lock, second: threads.Lock, name: str) -> None:
        async def use() -> None:
            async with first:
                both_hold.wait(BOUND)
                async with second:
                    pass

        task = asyncio.create_task(use(), name=name)
        running.append(task)
        await asyncio.wait([task])

    people = [
        in_thread(lambda: asyncio.run(main(a, b, "one")), "loop 1"),
        in_thread(lambda: asyncio.run(main(b, a, "two")), "loop 2"),
    ]
    dump = look_until_found()
    running[0].get_loop().call_soon_threadsafe(running[0].cancel)
    for thread in people:
        thread.join(BOUND)
    [deadlock] = dump.deadlocks
    assert deadlock.certain
    assert who(deadlock) == tasks("one", "two")


class RandomProgram:
    """Tasks that take locks in one order, and so never wait in a circle."""

    def __init__(self, seed: int, looks: float = 0.2) -> None:
        self.looks = looks
        """How often it is looked at, of all steps."""
        self.random = random.Random(seed)
        tier = self.random.choice([holdfast, threads])
        self.keyed, rw = tier.KeyedLock(), tier.RWLock()
        self.condition = tier.Condition()
        semaphore, lock, plain, asyncios = tier.BoundedSemaphore(2), tier.Lock(), tier.Semaphore(2), asyncio.Lock()
        self.ordered: list[Callable[[], Any]] = [
            lambda: lock,
            lambda: self.keyed["a"],
            lambda: self.random.choice([semaphore, semaphore.permits(2)]),
            lambda: self.keyed.all("b", "c"),
            lambda: self.random.choice([rw.reader, rw.writer]),
            lambda: plain,
            lambda: asyncios,
            lambda: self.condition,
        ]

    async def one(self) -> None:
        steps = self.random.sample(range(len(self.ordered)), self.random.randint(1, 4))
        async with contextlib.AsyncExitStack() if self.random.random() < 0.2 else contextlib.nullcontext() as stack:
            await self.nested([self.ordered[i]() for i in sorted(steps)], stack)

    async def nested(self, managers: list[Any], stack: contextlib.AsyncExitStack | None) -> None:
        if not managers:
            for _ in range(self.random.randint(0, 3)):
                await asyncio.sleep(0)
        elif stack is not None:
            await stack.enter_async_context(managers[0])
            await self.nested(managers[1:], stack)
        else:
            async with managers[0]:
                if self.random.random() < 0.2:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self.nested(managers[1:], None))
                else:
                    await self.nested(managers[1:], None)

    async def run(self) -> int:
        """Run, and look between all steps. Return the highest number of waiters that was seen."""
        everyone = [asyncio.create_task(self.one()) for _ in range(6)]
        most = 0
        while not all(task.done() for task in everyone):
            if self.random.random() < 0.2:
                self.random.choice(everyone).cancel()
            if self.random.random() < self.looks:
                dump = holdfast.debug.dump()
                assert dump.deadlocks == (), str(dump)
                most = max(most, sum(len(primitive.waiters) for primitive in dump.primitives))
            await asyncio.sleep(0)
        for ended in await asyncio.gather(*everyone, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError)
        return most


def test_programs_in_other_threads_are_not_accused() -> None:
    """They go on while they are looked at, between any two steps of the look."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    ended = threading.Event()

    def programs() -> None:
        for seed in range(60):
            asyncio.run(RandomProgram(seed, looks=0).run())
        ended.set()

    thread = in_thread(programs, "programs")
    try:
        while not ended.is_set():
            dump = holdfast.debug.dump()
            assert dump.deadlocks == (), str(dump)
    finally:
        sys.setswitchinterval(interval)
        thread.join(BOUND)


def test_programs_without_a_deadlock_are_not_accused() -> None:
    most = [asyncio.run(RandomProgram(seed).run()) for seed in range(200)]
    assert sum(each > 1 for each in most) > 100
