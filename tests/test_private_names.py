"""asyncio's private names, as fixtures use them that set a primitive back between two tests."""

import asyncio
from collections import deque
from typing import Any

import pytest

from holdfast import Barrier, BoundedSemaphore, Condition, Event, Lock, Semaphore

MAKE = {
    "Lock": Lock,
    "Event": Event,
    "Condition": Condition,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Barrier": lambda: Barrier(2),
}


@pytest.fixture(params=MAKE)
def primitive(request: pytest.FixtureRequest) -> Any:
    return MAKE[request.param]()


@pytest.mark.parametrize("nobody", [None, deque(), [], ()], ids=repr)
def test_waiters_can_be_emptied(primitive: Any, nobody: Any) -> None:
    primitive._waiters = nobody
    assert not primitive._waiters
    assert primitive.statistics().tasks_waiting == 0


def test_who_waited_is_forgotten() -> None:
    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        waiting = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        assert len(lock._waiters) == 1
        lock._waiters = None
        assert "waiters" not in repr(lock)
        lock.release()
        assert not lock.locked()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        async with lock:
            assert lock.locked()

    asyncio.run(main())


def test_one_that_is_on_its_way_arrives() -> None:
    async def main() -> None:
        lock, event = Lock(), Event()
        await lock.acquire()
        waiting = [asyncio.create_task(wait) for wait in (lock.acquire(), event.wait())]
        await asyncio.sleep(0)
        lock.release()
        event.set()
        lock._waiters = event._waiters = None
        await asyncio.gather(*waiting)
        assert lock.locked()
        assert "waiters" not in repr(lock) + repr(event)

    asyncio.run(main())


def test_a_bound_primitive_stays_bound() -> None:
    loop = asyncio.new_event_loop()
    lock = Lock(loop=loop)
    lock._waiters = None
    with pytest.raises(RuntimeError, match="is bound to"):
        asyncio.run(lock.acquire())
    loop.close()


def test_nothing_can_be_put_into_waiters(primitive: Any) -> None:
    with pytest.raises(AttributeError, match="can only be set to None"):
        primitive._waiters = deque([object()])


@pytest.mark.parametrize(("value", "locked"), [(True, True), (False, False), (1, True), (0, False), (None, False)])
def test_locked_can_be_set(value: Any, locked: bool) -> None:
    lock = Lock()
    lock._locked = value
    assert bool(lock._locked) is locked
    assert bool(lock.locked()) is locked
    assert lock.try_acquire() is not locked


@pytest.mark.parametrize("value", [True, False, 1, 0])
def test_the_flag_of_an_event_can_be_set(value: Any) -> None:
    event = Event()
    event._value = value
    assert bool(event.is_set()) is bool(value)


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_the_permits_of_a_semaphore_can_be_set(make: Any) -> None:
    semaphore = make(1)
    semaphore._value = 3
    assert [semaphore.try_acquire() for _ in range(4)] == [True, True, True, False]
    assert semaphore.locked()
    semaphore._value = 0
    semaphore.release()
    assert semaphore.statistics().value == 1


def test_the_bound_of_a_semaphore_can_be_set() -> None:
    semaphore = BoundedSemaphore(1)
    semaphore._bound_value = 2
    semaphore.release()
    with pytest.raises(ValueError, match="all its 2 permits are free"):
        semaphore.release()


def test_permits_that_were_set_while_somebody_waits_are_given_out_by_the_next_release() -> None:
    async def main() -> None:
        semaphore = Semaphore(0)
        waiting = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        semaphore._value = 2
        semaphore.release()
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert semaphore._value == 0

    asyncio.run(main())


def test_loop_can_be_set_and_means_nothing(primitive: Any) -> None:
    loop = asyncio.new_event_loop()
    primitive._loop = loop
    primitive._loop = None

    async def main() -> None:
        if hasattr(primitive, "acquire"):
            async with primitive:
                waiting = asyncio.create_task(primitive.acquire())
                await asyncio.sleep(0)
            await waiting
            primitive.release()

    asyncio.run(main())
    primitive._loop = loop
    asyncio.run(main())
    loop.close()
