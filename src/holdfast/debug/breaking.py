"""A deadlock is broken by an error in one of those that wait in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from holdfast.tasks.primitive import Primitive
from holdfast.threads.primitive import Shared

from .errors import DeadlockError
from .parties import Party, still_waits


def break_deadlock(members: Iterable[Party], error: DeadlockError) -> None:
    """Have the first of these raise the error that can: one that waits for a primitive, and not for the end of a task.

    One that is in wait() of a condition cannot: it would come out without the lock. If no other waits, none raises.
    It raises it a moment later, in its own event loop or thread, if it then still waits.
    """
    for party in members:
        if party.waits() and not party.reacquires:
            future: Any = party.future
            if isinstance(party.subject, asyncio.Task):
                party.subject.get_loop().call_soon_threadsafe(_refuse, party, error)
            else:
                _refuse_shared(party.core, future, error)
            return


def _refuse(party: Party, error: DeadlockError) -> None:
    """In the loop of the task."""
    core, future = party.core, party.future
    if not still_waits(party):
        return
    if issubclass(type(core), Shared):
        [waiter] = [each for each in core._waiters if getattr(each, "future", None) is future]
        _refuse_shared(core, waiter, error)
    elif issubclass(type(core), Primitive):
        if core._queue is not None:
            core._queue.refuse_one(future, error)
    else:
        future.set_exception(error)


def _refuse_shared(core: Any, waiter: Any, error: DeadlockError) -> None:
    if core._queue is not None:
        core._section.run_or_defer(core._queue.refuse_one, waiter, error)
