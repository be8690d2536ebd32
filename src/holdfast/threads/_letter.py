"""How a task is woken from outside its event loop: by a letter, in which others find a place until it is opened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._section import deliver

if TYPE_CHECKING:
    from ._waiter import TaskWaiter

on_their_way: dict[asyncio.AbstractEventLoop, list[TaskWaiter]] = {}
"""Who is named in the letter that a loop has not opened yet, so that several wake-ups of one loop go with one call."""


def send(waiter: TaskWaiter) -> None:
    """Wake a task from elsewhere."""
    loop = waiter.loop
    named = on_their_way.get(loop)
    if named is not None:
        named.append(waiter)
        if on_their_way.get(loop) is named:
            return  # else it has been opened meanwhile, perhaps before the name was in it
    named = [waiter]
    try:
        on_their_way[loop] = named
        loop.call_soon_threadsafe(_Letter(loop, named))
    except RuntimeError:
        _lost(loop, named)
    except BaseException:  # of a signal handler; deliver() comes here again
        on_their_way.pop(loop, None)
        raise


class _Letter:
    """What is sent to a loop. Closed, a loop drops it, and it tells so."""

    __slots__ = ("_loop", "_named")

    def __init__(self, loop: asyncio.AbstractEventLoop, named: list[TaskWaiter]) -> None:
        self._loop = loop
        self._named: list[TaskWaiter] | None = named

    def __call__(self) -> None:
        """Wake whoever is named, in the loop itself."""
        on_their_way.pop(self._loop, None)  # first: who comes now sends another one
        named, self._named = self._named, None
        if named is not None:
            deliver(named)

    def __del__(self) -> None:
        if self._named is not None:
            _lost(self._loop, self._named)


def _lost(loop: asyncio.AbstractEventLoop, named: list[TaskWaiter]) -> None:
    """The loop was closed, and will not open the letter."""
    on_their_way.pop(loop, None)
    for waiter in named:
        line = waiter.line
        if line is not None:
            line.owner._section.do(line.forget_closed_loop)
