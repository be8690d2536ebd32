"""Waking tasks from outside their event loop by call_soon_threadsafe(): one call for all that are woken meanwhile.

This works for every loop. A loop of asyncio's own that is woken often gets an eventfd: see wake_up_by_eventfd.py.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import ref

from .critical_section import Sleeper, wake_all
from .wake_up_by_eventfd import SleepingTask, count_call


class CallableTask(Sleeper, SleepingTask, Protocol):
    """A task to be woken by a call to its loop. See TaskWaiter."""

    loop: asyncio.AbstractEventLoop


class WakeUpCall:
    """A callback that has been sent to a loop, and the tasks that it will resume there.

    Until the loop calls it, only the loop refers to it. A closed loop drops it, and then its tasks lose their grants.
    """

    __slots__ = ("__weakref__", "loop", "sleepers")

    def __init__(self, sleeper: CallableTask) -> None:
        self.loop: asyncio.AbstractEventLoop = sleeper.loop
        self.sleepers = [sleeper]

    def __call__(self) -> None:
        """In the loop: resume the tasks."""
        calls_under_way.pop(id(self.loop), None)  # first, so that a task that is woken from now on gets another call
        sleepers, self.sleepers = self.sleepers, []
        try:
            for sleeper in sleepers:
                sleeper.run()
        except BaseException:  # such as KeyboardInterrupt: the others are woken in the loop's next run
            wake_all(sleepers)
            raise
        count_call(self.loop)

    def __del__(self) -> None:
        if getattr(self, "sleepers", None):  # there is no such attribute if a signal handler has raised in __init__()
            self.lose()

    def lose(self) -> None:
        """The loop was closed, and will not call it."""
        calls_under_way.pop(id(self.loop), None)
        for sleeper in self.sleepers:
            sleeper.lose()


calls_under_way: dict[int, ref[WakeUpCall]] = {}
"""By the id of the loop: the call that it has not made yet."""


def wake_by_call(sleeper: CallableTask) -> None:
    """Wake a task, from any thread. It joins the call that is under way to its loop, if there is one."""
    loop = id(sleeper.loop)
    known = calls_under_way.get(loop)
    call = None if known is None else known()
    if call is not None:
        call.sleepers.append(sleeper)
        if calls_under_way.get(loop) is known:
            return
        # The loop has made the call meanwhile, perhaps without this task.
    call = WakeUpCall(sleeper)
    try:
        calls_under_way[loop] = ref(call)
        sleeper.loop.call_soon_threadsafe(call)
    except BaseException as error:
        if not (isinstance(error, RuntimeError) and sleeper.loop.is_closed()):
            calls_under_way.pop(loop, None)  # a signal handler has raised, and the section calls this again
            raise
        call.lose()
