"""The interpreter during a search: the caller's event loop is left, and the collector runs only between runs."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from .loop import Loop


def loop_cannot_be_left() -> bool:
    """Whether an event loop is always running here, and is not one of the explorer's.

    In Pyodide it is that of the browser or of node, which stands still while Python works. Elsewhere to explore in a
    running loop is a mistake, which asyncio.run() refuses as well. To explore in a scenario is a mistake everywhere.
    """
    return sys.platform == "emscripten" and not isinstance(asyncio._get_running_loop(), Loop)


@contextmanager
def left() -> Iterator[None]:
    """Leave the running event loop and its current task, if there are any, for as long as the block lasts."""
    loop = asyncio._get_running_loop()
    task = None if loop is None else asyncio.current_task(loop)
    if loop is not None and task is not None:
        asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if loop is not None and task is not None:
            asyncio._enter_task(loop, task)


@contextmanager
def quiet_interpreter() -> Iterator[None]:
    """Switch the collector off, and let asynchronous generators be closed by the loop that ran them."""
    enabled = gc.isenabled()
    hooks = sys.get_asyncgen_hooks()
    gc.disable()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_close_async_generator)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        if enabled:
            gc.enable()


def _close_async_generator(generator: AsyncGenerator[Any, Any]) -> None:
    loop = asyncio._get_running_loop()
    if loop is not None and not loop.is_closed():
        loop.call_soon(loop.create_task, generator.aclose())
