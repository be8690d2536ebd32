"""Barrier: a number of tasks, of any sessions, wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType

from holdfast._refusals import refusing
from holdfast.cluster.records.barrier import BROKEN, Abort, Arrive, BarrierRecord, GiveUp, Reset
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.values_in_messages import shown

from .closable import ClosesItself


class Barrier(ClosesItself):
    """A meeting point of `parties` tasks of all sessions that name it. Made by `Session.barrier()`.

    If the session of a task that waits ends before the others have come, that task does not count any more.
    """

    def __init__(self, session: Membership, name: str, parties: int) -> None:
        """Called by `Session.barrier()`."""
        if not isinstance(parties, int) or isinstance(parties, bool):
            raise TypeError(f"a barrier needs an int, the number of parties, not {shown(parties)}")
        if parties < 1:
            raise ValueError(f"a barrier needs 1 or more parties, not {parties}")
        super().__init__(session, name, BarrierRecord(parties=parties))
        self.parties = parties
        """How many tasks have to come."""

    @refusing
    async def wait(self) -> int:
        """Wait until all parties have come; return the place in the order of arrival, from 0 on.

        Raises `holdfast.Closed` if it is closed; asyncio.BrokenBarrierError if the barrier is broken, or is aborted or
        reset meanwhile; SessionLost if the session is over or ends before; EngineError if the engine fails;
        NameConflict if the name is in use for something else, or with another number of parties.

        Cancellation: raises at once. The arrival does not count, unless all other parties come before the engine has
        the withdrawal, which is sent soon after.
        """
        await self._session._ready()
        ticket, place = await self._register.ask(Arrive)
        self._check_place(place)
        self._register.withdraw(ticket)  # the place has been taken
        return place - 1

    async def _wait_at_most(self, seconds: float) -> int:
        """As wait(), but when the time is up, the barrier is broken, as in threading. Then raises TimeoutError.

        If all others come at that moment, either they and this one go on together, or the barrier is broken for all.

        Cancellation: as for wait(); if the time is up already, the barrier may be broken.
        """
        await self._session._ready()
        register = self._register
        ticket, arrived = register.begin(Arrive)
        try:
            await asyncio.wait([arrived], timeout=seconds)
            if arrived.done():
                register.take(ticket)
                self._check_place(arrived.result())
        except BaseException:
            register.not_taken(ticket)
            raise
        if arrived.done():
            register.withdraw(ticket)
            return arrived.result() - 1
        place = await register.give_up(ticket, GiveUp(ticket))
        if place == BROKEN:
            raise TimeoutError
        return place - 1

    def _check_place(self, place: int) -> None:
        if place == BROKEN:
            raise asyncio.BrokenBarrierError(f"{self!r} is broken: somebody called abort() or reset()")

    async def abort(self) -> None:
        """Break the barrier for all tasks that wait and all that will come, until `reset()`.

        Raises SessionLost if the session is over or ends before; FormatError or NameConflict if the name is in use for
        something else. While the engine fails, it goes on trying.

        Cancellation: it is broken all the same.
        """
        await self._tell(Abort())

    async def reset(self) -> None:
        """Make the barrier usable again. Tasks that wait get BrokenBarrierError.

        Raises SessionLost if the session is over or ends before; FormatError or NameConflict if the name is in use for
        something else. While the engine fails, it goes on trying.

        Cancellation: it is reset all the same.
        """
        await self._tell(Reset())

    @property
    def n_waiting(self) -> Awaitable[int]:
        """The number of tasks that wait for the others: `await barrier.n_waiting`.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict as wait() does.

        Cancellation: raises at once; nothing has been changed.
        """
        return self._count()

    @property
    def broken(self) -> Awaitable[bool]:
        """Whether it is broken: `await barrier.broken`.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict as wait() does.

        Cancellation: raises at once; nothing has been changed.
        """
        return self._is_broken()

    async def _count(self) -> int:
        return int((await self._read_living()).arrived())

    async def _is_broken(self) -> bool:
        return bool((await self._read()).broken)

    async def __aenter__(self) -> int:
        """Wait as wait() does; the `as` value is the place."""
        return await self.wait()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Do nothing: a party has nothing to undo."""
