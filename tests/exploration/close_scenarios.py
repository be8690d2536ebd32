"""Primitives that are closed while tasks use them, as scenarios for the explorer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import holdfast
from holdfast.testing import Run

from .scenarios import CLOSING, Builder, Scenario, Setup

Use = Callable[[Any, str, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Given a primitive and the name of a task: come in, and await the third argument inside."""


def closed_meanwhile(make: Callable[[ModuleType], Any], use: Use, busy: Callable[[Any], bool]) -> Builder:
    """One task closes it at some moment: each of the others gets in or gets Closed, and then nobody waits any more.

    busy: whether somebody holds it, by what the primitive says of itself.
    """

    def build(library: ModuleType, setup: Setup) -> Scenario:
        async def scenario(run: Run) -> None:
            primitive = make(library)
            refused: list[object] = []

            async def enter(name: str) -> None:
                was_closed = primitive.is_closed()

                async def body() -> None:
                    assert not was_closed, f"{name} came in, and it was closed before"
                    run.log(f"{name} in")
                    await asyncio.sleep(1 if setup.timed and name == "A" else 0)

                await use(primitive, name, body)

            async def user(name: str) -> None:
                try:
                    await setup.around(enter(name), setup.patience(name))
                except TimeoutError:
                    run.log(f"{name} is out of time")
                except holdfast.Closed as closed:
                    run.log(f"{name} is refused")
                    assert primitive.is_closed()
                    refused.append(closed.reason)

            async def closer(name: str) -> None:
                close()

            def close() -> None:
                run.log("closes")
                primitive.close("over")

            def nobody_waits() -> None:
                waiting = primitive._waiters
                assert not (primitive.is_closed() and waiting), f"it is closed, and {waiting} wait"

            def nothing_is_held() -> None:
                assert {*refused} <= {"over"}
                assert not busy(primitive)
                assert not primitive._waiters

            async def afterwards() -> None:
                close()
                for name in "XY":
                    try:
                        await enter(name)
                    except holdfast.Closed:
                        continue
                    raise AssertionError(f"{name} came in")

            run.at_rest(nobody_waits)
            run.at_end(nothing_is_held)
            run.afterwards(afterwards)
            setup.spawn(run, user, closer, more=1)
            await asyncio.sleep(CLOSING)
            close()

        return scenario

    return build


async def held(lock: Any, name: str, body: Callable[[], Awaitable[None]]) -> None:
    async with lock:
        await body()


async def several(semaphore: Any, name: str, body: Callable[[], Awaitable[None]]) -> None:
    async with semaphore.permits({"A": 2, "B": 2}.get(name, 1)):
        await body()


async def notified(condition: Any, name: str, body: Callable[[], Awaitable[None]]) -> None:
    """A notifies the first of the others. A task that is refused holds the lock as the error passes."""
    async with condition:
        if name == "A":
            condition.notify()
            return
        try:
            await condition.wait()
        except GeneratorExit:
            raise
        except BaseException:
            assert condition.locked()
            raise
        await body()


async def told(event: Any, name: str, body: Callable[[], Awaitable[None]]) -> None:
    if name == "A":
        event.set()
        event.clear()
    await event.wait()
    await body()


async def met(barrier: Any, name: str, body: Callable[[], Awaitable[None]]) -> None:
    await barrier.wait()
    await body()


CLOSED: dict[str, Builder] = {
    "Lock, closed": closed_meanwhile(lambda library: library.Lock(), held, lambda lock: lock.locked()),
    "Semaphore(2), closed": closed_meanwhile(
        lambda library: library.Semaphore(2), several, lambda semaphore: semaphore.statistics().value != 2
    ),
    "Condition, closed": closed_meanwhile(
        lambda library: library.Condition(), notified, lambda condition: condition.locked()
    ),
    "Event, closed": closed_meanwhile(lambda library: library.Event(), told, lambda event: False),
    "Barrier(2), closed": closed_meanwhile(lambda library: library.Barrier(2), met, lambda barrier: False),
}
