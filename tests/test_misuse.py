"""Misuse raises what asyncio raises, and says what to do: rows L3, L5, L6, N1, N3 to N5, S1, B2, P1.

A refused call changes nothing.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast import Barrier, BoundedSemaphore, Condition, Event, Lock, Semaphore


def state(primitive: Any) -> tuple[str, Any]:
    return repr(primitive), primitive.statistics()


@pytest.fixture
def loops() -> Iterator[tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]]:
    two = asyncio.new_event_loop(), asyncio.new_event_loop()
    yield two
    for loop in two:
        loop.close()


# Releasing


@pytest.mark.parametrize("make", [Lock, Condition])
def test_releasing_an_unlocked_lock(make: Callable[[], Any]) -> None:
    lock = make()
    before = state(lock)
    with pytest.raises(RuntimeError, match=r"Lock is not acquired.*once for each acquire\(\).*'async with lock:'"):
        lock.release()
    assert state(lock) == before
    assert not lock.locked()


@pytest.mark.parametrize("value", [0, 1, 3])
def test_releasing_a_bounded_semaphore_too_often(value: int) -> None:
    semaphore = BoundedSemaphore(value)
    before = state(semaphore)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"too many times.*{value} permits are free.*once for each acquire\(\)"):
            semaphore.release()
        assert state(semaphore) == before
    assert [semaphore.try_acquire() for _ in range(value + 1)] == [True] * value + [False]


async def test_releasing_a_bounded_semaphore_too_often_in_async_with() -> None:
    semaphore = BoundedSemaphore(1)
    with pytest.raises(ValueError, match="too many times"):
        async with semaphore:
            semaphore.release()
    assert semaphore.statistics().value == 1


# Condition


@pytest.mark.parametrize("method", ["notify", "notify_all"])
async def test_notifying_without_the_lock(method: str) -> None:
    condition = Condition()

    async def wait() -> None:
        async with condition:
            await condition.wait()

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    before = state(condition)
    with pytest.raises(RuntimeError, match=r"cannot notify on un-acquired lock; write 'async with condition:'"):
        getattr(condition, method)()
    assert state(condition) == before
    async with condition:
        condition.notify()
    await waiter


@pytest.mark.parametrize(
    "wait", [Condition.wait, lambda condition: condition.wait_for(lambda: False)], ids=["wait", "wait_for"]
)
async def test_waiting_without_the_lock(wait: Callable[[Condition], Any]) -> None:
    condition = Condition()
    before = state(condition)
    with pytest.raises(RuntimeError, match=r"cannot wait on un-acquired lock; write 'async with condition:'"):
        await wait(condition)
    assert state(condition) == before


@pytest.mark.parametrize("n", ["x", None, [1]])
async def test_notifying_what_is_no_number_of_tasks(n: Any) -> None:
    condition = Condition()

    async def wait() -> None:
        async with condition:
            await condition.wait()

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    async with condition:
        before = state(condition)
        with pytest.raises(TypeError, match=r"notify\(\) needs the number of tasks to wake"):
            condition.notify(n)
        assert state(condition) == before
        condition.notify()
    await waiter


@pytest.mark.parametrize("lock", [42, "lock", object(), Semaphore(), Event(), Condition(), asyncio.Semaphore(), Lock])
def test_condition_over_what_is_no_lock(lock: Any) -> None:
    message = r"Condition needs a holdfast.Lock, an asyncio.Lock or None, not "
    with pytest.raises(TypeError, match=message):
        Condition(lock)
    with pytest.raises(AttributeError, match=message):  # what asyncio raises
        Condition(lock)


def test_condition_over_a_lock_bound_to_another_loop(loops: tuple[Any, Any]) -> None:
    first, second = loops
    with pytest.raises(ValueError, match="loop argument must agree with lock"):
        Condition(Lock(loop=first), loop=second)
    assert not Condition(Lock(loop=first), loop=first).locked()
    assert not Condition(Lock(), loop=first).locked()


def test_condition_over_a_lock_bound_to_another_loop_than_the_running_one(loops: tuple[Any, Any]) -> None:
    first, second = loops
    lock = Lock(loop=first)

    async def make() -> Condition:
        return Condition(lock)

    with pytest.raises(ValueError, match="loop argument must agree with lock"):
        second.run_until_complete(make())
    assert not first.run_until_complete(make()).locked()


def test_condition_over_an_asyncio_lock_of_another_loop(loops: tuple[Any, Any]) -> None:
    first, second = loops
    lock = asyncio.Lock()

    async def contend() -> None:
        await lock.acquire()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.001)
        lock.release()

    first.run_until_complete(contend())
    with pytest.raises(ValueError, match="loop argument must agree with lock"):
        Condition(lock, loop=second)


# Arguments


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_semaphore_values(make: Callable[..., Semaphore]) -> None:
    with pytest.raises(ValueError, match="Semaphore initial value must be >= 0, not -1"):
        make(-1)
    with pytest.raises(ValueError, match=">= 0"):
        make(value=-3)
    with pytest.raises(ValueError, match=">= 0, not -inf"):
        make(-math.inf)
    for value in ("3", 1.5, math.nan, None, [1]):
        with pytest.raises(TypeError, match=r"Semaphore initial value must be an integer, or math\.inf, not "):
            make(value)
    assert make(value=True).statistics().value == 1


def test_barrier_parties() -> None:
    for parties in (0, -1):
        with pytest.raises(ValueError, match=f"parties must be >= 1, not {parties}"):
            Barrier(parties)
    for wrong in ("3", 1.5, None):
        with pytest.raises(TypeError, match="parties must be an integer, not "):
            Barrier(wrong)
    assert Barrier(True).parties == 1


@pytest.mark.parametrize("make", [Lock, Event, Condition, Semaphore, BoundedSemaphore])
@pytest.mark.parametrize("loop", [42, "loop", False, asyncio.new_event_loop])
def test_loop_that_is_no_event_loop(make: Callable[..., Any], loop: Any) -> None:
    with pytest.raises(TypeError, match="loop must be an event loop or None, not "):
        make(loop=loop)


@pytest.mark.parametrize("make", [Lock, Event])
def test_loop_is_a_keyword_argument(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        make(None)


# `with`


@pytest.mark.parametrize("make", [Lock, Condition, Semaphore, BoundedSemaphore])
def test_with_instead_of_async_with(make: Callable[[], Any]) -> None:
    primitive = make()
    before = state(primitive)
    message = f"a {make.__name__} cannot be used in 'with'; write 'async with' instead"
    with pytest.raises(TypeError, match=message), primitive:
        pytest.fail("entered")
    with pytest.raises(RuntimeError, match=message), primitive:  # what asyncio raised while it had the form
        pytest.fail("entered")
    assert state(primitive) == before


@pytest.mark.parametrize("make", [Event, lambda: Barrier(1)], ids=["Event", "Barrier"])
def test_what_was_never_usable_in_with(make: Callable[[], Any]) -> None:
    primitive = make()
    with pytest.raises(TypeError), primitive:
        pytest.fail("entered")


# From another thread


def test_taking_the_lock_again_when_another_loop_has_got_the_line(
    loops: tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop],
) -> None:
    """Another thread may come between the look at whose the line is and joining it: no reason to try for ever."""
    here, there = loops

    async def main() -> None:
        lock = Lock()
        condition = Condition(lock)

        async def consume() -> None:
            await condition.acquire()
            await condition.wait()

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0)
        await lock.acquire()
        other = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        condition.notify()
        lock._queue.loop = there
        for _ in range(3):
            await asyncio.sleep(0)
        assert consumer.done()
        assert isinstance(consumer.exception(), RuntimeError)
        lock._queue.loop = here
        assert lock.statistics().tasks_waiting == 1
        lock.release()
        assert await other

    here.run_until_complete(main())


# Arguments of other libraries


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Lock, "acquire"),
        (Semaphore, "acquire"),
        (BoundedSemaphore, "acquire"),
        (Condition, "acquire"),
        (Condition, "wait"),
        (Event, "wait"),
        (lambda: Barrier(2), "wait"),
    ],
)
def test_a_timeout_is_refused_in_the_words_of_python(make: Callable[[], Any], name: str) -> None:
    """docs/troubleshooting.md has these words, and says what to write. To refuse it ourselves would slow every call."""
    primitive = make()
    before = state(primitive)
    with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'timeout'$"):
        getattr(primitive, name)(timeout=1)
    assert state(primitive) == before
