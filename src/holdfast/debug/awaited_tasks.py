"""Which tasks a task waits for: by awaiting one, in gather(), wait() and wait_for(), or at the end of a TaskGroup."""

from __future__ import annotations

import asyncio
import asyncio.tasks
from typing import Any

from .stacks import Link

_WAIT: Any = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]
_WAIT_FOR = asyncio.wait_for.__code__
_END_OF_GROUP = {
    function.__code__
    for name in ("__aexit__", "_aexit")
    if (function := getattr(asyncio.TaskGroup, name, None)) is not None
}
_WAITING = {_WAIT, _WAIT_FOR, *_END_OF_GROUP}


def awaited_itself(future: Any) -> tuple[Any, ...]:
    """The tasks that are not done and whose end sets this future, which a task is suspended on."""
    kind = type(future)
    if issubclass(kind, asyncio.Task):
        return (future,)
    if kind is asyncio.tasks._GatheringFuture:  # type: ignore[attr-defined]
        return _pending(future._children)
    return ()


def awaited_in(links: list[Link]) -> tuple[tuple[Any, ...], bool, bool]:
    """The tasks that are not done and whose end functions of asyncio wait for.

    Also whether a timeout ends the wait, and whether that cancels them.

    links: those of asyncio, in the chain of what the task runs.
    """
    for link in reversed(links):
        frame = link.frame
        if frame is None or frame.f_code not in _WAITING:
            continue
        code = frame.f_code
        variables = frame.f_locals
        if code is _WAIT:
            return _pending(variables["fs"]), variables.get("timeout_handle") is not None, False
        if code is _WAIT_FOR and "waiter" in variables:  # Python 3.11 runs what it awaits in a task of its own
            has_timeout = variables.get("timeout_handle") is not None
            return _pending([variables["fut"]]), has_timeout, has_timeout
        if code in _END_OF_GROUP:
            return _pending(getattr(variables.get("self"), "_tasks", ())), False, False
    return (), False, False


def _pending(awaited: Any) -> tuple[Any, ...]:
    return tuple(each for each in tuple(awaited) if not each.done())
