"""`holdfast.debug.watch()` logs whoever waits long, and can break a deadlock by an error."""

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
from interpreters import BOUND, PYPY

import holdfast
import holdfast.debug
from holdfast import threads

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")
SOON = 0.02


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND):
        while not holds():
            await asyncio.sleep(SOON / 4)


async def both(first: Any, second: Any) -> str:
    async with first:
        await asyncio.sleep(0)
        async with second:
            return "had both"


def waiting_for(lock: holdfast.Lock) -> holdfast.debug.Waiter:
    """The first that waits for it."""
    [found] = [primitive for primitive in holdfast.debug.dump().primitives if primitive.name == repr(lock)]
    return found.waiters[0]


def records(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "holdfast.debug" and each.levelno == level]


async def test_a_long_wait_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lock = holdfast.Lock()
    with holdfast.debug.watch(after=SOON):
        async with lock:
            waiting = asyncio.create_task(both(lock, holdfast.Lock()), name="patient")
            await until(lambda: records(caplog, logging.WARNING))
            assert waiting_for(lock).seconds > SOON
            await asyncio.sleep(10 * SOON)
        await waiting
        [text] = records(caplog, logging.WARNING)
        assert "waited for longer than 0.02 s: <holdfast.Lock object at" in text
        assert "held by task " in text
        assert "waited for by task 'patient' (test_watch.py:" in text
        async with lock:
            waiting = asyncio.create_task(both(lock, holdfast.Lock()), name="patient")
            await until(lambda: len(records(caplog, logging.WARNING)) == 2)
        await waiting
    assert records(caplog, logging.ERROR) == []


async def test_a_short_wait_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    lock = holdfast.Lock()
    with holdfast.debug.watch(after=BOUND):
        async with lock:
            waiting = asyncio.create_task(both(lock, holdfast.Lock()))
            await asyncio.sleep(5 * SOON)
        await waiting
    assert records(caplog, logging.WARNING) == []


async def test_a_deadlock_is_told_once_and_not_as_a_long_wait(caplog: pytest.LogCaptureFixture) -> None:
    a, b = holdfast.Lock(), holdfast.Lock()
    with holdfast.debug.watch(after=SOON):
        tasks = [asyncio.create_task(both(a, b), name="one"), asyncio.create_task(both(b, a), name="two")]
        await until(lambda: records(caplog, logging.ERROR))
        await asyncio.sleep(10 * SOON)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    [text] = records(caplog, logging.ERROR)
    assert text.startswith("deadlock: task 'one' (")
    assert records(caplog, logging.WARNING) == []


def pair(make: Callable[[], Any]) -> Callable[[], tuple[Any, Any]]:
    return lambda: (make(), make())


PAIRS = {
    "Lock": pair(holdfast.Lock),
    "threads.Lock": pair(threads.Lock),
    "asyncio.Lock": pair(asyncio.Lock),
    "BoundedSemaphore": pair(lambda: holdfast.BoundedSemaphore(1)),
    "permits": pair(lambda: holdfast.BoundedSemaphore(3).permits(2)),
    "threads.BoundedSemaphore": pair(lambda: threads.BoundedSemaphore(1)),
    "RWLock": pair(lambda: holdfast.RWLock().writer),
    "threads.RWLock": pair(lambda: threads.RWLock().writer),
    "KeyedLock": pair(lambda: holdfast.KeyedLock()["a"]),
    "threads.KeyedLock": pair(lambda: threads.KeyedLock()["a"]),
    "Condition": pair(holdfast.Condition),
}


@pytest.mark.parametrize("name", PAIRS)
async def test_one_of_them_raises_and_the_other_goes_on(name: str) -> None:
    a, b = PAIRS[name]()
    with holdfast.debug.watch(raises=True):
        ended = await asyncio.gather(both(a, b), both(b, a), return_exceptions=True)
    [error] = [each for each in ended if each != "had both"]
    assert isinstance(error, holdfast.debug.DeadlockError)
    assert error.deadlock.certain
    assert str(error).startswith("deadlock: task 'Task-")
    assert "had both" in ended
    async with asyncio.timeout(BOUND):  # nothing is left of it
        assert await both(a, b) == await both(b, a) == "had both"


