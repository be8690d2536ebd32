"""Lock: one holder among all sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from holdfast._refusals import refusing
from holdfast.cluster.records.lock import LockRecord
from holdfast.cluster.session_life.membership import Membership

from .closable import ClosesItself
from .grant import Grant
from .leased import Acquiring, Leased
from .wish import FOR_ONE

_FREE = LockRecord()
"""With which every Lock begins: a record is never changed, so one does for all."""


class Lock(Leased, ClosesItself):
    """A mutual-exclusion lock for all tasks of all sessions that name it. Made by `Session.lock()`.

    First come, first served: between sessions in the order in which the requests reached the engine, within a session
    in the order of the calls. `release()` hands the lock directly to the first waiter. When a session or its process
    ends, the locks that it held go to the next waiters.
    """

    def __init__(self, session: Membership, name: str) -> None:
        """Called by `Session.lock()`."""
        super().__init__(session, name, _FREE)

    @refusing
    async def acquire(self) -> Grant:
        """Wait until the lock is free and take it; return the grant, which is true.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; EngineError if the
        engine fails; NameConflict if the name is in use for something else.

        Cancellation: raises at once. The task leaves the line. If the lock was granted already, it goes to the next
        waiter.
        """
        return await self._asking(Acquiring, FOR_ONE)

    _ACQUIRE: ClassVar[Callable[..., object]] = acquire

    @refusing
    async def try_acquire(self) -> Grant | None:
        """Take the lock if it is free and nobody waits; return the grant, or None. Never waits for other holders.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; FormatError if
        another version of holdfast wrote the record; NameConflict if the name is in use for something else. While the
        engine fails, it goes on trying, because a request that is not known to have been refused may still be granted.

        Cancellation: raises at once, and nothing has been taken. What is granted all the same is given back as soon as
        that is known.
        """
        return await self._try_acquire(FOR_ONE)

    async def release(self) -> None:
        """Give back the lock; it goes to the first waiter.

        Of several grants of this object, it is the oldest that this task has acquired.

        Raises RuntimeError if the lock is not acquired through this object; LeaseLost if the grant was lost;
        FormatError or NameConflict if somebody has put another record in place of the lock's. While the engine fails,
        it goes on trying.

        Cancellation: it is given back all the same.
        """
        await super().release()

    async def locked(self) -> bool:
        """Whether any session holds it, or it is on its way to a waiter.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict if the name is in use
        for something else.

        Cancellation: raises at once; nothing has been changed.
        """
        return (await self._read_living()).holder is not None

    def _give_back(self, grant: Grant) -> Awaitable[int] | None:
        return self._register.end(grant.token)

    def _token(self, ticket: int, value: int) -> int:
        return value
