"""A waiter: a task of some event loop or a thread, and what it was granted.

Another thread can neither read nor set the result of a task's future safely. So the critical section notes a grant in
the waiter. The future of a task, or the gate of a thread, only wakes it.

A waiter has the part of a future's interface that the task tier's WaitQueue uses.
"""

from __future__ import annotations

import asyncio
from _thread import get_ident
from typing import Any, Protocol

from .critical_section import this_thread


class Line(Protocol):
    """The queue of a waiter, as the waiter sees it. See SharedQueue."""

    grantees: set[Waiter]

    def finish(self, waiter: Waiter) -> None: ...
    def leave(self, waiter: Waiter) -> bool: ...
    def tell_end(self, waiter: Waiter, outcome: Any = None) -> None: ...
    def take_back_lost_grants(self) -> None: ...


class Notifier(Protocol):
    """A Condition, as a waiter for its lock sees it."""

    def _give_back(self) -> None: ...


class ToldWait(Protocol):
    """A wait that hooks have been told of: see told_waits.py."""

    def begin(self) -> None: ...
    def end(self, outcome: Any) -> None: ...
    def end_late(self, outcome: Any) -> None: ...


class Waiter:
    """The base of TaskWaiter and ThreadWaiter."""

    __slots__ = (
        "granted",
        "keeps_place",
        "line",
        "loop",
        "needs",
        "notified_by",
        "refusal",
        "result",
        "thread",
        "told",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop | None, keeps_place: bool) -> None:
        self.loop = loop
        """The event loop of the task. None for a thread."""
        self.thread = get_ident()
        """The waiting thread, or the thread of the loop. A loop that has moved to another thread since is woken as from
        outside, which is slower and right."""
        self.line: Line | None = None
        """The queue it has been put into."""
        self.granted = False
        self.keeps_place = keeps_place
        """Whether it is granted in its turn also if it is cancelled, or the queue is closed."""
        self.result: int
        self.needs = 1
        """How many permits it waits for."""
        self.refusal: Exception | None = None
        """What it is to raise, as it cannot be granted any more."""
        self.notified_by: Notifier | None = None
        """For a task that takes the lock of a Condition again: the Condition, if it was notified."""
        self.told: ToldWait | None = None
        """What hooks have been told of, and will be told the end of."""

    def done(self) -> bool:
        """Whether a grant should pass it over."""
        return self.granted or self.refusal is not None

    def cancelled(self) -> bool:
        """Of a waiter that is done: whether it has no grant."""
        return not self.granted

    def set_result(self, result: int) -> None:
        """In the section: grant it. It is woken when the section has been left."""
        self.result = result
        self.granted = True
        self.line.grantees.add(self)  # type: ignore[union-attr]  # it waits there
        this_thread.state.to_wake.append(self)

    def set_exception(self, refusal: Exception) -> None:
        """In the section: have it raise this. It is woken when the section has been left."""
        self.result = 0
        self.refusal = refusal
        this_thread.state.to_wake.append(self)

    def exception(self) -> Exception | None:
        """What it is to raise, if anything."""
        return self.refusal

    def get_loop(self) -> None:
        """None for every waiter: waiters of all loops share a queue in this tier."""

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        """Wake it. A second call is harmless.

        running: the caller's loop; None outside a task.
        """
        raise NotImplementedError

    def pass_on_notification(self) -> None:
        """In the section: it will not get the lock of its Condition again, so another waiter is notified instead."""
        condition, self.notified_by = self.notified_by, None
        if condition is not None:
            condition._give_back()
