"""How a change gets to the event loop of the waiters from another thread, or from another loop.

The task tier is not thread-safe. So what is asked for elsewhere (a `set()`, a `release()`) is done by the loop whose
tasks wait, between two of their steps, and in the order in which it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Errand:
    """What a loop is to do, once. If it is closed before, it drops the errand, which is then done there and then."""

    __slots__ = ("_do",)

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def __call__(self) -> None:
        do, self._do = self._do, _nothing
        do()

    def __del__(self) -> None:
        self()

    def call_off(self) -> None:
        """Not to be done after all."""
        self._do = _nothing


def _nothing() -> None:
    pass


def send(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> bool:
    """Have the loop do this; return False, with nothing done, if it is closed."""
    errand = Errand(do)
    try:
        loop.call_soon_threadsafe(errand)
    except RuntimeError:
        if not loop.is_closed():
            raise
        errand.call_off()
        return False
    return True


def do_there(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> None:
    """Do this in a loop that does not run here: if it runs, it does so itself; else it sees it when it runs again."""
    if loop.is_running() and send(loop, do):
        return
    do()
    wake_if_started(loop)


def wake_if_started(loop: asyncio.AbstractEventLoop) -> None:
    """Something was done to a loop that did not run: if another thread has started it meanwhile, it may be asleep."""
    if loop.is_running():
        send(loop, _nothing)


def refuses_plain_calls(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is in asyncio's debug mode, and runs in another thread, so that its call_soon() raises here."""
    if not loop.get_debug():
        return False
    try:
        loop.call_soon(_nothing).cancel()
    except RuntimeError:
        return not loop.is_closed()
    return False
