"""The wait queue of this tier: the task tier's WaitQueue, for tasks of several event loops and for threads.

All its methods are called in the critical section of the primitive.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from holdfast import _hooks
from holdfast.blocking.would_block import check_no_loop
from holdfast.tasks.wait_queue import NOWHERE, WaitQueue

from .critical_section import Section, this_thread
from .waiter import Waiter

if TYPE_CHECKING:
    from holdfast.instrumentation.hook import Outcome


class Owner(Protocol):
    """A primitive, as its queue sees it."""

    _queue: SharedQueue | None
    _section: Section
    _kind: str
    _name: str

    def _is_granted(self) -> bool: ...
    def _give_back_all(self, n: int) -> None: ...
    def _settle(self) -> None: ...


class SharedQueue(WaitQueue):
    """The tasks and threads that wait for one primitive, in one line."""

    __slots__ = ("grantees", "loops")

    _owner: Owner  # type: ignore[assignment]  # whose queue is of this class

    def __init__(self, owner: Owner) -> None:
        # First the fields of the base. Queues come and go, and its __init__() would cost 1 to 2 % of a hand-off.
        self._owner = owner
        self.bound = self.loop = self.keepers = self.closed = None
        self.run = NOWHERE
        self.line = deque()
        self.granted = self.more = self._dead = 0
        self._notes = {}

        self.loops: set[asyncio.AbstractEventLoop] = set()
        """The loops whose tasks have waited here, without those that were found closed."""
        self.grantees: set[Waiter] = set()
        """The waiters that have been granted and have not run yet."""
        self.owed_exits: dict[int, int] = {}  # type: ignore[assignment]
        """The owed exits of each thread, as it is a thread that closes a coroutine. See the task tier's Lock."""

    def admit(self, waiter: Waiter, instead: str) -> None:
        """Put a waiter at the end of the line.

        Raises RuntimeError, before anything changes, if it is a thread whose event loop would be blocked.
        """
        loop = waiter.loop
        if loop is None:
            check_no_loop(instead)
        else:
            self.loops.add(loop)
        waiter.line = self
        self.line.append(waiter)  # type: ignore[arg-type]  # it has the part of a future's interface that is used
        if waiter.needs != 1:
            self._notes[waiter] = waiter.needs  # type: ignore[index]
        if _hooks.are_installed or (loop is not None and waiter.future._source_traceback is not None):  # type: ignore[attr-defined]  # it is a TaskWaiter
            self._tell_of(waiter)

    def _tell_of(self, waiter: Any) -> None:
        """Have hooks told of a waiter that has joined. In asyncio's debug mode, look for deadlocks."""
        if _hooks.are_installed:
            from .told_waits import begin

            begin(self._owner, waiter)
        look = _hooks.look_in_debug_mode
        if look is not None and waiter.loop is not None and waiter.future._source_traceback is not None:
            this_thread.state.deferred.append(partial(look, waiter.loop, waiter.future))

    def finish(self, waiter: Waiter) -> None:
        """Make a granted waiter gone, with what it was granted; or raise the error with which it was refused."""
        if waiter.refusal is not None:
            self.leave(waiter)
            raise waiter.refusal
        if waiter.told is not None:
            self.tell_end(waiter, "granted" if self._owner._is_granted() else "failed")
        self.grantees.discard(waiter)
        self.granted -= 1
        self.more -= waiter.needs - 1
        self.retire()

    def tell_end(self, waiter: Waiter, outcome: Outcome | None = None) -> None:
        """Have hooks told that a waiter waits no more, of which they have been told. See told_waits.end()."""
        from .told_waits import end

        end(waiter, outcome)

    def leave(self, waiter: Any) -> bool:
        if waiter.told is not None:
            self.tell_end(waiter)
        if waiter.loop is not None and waiter.loop not in self.loops:
            return False  # its loop was found closed, and its grant was given back
        self.grantees.discard(waiter)
        granted = super().leave(waiter)
        if granted:
            self.more -= waiter.needs - 1
        waiter.granted = False  # so that a wake-up that is still under way does nothing
        return granted

    def _keeps_place(self, waiter: Any) -> bool:
        return bool(waiter.keeps_place)

    def owe_exit(self, thread: int) -> None:
        """Note that a coroutine which this thread has closed owes an exit."""
        self.owed_exits[thread] = self.owed_exits.get(thread, 0) + 1

    def take_owed_exit(self, thread: int) -> bool:
        """Settle one owed exit of the thread; return whether there was one."""
        owed = self.owed_exits.pop(thread, 0)
        if owed > 1:
            self.owed_exits[thread] = owed - 1
        return owed > 0

    # Any thread and any loop may wake the waiters of any other. What is left to check is which loops are closed.

    def elsewhere(self, refusing: bool = True) -> None:
        self.forget_closed_loop()

    def take_back_lost_grants(self) -> None:
        """Called outside the section, when a loop was closed with a wake-up under way."""
        self._owner._section.run_or_defer(self.forget_closed_loop)

    def forget_closed_loop(self) -> bool:
        for loop in self.loops:  # faster than the list below, which is nearly always empty
            if loop.is_closed():
                break
        else:
            return False
        for loop in [loop for loop in self.loops if loop.is_closed()]:
            if loop in self.loops:  # giving back a grant may come here again and forget it
                self.loops.remove(loop)
                self._forget(loop)
        return True

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make all waiters of the loop gone, and give back what they were granted."""
        self._sweep()
        line: deque[Any] = self.line
        notes: dict[Any, Any] = self._notes
        self.line = deque(waiter for waiter in line if waiter.loop is not loop)
        self._notes = {waiter: note for waiter, note in notes.items() if waiter.loop is not loop}
        lost = [waiter for waiter in self.grantees if waiter.loop is loop]
        self.grantees.difference_update(lost)
        permits = sum(waiter.needs for waiter in lost)
        self.granted -= len(lost)
        self.more -= permits - len(lost)
        self._owner._give_back_all(permits)
        if any(waiter.needs != 1 for waiter in line if waiter.loop is loop):
            self._owner._settle()
        for waiter in (*lost, *line):
            if waiter.loop is loop:
                if waiter.told is not None:
                    from .told_waits import end_lost

                    end_lost(waiter)
                waiter.pass_on_notification()
        self.retire()
