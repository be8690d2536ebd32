"""Whether a pooler stands between a session and its server that loses wake-ups.

A pooler in transaction mode gives each transaction any of its connections. A session that listens on one of them is not
told of what arrives there. Such a pooler takes LISTEN without an error.
"""

from __future__ import annotations

import asyncio

from holdfast.cluster.errors import EngineError

from .failures import HOW_TO_POOL
from .link import Link
from .wake_ups import WakeUps

_PROBE = "does it arrive?"


async def refuse(link: Link, channel: str, wake_ups: WakeUps) -> None:
    """Raise EngineError if notifications do not arrive. Connects.

    It is tried only where something is in between, as it takes another connection: what a connection sends to itself
    may arrive all the same. The notifier is told the process id by the server, and the greeting says another one.
    """
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def probed() -> None:
        if not arrived.done():
            arrived.set_result(None)

    wake_ups.on_probe = probed
    await link.ask("SELECT")
    if not link.main.is_pooled:
        return
    await link.from_another_connection("SELECT pg_notify($1, $2)", channel, _PROBE)
    await asyncio.wait([arrived], timeout=link.patience)
    if not arrived.done():
        raise EngineError(f"{link.name}: {HOW_TO_POOL}")
    await link.settle()
