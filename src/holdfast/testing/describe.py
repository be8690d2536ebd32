"""How things are told: where a task is, and what a value says of itself."""

from __future__ import annotations

import asyncio
import inspect
import os
import types
from collections.abc import Iterator
from typing import Any


def shown(value: object) -> str:
    """What repr() says, also of what raises there: it has to be told all the same."""
    try:
        return repr(value)
    except Exception as exc:
        return f"<{type(value).__qualname__}, whose repr() raises {type(exc).__qualname__}>"


def said(value: object) -> str:
    """What str() says, else what repr() says."""
    try:
        return str(value)
    except Exception:
        return shown(value)


def describe(task: asyncio.Task[Any]) -> str:
    """The name of a task, and where it is suspended."""
    return f"{task.get_name()}, {position(task)}"


def position(task: asyncio.Task[Any]) -> str:
    """Where a task is suspended: the line in its own function first, the innermost one last."""
    if not has_begun(task):
        return "not started"
    frames = _frames(task.get_coro())
    path = " > ".join(f"{os.path.basename(f.f_code.co_filename)}:{f.f_lineno} in {f.f_code.co_name}" for f in frames)
    return f"at {path}" if path else "somewhere in C"


def has_begun(task: asyncio.Task[Any]) -> bool:
    """Whether the task has run."""
    coroutine = task.get_coro()
    return not (inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED)


def is_suspended(task: asyncio.Task[Any]) -> bool:
    """Whether the coroutine of the task waits for something."""
    return getattr(task.get_coro(), "cr_await", None) is not None


def _frames(awaited: object) -> Iterator[types.FrameType]:
    """The frames of a coroutine and of what it awaits, from the outside in."""
    while awaited is not None:
        following = None
        for prefix, link in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                following = getattr(awaited, link, None)
                break
        awaited = following
