"""Event: one task tells all others, in all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from holdfast._refusals import refusing

from .event_record import Clear, EventRecord, Set, Wait
from .primitive import Primitive

if TYPE_CHECKING:
    from .session import Session


class Event(Primitive):
    """A flag that the tasks of all sessions can wait for. Made by `Session.event()`. It outlives who has set it."""

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(session, name, EventRecord())

    async def is_set(self) -> bool:
        """Whether the flag is set."""
        return bool((await self._read()).is_set)

    async def set(self) -> None:
        """Set the flag, and wake all who wait at this moment, even if `clear()` follows at once.

        Cancellation: it is set all the same.
        """
        await self._session._ready()
        await self._register.tell(Set())

    async def clear(self) -> None:
        """Unset the flag: from now on `wait()` waits for the next `set()`.

        Cancellation: it is unset all the same.
        """
        await self._session._ready()
        await self._register.tell(Clear())

    @refusing
    async def wait(self) -> Literal[True]:
        """Return True at once if the flag is set, else wait until it is.

        Raises SessionLost if the session ends before.

        Cancellation: the task waits no more; nothing else changes.
        """
        if not await self.is_set():
            await self._register.ask(Wait)
        return True
