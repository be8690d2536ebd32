"""A task that releases a Lock of another one is warned of, if somebody has asked for it."""

import asyncio
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator

import pytest
from interpreters import BOUND

import holdfast
import holdfast.debug

USUAL = {name: holdfast.Lock.__dict__[name] for name in ("acquire", "try_acquire", "release")}


@pytest.fixture
def asked() -> Iterator[None]:
    with holdfast.debug.watch(after=BOUND, foreign_release=True):
        yield
    assert {name: holdfast.Lock.__dict__[name] for name in USUAL} == USUAL


async def acquire(lock: holdfast.Lock) -> None:
    await lock.acquire()


async def acquire_in_block(lock: holdfast.Lock, event: asyncio.Event) -> None:
    async with lock:
        await event.wait()


async def try_acquire(lock: holdfast.Lock) -> None:
    assert lock.try_acquire()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("take", [acquire, try_acquire])
async def test_another_task_releases_it(take):
    lock = holdfast.Lock()
    await asyncio.create_task(take(lock), name="taker")
    with pytest.warns(holdfast.debug.ForeignReleaseWarning, match="was acquired by task 'taker', and is") as caught:
        lock.release()
    assert caught[0].filename == __file__
    assert not lock.locked()


@pytest.mark.usefixtures("asked")
async def test_a_task_that_only_acquires_is_nobody():
    """That of wait_for() in Python 3.11 ends before the caller goes on."""
    lock = holdfast.Lock()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await asyncio.wait_for(lock.acquire(), BOUND)
        lock.release()
        await asyncio.create_task(lock.acquire())
        lock.release()
        await asyncio.gather(lock.acquire())
        lock.release()


@pytest.mark.usefixtures("asked")
async def test_no_task_releases_it_and_in_the_middle_of_a_block():
    lock, event = holdfast.Lock(), asyncio.Event()
    task = asyncio.create_task(acquire_in_block(lock, event), name="holder")
    await asyncio.sleep(0)
    released = asyncio.get_running_loop().create_future()

    def release() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lock.release()
        released.set_result([str(each.message) for each in caught])

    asyncio.get_running_loop().call_soon(release)
    [message] = await released
    assert "was acquired by task 'holder', and is released outside of any task" in message
    event.set()
    with pytest.raises(RuntimeError, match="Lock is not acquired"):
        await task


@pytest.mark.usefixtures("asked")
@pytest.mark.filterwarnings("error::holdfast.debug.ForeignReleaseWarning")
async def test_what_is_right_is_not_warned_of():
    lock = holdfast.Lock()
    condition = holdfast.Condition(lock)
    event = holdfast.Event()
    turns = 0

    async def use(number: int) -> None:
        nonlocal turns
        for turn in range(20):
            async with lock:
                await asyncio.sleep(0)
            await lock.acquire()
            try:
                if turn % 3 == number % 3:
                    await asyncio.sleep(0)
            finally:
                lock.release()
            async with condition:
                condition.notify()
                try:
                    async with asyncio.timeout(0.0005 if turn % 2 else 0):
                        await condition.wait()
                except TimeoutError:
                    pass
            if lock.try_acquire():
                lock.release()
            turns += 1
        event.set()

    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(use(number))
    assert turns == 100
    assert not lock.locked()


@pytest.mark.usefixtures("asked")
@pytest.mark.filterwarnings("error::holdfast.debug.ForeignReleaseWarning")
async def test_a_hand_off_and_a_cancellation_after_it():
    lock = holdfast.Lock()
    await lock.acquire()
    cancelled, waiting = (asyncio.create_task(acquire_in_block(lock, event)) for event in 2 * [asyncio.Event()])
    await asyncio.sleep(0)
    lock.release()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not lock.locked()


@pytest.mark.filterwarnings("error::holdfast.debug.ForeignReleaseWarning")
async def test_nobody_is_warned_who_has_not_asked():
    lock = holdfast.Lock()
    with holdfast.debug.watch(after=BOUND, raises=True):
        await asyncio.create_task(lock.acquire())
        lock.release()


@pytest.mark.parametrize("pure", ["", "1"], ids=["the usual twin", "the pure twin"])
def test_in_the_environment(pure):
    program = """
        import asyncio, holdfast

        async def main():
            lock = holdfast.Lock()
            async with lock:
                pass
            await asyncio.create_task(take(lock), name="taker")
            lock.release()

        async def take(lock):
            await lock.acquire()

        asyncio.run(main())
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=os.environ | {"HOLDFAST_WARN_FOREIGN_RELEASE": "1", "HOLDFAST_PURE_PYTHON": pure},
        check=False,
    )
    assert ended.returncode == 0
    assert ended.stderr.count("ForeignReleaseWarning: <holdfast.Lock object at") == 1, ended.stderr
