"""Barrier: a fixed number of tasks and threads wait for each other."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.blocking.broken_barrier import BrokenBarrierError as BrokenBarrierError
from holdfast.blocking.timeouts import check_optional_timeout
from holdfast.tasks.barrier import _State
from holdfast.tasks.pypy import closed_when_collected

from . import task_tier as task_tier
from .critical_section import Section, Sleeper, hold_back_wake_ups, release_wake_ups
from .primitive import Shared
from .sync_view import SyncView
from .task_waiter import TaskWaiter
from .thread_waiter import ThreadWaiter
from .waiter import Waiter


class Barrier(Shared, task_tier.Barrier):
    """A meeting point for a fixed number of threads and tasks of any event loops.

    The methods here are for tasks; `sync` is the same barrier with threading's methods.

    parties: how many tasks and threads must wait to go on together, at least 1.
    action: called by the task or thread that completes a round, before any of them goes on. If it raises, the barrier
        is broken. A task calls it in the thread of its event loop, so it must not block.
    timeout: how many seconds `sync.wait()` waits by default; None means no limit.

    Raises ValueError if `parties` is below 1, TypeError if it is not an integer.

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
        """The same barrier with the methods of threading.Barrier, for threads."""
        return SyncBarrier(self)

    @closed_when_collected
    async def wait(self) -> int:
        """Wait until `parties` tasks and threads do; return the index of this one, from 0 to parties - 1.

        In each round, each index goes to one party.

        Raises BrokenBarrierError if the barrier is broken, or is aborted or reset meanwhile; and what the action
        raises, if this task has called it.

        Cancellation: the task no longer counts as a party. If its round was complete already, the others go on without
        it.
        """
        # The steps of Shared._wait(), repeated: to await that coroutine would cost 3 to 5 % of a wait.
        waiter = TaskWaiter()
        try:
            held = self._section.run(self._meet, waiter)
            if held is not None:
                return self._lead(held)
            await waiter.future
        except BaseException:
            self._section.run_or_defer(self._abandon, waiter)
            raise
        index: int = self._section.run(self._arrive, waiter)
        return index

    async def reset(self) -> None:
        """Return to the empty state; the tasks and threads of the current round get BrokenBarrierError.

        Those that already wait for the next round, because the current one has not left yet, keep waiting.

        Cancellation: it never waits, so the task cannot be cancelled in it.
        """
        self._section.run_or_defer(self._reset)

    async def abort(self) -> None:
        """Break the barrier: all that wait, or come before the next reset(), get BrokenBarrierError.

        Cancellation: it never waits, so the task cannot be cancelled in it.
        """
        self._section.run_or_defer(self._abort)

    def _lead(self, held: list[Sleeper]) -> int:
        """As the party that completes a round: call the action, outside the section, and wake the others."""
        try:
            if self._action is not None:
                self._action()
        except BaseException:
            self._section.run_or_defer(self._abort)
            raise
        finally:
            self._section.run(release_wake_ups, held)
        return self._parties - 1

    # In the critical section

    def _meet(self, waiter: Waiter) -> list[Sleeper] | None:
        """Complete the round, and return the parties that `_lead()` has to wake; or join the queue, and return None."""
        if self._state is _State.BROKEN:
            raise BrokenBarrierError("Barrier aborted")
        line = self._enter_line()
        try:
            complete = self._state is _State.FILLING and self._trip(line, self._parties - 1)
            if not complete:
                line.admit(waiter, self._instead)
        finally:
            line.retire()
        return hold_back_wake_ups() if complete else None

    def _arrive(self, waiter: Waiter) -> int:
        waiter.line.finish(waiter)  # type: ignore[union-attr]  # it has waited there
        complete = self._state is _State.DRAINING
        self._end_round()
        if not complete:
            raise BrokenBarrierError("Abort or reset of barrier")
        return waiter.result

    def _arrive_or_break(self, waiter: Waiter) -> int:
        """The time of a thread is up: if its round is not complete, break the barrier, as threading does."""
        if waiter.done():
            return self._arrive(waiter)
        waiter.line.leave(waiter)  # type: ignore[union-attr]  # it has waited there
        self._abort()
        raise BrokenBarrierError("a thread has waited for the barrier longer than its timeout")


class SyncBarrier(SyncView):
    """A Barrier as threads see it, with the methods of threading.Barrier."""

    __slots__ = ()

    _shared: Barrier

    def wait(self, timeout: float | None = None) -> int:
        """Wait until `parties` tasks and threads do; return the index of this one, from 0 to parties - 1.

        timeout: how many seconds to wait at most; None means the barrier's own timeout. A thread whose time is up
            breaks the barrier.

        Raises BrokenBarrierError if the barrier is broken, is aborted or reset meanwhile, or if the time is up;
        RuntimeError if the call would block a running event loop, or is made in a signal handler or finalizer that has
        interrupted a change of a primitive; OverflowError for a timeout above threading.TIMEOUT_MAX; and what the
        action raises, if this thread has called it.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and the thread no longer counts as a party. If its round was complete already, the others go on
        without it.
        """
        barrier = self._shared
        if timeout is None:
            timeout = barrier._timeout
        seconds = check_optional_timeout(timeout)
        waiter = ThreadWaiter()
        try:
            held = barrier._section.run(barrier._meet, waiter)
            if held is not None:
                return barrier._lead(held)
            waiter.wait(seconds)
        except BaseException:
            barrier._section.run_or_defer(barrier._abandon, waiter)
            raise
        return barrier._section.run(barrier._arrive_or_break, waiter)

    def reset(self) -> None:
        """Return to the empty state; the tasks and threads of the current round get BrokenBarrierError. Never blocks.

        Those that already wait for the next round, because the current one has not left yet, keep waiting.
        """
        self._shared._section.run_or_defer(self._shared._reset)

    def abort(self) -> None:
        """Break the barrier: all that wait, or come before the next reset(), get BrokenBarrierError. Never blocks."""
        self._shared._section.run_or_defer(self._shared._abort)

    @property
    def parties(self) -> int:
        """How many tasks and threads make a round."""
        return self._shared.parties

    @property
    def n_waiting(self) -> int:
        """How many tasks and threads wait for the others; 0 while a round is leaving."""
        return self._shared.n_waiting

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self._shared.broken

    def __repr__(self) -> str:
        if self.broken:
            return f"<holdfast.threads.SyncBarrier at {id(self._shared):#x}: broken>"
        return f"<holdfast.threads.SyncBarrier at {id(self._shared):#x}: waiters={self.n_waiting}/{self.parties}>"
