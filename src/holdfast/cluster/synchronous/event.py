"""Event: one thread or task wakes all others that wait, in all sessions, with threading.Event's methods."""

from __future__ import annotations

from holdfast.blocking.timeouts import check_optional_timeout
from holdfast.cluster.loop_in_thread.call import OutOfTime
from holdfast.cluster.primitives.closable import Closable
from holdfast.cluster.primitives.event import Event

from .closable import SyncClosable
from .way_in import WayIn


class SyncEvent(SyncClosable):
    """An Event of a session, with the methods of threading.Event. Made by `SyncSession.event()`.

    It stays set when the session that has set it ends.
    """

    def __init__(self, way_in: WayIn, event: Event) -> None:
        """Called by `SyncSession.event()`."""
        self._way_in = way_in
        self._event = event

    def __repr__(self) -> str:
        return repr(self._event).replace("Event", "SyncEvent", 1)

    def is_set(self) -> bool:
        """Whether the flag is set.

        Raises EngineError if the engine fails; NameConflict if the name is in use for something else.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; nothing has been changed.
        """
        return self._way_in._run(self._event.is_set)

    def set(self) -> None:
        """Set the flag, and wake all that wait at this moment, even if `clear()` follows at once.

        Raises FormatError or NameConflict if the name is in use for something else. While the engine fails, it goes on
        trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is set all the same.
        """
        self._way_in._run(self._event.set)

    def clear(self) -> None:
        """Clear the flag: from now on `wait()` waits for the next `set()`.

        Raises as set() does.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is cleared all the same.
        """
        self._way_in._run(self._event.clear)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, and return True; return False if the time is up before.

        timeout: how many seconds to wait at most; None means no limit, and a negative number is taken as 0.

        Raises `holdfast.Closed` if it is closed; OverflowError for a timeout above threading.TIMEOUT_MAX; EngineError
        if the engine fails; NameConflict if the name is in use for something else.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and nothing else changes.
        """
        seconds = check_optional_timeout(timeout)
        if not seconds:
            return self.is_set()
        try:
            return self._way_in._run(self._event.wait, seconds)
        except OutOfTime:
            return False

    def _closes(self) -> tuple[WayIn, Closable]:
        return self._way_in, self._event
