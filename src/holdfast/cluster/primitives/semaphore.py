"""Semaphore and BoundedSemaphore: a fixed number of holders at a time, among all sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, ClassVar

from holdfast._refusals import refusing
from holdfast.cluster.only_async_with import OnlyAsyncWith
from holdfast.cluster.records.semaphore import (
    GiveBack,
    GiveBackMany,
    Release,
    ReleaseMany,
    Resize,
    SemaphoreRecord,
    refusal,
)
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.values_in_messages import shown
from holdfast.tasks.context_manager import returns_awaitable
from holdfast.tasks.semaphore import ONE, at_least_one

from .closable import ClosesItself
from .grant import Grant
from .leased import Acquiring, Entering, Leased, order_of_release
from .wish import FOR_ONE, Wish, for_permits


class Semaphore(Leased, ClosesItself):
    """A number of permits for all tasks of all sessions that name it. Made by `Session.semaphore()`.

    Permits are granted in the order of asking. A task that needs several gets them at once, and is not overtaken by
    those that need fewer. When a session or its process ends, the permits that it held are free again. So a semaphore
    is no way to signal from one session to another; use an Event or a Condition for that.
    """

    _bounded = False

    def __init__(self, session: Membership, name: str, value: int) -> None:
        """Called by `Session.semaphore()` and `Session.bounded_semaphore()`."""
        _check_value(value)
        super().__init__(session, name, SemaphoreRecord(value=value, bounded=self._bounded, free=value))

    @refusing
    async def acquire(self, n: int = 1) -> Grant:
        """Wait until `n` permits are free and take them at once; return the grant, which is true.

        n: the number of permits, 1 or more. A task that needs many keeps its place: none that asks later, in any
        session, gets a permit before it, so permits may be free while tasks wait.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; EngineError if the
        engine fails; NameConflict if the name is in use for something else, or with another number of permits;
        TypeError if `n` is no integer, ValueError if it is below 1, or more than a BoundedSemaphore has, be it after a
        resize().

        Cancellation: raises at once. The task leaves the line. Permits that were granted already, and those that it
        kept from others, go to the next waiters.
        """
        return await self._asking(Acquiring, FOR_ONE if n is ONE else for_permits(at_least_one(n)))

    _ACQUIRE: ClassVar[Callable[..., object]] = acquire

    @refusing
    async def try_acquire(self, n: int = 1) -> Grant | None:
        """Take `n` permits if they are free and nobody waits; return the grant, or None. Never waits for other holders.

        n: the number of permits, 1 or more.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; FormatError if
        another version of holdfast wrote the record; NameConflict, TypeError and ValueError as acquire() does. While
        the engine fails, it goes on trying, because a request that is not known to have been refused may still be
        granted.

        Cancellation: raises at once, and nothing has been taken. What is granted all the same is given back as soon as
        that is known.
        """
        return await self._try_acquire(for_permits(at_least_one(n)))

    def permits(self, n: int) -> Permits:
        """What takes `n` permits in `async with`, and gives them back at its end. The `as` value is the grant.

        n: the number of permits, 1 or more.

        It may be used again, also by several tasks at the same time. If the grant is lost, the body is cancelled, and
        LeaseLost comes out of it.

        Raises TypeError if `n` is no integer, ValueError if it is below 1; and in `async with` what acquire() raises.

        Cancellation: as with acquire().
        """
        return Permits(self, at_least_one(n))

    async def locked(self) -> bool:
        """Whether acquire() would have to wait.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict as acquire() does.

        Cancellation: raises at once; nothing has been changed.
        """
        return not (await self._read_living()).is_free()

    async def release(self, n: int = 1) -> None:
        """Give `n` permits back; they go to the first waiters. What this session does not hold is added, as in asyncio.

        n: the number of permits, 1 or more.

        Of the permits that this object holds, they are the oldest that this task has acquired. A grant of several may
        be given back in parts; `grant.permits` says how many are left.

        Raises LeaseLost if a permit was lost; SessionLost if the session is over or ends before, and holds none;
        FormatError or NameConflict if the name is in use for something else; TypeError if `n` is no integer, ValueError
        if it is below 1. A BoundedSemaphore raises ValueError if fewer than `n` permits are held, and gives none back.
        While the engine fails, it goes on trying.

        Cancellation: they are given back all the same.
        """
        if n is ONE and self._held and (grant := self._to_release()).permits == 1:
            await self._release(grant)
        else:
            await self._release_some(at_least_one(n), sorted(self._held, key=order_of_release))

    async def _release_some(
        self, n: int, held: Iterable[Grant], ends: Callable[[Grant], object] = lambda grant: None
    ) -> None:
        """Give back permits.

        held: what this object holds, in the order of release. ends: is called with each grant of which none is left.
        """
        self._session._life.check_loop()
        shares: list[tuple[Grant, int]] = []
        left = n
        for grant in held:
            if left:
                shares.append((grant, min(grant.permits, left)))
                left -= shares[-1][1]
        if not shares:
            if not await self._tell(Release() if n == 1 else ReleaseMany(n)):
                held_here = "no permit" if n == 1 else f"fewer than {n} permits"
                raise ValueError(f"{self!r} released too many times: this session holds {held_here} of it")
            return
        if left and self._bounded:
            raise ValueError(
                f"{self!r} released too many times: it holds {n - left} permits here, not {n}; none was given back"
            )
        first, part = next((each for each in shares if each[0]._is_lost()), shares[0])
        if first._is_lost() or (part == n and part == first.permits):
            ends(first)
            await self._release(first)
            return
        for grant, part in shares:
            if part < grant.permits:
                grant.permits -= part
            else:
                ends(grant)
                self._held.remove(grant)
                grant.released = True
                grant._life.leases.drop(grant)
        await self._until_given_back(first, self._register.tell(ReleaseMany(n) if left else _giving_back(n)))

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

    def _give_back(self, grant: Grant) -> Awaitable[int]:
        return self._register.send(_giving_back(grant.permits))

    def _refusal(self, value: int, wish: Wish) -> Exception:
        return ValueError(
            f"n must be at most {refusal(value)}, which is how many permits there are, not {wish.permits}"
        )

    def _token(self, ticket: int, value: int) -> int:
        return ticket


class BoundedSemaphore(Semaphore):
    """A Semaphore that refuses a release of more permits than are held. Made by `Session.bounded_semaphore()`."""

    _bounded = True


class Permits(OnlyAsyncWith):
    """So many permits of one semaphore. Made by `Semaphore.permits()`."""

    def __init__(self, semaphore: Semaphore, n: int) -> None:
        """Called by `Semaphore.permits()`."""
        self._semaphore = semaphore
        self._n = n

    def __repr__(self) -> str:
        return f"<{self._n} permits of {self._semaphore!r}>"

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, Grant]:
        """Take the permits, as `Semaphore.acquire(n)` does; the `as` value is the grant."""
        return self._semaphore._asking(Entering, for_permits(self._n))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Give them back, as `async with` of the semaphore does."""
        await self._semaphore.__aexit__(exc_type, exc, tb)


def _giving_back(n: int) -> GiveBack | GiveBackMany:
    return GiveBack() if n == 1 else GiveBackMany(n)


def _check_value(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a semaphore needs an int, the number of permits, not {shown(value)}")
    if value < 0:
        raise ValueError(f"a semaphore needs 0 permits or more, not {value}")
