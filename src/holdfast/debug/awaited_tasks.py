"""Which tasks a task waits for: by awaiting one, in gather(), wait(), wait_for() and shield(), or at the end of a
TaskGroup or of anyio's. And the other way: which tasks wait for one.

Whoever waits for a task has left a callback with it. So the callbacks of a task lead to those that wait for it, by the
objects of asyncio and anyio that they are methods of, or have among their variables.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import concurrent.futures
import contextlib
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from .stacks import Link
from .written import attribute_of

_WAIT: Any = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]
_WAIT_FOR = asyncio.wait_for.__code__
_END_OF_GROUP = {
    function.__code__
    for name in ("__aexit__", "_aexit")
    if (function := getattr(asyncio.TaskGroup, name, None)) is not None
}
_END_OF_ANYIOS_GROUP = "anyio._backends._asyncio", "TaskGroup.__aexit__"
_SHIELDED = "asyncio.tasks", "shield.<locals>._outer_done_callback"
_RESULT = concurrent.futures.Future.result.__code__, concurrent.futures.Future.exception.__code__
_METHODS = types.MethodType, types.BuiltinMethodType
_WAITING = {_WAIT, _WAIT_FOR, *_END_OF_GROUP}


def awaited_itself(future: Any) -> tuple[Any, ...]:
    """The tasks that are not done and whose end sets this future, which a task is suspended on."""
    kind = type(future)
    if issubclass(kind, asyncio.Task):
        return (future,)
    if kind is asyncio.tasks._GatheringFuture:  # type: ignore[attr-defined]
        return _pending(future._children)
    if issubclass(kind, asyncio.Future):
        for callback, *_ in getattr(future, "_callbacks", None) or ():
            if type(callback) is types.FunctionType and (callback.__module__, callback.__qualname__) == _SHIELDED:
                inner = _variables(callback).get("inner")
                return _pending([inner]) if issubclass(type(inner), asyncio.Task) else ()
    return ()


def awaited_in(links: list[Link]) -> tuple[tuple[Any, ...], bool, bool]:
    """The tasks that are not done and whose end functions of asyncio, or a group of anyio's, wait for.

    Also whether a timeout ends the wait, and whether that cancels them.

    links: the chain of what the task runs.
    """
    for link in reversed(links):
        frame = link.frame
        if frame is not None and (frame.f_globals.get("__name__"), frame.f_code.co_qualname) == _END_OF_ANYIOS_GROUP:
            return _pending(getattr(frame.f_locals.get("self"), "_tasks", ())), False, False
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


def waiting_for(future: Any) -> tuple[list[Any], bool]:
    """The tasks that wait for a task or another future to be done, or will end it if they fail, as the parent of a
    TaskGroup; those that wait for these in turn are not among them.

    Also whether a timer ends such a wait, or a timeout that of a thread, as for `run_coroutine_threadsafe()`.

    Called in the event loop of the future.
    """
    found: list[Any] = []
    has_timer = False
    pending, seen = [future], {id(future)}
    while pending:
        for callback, *_ in getattr(pending.pop(), "_callbacks", None) or ():
            for value in _objects_of(callback):
                kind = type(value)
                if id(value) in seen:
                    continue
                seen.add(id(value))
                if issubclass(kind, asyncio.Task):
                    found.append(value)
                elif issubclass(kind, asyncio.Future):
                    pending.append(value)
                elif issubclass(kind, asyncio.TimerHandle):
                    has_timer = has_timer or not value._cancelled
                elif issubclass(kind, concurrent.futures.Future):
                    has_timer = has_timer or _has_timeout_in_a_thread(value)
    return found, has_timer


def _has_timeout_in_a_thread(future: Any) -> bool:
    """Whether a thread waits for the result of a future, but not for ever."""
    for innermost in sys._current_frames().values():
        frame: types.FrameType | None = innermost
        while frame is not None:
            if frame.f_code in _RESULT and frame.f_locals.get("self") is future:
                return frame.f_locals.get("timeout") is not None
            frame = frame.f_back
    return False


def _objects_of(callback: Any) -> Iterator[Any]:
    """What a callback is a method of, or has among its arguments or variables; and what such a group or scope has."""
    kind = type(callback)
    if kind is functools.partial:
        values = [callback.func, *callback.args, *callback.keywords.values()]
    elif kind is types.FunctionType:
        values = [*_variables(callback).values()]
    else:
        values = [getattr(callback, "__self__", None)] if kind in _METHODS else [callback]
    for value in values:
        yield value
        if not issubclass(type(value), (asyncio.Future, types.ModuleType)):
            scope = attribute_of(value, "cancel_scope")
            for owner, name in ((value, "_parent_task"), (scope, "_host_task"), (value, "_timeout_handle")):
                yield attribute_of(owner, name)


def _variables(function: types.FunctionType) -> dict[str, Any]:
    """Those that it shares with the function around it, and that have a value."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _pending(awaited: Any) -> tuple[Any, ...]:
    return tuple(each for each in tuple(awaited) if not each.done())
