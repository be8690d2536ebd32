"""Sessions that come at once to one name on a server: how many scripts each of their calls costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import monotonic_ns
from typing import TYPE_CHECKING

import redis.asyncio

if TYPE_CHECKING:
    from holdfast.cluster import Session

SESSIONS = 100
TTL = 300.0
"""Seconds; so long that no renewal is among what is counted."""
SETTLED = 0.5
"""Seconds after which nothing more is sent."""


def scripts(port: int) -> dict[str, float]:
    """For each call of each session, by what they do."""
    return asyncio.run(_scripts(port))


async def _scripts(port: int) -> dict[str, float]:
    import holdfast  # not above: workers import what this program imports, and may need an earlier build

    namespace = f"crowd {monotonic_ns()}"
    url = f"redis://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(redis.asyncio.Redis(port=port))
        sessions = [
            await stack.enter_async_context(holdfast.connect(url, ttl=TTL, namespace=namespace))
            for _ in range(SESSIONS)
        ]
        first = sessions[0]
        async with first.lock("any"):
            pass  # from here on the server knows the scripts

        async def count(calls: int, act: Callable[[], Awaitable[object]]) -> float:
            before = await _calls(client)
            await act()
            await asyncio.sleep(SETTLED)
            return (await _calls(client) - before) / SESSIONS / calls

        waiters: list[asyncio.Task[bool]] = []

        async def wait_for_event() -> None:
            waiters.extend(asyncio.create_task(session.event("event").wait()) for session in sessions)

        async def set_event() -> None:
            await first.event("event").set()
            await asyncio.gather(*waiters)

        async def wait_at_barrier() -> None:
            await asyncio.gather(*(session.barrier("barrier", SESSIONS).wait() for session in sessions))

        async def use_permit(session: Session) -> None:
            async with session.semaphore("semaphore", 5):
                pass

        async def use_permits() -> None:
            await asyncio.gather(*map(use_permit, sessions))

        at_once = f"{SESSIONS} sessions at once"
        return {
            f"{at_once}, Event.wait()": await count(1, wait_for_event),
            f"{at_once}, one Event.set() that wakes all": await count(1, set_event),
            f"{at_once}, Barrier.wait()": await count(1, wait_at_barrier),
            f"{at_once}, Semaphore(5), acquire() and release()": await count(2, use_permits),
        }


async def _calls(client: redis.asyncio.Redis) -> int:
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ("eval", "evalsha"))
