"""The interventions: which of them are possible at a moment of a run, and how each is made."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from .describe import is_suspended
from .ending import end_all, end_one, kill
from .idle import start_late, when_idle
from .loop import cancel, first_of, loops_of
from .schedule import BASE, CANCEL, DELIVER, END, KILL, KINDS, LATE, NOTHING, REORDER, RUN, SWITCH, TIMER, MisfitError
from .state import State
from .task import Task, is_over

_NONE_OF_THEM = [0] * len(KINDS[REORDER:])


def possible(state: State) -> tuple[int, ...]:
    """Return the interventions that are possible now."""
    agenda = state.agenda
    ready: deque[Any] = agenda.ready
    if ready and ready[0]._cancelled:
        agenda.is_idle()
    if ready and state.version == agenda.version:
        # the usual case, in less time: only the end of a task can have changed something
        for task in state.cancellable:
            if task.done():
                break
        else:
            return state.codes
    left, expected = state.left, state.run._expected
    codes: list[int] = []
    tasks = _exposed(state) if left[CANCEL] or left[KILL] else []
    others = bool(expected or agenda.timers or agenda.inbox) or left[REORDER:] != _NONE_OF_THEM
    anyway = RUN
    if others:
        anyway = RUN if ready else when_idle(state)
        if left[LATE]:
            codes += [LATE + BASE * number for number in expected[anyway == LATE :]]
    if left[CANCEL]:  # a task is cancelled again only after a step of it
        hit = state.hit
        codes += [CANCEL + BASE * task.index for task in tasks if not (hit and task in hit)]
    if others:
        _add_others(state, codes, tasks, anyway)
    state.codes = tuple(codes)
    state.version = -1 if others else agenda.version
    state.cancellable = tasks
    return state.codes


def _add_others(state: State, codes: list[int], tasks: list[Task[Any]], anyway: int) -> None:
    """Add the interventions that neither start nor cancel a task. anyway: what happens without an intervention."""
    agenda, ready = state.agenda, state.agenda.ready
    _, _, timer, deliver, reorder, kill, end, switch = state.left
    if timer and agenda.timers and agenda.has_timer() and anyway not in (TIMER, NOTHING):
        codes.append(TIMER)
    if deliver and agenda.inbox:
        codes += [DELIVER + BASE * number for number in loops_of(agenda.inbox)[anyway == DELIVER :]]
    if reorder:
        codes += [REORDER + BASE * place for place in range(1, len(ready)) if not ready[place].cancelled()]
    if kill:
        codes += [KILL + BASE * task.index for task in tasks if is_suspended(task)]
    if end:
        codes += [END + BASE * loop.number for loop in state.run._loops]
    if switch and agenda.several:
        codes += [SWITCH + BASE * number for number in loops_of(ready)[1:]]


def _exposed(state: State) -> list[Task[Any]]:
    """Return the tasks that may be cancelled or closed."""
    shielded, any_task = state.shielded, state.rules.cancel_created
    return [
        task
        for task in state.agenda.tasks
        if not (task.done() or task.killed) and task is not shielded and (any_task or task.spawned)
    ]


def intervene(state: State, code: int) -> None:
    """Make an intervention. Raises MisfitError if it is not possible."""
    number, kind = divmod(code, BASE)
    agenda = state.agenda
    ready, tasks = agenda.ready, agenda.tasks
    state.left[kind] -= 1
    state.version = -1
    if kind == LATE and number in state.run._expected:
        start_late(state, number)
    elif kind == CANCEL and number < len(tasks) and not is_over(task := tasks[number]):
        state.any_hit = task.hit = True
        state.hit.append(task)
        if agenda.several:
            cancel(task)
        else:
            asyncio.Task.cancel(task)
    elif kind == TIMER and agenda.has_timer():
        agenda.pass_time()
    elif kind == DELIVER and number in loops_of(agenda.inbox):
        handle = first_of(agenda.inbox, number)
        agenda.inbox.remove(handle)
        ready.append(handle)
    elif kind == REORDER and not agenda.is_idle() and number < len(ready):
        handle = ready[number]
        del ready[number]
        ready.appendleft(handle)
    elif kind == SWITCH and not agenda.is_idle() and number in loops_of(ready)[1:]:
        handle = first_of(ready, number)
        ready.remove(handle)
        ready.appendleft(handle)
    elif kind == KILL and number < len(tasks) and not is_over(tasks[number]):
        kill(state, tasks[number])
    elif kind == END and number == 0:
        end_all(state)
    elif kind == END and number < len(state.run._loops):
        end_one(state, state.run._loops[number])
    else:
        raise MisfitError(f"{code} is not possible after step {state.steps}")