@pytest.mark.parametrize("tier", [holdfast, threads])
async def test_who_waits_behind_it_comes_in(tier: Any) -> None:
    """A reader that would become a writer waits for itself, and a reader waits behind it. Then both are in."""
    rw = tier.RWLock()
    is_in = asyncio.Event()

    async def reads() -> None:
        async with rw.reader:
            is_in.set()

    async def upgrades() -> None:
        async with rw.reader:
            behind = asyncio.create_task(reads())
            with pytest.raises(holdfast.debug.DeadlockError, match="which it holds itself"):
                async with rw.writer:
                    pass
            await is_in.wait()
            await behind

    with holdfast.debug.watch(raises=True):
        await upgrades()


@pytest.mark.parametrize("tier", [holdfast, threads, asyncio])
async def test_who_is_in_wait_of_a_condition_is_not_refused_its_lock(tier: Any) -> None:
    """It waits for longer than the other one, and gets its lock when that one has raised."""
    lock, condition = tier.Lock(), tier.Condition()

    async def notified() -> str:
        async with lock, condition:
            await condition.wait()
            assert condition.locked()
            return "notified"

    async def notifies() -> None:
        async with condition:
            condition.notify()
            await asyncio.sleep(3 * SOON)
            async with lock:
                pass

    with holdfast.debug.watch(raises=True):
        first = asyncio.create_task(notified())
        await asyncio.sleep(0)
        async with asyncio.timeout(BOUND):
            with pytest.raises(holdfast.debug.DeadlockError):
                await asyncio.create_task(notifies())
            assert await first == "notified"
    assert not condition.locked()


async def test_a_thread_and_a_task() -> None:
    a, b = threads.Lock(), threads.Lock()
    both_hold = threading.Barrier(2)

    def in_a_thread(first: threads.Lock, second: threads.Lock) -> str:
        with first.sync:
            both_hold.wait(BOUND)
            with second.sync:
                return "had both"

    async def in_a_task() -> str:
        async with a:
            await asyncio.to_thread(both_hold.wait, BOUND)
            async with b:
                return "had both"

    for _ in range(3):
        with holdfast.debug.watch(raises=True):
            ended = await asyncio.gather(in_a_task(), asyncio.to_thread(in_a_thread, b, a), return_exceptions=True)
        assert sorted(type(each).__name__ for each in ended) == ["DeadlockError", "str"]


def test_two_threads() -> None:
    a, b = threads.Lock(), threads.Lock()
    both_hold = threading.Barrier(2)
    ended: list[object] = []

    def use(first: Any, second: Any) -> None:
        try:
            with first.sync:
                both_hold.wait(BOUND)
                with second.sync:
                    ended.append("had both")
        except holdfast.debug.DeadlockError as exc:
            ended.append(exc)

    with holdfast.debug.watch(raises=True):
        people = [threading.Thread(target=use, args=pair) for pair in ((a, b), (b, a))]
        for thread in people:
            thread.start()
        for thread in people:
            thread.join(BOUND)
    assert sorted(type(each).__name__ for each in ended) == ["DeadlockError", "str"]
    assert not a.locked()
    assert not b.locked()


async def test_a_timeout_is_left_to_end_it() -> None:
    lock = holdfast.Lock()
    with holdfast.debug.watch(raises=True):
        async with lock:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(lock.acquire(), 0.5)


async def test_stop() -> None:
    watch = holdfast.debug.watch()
    with holdfast.debug.watch() as other:
        pass
    assert [repr(watch), repr(other)] == [
        "<holdfast.debug.Watch after=5 s [on]>",
        "<holdfast.debug.Watch after=5 s [stopped]>",
    ]
    watch.stop()
    watch.stop()
    assert "holdfast.debug.watch" not in {thread.name for thread in threading.enumerate()}
    lock = holdfast.Lock()
    async with lock:
        waiting = asyncio.create_task(both(lock, holdfast.Lock()))
        await asyncio.sleep(0)
        assert waiting_for(lock).seconds is None
    await waiting


async def test_it_keeps_no_task_alive() -> None:
    import gc
    import weakref

    lock = holdfast.Lock()
    with holdfast.debug.watch(after=SOON):
        async with lock:
            task = asyncio.create_task(both(lock, holdfast.Lock()))
            await asyncio.sleep(5 * SOON)
        await task
        known = weakref.ref(task)
        del task
        await until(lambda: (gc.collect() and known() is None) or known() is None)


