"""Event: one task or thread tells many that something has happened."""

from __future__ import annotations

from typing import Literal

from . import _task_tier as task_tier
from ._primitive import Shared, SyncView, check_timeout
from ._queue import SharedQueue
from ._section import Section
from ._waiter import Waiter


class Event(Shared, task_tier.Event):
    """A flag that threads and the tasks of any event loops can wait for. `sync` is the same event for threads.

    Source: asyncio.Event, and threading.Event for `sync`.
    """

    _instead = "await event.wait()"

    def __init__(self) -> None:
        self._section = Section()
        self._value = False
        self._woken = 0
        self._queue = None

    @property
    def sync(self) -> SyncEvent:
        """The event with the methods of threading.Event."""
        return SyncEvent(self)

    def set(self) -> None:
        """Set the flag, and wake everyone who waits at this moment, even if `clear()` follows at once. Never blocks."""
        self._section.do(super().set)

    def clear(self) -> None:
        """Unset the flag: from now on `wait()` waits for the next `set()`. Never blocks."""
        self._section.do(super().clear)

    async def wait(self) -> Literal[True]:
        """Return True at once if the flag is set, else wait until `set()` is called.

        Cancellation: the task no longer waits; nothing else changes.
        """
        if not self._value:
            await self._wait()
        return True

    # In the critical section

    def _try(self, line: SharedQueue) -> bool:
        return self._value

    def _arrive(self, waiter: Waiter) -> Literal[True]:
        self._woken -= 1
        return True

    def _abandon(self, waiter: Waiter) -> None:
        if waiter.granted:
            self._arrive(waiter)
            waiter.granted = False  # as after leave()
        else:
            super()._abandon(waiter)


class SyncEvent(SyncView[Event]):
    """The Event as threads see it."""

    __slots__ = ()

    def is_set(self) -> bool:
        """Return True if the flag is set."""
        return self._shared.is_set()

    def set(self) -> None:
        """Set the flag, and wake everyone who waits."""
        self._shared.set()

    def clear(self) -> None:
        """Unset the flag."""
        self._shared.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, for at most `timeout` seconds; return whether it was.

        Raises RuntimeError if it would block a running event loop.
        """
        event = self._shared
        if event._value:
            return True
        seconds = -1 if timeout is None else check_timeout(True, max(timeout, 0))
        return bool(event._block(seconds)) if seconds else event._value

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "unset"
        return f"<holdfast.threads.SyncEvent at {id(self._shared):#x}: {state}>"
