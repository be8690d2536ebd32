"""Closable: what can be closed in a session, for all sessions."""

from __future__ import annotations

from abc import abstractmethod

from holdfast.cluster.names import check_encoding
from holdfast.cluster.records.closing import ITSELF, Close, Reopen
from holdfast.cluster.values_in_messages import shown

from .primitive import Primitive

LONGEST_REASON = 200
"""Characters."""


class Closable:
    """A primitive of a session that can be closed, for all sessions that name it.

    Example::

        async with holdfast.connect("memory:") as session:
            jobs = session.semaphore("jobs", 10)
            await jobs.close("the service stops")
            try:
                await jobs.acquire()
            except holdfast.Closed as closed:
                print(closed.reason)

    It stays closed when the session that has closed it ends, and when nobody uses the name for a while. It is open
    again after reopen(), or when the name is forgotten: once that session has ended, and nobody has asked for the name
    for a day.
    """

    async def close(self, reason: str | None = None) -> None:
        """Close it: nobody waits for it any more, in any session.

        reason: why, for the error that others get: a text of at most 200 characters.

        Those that wait get `holdfast.Closed` with the reason, and so does every later call that takes something or
        would have to wait. Who holds something goes on, and gives it back as ever. So does who was granted something
        and has not run yet. If it is closed already, nothing changes, and the first reason stays. The lock of a
        Condition stays open.

        Raises TypeError if the reason is no text, ValueError if it is too long; SessionLost if the session is over or
        ends before; FormatError or NameConflict if the name is in use for something else. While the engine fails, it
        goes on trying.

        Cancellation: it is closed all the same.
        """
        primitive, what = self._closes()
        await primitive._tell(Close(what, _checked(reason)))

    async def is_closed(self) -> bool:
        """Whether it is closed.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict if the name is in use
        for something else.

        Cancellation: raises at once; nothing has been changed.
        """
        primitive, what = self._closes()
        return what in (await primitive._read()).closings

    async def reopen(self) -> None:
        """Open it again, for all sessions. If it is open, nothing changes. Who got `Closed` has to ask again.

        Raises SessionLost if the session is over or ends before; FormatError or NameConflict if the name is in use for
        something else. While the engine fails, it goes on trying.

        Cancellation: it is opened all the same.
        """
        primitive, what = self._closes()
        await primitive._tell(Reopen(what))

    @abstractmethod
    def _closes(self) -> tuple[Primitive, str]:
        """The primitive in whose record it stands, and what is closed there."""


class ClosesItself(Primitive, Closable):
    """A primitive that has a record of its own."""

    def _closes(self) -> tuple[Primitive, str]:
        return self, ITSELF


def _checked(reason: object) -> str | None:
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise TypeError(
            f"the reason of close() is a text or None in a session, as other processes get it, not {shown(reason)}"
        )
    if len(reason) > LONGEST_REASON:
        raise ValueError(f"the reason of close() has {LONGEST_REASON} characters at most, not {len(reason)}")
    check_encoding(reason, "the reason of close()")
    return reason
