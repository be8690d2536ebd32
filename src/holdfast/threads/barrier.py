"""Barrier: so many tasks and threads wait for each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from holdfast.barrier import _State

from . import _task_tier as task_tier
from ._primitive import Shared, SyncView, check_timeout
from ._section import Section, hold_back, let_go
from ._waiter import TaskWaiter, ThreadWaiter, Waiter


class BrokenBarrierError(asyncio.BrokenBarrierError, threading.BrokenBarrierError):
    """The barrier is broken: both asyncio's and threading's error of that name."""


class Barrier(Shared, task_tier.Barrier):
    """A meeting point for a fixed number of threads and tasks of any event loops.

    parties: how many must wait to go on together, at least 1.
    action: called by the one who completes a round, before all go on; if it raises, the barrier is broken. In a
        coroutine it runs in the event loop's thread, so it must not block.
    timeout: the seconds that `sync.wait()` waits unless told otherwise; None for ever.

    `sync` is the same barrier for threads. Raises ValueError if `parties` is below 1, TypeError if it is not an
    integer.

    Source: asyncio.Barrier, and threading.Barrier for `sync`.
    """

    _instead = "await barrier.wait()"

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        self._section = Section()
        task_tier.Barrier.__init__(self, parties)
        self._action = action
        self._timeout = timeout

    @property
    def sync(self) -> SyncBarrier:
        """The barrier with the methods of threading.Barrier."""
        return SyncBarrier(self)

    async def wait(self) -> int:
        """Wait until `parties` do; return this one's index, each of 0 ... parties-1 going to one of them.

        Raises BrokenBarrierError if the barrier is broken, or is aborted or reset meanwhile.

        Cancellation: the task no longer counts as a party. If its round was complete already, the others
        go on without it.
        """
        waiter = TaskWaiter()
        try:
            held = self._section.run(self._meet, waiter)
            if held is not None:
                return self._lead(held)
            await waiter.future
        except BaseException:
            self._section.do(self._abandon, waiter)
            raise
        index: int = self._section.run(self._arrive, waiter)
        return index

    async def reset(self) -> None:
        """Return to the empty state; those of the current round get BrokenBarrierError.

        Who waits for the next round, as the current one has not left yet, keeps waiting. Never waits itself.
        """
        self._section.do(self._reset)

    async def abort(self) -> None:
        """Break the barrier: who waits, or comes before the next reset(), gets BrokenBarrierError.

        Never waits itself.
        """
        self._section.do(self._abort)

    def _lead(self, held: list[Waiter]) -> int:
        """Complete a round: call the action, and let the others go."""
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._section.do(self._abort)
            raise
        finally:
            self._section.run(let_go, held)
        return self._parties - 1

    # In the critical section

    def _meet(self, waiter: Waiter) -> list[Waiter] | None:
        """Complete the round, and return whom the leader has to let go; or join the line, and return None."""
        if self._state is _State.BROKEN:
            raise BrokenBarrierError("Barrier aborted")
        line = self._enter_line()
        try:
            complete = self._state is _State.FILLING and self._trip(line, self._parties - 1)
            if not complete:
                line.admit(waiter, self._instead)
        finally:
            line.retire()
        return hold_back() if complete else None

    def _arrive(self, waiter: Waiter) -> int:
        waiter.line.finish(waiter)  # type: ignore[union-attr]  # it has waited there
        complete = self._state is _State.DRAINING
        self._end_round()
        if not complete:
            raise BrokenBarrierError("Abort or reset of barrier")
        return waiter.result

    def _arrive_or_break(self, waiter: Waiter) -> int:
        """A thread whose time is up before its round is complete breaks the barrier, as in threading."""
        if waiter.granted:
            return self._arrive(waiter)
        waiter.line.leave(waiter)  # type: ignore[union-attr]  # it has waited there
        self._abort()
        raise BrokenBarrierError("a thread has waited for the barrier longer than its timeout")


class SyncBarrier(SyncView[Barrier]):
    """The Barrier as threads see it."""

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until `parties` do, for at most `timeout` seconds (by default the barrier's); return this one's index.

        Raises BrokenBarrierError if the barrier is broken, aborted or reset, or if the time is up, which breaks it;
        RuntimeError if it would block a running event loop.
        """
        barrier = self._shared
        if timeout is None:
            timeout = barrier._timeout
        seconds = -1 if timeout is None else check_timeout(True, max(timeout, 0))
        waiter = ThreadWaiter()
        try:
            held = barrier._section.run(barrier._meet, waiter)
            if held is not None:
                return barrier._lead(held)
            waiter.wait(seconds)
        except BaseException:
            barrier._section.do(barrier._abandon, waiter)
            raise
        return barrier._section.run(barrier._arrive_or_break, waiter)

    def reset(self) -> None:
        """Return to the empty state; those of the current round get BrokenBarrierError."""
        self._shared._section.do(self._shared._reset)

    def abort(self) -> None:
        """Break the barrier until the next reset()."""
        self._shared._section.do(self._shared._abort)

    @property
    def parties(self) -> int:
        """How many it takes."""
        return self._shared.parties

    @property
    def n_waiting(self) -> int:
        """How many wait for the others; 0 while a round is leaving."""
        return self._shared.n_waiting

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self._shared.broken

    def __repr__(self) -> str:
        if self.broken:
            return f"<holdfast.threads.SyncBarrier at {id(self._shared):#x}: broken>"
        return f"<holdfast.threads.SyncBarrier at {id(self._shared):#x}: waiters={self.n_waiting}/{self.parties}>"
