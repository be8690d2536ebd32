"""Whoever debugs a program that is stuck sees who waits for what: asyncio's own tools name the primitive."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from interpreters import BOUND

import holdfast
from holdfast import Barrier, Condition, Event, Lock, Semaphore

since_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has these tools since Python 3.14")
Use = Callable[[Any], Awaitable[object]]


async def enters(primitive: Any) -> None:
    async with primitive:
        pass


async def acquires(primitive: Any) -> None:
    await primitive.acquire()


async def waits(primitive: Any) -> None:
    await primitive.wait()


async def enters_and_waits(condition: Condition) -> None:
    async with condition:
        await condition.wait()


def busy(primitive: Any) -> Any:
    assert (primitive._lock if isinstance(primitive, Condition) else primitive).try_acquire()
    return primitive


WAYS = [
    pytest.param(make, use, name, id=f"{make.__name__}-{use.__name__}")
    for make, use, name in [
        (Lock, enters, "Lock.acquire"),
        (Lock, acquires, "Lock.acquire"),
        (Semaphore, enters, "Semaphore.acquire"),
        (Semaphore, acquires, "Semaphore.acquire"),
        (Condition, enters, "Lock.acquire"),
        (Condition, acquires, "Lock.acquire"),
        (Condition, enters_and_waits, "Condition.wait"),
        (Event, waits, "Event.wait"),
        (Barrier, waits, "Barrier.wait"),
    ]
]


def stuck(make: Any, use: Use) -> Any:
    if make is Barrier:
        return Barrier(2)
    return make() if use in (waits, enters_and_waits) else busy(make())


@contextlib.asynccontextmanager
async def waiting(use: Awaitable[object]) -> AsyncIterator[asyncio.Task[object]]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(use)  # type: ignore[arg-type]
        for _ in range(2):
            await asyncio.sleep(0)
        yield task
        task.cancel()


def frames(task: asyncio.Task[object]) -> list[Any]:
    """As `print_call_graph()` has them, the innermost first."""
    graph = asyncio.capture_call_graph(task)  # type: ignore[attr-defined]
    return [entry.frame for entry in graph.call_stack]


@since_3_14
@pytest.mark.parametrize(("make", "use", "name"), WAYS)
async def test_the_call_graph_of_a_task_ends_at_the_primitive(make: Any, use: Use, name: str) -> None:
    primitive = stuck(make, use)
    async with waiting(use(primitive)) as task:
        innermost, *others = frames(task)
        assert innermost.f_code.co_qualname == name
        assert innermost.f_code.co_filename == sys.modules[f"holdfast.tasks.{name.split('.')[0].lower()}"].__file__
        assert innermost.f_lineno >= innermost.f_code.co_firstlineno
        assert innermost.f_locals["self"] in (primitive, getattr(primitive, "_lock", None))
        assert [frame.f_code.co_qualname for frame in others].count(name) == 0
        assert others[-1].f_code.co_name == use.__name__
        assert f"in async {name}()" in asyncio.format_call_graph(task)  # type: ignore[attr-defined]


@since_3_14
async def test_a_task_that_runs_a_primitive_s_own_coroutine() -> None:
    """The last of a barrier does not wait, so it needs no frame."""
    event, barrier = Event(), Barrier(2)
    async with waiting(event.wait()) as task, waiting(barrier.wait()) as first:
        assert [frame.f_code.co_qualname for frame in frames(task)] == ["Event.wait"]
        assert [frame.f_code.co_qualname for frame in frames(first)] == ["Barrier.wait"]
        assert await barrier.wait() == 1


async def test_the_result_is_the_same_with_a_frame() -> None:
    lock, event, barrier = busy(Lock()), Event(), Barrier(2)
    results = [asyncio.create_task(use) for use in (lock.acquire(), event.wait(), barrier.wait())]
    entered = asyncio.create_task(lock.__aenter__())
    await asyncio.sleep(0)
    lock.release()
    event.set()
    assert await barrier.wait() == 1
    assert await asyncio.gather(*results) == [True, True, 0]
    lock.release()
    assert await entered is None


@pytest.mark.parametrize("use", [Lock.acquire, Lock.__aenter__])
def test_of_one_that_was_never_awaited_the_interpreter_tells_once(use: Any) -> None:
    lock = busy(Lock())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use(lock)
        gc.collect()
    assert len(caught) == 1
    assert "was never awaited" in str(caught[0].message)
    assert lock.statistics().tasks_waiting == 0


STUCK = """
    import asyncio, sys, holdfast

    async def entering(lock):
        async with lock:
            pass

    async def acquiring(lock):
        await lock.acquire()

    async def using(condition):
        async with condition:
            await condition.wait()

    async def main():
        lock, later, event = holdfast.Lock(), holdfast.Lock(), holdfast.Event()
        unforeseen = later.acquire()  # it is free now, and not any more when this is awaited
        async with lock, later, asyncio.TaskGroup() as tasks:
            for name, use in {
                "enters": entering(lock), "acquires": acquiring(lock), "runs it": lock.acquire(), "waits": event.wait(),
                "uses": using(holdfast.Condition()), "meets": holdfast.Barrier(2).wait(),
                "gets": holdfast.Semaphore(0).acquire(), "unforeseen": unforeseen,
            }.items():
                tasks.create_task(use, name=name)
            await asyncio.sleep(0.01)
            print("stuck", flush=True)

    asyncio.run(main())
"""


@since_3_14
@pytest.mark.parametrize("twin", ["compiled", "pure"])
@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_another_process_sees_it(twin: str, command: str) -> None:
    if twin == "compiled" and not holdfast.accelerated:
        pytest.skip("there is no compiled twin here")
    environment = os.environ | {"HOLDFAST_PURE_PYTHON": "1" if twin == "pure" else ""}
    program = [sys.executable, "-c", textwrap.dedent(STUCK)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stuck\n"
            look = [sys.executable, "-m", "asyncio", command, str(process.pid)]
            seen = subprocess.run(look, capture_output=True, text=True, timeout=BOUND)
        finally:
            process.kill()
    if "insufficient permissions" in seen.stdout:
        pytest.skip("this process may not look into others")
    assert seen.returncode == 0, seen.stdout + seen.stderr
    for name in ("Lock.acquire", "Event.wait", "Condition.wait", "Barrier.wait", "Semaphore.acquire", "unforeseen"):
        assert name in seen.stdout
    if command == "ps":
        rows = {row.split()[2]: row for row in seen.stdout.splitlines()[2:]}
        assert "Lock.acquire" in rows["enters"]
        assert "Lock.acquire" in rows["acquires"]
        assert "acquiring" in rows["acquires"]
        assert "Condition.wait" in rows["uses"]
        assert ("Lock.acquire" in rows["unforeseen"]) == (twin == "pure")
