"""How things are ended: a task by closing its coroutine, an event loop with tasks in it, and a run that is over.

A loop ends as in a program that drops it: what is ready never runs, and the collector closes what nothing refers to.
So no local variable may refer to a task while the collector runs.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from contextlib import suppress
from functools import partial
from typing import Any, Final

from .agenda import task_of
from .describe import has_begun, shown
from .loop import Loop, running, unheard
from .schedule import Failure, Schedule
from .state import State
from .task import Task, is_over

_COLLECTIONS: Final = 5 if sys.implementation.name == "pypy" else 1
"""How often the collector must run to finalize all. PyPy's finalizes an object only after those that refer to it."""


def kill(state: State, task: Task[Any]) -> None:
    """Close the coroutine of a task, as the garbage collector does. The task never runs again."""
    state.any_hit = task.killed = True
    ready = [handle for handle in state.agenda.ready if task_of(handle) is not task]
    state.agenda.ready.clear()
    state.agenda.ready.extend(ready)
    awaited = task._fut_waiter
    if awaited is not None:
        for callback, _ in tuple(awaited._callbacks or ()):
            if getattr(callback, "__self__", None) is task:
                awaited.remove_done_callback(callback)
    task._log_destroy_pending = False
    try:
        with running(task.get_loop()):
            task.get_coro().close()
    except BaseException as exc:
        _note_closing(state, exc)


def _note_closing(state: State, exc: BaseException | None) -> None:
    """Note that closing a coroutine has raised. It is judged last, as what comes of it tells more."""
    if state.closing is None:
        state.closing = Failure("closing", f"a coroutine that was closed raised {shown(exc)}", exc)


def end_all(state: State) -> None:
    """End all loops as if run_until_complete() had returned: what is ready is lost, and the tasks are collected.

    A task is not collected if something that lives on, such as a primitive, refers to the future that it awaits.
    """
    state.left[:] = [0] * len(state.left)
    state.hit.clear()
    state.cancellable = []
    state.shielded = None
    state.run._expected.clear()
    state.run._invariants.clear()
    state.run._at_rest.clear()
    state.run._at_end.clear()
    _close_loops(state, state.run._loops)
    state.agenda.several = False
    loop = state.first_loop()
    state.run._loops = [loop]
    asyncio._set_running_loop(loop)
    if state.run._afterwards is not None:
        state.start("afterwards", True, state.run._afterwards, loop)


def end_one(state: State, loop: Loop) -> None:
    """End one of several loops in the same way. The others go on, without further interventions."""
    state.left[:] = [0] * len(state.left)
    state.hit.clear()
    state.run._expected[:] = [number for number in state.run._expected if state.run._late[number][3] is not loop]
    _close_loops(state, [loop])


def _close_loops(state: State, loops: list[Loop]) -> None:
    """Close the loops, and let the collector find what was in them."""
    for loop in loops:
        loop.close()
        loop.complain = unheard
    _prepare_to_collect(state, loops)
    _collect(state, loops)


def _prepare_to_collect(state: State, loops: list[Loop]) -> None:
    """Silence what asyncio would say of the tasks. In _collect(), the local variables would keep a task alive."""
    for task in state.agenda.tasks:
        if task.get_loop() not in loops:
            continue
        task._log_destroy_pending = False
        if not has_begun(task):
            task.get_coro().close()  # this runs nothing, and there is no warning that it was never awaited
        if not is_over(task):
            state.remains.append(weakref.ref(task))


def _collect(state: State, loops: list[Loop]) -> None:
    """Drop the tasks, and run the collector. It has not run since this run began, so all of the run is young."""
    asyncio._set_running_loop(None)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: _note_closing(state, unraisable.exc_value)
    try:
        state.agenda.tasks[:] = [task for task in state.agenda.tasks if task.get_loop() not in loops]
        state.agenda.futures[:] = [future for future in state.agenda.futures if future.get_loop() not in loops]
        for _ in range(_COLLECTIONS):
            gc.collect(0)
    finally:
        sys.unraisablehook = hook


def dispose(state: State, schedule: Schedule) -> None:
    """Take a run apart, so that only what the scenario itself has left is there for the collector."""
    tasks, run = state.agenda.tasks, state.run
    for loop in run._loops:
        if not loop.is_closed():
            loop.complain = partial(_complain, state.rules.belated, schedule)
            loop.close()
    if state.remains:
        tasks += filter(None, (remaining() for remaining in state.remains))
    for task in tasks:
        if not is_over(task):
            task._log_destroy_pending = False
            with suppress(BaseException):  # the run has been judged: what is closed now may raise
                task.get_coro().close()
    tasks.clear()
    state.agenda.futures.clear()
    state.cancellable = []
    state.shielded = None
    state.hit.clear()
    run._forget()


def _complain(belated: list[tuple[Schedule, dict[str, Any]]], schedule: Schedule, context: dict[str, Any]) -> None:
    """Note what asyncio complains of when a run is over."""
    belated.append((schedule, context))
