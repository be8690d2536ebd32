"""What the sessions of a process ask their engines for, counted. A worker imports it, so it needs nothing from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

NOBODYS = "nobody's name"


class Requests:
    """How many requests to engines have been made, and are under way."""

    def __init__(self) -> None:
        self.made = 0
        self.under_way = 0
        self._reads: dict[Any, Callable[..., Coroutine[Any, Any, Any]]] = {}
        """The method of each engine, not counted."""
        self._inboxes: dict[Any, asyncio.Event] = {}
        """Of the engines whose wake-ups come apart from answers: is set when a wake-up of ours has come."""

    def count(self, engine: Any) -> None:
        self._reads[engine] = engine.read
        for method in ("apply", "read", "look", "dead", "renew"):
            setattr(engine, method, self._counted(getattr(engine, method)))
        if type(engine).__name__ == "EtcdEngine":
            on_wake, come = engine._wake_ups._on_wake, asyncio.Event()

            def noted(name: str, *args: Any) -> None:
                if name == NOBODYS:
                    come.set()
                else:
                    on_wake(name, *args)

            engine._wake_ups._on_wake = noted
            self._inboxes[engine] = come

    def _counted(self, call: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def counted(*args: Any, **options: Any) -> Any:
            self.made += 1
            self.under_way += 1
            try:
                return await call(*args, **options)
            finally:
                self.under_way -= 1

        return counted

    async def over(self, engines: list[Any], turns: int) -> None:
        """Wait until nothing is under way, and the wake-ups that a server has sent for it have arrived.

        A server answers the requests of a connection in their order, and has sent what it publishes for one when it
        answers the second after it. What it has sent on this machine can be read, and the loop reads it in its turns.
        etcd tells of what is put in an inbox in order, on a connection that has nothing else; so one more is put there.
        """
        before = -1
        while self.under_way or before != self.made:
            before = self.made
            for _ in range(2):
                for engine in engines:
                    await self._reads[engine](NOBODYS)
                    if engine in self._inboxes:
                        self._inboxes[engine].clear()
                        engine.wake(engine._id, NOBODYS, "")
                        await self._inboxes[engine].wait()
            for _ in range(turns):
                await asyncio.sleep(0)
