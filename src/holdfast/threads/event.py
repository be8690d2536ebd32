"""Event: one task or thread tells many that something has happened."""

from __future__ import annotations

from typing import Literal

from holdfast.blocking.timeouts import check_optional_timeout

from . import task_tier as task_tier
from .critical_section import Section
from .primitive import Shared
from .sync_view import SyncView
from .wait_queue import SharedQueue
from .waiter import Waiter


class Event(Shared, task_tier.Event):
    """A flag that threads and the tasks of any event loops can wait for.

    The methods here are for tasks; `sync` is the same event with threading's methods. Any task or thread may set and
    clear it.

    Source: asyncio.Event, and threading.Event for `sync`.
    """

    _instead = "await event.wait()"

    def __init__(self) -> None:
        self._section = Section()
        task_tier.Event.__init__(self)

    @property
    def sync(self) -> SyncEvent:
        """The same event with the methods of threading.Event, for threads."""
        return SyncEvent(self)

    def set(self) -> None:
        """Set the flag, and wake all that wait at this moment, even if `clear()` follows at once. Never blocks."""
        self._section.run_or_defer(super().set)

    def clear(self) -> None:
        """Unset the flag: from now on `wait()` waits for the next `set()`. Never blocks."""
        self._section.run_or_defer(super().clear)

    async def wait(self) -> Literal[True]:
        """Return True at once if the flag is set; otherwise wait until `set()` is called.

        Cancellation: the task stops waiting, and nothing else changes.
        """
        if not self._value:
            await self._wait()
        return True

    # In the critical section

    def _try(self, line: SharedQueue, needs: int) -> bool:
        return self._value

    def _arrive(self, waiter: Waiter) -> Literal[True]:
        if waiter.refusal is not None:
            waiter.line.finish(waiter)  # type: ignore[union-attr]  # it has waited there
        if waiter.told is not None:
            waiter.line.tell_end(waiter)  # type: ignore[union-attr]  # as above
        self._woken -= 1
        return True

    def _abandon(self, waiter: Waiter) -> None:
        if waiter.granted:
            if waiter.told is not None:
                waiter.line.tell_end(waiter, "cancelled")  # type: ignore[union-attr]  # as above
            self._arrive(waiter)
            waiter.granted = False  # as SharedQueue.leave() does
        else:
            super()._abandon(waiter)


class SyncEvent(SyncView):
    """An Event as threads see it, with the methods of threading.Event."""

    __slots__ = ()

    _shared: Event

    def is_set(self) -> bool:
        """Return True if the flag is set."""
        return self._shared.is_set()

    def set(self) -> None:
        """Set the flag, and wake all that wait at this moment, even if `clear()` follows at once. Never blocks."""
        self._shared.set()

    def clear(self) -> None:
        """Unset the flag: from now on `wait()` waits for the next `set()`. Never blocks."""
        self._shared.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, and return True; return False if the time is up before.

        timeout: how many seconds to wait at most; None means no limit, and a negative number is taken as 0.

        Raises RuntimeError if the call would block a running event loop, or would have to wait in a signal handler or
        finalizer that has interrupted a change of a primitive; OverflowError for a timeout above threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and nothing else changes.
        """
        event = self._shared
        if event._value:
            return True
        seconds = check_optional_timeout(timeout)
        return bool(event._block(seconds)) if seconds else event._value

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "unset"
        return f"<holdfast.threads.SyncEvent at {id(self._shared):#x}: {state}>"
