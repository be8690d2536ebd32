"""What the sessions of a process ask their engines for, counted. A worker imports it, so it needs nothing from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

QUIET = 0.006
"""Seconds without a request, after which a wake-up that a server has sent has arrived."""


class Requests:
    """How many requests to an engine have been made, and are under way, and when the last one was."""

    def __init__(self) -> None:
        self.made = 0
        self.under_way = 0
        self.last = 0.0

    def count(self, engine: Any) -> None:
        for method in ("apply", "read", "look", "dead", "renew"):
            setattr(engine, method, self._counted(getattr(engine, method)))

    def _counted(self, call: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def counted(*args: Any, **options: Any) -> Any:
            self.made += 1
            self.under_way += 1
            try:
                return await call(*args, **options)
            finally:
                self.under_way -= 1
                self.last = asyncio.get_running_loop().time()

        return counted

    async def over(self) -> None:
        """Wait until nothing is under way, and nothing has been for a while."""
        self.last = asyncio.get_running_loop().time()
        while self.under_way or asyncio.get_running_loop().time() < self.last + QUIET:
            await asyncio.sleep(QUIET / 4)
