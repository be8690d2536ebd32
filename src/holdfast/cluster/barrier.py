"""Barrier: so many tasks, of any sessions, wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING

from holdfast._refusals import refusing, shown

from .barrier_record import BROKEN, Abort, Arrive, BarrierRecord, Reset
from .primitive import Primitive

if TYPE_CHECKING:
    from .session import Session


class Barrier(Primitive):
    """A meeting point of `parties` tasks of all sessions that name it. Made by `Session.barrier()`.

    An arrival whose session ends before the others have come does not count any more.
    """

    def __init__(self, session: Session, name: str, parties: int) -> None:
        if not isinstance(parties, int) or isinstance(parties, bool):
            raise TypeError(f"a barrier needs an int, the number of parties, not {shown(parties)}")
        if parties < 1:
            raise ValueError(f"a barrier needs 1 or more parties, not {parties}")
        super().__init__(session, name, BarrierRecord(parties=parties))
        self.parties = parties
        """How many tasks have to come."""

    @refusing
    async def wait(self) -> int:
        """Wait until all have come; return the place in the order of arrival, from 0 on.

        Raises asyncio.BrokenBarrierError if the barrier is broken, or somebody resets it meanwhile; SessionLost if
        the session ends before.

        Cancellation: raises at once. The arrival does not count, unless all the others come before the withdrawal,
        which follows by itself, is on record.
        """
        await self._session._ready()
        ticket, place = await self._register.ask(Arrive, wary=True)
        if place == BROKEN:
            raise asyncio.BrokenBarrierError(f"{self!r} is broken: somebody called abort() or reset()")
        self._register.withdraw(ticket)  # the place has been taken
        return place - 1

    async def abort(self) -> None:
        """Break the barrier for all who wait and all who will come, until `reset()`.

        Cancellation: it is broken all the same.
        """
        await self._session._ready()
        await self._register.tell(Abort())

    async def reset(self) -> None:
        """Make it usable again; who waits gets BrokenBarrierError.

        Cancellation: it is reset all the same.
        """
        await self._session._ready()
        await self._register.tell(Reset())

    @property
    def n_waiting(self) -> Awaitable[int]:
        """How many wait for the others: `await barrier.n_waiting`."""
        return self._count()

    @property
    def broken(self) -> Awaitable[bool]:
        """Whether it is broken: `await barrier.broken`."""
        return self._is_broken()

    async def _count(self) -> int:
        return int((await self._read()).arrived())

    async def _is_broken(self) -> bool:
        return bool((await self._read()).broken)

    async def __aenter__(self) -> int:
        """Wait as wait() does; the `as` value is the place."""
        return await self.wait()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Nothing is left to do."""
