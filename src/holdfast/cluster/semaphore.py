"""Semaphore and BoundedSemaphore: so many holders at a time, among all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast._refusals import shown

from .grant import Grant, Leased
from .semaphore_record import Acquire, GiveBack, Release, Resize, SemaphoreRecord, TryAcquire

if TYPE_CHECKING:
    from .session import Session


class Semaphore(Leased):
    """So many permits for all tasks of all sessions that name it. Made by `Session.semaphore()`.

    Permits are granted in the order of asking. Those that a session holds are free again when it or its process
    ends, so it is no way to signal from one session to another: an Event or a Condition is.
    """

    _bounded = False

    def __init__(self, session: Session, name: str, value: int) -> None:
        _check_value(value)
        super().__init__(session, name, SemaphoreRecord(value=value, bounded=self._bounded, free=value))

    async def locked(self) -> bool:
        """Whether acquire() would have to wait."""
        return bool((await self._read_living()).free <= 0)

    async def release(self) -> None:
        """Give a permit back, to who is next. A session that holds none adds one, as in asyncio.

        Raises LeaseLost if the permit was lost; of a BoundedSemaphore ValueError if the session holds none.

        Cancellation: it is given back all the same.
        """
        if self._held:
            await self._release(self._to_release())
        else:
            await self._session._ready()
            if not await self._register.tell(Release()):
                raise ValueError(f"{self!r} released too many times: this session holds no permit of it")

    async def resize(self, value: int) -> None:
        """Change the number of permits to `value`, while they are used: more are granted at once to those who wait
        first; of fewer, none is taken away, and none granted before enough have been given back.

        Semaphores that were made with the old value and with the new one both go on, until the name is forgotten.

        Raises TypeError and ValueError as making one does; else as acquire() does.

        Cancellation: it is changed all the same.
        """
        _check_value(value)
        await self._session._ready()
        await self._register.tell(Resize(value))

    def _acquiring(self, ticket: int) -> Acquire:
        return Acquire(ticket)

    def _trying(self, ticket: int) -> TryAcquire:
        return TryAcquire(ticket)

    def _releasing(self, grant: Grant) -> GiveBack:
        return GiveBack()

    def _token(self, ticket: int, value: int) -> int:
        return ticket


class BoundedSemaphore(Semaphore):
    """A Semaphore that refuses a release in a session that holds no permit. Made by `Session.bounded_semaphore()`."""

    _bounded = True


def _check_value(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a semaphore needs an int, the number of permits, not {shown(value)}")
    if value < 0:
        raise ValueError(f"a semaphore needs 0 permits or more, not {value}")
