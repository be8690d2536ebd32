"""What the primitives of this tier share: to try, or to join the line; to wait as a task or as a thread; to leave."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

from holdfast._primitive import Primitive
from holdfast._waitqueue import WaitQueue

from ._queue import SharedQueue
from ._section import Section
from ._waiter import TaskWaiter, ThreadWaiter, Waiter


class Shared(Primitive):
    """An object that tasks of any event loop and threads wait for, in one line."""

    _queue: SharedQueue | None
    _section: Section
    _instead: str
    """What to write in a coroutine, where a thread would block."""

    # In the critical section

    def _enter_line(self) -> SharedQueue:
        # There is one before it is asked whether there is something to wait for: see Lock.release()
        queue = self._queue
        if queue is None:
            queue = self._queue = SharedQueue(self)
        else:
            queue.forget_closed_loop()
            self._queue = queue  # which may have been retired
        return queue

    def _try(self, line: SharedQueue) -> bool:
        """Take what is there without overtaking anybody; return whether it was."""
        raise NotImplementedError

    def _try_now(self) -> bool:
        line = self._enter_line()
        taken = self._try(line)
        line.retire()
        return taken

    def _try_or_join(self, waiter: Waiter) -> bool:
        """Take what is there, and return True; or put the waiter into the line."""
        line = self._enter_line()
        try:
            if self._try(line):
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
        """A thread goes on if it was granted, be it at the moment when its time was up; else it leaves: False."""
        if waiter.granted:
            return self._arrive(waiter)
        waiter.line.leave(waiter)  # type: ignore[union-attr]  # it has waited there
        return False

    def _abandon(self, waiter: Waiter) -> None:
        """A waiter leaves by an exception."""
        if waiter.line is not None and waiter.line.leave(waiter):
            self._give_back()

    # The two faces

    async def _wait(self) -> None:
        """Wait as a task."""
        waiter = TaskWaiter()
        try:
            if self._section.run(self._try_or_join, waiter):
                return
            await waiter.future
        except BaseException:
            self._section.do(self._abandon, waiter)
            raise
        self._section.run(self._arrive, waiter)

    def _block(self, timeout: float = -1) -> Any:
        """Wait as a thread, for so many seconds; -1 is for ever. Return False when they are over."""
        waiter = ThreadWaiter()
        try:
            if self._section.run(self._try_or_join, waiter):
                return True
            waiter.wait(timeout)
        except BaseException:
            self._section.do(self._abandon, waiter)
            raise
        return self._section.run(self._arrive_or_leave, waiter)

    def try_acquire(self) -> bool:
        """Take it if that needs no waiting; return whether it did. Never overtakes who waits."""
        return self._section.run(self._try_now, within=_not_now)

    def _live_queue(self) -> WaitQueue | None:
        queue = self._queue
        if queue is not None:
            self._section.do(queue.forget_closed_loop)
        return self._queue

    def _describe(self, state: str) -> str:
        cls = type(self)
        module = "holdfast.threads" if cls.__module__.startswith("holdfast.") else cls.__module__
        return f"<{module}.{cls.__qualname__} object at {id(self):#x} [{state}]>"


def _not_now() -> bool:
    """What try_acquire() answers within a section."""
    return False


S = TypeVar("S", bound=Shared)


class SyncView(Generic[S]):
    """A primitive as threads see it."""

    __slots__ = ("__weakref__", "_shared")

    def __init__(self, shared: S) -> None:
        self._shared = shared

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._shared is self._shared

    def __hash__(self) -> int:
        return hash((SyncView, id(self._shared)))


def check_timeout(blocking: bool, timeout: float) -> float:
    """The timeout as `_block()` takes it, after threading's own checks."""
    if not blocking:
        if timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > threading.TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return timeout