@pytest.mark.parametrize(
    ("after", "error"),
    [(0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("5", TypeError), (True, TypeError)],
)
def test_bad_arguments(after: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="after must be a number of seconds"):
        holdfast.debug.watch(after)


DEADLOCKED = """
    import asyncio, holdfast

    async def main():
        lock = holdfast.Lock()
        async with lock, lock:
            pass

    asyncio.run(main())
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=os.environ | environment,
    )


def test_without_threads_it_is_a_warning() -> None:
    program = """
        import threading

        def start(thread):
            raise RuntimeError("can't start new thread")

        threading.Thread.start = start
        import holdfast
    """
    ended = run(program, HOLDFAST_DEBUG="1")
    assert ended.returncode == 0
    assert "RuntimeWarning: HOLDFAST_DEBUG=1 has no effect: can't start new thread" in ended.stderr


def test_in_the_environment() -> None:
    ended = run(DEADLOCKED, HOLDFAST_DEBUG="1")
    assert ended.returncode == 1
    assert (
        "holdfast.debug.DeadlockError: deadlock: task 'Task-1' (<string>:6 in main) waits for <holdfast.Lock"
        in ended.stderr
    )
    assert run("import holdfast, threading; assert threading.active_count() == 1", HOLDFAST_DEBUG="0").returncode == 0


def test_a_loop_that_no_frame_shows(caplog: pytest.LogCaptureFixture) -> None:
    """uvloop's are written in C. From Python 3.14 on, a task is found by its loop alone."""
    uvloop = pytest.importorskip("uvloop")

    async def stands_still() -> None:
        lock = holdfast.Lock()
        async with lock:
            waiting = asyncio.create_task(both(lock, holdfast.Lock()))
            await until(lambda: records(caplog, logging.WARNING))
        await waiting

    with holdfast.debug.watch(after=SOON):
        loop = uvloop.new_event_loop()
        loop.run_until_complete(stands_still())
        loop.close()
        assert holdfast.debug.dump().tasks == 0


since_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has these tools since Python 3.14")


@since_3_14
async def test_asyncio_knows_who_waits_for_whom_while_it_is_on() -> None:
    lock, other = holdfast.Lock(), threads.Lock()
    go = asyncio.Event()

    async def holds() -> None:
        async with lock, other:
            await go.wait()

    holder = asyncio.create_task(holds(), name="holder")
    await asyncio.sleep(0)
    waiters = [asyncio.create_task(both(each, holdfast.Lock()), name="waits") for each in (lock, other)]

    def awaited_by() -> set[object]:
        return {call.future for call in asyncio.capture_call_graph(holder).awaited_by}  # type: ignore[attr-defined]

    with holdfast.debug.watch(after=SOON):
        await until(lambda: awaited_by() == {*waiters})
        waiters.pop().cancel()
        await until(lambda: awaited_by() == {*waiters})
    assert awaited_by() == set()
    go.set()
    await asyncio.wait([holder, *waiters])


WATCHED = """
    import asyncio, holdfast

    async def both(first, second):
        async with first:
            await asyncio.sleep(0)
            async with second:
                pass

    async def main():
        a, b = holdfast.Lock(), holdfast.Lock()
        async with asyncio.TaskGroup() as group:
            group.create_task(both(a, b), name="one")
            group.create_task(both(b, a), name="two")
            await asyncio.sleep(0.5)
            print("stuck", flush=True)

    with holdfast.debug.watch(after=0.1):
        asyncio.run(main())
"""


@since_3_14
def test_asyncio_s_own_tool_finds_the_circle() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WATCHED)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stuck\n"
            look = [sys.executable, "-m", "asyncio", "pstree", str(process.pid)]
            seen = subprocess.run(look, capture_output=True, text=True, timeout=BOUND)
        finally:
            process.kill()
    if "insufficient permissions" in seen.stdout:
        pytest.skip("this process may not look into others")
    assert "cycle: " in seen.stdout + seen.stderr
    assert "one" in seen.stdout + seen.stderr
