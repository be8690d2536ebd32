"""Semaphore and BoundedSemaphore: a fixed number of holders at a time, among all sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from holdfast._refusals import refusing
from holdfast.cluster.records.semaphore import GiveBack, Release, Resize, SemaphoreRecord
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.values_in_messages import shown

from .grant import Grant
from .leased import Leased


class Semaphore(Leased):
    """A number of permits for all tasks of all sessions that name it. Made by `Session.semaphore()`.

    Permits are granted in the order of asking. When a session or its process ends, the permits that it held are free
    again. So a semaphore is no way to signal from one session to another; use an Event or a Condition for that.
    """

    _bounded = False

    def __init__(self, session: Membership, name: str, value: int) -> None:
        """Called by `Session.semaphore()` and `Session.bounded_semaphore()`."""
        _check_value(value)
        super().__init__(session, name, SemaphoreRecord(value=value, bounded=self._bounded, free=value))

    @refusing
    async def acquire(self) -> Grant:
        """Wait until a permit is free and take it; return the grant, which is true.

        Raises SessionLost if the session is over or ends before; EngineError if the engine fails; NameConflict if the
        name is in use for something else, or with another number of permits.

        Cancellation: raises at once. The task leaves the line. If a permit was granted already, it goes to the next
        waiter.
        """
        return await self._acquire(False)

    _ACQUIRE: ClassVar[Callable[..., object]] = acquire

    @refusing
    async def try_acquire(self) -> Grant | None:
        """Take a permit if one is free and nobody waits; return the grant, or None. Never waits for other holders.

        Raises SessionLost if the session is over or ends before; FormatError if another version of holdfast wrote the
        record; NameConflict as acquire() does. While the engine fails, it goes on trying, because a request that is not
        known to have been refused may still be granted.

        Cancellation: raises at once, and nothing has been taken. What is granted all the same is given back as soon as
        that is known.
        """
        return await super().try_acquire()

    async def locked(self) -> bool:
        """Whether acquire() would have to wait.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict as acquire() does.

        Cancellation: raises at once; nothing has been changed.
        """
        return bool((await self._read_living()).free <= 0)

    async def release(self) -> None:
        """Give a permit back; it goes to the first waiter. A session that holds no permit adds one, as in asyncio.

        Of several permits that this object holds, it is the oldest that this task has acquired.

        Raises LeaseLost if the permit was lost; SessionLost if the session is over or ends before, and holds none;
        FormatError or NameConflict if the name is in use for something else. A BoundedSemaphore raises ValueError if
        the session holds no permit. While the engine fails, it goes on trying.

        Cancellation: it is given back all the same.
        """
        if self._held:
            await self._release(self._to_release())
        elif not await self._tell(Release()):
            raise ValueError(f"{self!r} released too many times: this session holds no permit of it")

    async def resize(self, value: int) -> None:
        """Change the number of permits to `value`, also while they are held.

        If there are more permits than before, the first waiters get them at once. If there are fewer, none is taken
        away, and none is granted until enough have been given back. Semaphore objects that were made with the old value
        and with the new one both go on, until the name is forgotten.

        value: the number of permits, 0 or more.

        Raises TypeError if `value` is not an integer, ValueError if it is below 0; SessionLost if the session is over
        or ends before; FormatError or NameConflict if the name is in use for something else. While the engine fails, it
        goes on trying.

        Cancellation: it is changed all the same.
        """
        _check_value(value)
        await self._tell(Resize(value))

    async def _give_back(self, grant: Grant) -> int:
        return await self._register.tell(GiveBack())

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
