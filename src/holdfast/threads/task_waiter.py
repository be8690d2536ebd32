"""A task that waits, and the choice of how to wake it: within its event loop, by the loop's eventfd, or by a call."""

from __future__ import annotations

import asyncio
from _thread import get_ident

from holdfast.tasks.gil import ONE_AT_A_TIME

from .task_future import TaskFuture
from .waiter import Waiter
from .wake_up_by_call import wake_by_call
from .wake_up_by_eventfd import eventfds, give_eventfd


class TaskWaiter(Waiter):
    """The running task.

    keeps_place: whether a grant reaches it also after it was cancelled, and if the queue is closed.
    """

    __slots__ = ("future",)

    loop: asyncio.AbstractEventLoop

    def __init__(self, keeps_place: bool = False) -> None:
        self.loop = loop = asyncio.get_running_loop()  # not from the future: trio-asyncio has its own way
        self.thread = get_ident()
        self.line = None
        self.granted = False
        self.needs = 1
        self.refusal = None
        self.notified_by = self.told = None
        self.future = TaskFuture(loop=loop)
        self.keeps_place = keeps_place
        if not ONE_AT_A_TIME:
            give_eventfd(loop)

    def done(self) -> bool:
        return super().done() or (not self.keeps_place and self.future.cancelled())

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if running is not self.loop:
            known = eventfds.get(id(self.loop))
            eventfd = None if known is None else known()
            if eventfd is None:
                wake_by_call(self)
            else:
                eventfd.wake(self)
        elif not self.future.done():
            self.future.set_result(self.result)

    def run(self) -> None:
        """In a callback of its loop: resume the task at once. A second call is harmless."""
        if self.done() and not self.future.done():
            if asyncio._get_running_loop() is self.loop:
                self.future.set_result_and_run(self.result)
            else:  # trio-asyncio calls readers where its loop cannot be seen
                self.future.set_result(self.result)

    def lose(self) -> None:
        """Its loop was closed with the wake-up under way: take its grant back."""
        line = self.line
        assert line is not None
        line.take_back_lost_grants()
