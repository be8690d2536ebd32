"""What tests of primitives in sessions share: tasks that ask one after the other, and an engine that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

from holdfast.cluster import Session

from .engines import settle


def start(awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(awaitable)


async def close(sessions: Iterable[Session]) -> None:
    for session in sessions:
        await session.close()


async def in_line(sessions: Iterable[Session], *awaitables: Awaitable[Any]) -> list[asyncio.Future[Any]]:
    """Tasks that ask one after the other."""
    tasks = []
    for awaitable in awaitables:
        tasks.append(start(awaitable))
        await settle(*sessions)
    return tasks


def make_distant(session: Session) -> None:
    """Let each change of this session take a turn of the loop on its way there, and one on its way back."""
    apply = session.engine.apply

    async def distant(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        result = await apply(*args, **options)
        await asyncio.sleep(0)
        return result

    session.engine.apply = distant  # type: ignore[method-assign]
