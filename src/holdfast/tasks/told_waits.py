"""What hooks are told of a task that waits. Loaded when the first one waits while there is a hook.

The end of a wait is the end of its waiter, which is a future: so a callback of the future tells it. It runs right
before the task does, and nothing can come between. A waiter that is dropped before it is done, as when its event loop
was closed, is told when it is collected.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import current_task
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from holdfast.instrumentation import installed
from holdfast.instrumentation.hook import Outcome
from holdfast.instrumentation.periods import Wait

from .closed import Closed

Waiter = asyncio.Future[int]


class Owner(Protocol):
    """A primitive, as its waits see it."""

    _kind: str
    _name: str

    def _is_granted(self) -> bool: ...


class Queue(Protocol):
    """A wait queue, as its waits see it."""

    def _keeps_place(self, waiter: Any) -> bool: ...


_moving: WeakKeyDictionary[Waiter, TaskWait] = WeakKeyDictionary()
"""Of each waiter that was cancelled and keeps its place: the wait, which goes on with another waiter."""


class PrimitiveWait(Wait):
    """A wait for a primitive of this process."""

    def __init__(self, owner: Owner, who: str, loop: asyncio.AbstractEventLoop | None) -> None:
        """who: "tasks" or "threads". loop: the one of the task that waits; None for a thread."""
        super().__init__(f"{owner._kind} of {who}", owner._name)
        self._owner = owner
        self._loop = loop

    def end_late(self, outcome: Outcome) -> None:
        """End it where no hook may be called, as in the collector: it may have interrupted one that holds a lock."""
        installed.tell_later(lambda: self.end(outcome))
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed. Then it is told with what is told next.
                self._loop.call_soon_threadsafe(installed.tell_what_is_late)

    def __del__(self) -> None:
        if self._told:
            self.end_late("cancelled")


class TaskWait(PrimitiveWait):
    """The wait of one task for one primitive of the task tier."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, owner: Owner, queue: Queue, waiter: Waiter) -> None:
        super().__init__(owner, "tasks", waiter.get_loop())
        self._queue = queue
        self._task: Any = current_task(self._loop) if asyncio._get_running_loop() is self._loop else None
        waiter.add_done_callback(self._done)

    def go_on_with(self, waiter: Waiter) -> None:
        """The waiter was cancelled, and this one stands in its place."""
        waiter.add_done_callback(self._done)

    def _done(self, waiter: Waiter) -> None:
        """The waiter is done; its task runs next."""
        keeps_place = self._queue._keeps_place(waiter)
        if keeps_place and waiter.cancelled():
            _moving[waiter] = self
        else:
            self.end(self._outcome(waiter, keeps_place))

    def _outcome(self, waiter: Waiter, keeps_place: bool) -> Outcome:
        if waiter.cancelled():
            return "cancelled"
        error = waiter.exception()
        if error is not None:
            return outcome_of(error)
        if not keeps_place and getattr(self._task, "_must_cancel", False):
            return "cancelled"  # after the grant: the task gives it back
        return "granted" if self._owner._is_granted() else "failed"


def begin(owner: Owner, queue: Queue, waiter: Waiter) -> None:
    """A waiter has joined the queue of a primitive."""
    TaskWait(owner, queue, waiter).begin()


def move(waiter: Waiter, steadfast: Waiter | None) -> None:
    """A waiter that was cancelled keeps its place, with another waiter. steadfast: None if it was granted already."""
    wait = _moving.pop(waiter, None)
    if wait is None:  # nobody was told of it
        return
    if steadfast is None:
        wait.end("granted")
    else:
        wait.go_on_with(steadfast)


def outcome_of(error: BaseException) -> Outcome:
    """How a wait has ended that raises an error."""
    return "closed" if isinstance(error, Closed) else "failed"
