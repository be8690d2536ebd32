"""Whether a call that blocks this thread would block an event loop, and the error that says so."""

from __future__ import annotations

import asyncio
import sys
from _thread import allocate_lock
from types import FrameType

COOPERATIVE = type(allocate_lock()).__module__ != "_thread"
"""Whether gevent or eventlet has replaced Python's locks, so that other greenlets of a blocked thread run on."""


def check_no_loop(instead: str) -> None:
    """Raise RuntimeError if blocking here would block an event loop. `instead` is what to write in a coroutine."""
    loop = asyncio._get_running_loop()
    if loop is not None and not _goes_on_meanwhile(loop):
        raise RuntimeError(
            f"this would block the event loop that runs in this thread, and all its tasks: write {instead!r} instead"
        )


def _goes_on_meanwhile(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop of this thread runs in another greenlet, and so goes on while this one is blocked."""
    if not (COOPERATIVE and isinstance(loop, asyncio.BaseEventLoop)):
        return False  # of a loop that is not derived from asyncio's, the frames below tell nothing
    frame: FrameType | None = sys._getframe()
    while frame is not None:  # each greenlet has its own stack
        if frame.f_code is asyncio.BaseEventLoop.run_forever.__code__ and frame.f_locals.get("self") is loop:
            return False
        frame = frame.f_back
    return True
