"""What is to happen in a run: what is ready, what is due later, and what was sent with call_soon_threadsafe()."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from .task import Looks, Task


class Handle(asyncio.Handle):
    """asyncio's Handle. The loop sets its fields: a run makes one for each step of a task, and __init__() is slower."""

    __slots__ = ()
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: Context
    _loop: asyncio.AbstractEventLoop
    _cancelled: bool
    _repr: str | None
    _source_traceback: None


class Agenda:
    """What is to happen in all event loops of a run. Each handle knows its loop."""

    def __init__(self) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        """What runs next, in this order."""
        self.inbox: deque[asyncio.Handle] = deque()
        """What was sent with call_soon_threadsafe(), and has not arrived."""
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap of what is due later: the time, a number that keeps the order, and the handle."""
        self.timers_made = 0
        self.now = 0.0
        """The time of all loops, in seconds."""
        self.tasks: list[Task[Any]] = []
        """All tasks. The number of a task is its place here."""
        self.futures: list[asyncio.Future[Any]] = []
        self.several = False
        """Whether there are several loops, each as if in a thread of its own."""
        self.version = 0
        """Grows when more is possible, or must be checked: something was sent, a task was made, a check was added."""
        self.dropped = 0
        """How many handles were dropped from what is ready, as they were cancelled."""
        self.looks = Looks()

    def is_idle(self) -> bool:
        """Return whether nothing is ready. Cancelled handles at the front are dropped, as asyncio does."""
        ready = self.ready
        while ready and ready[0].cancelled():
            ready.popleft()
            self.dropped += 1
        return not ready

    def has_timer(self) -> bool:
        """Return whether a timer is set. Cancelled timers are dropped."""
        timers = self.timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return bool(timers)

    def pass_time(self) -> None:
        """Set the time to that of the next timer, and make ready what is due then."""
        self.now = self.timers[0][0]
        while self.timers and self.timers[0][0] <= self.now:
            self.ready.append(heapq.heappop(self.timers)[2])

    def drop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what was to happen in a loop. What is destroyed by that may send something to another loop."""
        for queue in (self.ready, self.inbox):
            if queue:
                others = [handle for handle in queue if handle._loop is not loop]  # type: ignore[attr-defined]
                queue.clear()
                queue.extendleft(reversed(others))
        if self.timers:
            self.timers = [timer for timer in self.timers if timer[2]._loop is not loop]  # type: ignore[attr-defined]
            heapq.heapify(self.timers)


def task_of(handle: asyncio.Handle) -> object:
    """Return the task that a handle runs. If it runs none, return whatever its callback is a method of, or None."""
    return getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
