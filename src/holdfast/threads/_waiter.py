"""Who waits: a task of some event loop, or a thread. What it was granted is noted here, in the critical section.

The wait queue sees something of a future's shape. That a future is done says something only in its own loop, so the
future of a task, and the gate of a thread, do no more than wake it.
"""

from __future__ import annotations

import asyncio
from _thread import allocate_lock
from asyncio import _get_running_loop
from typing import TYPE_CHECKING

from ._letter import send
from ._section import here

if TYPE_CHECKING:
    from ._primitive import Shared
    from ._queue import SharedQueue


class Waiter:
    """A waiter in a queue of this tier."""

    __slots__ = ("granted", "line", "loop", "notified_by", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        """Whose task it is; None for a thread."""
        self.line: SharedQueue | None = None
        """Where it has been put."""
        self.granted = False
        self.result: int
        self.notified_by: Shared | None = None
        """Whose notification it goes on with, and passes on if its event loop is closed before."""

    def done(self) -> bool:
        """Whether a grant should pass over it."""
        return self.granted

    def cancelled(self) -> bool:
        """Whether one that is done will leave without a grant."""
        return not self.granted

    def set_result(self, result: int) -> None:
        """Note that it is granted, in the section; it is woken when that has been left."""
        self.result = result
        self.granted = True
        self.line.grantees.add(self)  # type: ignore[union-attr]  # it waits there
        here.me.woken.append(self)

    def get_loop(self) -> None:
        """All waiters of this tier belong to the same queue, whatever their loops."""

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        """Wake it from where that loop runs. To do so twice is harmless."""
        raise NotImplementedError


class TaskWaiter(Waiter):
    """The running task."""

    __slots__ = ("future", "keeps_place")

    loop: asyncio.AbstractEventLoop

    def __init__(self, keeps_place: bool = False) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop)
        self.future: asyncio.Future[int] = loop.create_future()
        self.keeps_place = keeps_place
        """To be granted also if it is cancelled."""

    def done(self) -> bool:
        return self.granted or (not self.keeps_place and self.future.cancelled())

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if running is not self.loop:
            send(self)
        elif not self.future.done():
            self.future.set_result(self.result)


class ThreadWaiter(Waiter):
    """The running thread."""

    __slots__ = ("gate",)

    def __init__(self) -> None:
        super().__init__(None)
        self.gate = allocate_lock()
        self.gate.acquire()

    def wait(self, timeout: float) -> None:
        """Block until woken, or for so many seconds; -1 is for ever."""
        self.gate.acquire(True, timeout)

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if self.gate.locked():
            self.gate.release()


def check_no_loop(instead: str) -> None:
    """Raise RuntimeError if to block this thread would block an event loop."""
    if _get_running_loop() is not None:
        raise RuntimeError(
            f"this would block the event loop that runs in this thread, and all its tasks: write {instead!r} instead"
        )
