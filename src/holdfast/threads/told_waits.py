"""What hooks are told of a task or a thread that waits. Loaded when the first one waits while there is a hook.

All is noted in the critical section, and told when that has been left: a hook may use primitives itself.
"""

from __future__ import annotations

import sys
from functools import partial

from holdfast.instrumentation.hook import Outcome
from holdfast.tasks.told_waits import Owner, PrimitiveWait, outcome_of

from .critical_section import this_thread
from .waiter import Waiter


def begin(owner: Owner, waiter: Waiter) -> None:
    """In the section: a waiter has joined the queue of a primitive."""
    waiter.told = PrimitiveWait(owner, "threads", waiter.loop)
    this_thread.state.deferred.append(waiter.told.begin)


def end(waiter: Waiter, outcome: Outcome | None = None) -> None:
    """In the section: it waits no more. A second call does nothing.

    outcome: by default what the waiter knows: that it was granted something or refused, or has left before.
    """
    wait, waiter.told = waiter.told, None
    if wait is None:
        return
    if outcome is None:
        refusal = waiter.refusal
        outcome = outcome_of(refusal) if refusal is not None else "granted" if waiter.granted else "cancelled"
    if isinstance(sys.exc_info()[1], GeneratorExit):  # its coroutine is closed, perhaps by the collector
        wait.end_late(outcome)
    else:
        this_thread.state.deferred.append(partial(wait.end, outcome))


def end_lost(waiter: Waiter) -> None:
    """Its event loop was closed. Whoever finds that may be the collector."""
    wait, waiter.told = waiter.told, None
    if wait is not None:
        wait.end_late("cancelled")
