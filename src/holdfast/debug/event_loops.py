"""Where the tasks of a process are found, whichever event loops and threads they are in.

Up to Python 3.13 asyncio has one list of all tasks. From 3.14 on it has one for each thread, and tells the tasks of an
event loop, so the loops have to be found first. One that runs is in a frame of its thread. One that is written in C has
no frame, so the garbage collector's list of all objects is asked as well. That takes 50 ms for a million objects, and
most looks of a watch do without.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import types
from collections.abc import Iterable
from itertools import chain, compress
from typing import Any

from .names import name_of_task

Loop = asyncio.AbstractEventLoop
_FIND_BY_LOOP = sys.version_info >= (3, 14)


def find_tasks(loops: Iterable[Loop]) -> list[asyncio.Task[Any]]:
    """All tasks that are not done; from Python 3.14 on, those of these loops."""
    found: set[Any] = set()
    for loop in loops:
        found |= asyncio.all_tasks(loop)
    if not _FIND_BY_LOOP:
        registry: Any = asyncio.tasks
        for name in ("_all_tasks", "_scheduled_tasks"):
            found |= _copy(getattr(registry, name, ()))
        found |= _copy(getattr(registry, "_eager_tasks", ()))
    return sorted((task for task in found if not (task.done() or task.get_loop().is_closed())), key=_age)


def _copy(tasks: Iterable[Any]) -> set[Any]:
    """A copy of a set to which other threads add tasks, as all_tasks() makes it."""
    for _ in range(1000):
        try:
            return {*tasks}
        except RuntimeError:
            continue
    return {*tasks}


def _age(task: asyncio.Task[Any]) -> tuple[int, str]:
    name = name_of_task(task)
    number = name.rpartition("-")[2].rstrip("'")
    return (int(number) if number.isascii() and number.isdigit() else sys.maxsize, name)


def find_loops(frames: dict[int, types.FrameType], thorough: bool) -> set[Loop]:
    """The event loops that are not closed.

    frames: of each thread, the innermost. thorough: whether to ask the collector for loops that no frame shows.
    """
    found: set[Loop] = set()
    for frame in frames.values():
        around: types.FrameType | None = frame
        while around is not None:
            found.update(_loops_in(around))
            around = around.f_back
    if thorough and _FIND_BY_LOOP:
        objects = gc.get_objects()
        classes = {*map(id, _classes_of_loops(Loop))}  # a class of the program may not be hashable
        found.update(compress(objects, map(classes.__contains__, map(id, map(type, objects)))))  # all in C
    return {loop for loop in found if not loop.is_closed()}


def _classes_of_loops(base: type) -> list[type]:
    return [base, *chain.from_iterable(map(_classes_of_loops, type.__subclasses__(base)))]


def _loops_in(frame: types.FrameType) -> Iterable[Loop]:
    """The loop that a frame runs: one of asyncio's own, or of a Runner."""
    if frame.f_code.co_name in _RUNS:
        runs = frame.f_locals.get("self")
        for value in (runs, getattr(runs, "_loop", None) if type(runs) is asyncio.Runner else None):
            if issubclass(type(value), Loop):
                yield value  # type: ignore[misc]


_RUNS = "run_forever", "run_until_complete", "run"
