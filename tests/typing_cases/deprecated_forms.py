"""The forms that asyncio deprecated in 3.7 are errors to a type checker, though they work. Checked by mypy and pyright.

A line with `type: ignore` must be an error, as in signatures.py; pyright is told to look at that as well.
"""

import holdfast
from holdfast import threads


async def with_instead_of_async_with() -> None:
    with holdfast.Lock():  # type: ignore[attr-defined]
        pass
    with holdfast.Condition():  # type: ignore[attr-defined]
        pass
    with holdfast.Semaphore():  # type: ignore[attr-defined]
        pass
    with holdfast.BoundedSemaphore():  # type: ignore[attr-defined]
        pass
    with holdfast.Event():  # type: ignore[attr-defined]
        pass
    with holdfast.Barrier(2):  # type: ignore[attr-defined]
        pass


async def awaited(lock: holdfast.Lock, condition: holdfast.Condition, semaphore: holdfast.Semaphore) -> None:
    await lock  # type: ignore[misc]
    await condition  # type: ignore[misc]
    await semaphore  # type: ignore[misc]
    with await lock:  # type: ignore[misc]
        pass


def in_a_thread() -> None:
    with threads.Lock():  # type: ignore[attr-defined]
        pass
    with threads.Condition():  # type: ignore[attr-defined]
        pass
    with threads.Semaphore():  # type: ignore[attr-defined]
        pass
    with threads.BoundedSemaphore():  # type: ignore[attr-defined]
        pass
    for _ in threads.Lock():  # type: ignore[attr-defined]
        pass


async def awaited_of_threads(lock: threads.Lock) -> None:
    await lock  # type: ignore[misc]


# What is meant instead is none.


async def right(lock: holdfast.Lock, shared: threads.Lock) -> None:
    async with lock, shared:
        pass


def right_in_a_thread() -> None:
    with threads.Lock().sync, threads.Condition().sync, threads.Semaphore().sync:
        pass
