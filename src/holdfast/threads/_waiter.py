"""Who waits: a task of some event loop, or a thread. What it was granted is noted here, in the critical section.

The wait queue sees something of a future's shape. That a future is done says something only in its own loop, so the
future of a task, and the gate of a thread, do no more than wake it.
"""

from __future__ import annotations

import asyncio
from _thread import allocate_lock
from asyncio import _get_running_loop
from typing import TYPE_CHECKING

from ._section import here

if TYPE_CHECKING:
    from ._primitive import Shared
    from ._queue import Home, SharedQueue


class Waiter:
    """A waiter in a queue of this tier."""

    __slots__ = ("granted", "home", "line", "notified_by", "result")

    def __init__(self) -> None:
        self.granted = False
        self.result = 0
        self.line: SharedQueue | None = None
        """Where it has been put."""
        self.home: Home | None = None
        """What its queue remembers of its event loop; None for a thread."""
        self.notified_by: Shared | None = None
        """Whose notification it goes on with, and passes on if its event loop is closed before."""

    def done(self) -> bool:
        """Whether a grant should pass over it."""
        return self.granted or self.cancelled()

    def cancelled(self) -> bool:
        """Whether it will leave without a grant."""
        return False

    def set_result(self, result: int) -> None:
        """Note that it is granted, in the section; it is woken when that has been left."""
        self.result = result
        self.granted = True
        if self.home is not None:
            self.home.granted.add(self)
        here.me.woken.append(self)

    def take_grant(self) -> None:
        """Note that it goes on, or has given back what it was granted."""
        if self.home is not None:
            self.home.granted.discard(self)

    def get_loop(self) -> None:
        """All waiters of this tier belong to the same queue, whatever their loops."""

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        """Wake it from where that loop runs. To do so twice is harmless."""
        raise NotImplementedError


class TaskWaiter(Waiter):
    """The running task."""

    __slots__ = ("future", "keeps_place", "loop")

    def __init__(self, keeps_place: bool = False) -> None:
        super().__init__()
        self.keeps_place = keeps_place
        """To be granted also if it is cancelled."""
        self.loop = loop = asyncio.get_running_loop()
        self.future: asyncio.Future[int] = loop.create_future()

    def cancelled(self) -> bool:
        return not (self.granted or self.keeps_place) and self.future.cancelled()

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if running is self.loop:
            self.arrive()
        elif self.home is not None:
            self.home.send(self)

    def arrive(self) -> None:
        """Wake the task, in its own loop."""
        if not self.future.done():
            self.future.set_result(self.result)


class ThreadWaiter(Waiter):
    """The running thread."""

    __slots__ = ("gate",)

    def __init__(self) -> None:
        super().__init__()
        self.gate = allocate_lock()
        self.gate.acquire()

    def check_no_loop(self, instead: str) -> None:
        """Raise RuntimeError if it would block a running event loop."""
        if _get_running_loop() is not None:
            raise RuntimeError(
                "this would block the event loop that runs in this thread, and all its tasks: "
                f"write {instead!r} instead"
            )

    def wait(self, timeout: float) -> None:
        """Block until woken, or for so many seconds; -1 is for ever."""
        self.gate.acquire(True, timeout)

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if self.gate.locked():
            self.gate.release()
