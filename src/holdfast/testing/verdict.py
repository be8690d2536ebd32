"""Whether a run ended well: what must hold in any program, and what the scenario says must hold in the end."""

from __future__ import annotations

import re
from typing import Any

from .checks import check_all
from .describe import describe, said, shown
from .schedule import Failure
from .state import State
from .task import Task, waits_for_killed


def judge(state: State) -> None:
    """Raise Failure if this is not a good end."""
    judge_tasks(state)
    unfinished = state.unfinished()
    stuck = unfinished and [task for task in unfinished if not waits_for_killed(task)]
    if stuck:
        raise Failure("deadlock", f"nothing is left that would wake {'; '.join(map(describe, stuck))}{_circles(state)}")
    check_all("at end", state.run._at_end)
    if state.closing is not None:
        raise state.closing


def _circles(state: State) -> str:
    """The circles in which tasks wait, in the words of a dump. Without addresses, as they differ from run to run."""
    from holdfast.debug.look import circles  # only a failure needs it

    told = "".join(f". There is a {circle}" for circle in circles(state.agenda.tasks))
    return re.sub(r"( object)? at 0x[0-9a-f]+", "", told)


def judge_tasks(state: State) -> None:
    """Raise Failure for what asyncio complained of, how a task ended, or an exception that was never retrieved."""
    if state.complaints:
        context = state.complaints[0]
        cause = context.get("exception")
        message = said(context.get("message"))
        raise Failure("unhandled", message if cause is None else f"{message}: {shown(cause)}", cause)
    for task in state.agenda.tasks:
        if task.done() and (task.hit or task.cancelled() or task._exception is not None):
            judge_task(state, task)
    for future in state.agenda.futures:
        if future._log_traceback:
            exc = future.exception()
            raise Failure("never retrieved", f"the exception of a future was never retrieved: {shown(exc)}", exc)


def judge_task(state: State, task: Task[Any]) -> None:
    """Raise Failure if a task that is done ended as it must not."""
    if task.cancelled():
        if task.spawned and not (state.any_hit or task.cancelling()):
            raise Failure("cancelled", f"{task.get_name()} raised CancelledError, though no task was cancelled")
    elif task.spawned and (exc := task.exception()) is not None:
        raise Failure("exception", f"{task.get_name()} raised {shown(exc)}", exc)
    elif task._log_traceback:
        exc = task.exception()
        raise Failure("never retrieved", f"the exception of {task.get_name()} was never retrieved: {shown(exc)}", exc)
    elif task.hit and task.cancelling() and not state.rules.swallow_ok and task.exception() is None:
        raise Failure("swallowed", f"{task.get_name()} was cancelled, and finished as if it had not been")
