"""A watch that goes on: it is begun again by hand whenever it ends. What happens while there is none is not told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from holdfast.cluster.engines.far_link import PAUSE, Unreachable
from holdfast.cluster.errors import EngineError

from .link import Link
from .transactions import Kept, Part, kept


class Watch:
    """One watch of one session."""

    def __init__(
        self, link: Link, what: Part, on_begin: Callable[[bool], None], on_event: Callable[[Kept], None]
    ) -> None:
        """what: as transactions.watched() makes it.

        on_begin: called when the watch has begun, with whether it is the first time.
        on_event: called with each key that was put or deleted, as it is now.
        """
        self._link = link
        self._what = what
        self._on_begin = on_begin
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._begin()

    async def begun(self) -> None:
        """Wait until it has begun for the first time. Raises EngineError if it has not in time."""
        done, _ = await asyncio.wait(
            [self._begun, self._going], timeout=self._link.limit(), return_when=asyncio.FIRST_COMPLETED
        )
        if self._going in done:
            self._going.result()
        if not self._begun.done():
            raise Unreachable(f"{self._link.server} has not answered within {self._link.limit():.3g} s")

    def _begin(self) -> None:
        """Begin, and begin again where a program has cancelled all tasks there are, this one included."""

        def ended(going: asyncio.Task[None]) -> None:
            if not going.cancelled():
                going.exception()  # begun() has raised it
            elif self._begun.done() and not (self._link.is_closed or self._loop.is_closed()):
                self._loop.call_later(PAUSE[0], again)

        def again() -> None:
            if not self._link.is_closed:
                self._begin()

        self._going = self._link.begin(partial(self._go_on))
        self._going.add_done_callback(ended)

    async def _go_on(self) -> None:
        pause, longest = PAUSE
        while True:
            try:
                async with aclosing(self._link.stream(self._what)) as results:
                    async for result in results:
                        if result.get("created"):
                            pause, _ = PAUSE
                            self._has_begun()
                        self._tell(result)
            except EngineError as exc:
                if not self._begun.done() and not isinstance(exc, Unreachable):
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _has_begun(self) -> None:
        is_first = not self._begun.done()
        if is_first:
            self._begun.set_result(None)
        self._on_begin(is_first)

    def _tell(self, result: Mapping[str, Any]) -> None:
        for event in result.get("events", ()):
            self._on_event(kept(event["kv"]))
