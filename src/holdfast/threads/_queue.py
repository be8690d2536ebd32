"""The wait queue of tasks of any loop and of threads: the task tier's, with more than one event loop to look after."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from holdfast._waitqueue import NOWHERE, WaitQueue

from ._waiter import Waiter, check_no_loop

if TYPE_CHECKING:
    from ._primitive import Shared


def pass_on_notification(waiter: Waiter) -> None:
    """A waiter of a Condition will not have its lock again: another one is notified instead, if it was."""
    condition, waiter.notified_by = waiter.notified_by, None
    if condition is not None:
        condition._give_back()


class SharedQueue(WaitQueue):
    """Its methods are called in the critical section of its owner."""

    __slots__ = ("grantees", "loops", "owner")

    def __init__(self, owner: Shared) -> None:
        # The base's fields; to have it set them would cost 1 % of a hand-off, as queues come and go.
        self._owner = owner  # type: ignore[assignment]  # whose queue is of this class
        self.bound = self.loop = self.keepers = None
        self.run = NOWHERE
        self.line = deque()
        self.granted = self._dead = 0
        self._notes = {}

        self.owner = owner
        self.loops: set[asyncio.AbstractEventLoop] = set()
        """Those whose tasks have waited here. Closed, a loop is taken out, and so are its tasks."""
        self.grantees: set[Waiter] = set()
        """Those that have been granted and have not run yet."""
        self.owed_exits: dict[int, int] = {}  # type: ignore[assignment]
        """Here by thread, as it is a thread that closes a coroutine. See Lock._owe_exit()."""

    def admit(self, waiter: Waiter, instead: str) -> None:
        """Put a waiter at the end of the line. Raises RuntimeError, before anything changes, if it must not block."""
        loop = waiter.loop
        if loop is None:
            check_no_loop(instead)
        else:
            self.loops.add(loop)
        waiter.line = self
        self.line.append(waiter)  # type: ignore[arg-type]  # of a future's shape

    def finish(self, waiter: Waiter) -> None:
        """A granted waiter goes, with what it was granted."""
        self.grantees.discard(waiter)
        self.granted -= 1
        self.retire()

    def leave(self, waiter: Any) -> bool:
        if waiter.loop is not None and waiter.loop not in self.loops:
            return False
        self.grantees.discard(waiter)
        granted = super().leave(waiter)
        waiter.granted = False  # so it is not woken any more
        return granted

    def owe_exit(self, thread: int) -> None:
        self.owed_exits[thread] = self.owed_exits.get(thread, 0) + 1

    def take_owed_exit(self, thread: int) -> bool:
        """Return whether one was owed."""
        owed = self.owed_exits.pop(thread, 0)
        if owed > 1:
            self.owed_exits[thread] = owed - 1
        return owed > 0

    # Any thread and any loop may wake any other; what is left to check is which loops are closed.

    def elsewhere(self, refusing: bool = True) -> None:
        self.forget_closed_loop()

    def forget_closed_loop(self) -> bool:
        for loop in self.loops:  # faster than the list below, which is empty nearly always
            if loop.is_closed():
                break
        else:
            return False
        for loop in [loop for loop in self.loops if loop.is_closed()]:
            if loop in self.loops:  # else it has been forgotten as a grant was given back
                self.loops.remove(loop)
                self._forget(loop)
        return True

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep()
        line: deque[Any] = self.line
        notes: dict[Any, Any] = self._notes
        self.line = deque(waiter for waiter in line if waiter.loop is not loop)
        self._notes = {waiter: note for waiter, note in notes.items() if waiter.loop is not loop}
        lost = [waiter for waiter in self.grantees if waiter.loop is loop]
        self.grantees.difference_update(lost)
        self.granted -= len(lost)
        for _ in lost:
            self.owner._give_back()
        for waiter in (*lost, *line):
            if waiter.loop is loop:
                pass_on_notification(waiter)
        self.retire()
