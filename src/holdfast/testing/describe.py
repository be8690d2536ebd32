"""How things are shown in a story: where a task is, and a value."""

from __future__ import annotations

import asyncio
import inspect
import os
import types
from collections.abc import Iterator
from typing import Any

_IN_FUTURE = getattr(asyncio.Future.__await__, "__code__", None)
"""The code in which a Future written in Python, as PyPy's is, suspends the task. A Future in C has none."""


def shown(value: object) -> str:
    """Return repr(value), or a text that says that it raises: the story must be told in any case."""
    try:
        return repr(value)
    except Exception as exc:
        return f"<{type(value).__qualname__}, whose repr() raises {type(exc).__qualname__}>"


def said(value: object) -> str:
    """Return str(value), or what shown() returns if that raises."""
    try:
        return str(value)
    except Exception:
        return shown(value)


def describe(task: asyncio.Task[Any]) -> str:
    """Return the name of a task, and where it is suspended."""
    return f"{task.get_name()}, {position(task)}"


def position(task: asyncio.Task[Any]) -> str:
    """Return where a task is suspended: first the line in its own function, last the innermost one."""
    if not has_begun(task):
        return "not started"
    frames = _frames(task.get_coro())
    path = " > ".join(f"{os.path.basename(f.f_code.co_filename)}:{f.f_lineno} in {f.f_code.co_name}" for f in frames)
    return f"at {path}" if path else "somewhere in C"


def has_begun(task: asyncio.Task[Any]) -> bool:
    """Return whether the task has run at all."""
    coroutine = task.get_coro()
    return not (inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED)


def is_suspended(task: asyncio.Task[Any]) -> bool:
    """Return whether the coroutine of the task awaits something."""
    return getattr(task.get_coro(), "cr_await", None) is not None


def _frames(awaited: object) -> Iterator[types.FrameType]:
    """The frames of a coroutine and of all that it awaits, from the outside in."""
    while awaited is not None:
        following = None
        for prefix, link in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                if frame.f_code is not _IN_FUTURE:
                    yield frame
                following = getattr(awaited, link, None)
                break
        awaited = following
