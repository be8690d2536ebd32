"""A thread that waits. It blocks on a lock of its own, its gate, which its waker releases once."""

from __future__ import annotations

import asyncio
from _thread import allocate_lock

from .waiter import Waiter


class ThreadWaiter(Waiter):
    """The calling thread.

    keeps_place: whether a grant reaches it also if the queue is closed.
    """

    __slots__ = ("gate",)

    def __init__(self, keeps_place: bool = False) -> None:
        super().__init__(None, keeps_place)
        self.gate = allocate_lock()
        self.gate.acquire()

    def wait(self, timeout: float) -> None:
        """Block until woken, for at most `timeout` seconds; -1 means no limit."""
        self.gate.acquire(True, timeout)

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if self.gate.locked():
            self.gate.release()
