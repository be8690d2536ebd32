"""Event: one task wakes all others that wait, in all sessions."""

from __future__ import annotations

from typing import Literal

from holdfast._refusals import refusing
from holdfast.cluster.records.event import Clear, EventRecord, Set, Wait
from holdfast.cluster.session_life.membership import Membership

from .closable import ClosesItself


class Event(ClosesItself):
    """A flag that the tasks of all sessions can wait for. Made by `Session.event()`.

    It stays set when the session that has set it ends.
    """

    def __init__(self, session: Membership, name: str) -> None:
        """Called by `Session.event()`."""
        super().__init__(session, name, EventRecord())

    async def is_set(self) -> bool:
        """Whether the flag is set.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict if the name is in use
        for something else.

        Cancellation: raises at once; nothing has been changed.
        """
        return bool((await self._read()).is_set)

    async def set(self) -> None:
        """Set the flag, and wake all tasks that wait at this moment, even if `clear()` follows at once.

        Raises SessionLost if the session is over or ends before; FormatError or NameConflict if the name is in use for
        something else. While the engine fails, it goes on trying.

        Cancellation: it is set all the same.
        """
        await self._tell(Set())

    async def clear(self) -> None:
        """Clear the flag: from now on `wait()` waits for the next `set()`.

        Raises SessionLost if the session is over or ends before; FormatError or NameConflict if the name is in use for
        something else. While the engine fails, it goes on trying.

        Cancellation: it is cleared all the same.
        """
        await self._tell(Clear())

    @refusing
    async def wait(self) -> Literal[True]:
        """Return True at once if the flag is set, else wait until it is.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; EngineError if the
        engine fails; NameConflict if the name is in use for something else.

        Cancellation: raises at once; nothing else changes.
        """
        if not await self.is_set():
            await self._register.ask(Wait)
        return True
