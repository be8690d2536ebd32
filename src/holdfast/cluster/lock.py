"""Lock: one holder among all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .grant import Grant, Leased
from .lock_record import Acquire, LockRecord, Release, TryAcquire

if TYPE_CHECKING:
    from .session import Session


class Lock(Leased):
    """A mutual-exclusion lock for all tasks of all sessions that name it. Made by `Session.lock()`.

    Whoever asks first gets it first, in the order in which the requests reached the engine; inside a session, in the
    order of the calls. `release()` hands it to the next one directly. When a session or its process ends, what it
    held goes to the next.
    """

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(session, name, LockRecord())

    async def locked(self) -> bool:
        """Whether anybody holds it, or it is on its way to somebody."""
        return (await self._read_living()).holder is not None

    def _acquiring(self, ticket: int) -> Acquire:
        return Acquire(ticket)

    def _trying(self, ticket: int) -> TryAcquire:
        return TryAcquire(ticket)

    def _releasing(self, grant: Grant) -> Release:
        return Release(grant.token)

    def _token(self, ticket: int, value: int) -> int:
        return value
