"""How a change reaches the event loop of the waiters from another thread, or from another loop.

The task tier is not thread-safe: only the loop whose tasks wait may change a queue while it runs. So a `release()` or a
`set()` that comes from elsewhere is sent to that loop, which does it between two steps of its tasks.

What must hold: what is sent is done exactly once, and in the order in which it was sent. A loop that is closed
first drops its callbacks. A dropped callback does its work at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Callback:
    """A callback for another loop, which is called once, even if that loop is closed and drops it."""

    __slots__ = ("_do",)

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def __call__(self) -> None:
        do, self._do = self._do, _nothing
        do()

    def __del__(self) -> None:
        self()

    def call_off(self) -> None:
        """Do nothing after all."""
        self._do = _nothing


def _nothing() -> None:
    pass


def send(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> bool:
    """Have the loop call `do()`. Return False, with nothing done, if the loop is closed."""
    callback = Callback(do)
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
        callback.call_off()
        return False
    return True


def do_there(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> None:
    """Do something to a loop that is not the running one: if it runs elsewhere, in that loop, else here and now."""
    if loop.is_running() and send(loop, do):
        return
    do()
    wake_if_started(loop)


def wake_if_started(loop: asyncio.AbstractEventLoop) -> None:
    """Wake a loop that did not run when it was changed: another thread may have started it since, and it may sleep."""
    if loop.is_running():
        send(loop, _nothing)


def refuses_plain_calls(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a `call_soon()` from here would raise: in asyncio's debug mode, if the loop runs in another thread."""
    if not loop.get_debug():
        return False
    try:
        loop.call_soon(_nothing).cancel()
    except RuntimeError:
        return not loop.is_closed()
    return False
