"""What the adapters are told in their tests: a little of everything, by real sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, LeaseLost, Session
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.instrumentation import Hook, named

WAIT = 0.02
"""Seconds that the wait lasts that is granted, at least."""
_numbers = count(1)


class Failing(MemoryEngine):
    """Fails while the test says so."""

    fails = False

    async def names(self) -> list[str]:
        if self.fails:
            raise EngineError("it is away")
        return await super().names()


@asynccontextmanager
async def traffic(hook: Hook) -> AsyncIterator[None]:
    """Two holdings of the lock "x", one wait for it that is granted and one that is given up, a lease of "y" that is
    lost, and a failed request. In the body, the permit of "s" is held, and one task waits for it."""
    namespace = f"metrics {next(_numbers)}"
    remove = holdfast.instrument(hook)
    try:
        async with (
            holdfast.connect("memory:", namespace=namespace, reopen=True) as a,
            Session(engine := Failing(namespace, None), "b") as b,
        ):
            lock = b.lock("x")
            async with a.lock("x"):
                task = asyncio.create_task(lock.acquire())
                await asyncio.sleep(WAIT)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await a.lock("x").acquire()
            await task
            await lock.release()
            engine.fails = True
            with pytest.raises(EngineError):
                await b.names()
            engine.fails = False
            with pytest.raises(LeaseLost):  # noqa: PT012
                async with a.lock("y"):
                    assert await b.evict(a.id)
                    await asyncio.sleep(BOUND)
            permits = a.semaphore("s", 1)
            async with permits:
                waiter = asyncio.create_task(b.semaphore("s", 1).acquire())
                await asyncio.sleep(WAIT)
                yield
                waiter.cancel()
                await asyncio.wait([waiter])
    finally:
        remove()


async def waits_of_tasks(hook: Hook) -> None:
    """A wait for the lock "mine" of tasks that is granted, one that is given up, and one for a lock without a name that
    was closed."""
    mine, nameless = named(holdfast.Lock(), "mine"), holdfast.Lock()
    remove = holdfast.instrument(hook)
    try:
        async with mine:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await mine.acquire()
            waiting = asyncio.create_task(mine.acquire())
            await asyncio.sleep(WAIT)
        await waiting
        mine.release()
        async with nameless:
            refused = asyncio.create_task(nameless.acquire())
            await asyncio.sleep(0)
            nameless.close()
            with pytest.raises(holdfast.Closed):
                await refused
    finally:
        remove()
