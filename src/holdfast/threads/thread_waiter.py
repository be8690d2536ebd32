"""A thread that waits. It blocks on a lock of its own, its gate, which its waker releases once."""

from __future__ import annotations

import asyncio
from _thread import allocate_lock

from .waiter import Waiter


class ThreadWaiter(Waiter):
    """The calling thread."""

    __slots__ = ("gate",)

    def __init__(self) -> None:
        super().__init__(None)
        self.gate = allocate_lock()
        self.gate.acquire()

    def wait(self, timeout: float) -> None:
        """Block until woken, for at most `timeout` seconds; -1 means no limit."""
        self.gate.acquire(True, timeout)

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if self.gate.locked():
            self.gate.release()
