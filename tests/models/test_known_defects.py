"""What the state machines found and is not mended yet, each as its shortest sequence; the machines steer clear of it.

When one of these passes, remove it together with the steering that names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from holdfast import Barrier, BrokenBarrierError, Condition, Event, Lock, Semaphore

from .driven_loop import DrivenLoop, Stage


async def iterations(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def loop(stage: Stage) -> DrivenLoop:
    return DrivenLoop(stage)


def run_at_once(loop: DrivenLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that does not wait."""
    with loop.running(), pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.xfail(strict=True, reason="each of them goes to the head of the line when it runs, so the last is first")
async def test_cancelled_in_the_line_for_the_lock_keep_their_order() -> None:
    condition = Condition()
    left: list[str] = []

    async def visit(name: str) -> None:
        async with condition:
            try:
                await condition.wait()
            finally:
                left.append(name)

    async def late() -> None:
        async with condition:
            left.append("late")

    first, second = [asyncio.create_task(visit(name)) for name in ("first", "second")]
    await iterations()
    await condition.acquire()
    condition.notify_all()
    await iterations()  # both wait for the lock
    third = asyncio.create_task(late())
    await iterations()
    first.cancel()
    second.cancel()
    condition.release()
    await asyncio.wait([first, second, third])
    assert left == ["late", "first", "second"]


@pytest.mark.xfail(strict=True, reason="abort() leaves the number of those whom the next reset() spares as it was")
async def test_reset_hits_who_came_after_an_abort() -> None:
    barrier = Barrier(2)

    async def first() -> None:
        await barrier.wait()
        comes_early.cancel()
        await barrier.abort()
        await barrier.reset()
        await barrier.wait()

    async def come_early() -> None:
        await barrier.wait()
        await barrier.wait()

    async def reset() -> None:
        await asyncio.sleep(0)
        await barrier.reset()

    hit = asyncio.create_task(first())
    await iterations()
    comes_early = asyncio.create_task(come_early())
    resets = asyncio.create_task(reset())
    await asyncio.wait([comes_early, resets])
    await iterations()
    assert hit.done()
    assert isinstance(hit.exception(), BrokenBarrierError)


@pytest.mark.xfail(strict=True, reason="the number of those whom reset() spares outlives their loop")
def test_reset_hits_who_came_in_another_loop(stage: Stage, loop: DrivenLoop) -> None:
    barrier = Barrier(2)
    loop.start("first", barrier.wait())
    loop.start("second", barrier.wait())
    early = loop.start("early", barrier.wait())
    stage.run("first")
    loop.close()
    stage.forget(None)

    loop = DrivenLoop(stage)
    late = loop.start("late", barrier.wait())
    run_at_once(loop, barrier.reset())
    stage.settle()
    assert late.done()
    assert isinstance(late.exception(), BrokenBarrierError)
    assert not early.done()


@pytest.mark.xfail(strict=True, reason="the state is read before the waiters are counted, which forgets the loop")
def test_repr_of_a_barrier_whose_round_ended_with_its_loop(loop: DrivenLoop) -> None:
    barrier = Barrier(2)
    granted = loop.start("first", barrier.wait())
    loop.start("second", barrier.wait())
    loop.close()
    assert "[filling, waiters:0/2]" in repr(barrier)
    assert not granted.done()


@pytest.mark.xfail(strict=True, reason="who leaves by an exception after the grant does not retire the queue")
@pytest.mark.parametrize("kind", [Event, Barrier])
def test_no_queue_after_the_last_was_cancelled_when_granted(kind: type[Any], stage: Stage, loop: DrivenLoop) -> None:
    primitive = kind(2) if kind is Barrier else kind()
    waiter = loop.start("waiter", primitive.wait())
    if kind is Barrier:
        run_at_once(loop, primitive.abort())
    else:
        primitive.set()
    with loop.running():
        waiter.cancel()
    stage.settle()
    assert waiter.cancelled()
    assert primitive._queue is None


@pytest.mark.xfail(strict=True, reason="the middle one stays in the line as a dead entry, with the queue")
@pytest.mark.parametrize("kind", [Lock, Semaphore])
def test_no_queue_after_the_middle_one_was_cancelled_first(kind: type[Any], stage: Stage, loop: DrivenLoop) -> None:
    primitive = kind()
    run_at_once(loop, primitive.acquire())
    waiters = [loop.start(f"waiter {number}", primitive.acquire()) for number in range(3)]
    for number in (1, 2, 0):
        with loop.running():
            waiters[number].cancel()
        stage.settle()
    assert primitive._queue is None
