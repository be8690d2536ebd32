"""What happens when nothing is ready.

In this order: what was sent with call_soon_threadsafe() arrives; the next late task comes; if every task that must
finish has finished, the others are cancelled; time passes until the next timer is due.
"""

from __future__ import annotations

from .loop import cancel
from .schedule import DELIVER, LATE, NOTHING, STOP, TIMER
from .state import State


def when_idle(state: State) -> int:
    """Return what happens next if nothing is ready; NOTHING if the run is over."""
    if state.agenda.inbox:
        return DELIVER
    if state.run._expected:
        return LATE
    unfinished = state.unfinished()
    if unfinished and not state.stopped and not any(task.must_finish for task in unfinished):
        return STOP
    return TIMER if unfinished and state.agenda.has_timer() else NOTHING


def advance_idle(state: State) -> bool:
    """Let that happen; return False if the run is over."""
    agenda = state.agenda
    kind = when_idle(state)
    if kind == DELIVER:
        agenda.ready.append(agenda.inbox.popleft())
    elif kind == LATE:
        start_late(state, state.run._expected[0])
    elif kind == STOP:
        _cancel_rest(state)
    elif kind == TIMER:
        agenda.pass_time()
    else:
        return False
    return True


def _cancel_rest(state: State) -> None:
    """Cancel the tasks that need not finish, as asyncio.run() does. No intervention comes after that."""
    state.stopped = True
    state.version = -1
    state.left[:] = [0] * len(state.left)
    for task in state.unfinished():
        cancel(task)


def start_late(state: State, number: int) -> None:
    """Start a late task."""
    state.run._expected.remove(number)
    state.start(*state.run._late[number])
