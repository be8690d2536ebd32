from __future__ import annotations

import asyncio


async def turns(n: int = 5) -> None:
    """Let the other tasks run, as far as they get in so many turns of the event loop."""
    for _ in range(n):
        await asyncio.sleep(0)
