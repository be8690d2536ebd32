"""What makes a deadlock uncertain after all, and is looked for only where one seems certain: it takes too long else.

Any task may release a lock that another one holds. So where something that runs inside a block may call a `release()`,
the block may not hold its lock any more, and somebody who has called `acquire()`, whom nobody sees, may have it. And a
timer of the event loop may cancel one that waits.
"""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .calls import may_release, may_release_in
from .contended import Contended, Holding
from .doubts import Doubt
from .parties import Party
from .stacks import Manager, classes_of, is_function_with_yield
from .with_blocks import enters
from .written import attribute_of

_ENTERS_AND_EXITS = "__aenter__", "__enter__", "__aexit__", "__exit__"


def note_doubts(stuck: set[Party], primitives: Sequence[Contended]) -> bool:
    """Note what helps these, or may help them. Return whether there is anything new."""
    found = False
    cancelled = cancelled_by_timers({party.subject.get_loop() for party in stuck if _is_task(party.subject)})
    for party in stuck:
        if not party.timeout and id(party.subject) in cancelled:
            found = party.timeout = True
    for primitive in primitives:
        for i, holding in enumerate(primitive.holdings):
            if holding.party in stuck and holding.doubt is None:
                doubt = _doubt(primitive, holding)
                if doubt is not None:
                    found = True
                    primitive.holdings[i] = replace(holding, doubt=doubt)
    return found


def _is_task(subject: object) -> bool:
    return issubclass(type(subject), asyncio.Task)


def _doubt(primitive: Contended, holding: Holding) -> Doubt | None:
    party = holding.party
    frames = party.frames
    if party.core is primitive.core and not _enters(frames):
        return Doubt.ACQUIRED
    if any(frame is not None and may_release_in(frame) for frame in frames[holding.depth :]):
        return Doubt.RELEASED
    if any(each.depth >= holding.depth and _may_release(each) for each in party.entered):
        return Doubt.RELEASED
    return None


def _enters(frames: Sequence[types.FrameType | None]) -> bool:
    """Whether the innermost of the user's frames is entering a block."""
    for frame in reversed(frames):
        if frame is not None:
            return enters(frame.f_code, frame.f_lasti)
    return False


def _may_release(entered: Manager) -> bool:
    """Whether what a context manager runs may call a `release()`: its own methods, or its function with a `yield`."""
    if may_release_in(entered.frame):
        return True
    manager = entered.manager
    if is_function_with_yield(manager):
        frame = getattr(manager.gen, "ag_frame", None) or getattr(manager.gen, "gi_frame", None)
        return frame is not None and may_release_in(frame)
    return any(
        may_release(function)
        for each in classes_of(type(manager))
        for name in _ENTERS_AND_EXITS
        if type(function := each.__dict__.get(name)) is types.FunctionType
    )


def cancelled_by_timers(loops: Iterable[Any]) -> set[int]:
    """The tasks, by their identity, that a timer of their event loop has to do with. uvloop's timers are not seen."""
    found: set[int] = set()
    for loop in loops:
        for handle in tuple(getattr(loop, "_scheduled", ())):
            if issubclass(type(handle), asyncio.TimerHandle) and not handle._cancelled:
                arguments: Any = handle._args or ()
                for value in (handle._callback, *arguments):
                    found.update(map(id, _tasks_in(value)))
    return found


def _tasks_in(value: Any) -> Iterator[object]:
    """The tasks that a callback is a method of or has among its arguments or variables, or that its object has."""
    kind = type(value)
    if _is_task(value):
        yield value
    elif kind is types.MethodType or kind is types.BuiltinMethodType:
        yield from _tasks_in(value.__self__)
    elif kind is functools.partial:
        for each in (value.func, *value.args, *value.keywords.values()):
            yield from _tasks_in(each)
    elif kind is types.FunctionType:
        for cell in value.__closure__ or ():
            try:
                inner = cell.cell_contents
            except ValueError:  # the variable has no value yet
                continue
            if _is_task(inner):
                yield inner
    elif kind is not types.ModuleType:
        for name in ("_task", "_host_task", "task"):
            inner = attribute_of(value, name)
            if _is_task(inner):
                yield inner
