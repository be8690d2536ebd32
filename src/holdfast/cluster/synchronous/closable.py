"""Closable: what can be closed in a session, for threads."""

from __future__ import annotations

from abc import abstractmethod

from holdfast.cluster.primitives.closable import Closable

from .way_in import WayIn


class SyncClosable:
    """A primitive of a session that can be closed, for all sessions that name it; see `Closable`."""

    def close(self, reason: str | None = None) -> None:
        """Close it: nobody waits for it any more, in any session; see `Closable.close()`.

        reason: why, for the error that others get: a text of at most 200 characters.

        Raises TypeError if the reason is no text, ValueError if it is too long; FormatError or NameConflict if the name
        is in use for something else. While the engine fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is closed all the same.
        """
        way_in, closable = self._closes()
        way_in._run(lambda: closable.close(reason))

    def is_closed(self) -> bool:
        """Whether it is closed.

        Raises EngineError if the engine fails; NameConflict if the name is in use for something else.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; nothing has been changed.
        """
        way_in, closable = self._closes()
        return way_in._run(closable.is_closed)

    def reopen(self) -> None:
        """Open it again, for all sessions. If it is open, nothing changes. Who got `Closed` has to ask again.

        Raises FormatError or NameConflict if the name is in use for something else. While the engine fails, it goes on
        trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is opened all the same.
        """
        way_in, closable = self._closes()
        way_in._run(closable.reopen)

    @abstractmethod
    def _closes(self) -> tuple[WayIn, Closable]:
        """What is closed, and the way to it."""
