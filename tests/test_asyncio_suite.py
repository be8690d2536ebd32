"""asyncio's own tests of its primitives and queues, of the interpreter that runs this, on holdfast's classes."""

import asyncio
import importlib
import re
import unittest

import pytest
from upstream import run_case

import holdfast
import holdfast.debug  # now: where a loop is in debug mode, it would be loaded amid the names that are patched below

MODULES = ["test_locks", "test_queues"]

LOOP_IS_BACK = "asserts that `loop=` is refused; the contract has it (L5)"
AWAIT_IS_BACK = "asserts that a lock cannot be awaited; the contract has `await lock` (L6)"
APPENDS = "appends mocks to the private `_waiters`, a read-only view here"

# Upstream's test -> why it cannot pass, and which test below asserts the rest of what it does.
EXCEPTIONS = {
    "test_locks.LockTests.test_lock": (AWAIT_IS_BACK, "test_awaiting_a_lock_and_a_semaphore"),
    "test_locks.SemaphoreTests.test_semaphore": (AWAIT_IS_BACK, "test_awaiting_a_lock_and_a_semaphore"),
    "test_locks.LockTests.test_lock_by_with_statement": (AWAIT_IS_BACK, "test_lock_by_with_statement"),
    "test_locks.LockTests.test_lock_doesnt_accept_loop_parameter": (LOOP_IS_BACK, "test_loop_parameter"),
    "test_locks.LockTests.test_cancel_race": (
        "asserts that a lock on its way to the next task is not locked, the open gh-138121",
        "test_cancel_race",
    ),
    "test_locks.EventTests.test_repr": (APPENDS, "test_repr_of_an_event_with_waiters"),
    "test_locks.ConditionTests.test_repr": (APPENDS, "test_repr_of_a_condition_with_waiters"),
    "test_locks.SemaphoreTests.test_repr": (APPENDS, "test_repr_of_a_semaphore_with_waiters"),
    "test_locks.ConditionTests.test_ambiguous_loops": (
        "writes the private `_loop`, and asserts that `loop=` is refused",
        "test_ambiguous_loops",
    ),
}


def upstream_tests() -> dict[str, unittest.TestCase]:
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"test.test_asyncio.{name}")
        for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
            for case in suite:
                found[case.id().removeprefix("test.test_asyncio.")] = case
    return found


try:
    UPSTREAM = upstream_tests()
except ImportError as error:  # some distributions leave the tests out
    UPSTREAM = {}
    missing = f"this interpreter comes without its own tests: {error}"
else:
    missing = ""
needs_upstream = pytest.mark.skipif(not UPSTREAM, reason=missing)


def cases() -> list:
    def marks(name: str) -> list[pytest.MarkDecorator]:
        # strict: an exception that upstream's test no longer needs is a failure
        return [pytest.mark.xfail(reason=EXCEPTIONS[name][0], strict=True)] if name in EXCEPTIONS else []

    return [pytest.param(case, id=name, marks=marks(name)) for name, case in UPSTREAM.items()]


@pytest.fixture(name="_installed")
def installed():
    holdfast.install()
    yield
    holdfast.uninstall()


@needs_upstream
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("case", cases())
def test_upstream(case: unittest.TestCase):
    run_case(case)


@needs_upstream
def test_upstream_tests_are_there():
    names = {name.rpartition(".")[0] for name in UPSTREAM}
    assert names >= {f"test_locks.{x}Tests" for x in ("Lock", "Event", "Condition", "Semaphore", "Barrier")}
    assert names >= {f"test_queues.Queue{x}Tests" for x in ("Basic", "Get", "Put")}


@needs_upstream
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_each_exception_exists_and_has_a_counterpart(name):
    _, counterpart = EXCEPTIONS[name]
    assert name in UPSTREAM
    assert callable(globals()[counterpart])


# The counterparts: upstream's test in the form that fits the contract

REPR = re.compile(
    r"^<holdfast\.(?P<class>\w+) object at 0x[0-9a-f]+ "
    r"\[(?P<extras>(set|unset|locked|unlocked)(, value:\d)?(, waiters:\d+)?)\]>\Z"
)


def extras(primitive: object) -> str:
    match = REPR.match(repr(primitive))
    assert match, repr(primitive)
    assert match["class"] == type(primitive).__name__
    return match["extras"]


async def cancel(*tasks: asyncio.Task) -> None:
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))


