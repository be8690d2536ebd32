"""What the primitives of this tier share: how a task or a thread waits, and how it leaves.

A wait is written once, as steps in the critical section: take it or join the queue; arrive with the grant; leave
without one. A task (`_wait()`) and a thread (`_block()`) differ only in what they do between these steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.tasks.closed import Closed, closed_error, closed_message
from holdfast.tasks.primitive import Primitive
from holdfast.tasks.pypy import closed_when_collected
from holdfast.tasks.wait_queue import WaitQueue

from .critical_section import Section
from .task_waiter import TaskWaiter
from .thread_waiter import ThreadWaiter
from .wait_queue import SharedQueue
from .waiter import Waiter


class Shared(Primitive):
    """An object that tasks of any event loop and threads wait for, in one queue."""

    _queue: SharedQueue | None
    _section: Section
    _instead: str
    """What to write in a coroutine in place of a call that would block its loop."""

    def _close(self, reason: object) -> None:
        self._section.run_or_defer(self._close_line, partial(closed_error, closed_message(self, reason), reason))

    # In the critical section

    def _close_line(self, closed: Callable[[], Closed]) -> None:
        self._enter_line(again=True).close(closed)

    def _enter_line(self, again: bool = False) -> SharedQueue:
        # This comes before the check whether it is necessary to wait: see Lock.release().
        queue = self._queue
        if queue is None:
            queue = self._queue = SharedQueue(self)
        else:
            queue.forget_closed_loop()
            self._queue = queue  # forgetting may have retired it
            if queue.closed is not None and not again:
                raise queue.closed()
        return queue

    def _try(self, line: SharedQueue, needs: int) -> bool:
        """Take it if that needs no waiting and overtakes no waiter; return whether it was taken.

        needs: for a semaphore, the number of permits.
        """
        raise NotImplementedError

    def _try_now(self, needs: int = 1) -> bool:
        line = self._enter_line()
        taken = self._try(line, needs)
        line.retire()
        return taken

    def _try_or_join(self, waiter: Waiter) -> bool:
        """Take it and return True, or put the waiter into the queue and return False.

        Raises Closed if it was closed, unless the waiter keeps its place.
        """
        line = self._enter_line(waiter.keeps_place)
        try:
            if self._try(line, waiter.needs):
                return True
            line.admit(waiter, self._instead)
        finally:
            if not line.line:
                line.retire()
        return False

    def _arrive(self, waiter: Waiter) -> Any:
        """A granted waiter goes on with what it was granted."""
        waiter.line.finish(waiter)  # type: ignore[union-attr]  # it has waited there
        return True

    def _arrive_or_leave(self, waiter: Waiter) -> Any:
        """The time of a thread is up: keep a grant that has come at the last moment, else leave and return False."""
        if waiter.done():
            return self._arrive(waiter)
        waiter.line.leave(waiter)  # type: ignore[union-attr]  # it has waited there
        return False

    def _abandon(self, waiter: Waiter) -> None:
        """A waiter leaves by an exception."""
        if waiter.told is not None:
            waiter.line.tell_end(waiter, "cancelled")  # type: ignore[union-attr]  # it has waited there
        if waiter.line is not None and waiter.line.leave(waiter):
            self._give_back_all(waiter.needs)
        waiter.refusal = None  # so that a wake-up that is still under way does nothing, as in SharedQueue.leave()

    def _check_and_defer(self, *args: Any) -> None:
        """Inside a section, perhaps of another primitive: check now, and make the change when that has been left.

        For a change that may be refused. It is `if_inside` of the section's run().
        """
        self._check_change(*args)
        self._section.run_or_defer(self._change, *args)

    def _check_change(self, *args: Any) -> None:
        """Raise the error of a change that must be refused."""
        raise NotImplementedError

    def _change(self, *args: Any) -> None:
        """Make the change that was checked. Must not raise."""
        raise NotImplementedError

    # Waiting

    @closed_when_collected
    async def _wait(self, needs: int = 1) -> None:
        """Wait as a task. needs: for a semaphore, the number of permits."""
        waiter = TaskWaiter()
        waiter.needs = needs
        try:
            if self._section.run(self._try_or_join, waiter):
                return
            await waiter.future
        except BaseException:
            self._section.run_or_defer(self._abandon, waiter)
            raise
        self._section.run(self._arrive, waiter)

    def _block(self, timeout: float = -1, needs: int = 1) -> Any:
        """Wait as a thread, for at most `timeout` seconds, -1 meaning no limit. Return False if the time is up.

        needs: for a semaphore, the number of permits.
        """
        waiter = ThreadWaiter()
        waiter.needs = needs
        try:
            if self._section.run(self._try_or_join, waiter):
                return True
            waiter.wait(timeout)
        except BaseException:
            self._section.run_or_defer(self._abandon, waiter)
            raise
        return self._section.run(self._arrive_or_leave, waiter)

    def _try_acquire(self, needs: int = 1) -> bool:
        """Take it if that needs no waiting; return whether it was taken. Never overtakes a waiter.

        needs: for a semaphore, the number of permits.
        """
        return self._section.run(self._try_now, needs, if_inside=_not_now)

    def _live_queue(self) -> WaitQueue | None:
        queue = self._queue
        if queue is not None:
            self._section.run_or_defer(queue.forget_closed_loop)
        return self._queue


def _not_now(needs: int) -> bool:
    """The answer of _try_acquire() in a signal handler or finalizer that has interrupted a section."""
    return False
