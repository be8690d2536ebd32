"""What only seems to be a deadlock is not told as a certain one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from interpreters import BOUND, PYPY

import holdfast
import holdfast.debug
from holdfast import threads

from .test_deadlocks import both, in_thread, look_until_found, stuck, tasks, who

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")


@contextlib.asynccontextmanager
async def unlocked(lock: Any) -> AsyncIterator[None]:
    lock.release()
    try:
        yield
    finally:
        await lock.acquire()


class Unlocked:
    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def give_back(self) -> None:
        self.lock.release()

    async def __aenter__(self) -> None:
        self.give_back()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.lock.acquire()


def give_back(lock: Any) -> None:
    lock.release()


async def by_a_function_with_yield(lock: Any, other: Any) -> None:
    async with lock, unlocked(lock):
        async with other:
            pass


async def by_a_class(lock: Any, other: Any) -> None:
    async with lock, Unlocked(lock), other:
        pass


async def by_an_exit_stack(lock: Any, other: Any) -> None:
    async with lock, contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(unlocked(lock))
        async with other:
            pass


async def by_a_function(lock: Any, other: Any) -> None:
    async with lock:
        give_back(lock)
        async with other:
            pass


async def by_a_method(lock: Any, other: Any) -> None:
    it = Unlocked(lock)
    async with lock:
        it.give_back()
        async with other:
            pass


async def by_a_coroutine_inside(lock: Any, other: Any) -> None:
    async def inner() -> None:
        lock.release()
        async with other:
            pass

    async with lock:
        await inner()


@pytest.mark.parametrize(
    "use",
    [by_a_function_with_yield, by_a_class, by_an_exit_stack, by_a_function, by_a_method, by_a_coroutine_inside],
)
@pytest.mark.parametrize("make", [holdfast.Lock, asyncio.Lock])
async def test_a_lock_that_is_released_inside_its_block(use: Any, make: Any) -> None:
    """Somebody who has called acquire(), and is not seen, has it meanwhile."""
    lock, other = make(), make()

    async def has_it() -> None:
        for _ in range(2):
            await asyncio.sleep(0)
        await lock.acquire()
        await asyncio.Event().wait()

    async def second() -> None:
        async with other:
            for _ in range(4):
                await asyncio.sleep(0)
            async with lock:
                pass

    async with stuck(two=second(), one=use(lock, other), unseen=has_it()) as dump:
        found = [(deadlock.certain, who(deadlock)) for deadlock in dump.deadlocks]
        text = str(dump)
        for task in asyncio.all_tasks():
            if task.get_name() in ("one", "two"):
                task.cancel()
        lock.release()  # by the test, for `unseen`
        for _ in range(3):
            await asyncio.sleep(0)
        if not lock.locked():
            await lock.acquire()  # for the block that `one` may still leave
    assert found == [(False, tasks("one", "two"))]
    assert "may have been released inside the block, as what runs there calls release()" in text


async def test_who_waits_by_acquire_for_what_it_seems_to_hold() -> None:
    lock = holdfast.Lock()
    actions: list[Callable[[], object]] = [lambda: None]

    async def waits() -> None:
        async with lock:
            actions[0]()
            await lock.acquire()

    async with stuck(one=waits()) as dump:
        [deadlock] = dump.deadlocks
    assert not deadlock.certain
    assert "it has called acquire()" in str(deadlock)


VARIABLES: dict[str, Callable[[Any], tuple[object, object]]] = {
    "method": lambda lock: (lock.__aexit__, None),
    "function": lambda lock: (type(lock).__aexit__, lock),
    "both": lambda lock: (type(lock).__aexit__, lock.__aexit__),
}


@pytest.mark.parametrize("variables", VARIABLES)
@pytest.mark.parametrize("make", [holdfast.Lock, asyncio.Lock])
async def test_an_exit_in_a_variable_is_no_block(make: Any, variables: str) -> None:
    a, b, c = make(), make(), make()
    await a.acquire()

    async def has_variables() -> None:
        first, second = VARIABLES[variables](a)
        async with b, c:
            pass
        del first, second

    async with stuck(two=both(c, a), one=has_variables(), behind=both(b, b)) as dump:
        assert dump.deadlocks == ()
        holders = {primitive.name: [each.name for each in primitive.holders] for primitive in dump.primitives}
        assert holders == {repr(a): [], repr(b): ["task 'one'"], repr(c): ["task 'two'"]}


async def awaits_by_hand(lock: Any, other: Any) -> None:
    enter, leave = lock.__aenter__, lock.__aexit__
    async with other:
        await enter()
        await leave(None, None, None)


async def test_a_block_that_is_written_out() -> None:
    lock = holdfast.Lock()
    await lock.acquire()
    async with stuck(one=awaits_by_hand(lock, holdfast.Lock())) as dump:
        [found] = dump.primitives
    assert (found.holders, found.unknown, dump.deadlocks) == ((), 1, ())


async def test_a_block_whose_exit_is_no_method() -> None:
    """What is on the stack does not fit the blocks, so the lock that is just being entered is not taken for held."""

    class Exit:
        async def __call__(self, *exc_info: object) -> None: ...

    class Odd:
        __aexit__ = Exit()

        async def __aenter__(self) -> None: ...

    lock = holdfast.Lock()
    await lock.acquire()

    async def enters() -> None:
        async with Odd(), lock:
            pass

    async with stuck(one=enters()) as dump:
        [found] = dump.primitives
    assert (found.holders, found.unknown, dump.deadlocks) == ((), 1, ())


async def test_a_generator_that_is_named_by_one_and_run_by_another() -> None:
    lock, other = holdfast.Lock(), holdfast.Lock()

    async def items() -> AsyncIterator[int]:
        async with lock:
            yield 1

    box: list[Any] = []

    async def runs() -> None:
        await anext(box[0])
        await asyncio.Event().wait()

    async def names() -> None:
        generator = items()
        box.append(generator)
        runner = asyncio.create_task(runs())
        try:
            await both(other_held, other)
        finally:
            runner.cancel()
            await asyncio.wait([runner])
            del generator

    other_held = holdfast.Lock()
    async with stuck(two=both_late(other, lock), one=names()) as dump:
        assert [deadlock.certain for deadlock in dump.deadlocks] == [False]
        assert "is held by an asynchronous generator, which another task may run" in str(dump)
    await box[0].aclose()


async def both_late(first: Any, second: Any) -> None:
    async with first:
        for _ in range(4):
            await asyncio.sleep(0)
        async with second:
            pass


class Attribute:
    lock: threads.Lock


def rebinds(first: threads.Lock, second: threads.Lock) -> None:
    with first.sync:
        with contextlib.suppress(holdfast.Closed):
            second.sync.acquire()
        first = second


def by_attribute(first: threads.Lock, second: threads.Lock) -> None:
    Attribute.lock = first
    with contextlib.suppress(holdfast.Closed), Attribute.lock.sync:
        second.sync.acquire()


@pytest.mark.parametrize("use", [rebinds, by_attribute])
async def test_a_thread_whose_names_may_have_changed(use: Any) -> None:
    a, b = threads.Lock(), threads.Lock()

    async def in_a_task() -> None:
        async with a:
            while not b.locked():
                await asyncio.sleep(0)
            async with b:
                pass

    task = asyncio.create_task(in_a_task())
    await asyncio.sleep(0)
    thread = in_thread(lambda: use(b, a), "thread")
    dump = await asyncio.to_thread(look_until_found)
    a.close()
    await asyncio.to_thread(thread.join, BOUND)
    await task
    assert [deadlock.certain for deadlock in dump.deadlocks] == [False]
    assert "known by the names in a 'with' line" in str(dump)


class Limit:
    """A timeout that the frame of the task does not show."""

    async def __aenter__(self) -> None:
        self.timeout = asyncio.timeout(1000)
        await self.timeout.__aenter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.timeout.__aexit__(None, None, None)


async def with_a_class(a: Any, b: Any) -> None:
    async with Limit():
        await both(a, b)


async def with_a_timer(a: Any, b: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(1000, task.cancel)
    try:
        await both(a, b)
    finally:
        timer.cancel()


async def with_a_function(a: Any, b: Any) -> None:
    task = asyncio.current_task()

    def end() -> None:
        assert task is not None
        task.cancel()

    timer = asyncio.get_running_loop().call_later(1000, end)
    try:
        await both(a, b)
    finally:
        timer.cancel()


async def with_wait_for(a: Any, b: Any) -> None:
    await asyncio.wait_for(both(a, b), 1000)


@pytest.mark.parametrize("use", [with_a_class, with_a_timer, with_a_function, with_wait_for])
async def test_a_timeout_that_no_block_shows(use: Any) -> None:
    a, b = holdfast.Lock(), holdfast.Lock()
    async with stuck(one=use(a, b), two=both(b, a)) as dump:
        [deadlock] = dump.deadlocks
    assert not deadlock.certain
    assert "a timeout ends the wait of " in str(deadlock)