def test_repr_of_an_event_with_waiters():
    async def main():
        event = holdfast.Event()
        assert extras(event) == "unset"
        waiting = [asyncio.create_task(event.wait())]
        await asyncio.sleep(0)
        assert extras(event) == "unset, waiters:1"
        waiting.append(asyncio.create_task(event.wait()))
        await asyncio.sleep(0)
        assert extras(event) == "unset, waiters:2"
        await cancel(*waiting)
        assert extras(event) == "unset"
        event.set()
        assert extras(event) == "set"

    asyncio.run(main())


def test_repr_of_a_condition_with_waiters():
    async def main():
        condition = holdfast.Condition()
        assert extras(condition) == "unlocked"

        async def wait():
            async with condition:
                await condition.wait()

        waiting = []
        for n in (1, 2):
            waiting.append(asyncio.create_task(wait()))
            await asyncio.sleep(0)
            assert extras(condition) == f"unlocked, waiters:{n}"
        await condition.acquire()
        assert extras(condition) == "locked, waiters:2"
        condition.release()
        await cancel(*waiting)
        assert extras(condition) == "unlocked"

    asyncio.run(main())


def test_repr_of_a_semaphore_with_waiters():
    async def main():
        semaphore = holdfast.Semaphore()
        assert extras(semaphore) == "unlocked, value:1"
        await semaphore.acquire()
        assert extras(semaphore) == "locked"
        waiting = []
        for n in (1, 2):
            waiting.append(asyncio.create_task(semaphore.acquire()))
            await asyncio.sleep(0)
            assert extras(semaphore) == f"locked, waiters:{n}"
        await cancel(*waiting)
        assert extras(semaphore) == "locked"

    asyncio.run(main())


@pytest.mark.parametrize("cls", [holdfast.Lock, holdfast.Semaphore])
def test_awaiting_a_lock_and_a_semaphore(cls):
    async def main():
        lock = cls()
        with pytest.warns(DeprecationWarning, match="async with"):
            await lock
        assert lock.locked()
        lock.release()
        assert not lock.locked()

    asyncio.run(main())


@pytest.mark.parametrize("cls", [holdfast.Lock, holdfast.Condition, holdfast.Semaphore, holdfast.BoundedSemaphore])
def test_lock_by_with_statement(cls):
    async def main():
        lock = cls()

        async def use():
            with await lock as value:
                return value, lock.locked()

        for _ in range(2):
            with pytest.warns(DeprecationWarning, match="async with"):
                assert await use() == (None, True)
            assert not lock.locked()

    asyncio.run(main())


@pytest.mark.parametrize(
    "cls", [holdfast.Lock, holdfast.Condition, holdfast.Event, holdfast.Semaphore, holdfast.BoundedSemaphore]
)
def test_loop_parameter(cls):
    async def main():
        assert isinstance(cls(loop=asyncio.get_running_loop()), cls)
        assert isinstance(cls(loop=None), cls)
        with pytest.raises(TypeError, match="loop"):
            cls(loop="main")

    asyncio.run(main())


def test_cancel_race():
    """A holds the lock, B and C wait; in one iteration B is cancelled and A releases: C gets the lock."""

    async def main():
        lock = holdfast.Lock()

        async def hold(blocker):
            async with lock:
                if blocker is not None:
                    await blocker

        blocker = asyncio.get_running_loop().create_future()
        a = asyncio.create_task(hold(blocker))
        await asyncio.sleep(0)
        assert lock.locked()
        b = asyncio.create_task(hold(None))
        await asyncio.sleep(0)
        c = asyncio.create_task(hold(None))
        await asyncio.sleep(0)
        assert lock.statistics().tasks_waiting == 2

        blocker.set_result(None)
        b.cancel()
        await asyncio.sleep(0)
        assert lock.locked()  # upstream: not
        assert a.done()
        assert b.cancelled()
        assert not c.done()
        await asyncio.sleep(0)
        assert c.done()
        assert not lock.locked()

    asyncio.run(main())


def test_ambiguous_loops():
    async def main():
        here = asyncio.get_running_loop()
        lock = holdfast.Lock(loop=other)
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            async with lock:
                pass
        assert not lock.locked()
        with pytest.raises(ValueError, match="loop argument must agree with lock"):
            holdfast.Condition(lock)
        with pytest.raises(ValueError, match="loop argument must agree with lock"):
            holdfast.Condition(holdfast.Lock(loop=here), loop=other)

        condition = holdfast.Condition(holdfast.Lock(), loop=other)
        async with condition:
            with pytest.raises(RuntimeError, match="is bound to a different event loop"):
                await condition.wait()
            assert condition.locked()
        assert not condition.locked()

    other = asyncio.new_event_loop()
    try:
        asyncio.run(main())
    finally:
        other.close()
