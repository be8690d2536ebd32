"""The wait queue of tasks of any loop and of threads: the task tier's, with more than one event loop to look after."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from holdfast._waitqueue import WaitQueue

from ._waiter import TaskWaiter, ThreadWaiter, Waiter

if TYPE_CHECKING:
    from ._primitive import Shared


class Home:
    """What a queue remembers of one event loop whose tasks wait in it."""

    __slots__ = ("_inbox", "_queue", "_sent", "forgotten", "granted", "loop")

    def __init__(self, queue: SharedQueue, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self.loop = loop
        self.granted: set[Waiter] = set()
        """Those that have been granted and have not run yet."""
        self.forgotten = False
        """Whether the loop is closed, and what had been granted there was given back."""
        self._inbox: deque[TaskWaiter] = deque()
        self._sent = False

    def send(self, waiter: TaskWaiter) -> None:
        """Wake a task from elsewhere. What is sent until the loop takes note goes with one call."""
        self._inbox.append(waiter)
        if not self._sent:
            try:
                self._sent = True
                self.loop.call_soon_threadsafe(_Letter(self))
            except RuntimeError:  # closed
                self.lost()
            except BaseException:  # of a signal handler; deliver() comes here again
                self._sent = False
                raise

    def receive(self) -> None:
        """Wake whoever was sent for, in the loop itself."""
        self._sent = False  # first: who comes now either is found below or sends again
        while self._inbox:
            self._inbox.popleft().arrive()

    def lost(self) -> None:
        """The loop was closed, and will not receive what was sent."""
        self._queue.owner._section.do(self._queue.forget_closed_loop)


class _Letter:
    """What is sent to a loop. Closed, a loop drops it, and it tells so."""

    __slots__ = ("_home", "_received")

    def __init__(self, home: Home) -> None:
        self._home = home
        self._received = False

    def __call__(self) -> None:
        self._received = True
        self._home.receive()

    def __del__(self) -> None:
        if not self._received:
            self._home.lost()


def pass_on_notification(waiter: Waiter) -> None:
    """A waiter of a Condition will not have its lock again: another one is notified instead, if it was."""
    condition, waiter.notified_by = waiter.notified_by, None
    if condition is not None:
        condition._give_back()


class SharedQueue(WaitQueue):
    """Its methods are called in the critical section of its owner."""

    __slots__ = ("homes", "owed", "owner")

    def __init__(self, owner: Shared) -> None:
        super().__init__(owner)
        self.owner = owner
        self.homes: dict[asyncio.AbstractEventLoop, Home] = {}
        self.owed: dict[int, int] = {}
        """The owed exits by thread, as a coroutine is closed by one; see Lock._owe_exit()."""

    def admit(self, waiter: Waiter, instead: str) -> None:
        """Put a waiter at the end of the line. Raises RuntimeError, before anything changes, if it must not block."""
        if isinstance(waiter, TaskWaiter):
            loop = waiter.loop
            home = self.homes.get(loop)
            if home is None:
                home = self.homes[loop] = Home(self, loop)
            waiter.home = home
        elif isinstance(waiter, ThreadWaiter):
            waiter.check_no_loop(instead)
        waiter.line = self
        self.line.append(waiter)  # type: ignore[arg-type]  # of a future's shape

    def finish(self, waiter: Waiter) -> None:
        """A granted waiter goes, with what it was granted."""
        waiter.take_grant()
        self.granted -= 1
        if not (self.granted or self.line):
            self.retire()

    def leave(self, waiter: Any) -> bool:
        if waiter.home is not None and waiter.home.forgotten:
            return False
        granted = super().leave(waiter)
        if granted:
            waiter.take_grant()
        return granted

    def retire(self) -> None:
        if not (self.line or self.owed):
            super().retire()

    # Any thread and any loop may wake any other; what is left to check is which loops are closed.

    def check_wake(self) -> None:
        self.forget_closed_loop()

    def _wakes_by_plain_call(self) -> bool:
        self.forget_closed_loop()
        return True

    def forget_closed_loop(self) -> bool:
        for loop in self.homes:
            if loop.is_closed():
                break
        else:
            return False
        for home in [home for home in self.homes.values() if home.loop.is_closed()]:
            if self.homes.pop(home.loop, None) is not None:
                self._forget(home)
        self.retire()
        return True

    def _forget(self, home: Home) -> None:
        home.forgotten = True
        self._sweep()
        line: deque[Any] = self.line
        notes: dict[Any, Any] = self._notes
        self.line = deque(waiter for waiter in line if waiter.home is not home)
        self._notes = {waiter: note for waiter, note in notes.items() if waiter.home is not home}
        lost, home.granted = home.granted, set()
        self.granted -= len(lost)
        for _ in lost:
            self.owner._give_back()
        for waiter in (*lost, *line):
            if waiter.home is home:
                pass_on_notification(waiter)
