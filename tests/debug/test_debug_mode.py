"""In asyncio's debug mode a certain deadlock raises DeadlockError, without a thread; elsewhere nobody looks."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from interpreters import BOUND, PYPY

import holdfast
import holdfast.debug
import holdfast.threads

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")


async def both(first: Any, second: Any) -> str:
    async with first:
        await asyncio.sleep(0)
        async with second:
            return "had both"


async def crossed(make: Any) -> list[Any]:
    a, b = make(), make()
    tasks = [asyncio.create_task(both(a, b)), asyncio.create_task(both(b, a))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=0.5)
    for task in pending - done:
        if not done:
            task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    "make",
    [holdfast.Lock, lambda: holdfast.BoundedSemaphore(1), lambda: holdfast.RWLock().writer, holdfast.threads.Lock],
    ids=["Lock", "BoundedSemaphore", "RWLock", "threads.Lock"],
)
def test_a_deadlock_raises(make: Any) -> None:
    threads = threading.active_count()

    async def main() -> list[Any]:
        a, b = make(), make()
        ended = await asyncio.gather(both(a, b), both(b, a), return_exceptions=True)
        assert threading.active_count() == threads
        return ended

    ended = asyncio.run(main(), debug=True)
    [error] = [each for each in ended if each != "had both"]
    assert isinstance(error, holdfast.debug.DeadlockError)
    assert "had both" in ended


def test_set_debug_in_the_middle_counts_from_then_on() -> None:
    async def main() -> list[Any]:
        asyncio.get_running_loop().set_debug(True)
        return await crossed(holdfast.Lock)

    ended = asyncio.run(main())
    assert [type(each) for each in ended].count(holdfast.debug.DeadlockError) == 1


def test_without_debug_mode_nobody_looks() -> None:
    ended = asyncio.run(crossed(holdfast.Lock), debug=False)
    assert [type(each) for each in ended] == 2 * [asyncio.CancelledError]


def test_who_waits_for_long_is_not_accused_and_the_timer_ends() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        lock, event = holdfast.Lock(), holdfast.Event()

        async def hold() -> None:
            async with lock:
                await event.wait()

        holding = asyncio.create_task(hold())
        waiting = [asyncio.create_task(both(lock, holdfast.Lock())) for _ in range(3)]
        await asyncio.sleep(0.25)
        assert not any(task.done() for task in waiting)
        event.set()
        await holding
        assert await asyncio.gather(*waiting) == 3 * ["had both"]
        async with asyncio.timeout(BOUND) as bound:
            while len(loop._scheduled) > 1:  # that of the bound
                await asyncio.sleep(0)
        assert not bound.expired()

    asyncio.run(main(), debug=True)


PROGRAM = """
    import asyncio, holdfast

    async def main():
        lock = holdfast.Lock()
        async with lock:
            async with lock:
                pass

    try:
        asyncio.run(main())
    except holdfast.debug.DeadlockError as error:
        print(error)
"""


@pytest.mark.parametrize("pure", ["", "1"], ids=["the usual twin", "the pure twin"])
@pytest.mark.parametrize("by", ["-X dev", "PYTHONASYNCIODEBUG"])
def test_a_task_that_waits_for_what_it_holds(by: str, pure: str) -> None:
    options = ["-X", "dev"] if by == "-X dev" else []
    environment = {"PYTHONASYNCIODEBUG": "" if options else "1", "HOLDFAST_PURE_PYTHON": pure}
    ended = run(options, **environment)
    assert "which it holds itself" in ended.stdout, ended.stderr


def test_holdfast_debug_0_turns_it_off() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(["-X", "dev"], timeout=2, HOLDFAST_DEBUG="0")


def run(options: list[str], timeout: float = BOUND, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | environment,
        check=False,
    )
