"""Lock: one holder among all sessions."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from .errors import LeaseLost, SessionLost

if TYPE_CHECKING:
    from .session import Session


class Grant:
    """One holding of a Lock, from the moment it was granted until it is released or lost."""

    def __init__(self, name: str, token: int) -> None:
        self.name = name
        self.token = token
        """The fencing token: higher than that of every grant before."""
        self.lost = asyncio.Event()
        """Set when the grant is no longer to be relied on, as the session is over."""
        self.released = False
        """Whether its release has begun."""
        self._why: LeaseLost | None = None
        self._body: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False

    def __repr__(self) -> str:
        state = "lost" if self.lost.is_set() else "released" if self.released else "held"
        return f"<holdfast.cluster.Grant of {self.name!r}, token {self.token} [{state}]>"

    def check(self) -> None:
        """Raise LeaseLost if the grant has been lost: for code between awaits."""
        if self._why is not None:
            raise LeaseLost(str(self._why))

    def _enter(self) -> None:
        """The running task is in an `async with` body, to be cancelled if the grant is lost."""
        self._body = asyncio.current_task()
        self._cancelling = self._body.cancelling() if self._body is not None else 0

    def _lose(self, why: LeaseLost) -> None:
        self._why = why
        self.lost.set()
        if self._body is not None and not self._body.done():
            self._body.cancel()
            self._cancelled = True

    def _exit(self, exc: BaseException | None) -> None:
        """Leave the body after a loss; raises LeaseLost, unless something else is to be raised.

        These are asyncio.timeout()'s mechanics: the cancellation that was meant for this body becomes LeaseLost, one
        that came from elsewhere goes on. Of nested bodies the outermost converts.
        """
        task = asyncio.current_task()
        if task is None or task is not self._body:
            return  # as in a fixture: nobody was cancelled, and `lost` has told it
        self._body = None
        left = task.uncancel() if self._cancelled else task.cancelling()
        if exc is None or (isinstance(exc, asyncio.CancelledError) and self._cancelled and left <= self._cancelling):
            raise LeaseLost(str(self._why)) from exc


class Lock:
    """A mutual-exclusion lock for all tasks of all sessions that name it. Made by `Session.lock()`.

    Whoever asks first gets it first, in the order in which the requests reached the engine; inside a session, in the
    order of the calls. `release()` hands it to the next one directly. When a session or its process ends, what it
    held goes to the next.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._register = session.register(name)
        self._current: Grant | None = None
        self._entered: list[Grant] = []

    def __repr__(self) -> str:
        return f"<holdfast.cluster.Lock {self._name!r} of {self._session!r}>"

    async def acquire(self) -> Grant:
        """Wait until the lock is free, take it, return the grant (which is true).

        Raises SessionLost if the session ends before; EngineError if the engine fails.

        Cancellation: raises at once; the place in the line, or the lock if it was on its way, goes to the next.
        """
        self._session.check()
        token = await self._register.acquire()
        self._session.check()  # it may have been lost after the grant and before this task ran
        grant = Grant(self._name, token)
        self._current = grant
        self._session.hold(grant)
        return grant

    async def release(self) -> None:
        """Hand the lock to who is next.

        Raises RuntimeError if this object does not hold it, LeaseLost if it was lost.

        Cancellation: the lock is released all the same.
        """
        grant = self._current
        if grant is None or grant.released:
            raise RuntimeError(f"{self!r} is not acquired. Release it once for each acquire(), or write 'async with'")
        await self._release(grant)

    async def locked(self) -> bool:
        """Whether anybody holds it, or it is on its way to somebody."""
        self._session.check()
        return (await self._register.read()).holder is not None

    async def __aenter__(self) -> Grant:
        """Acquire it; the `as` value is the grant.

        If the grant is lost, the body is cancelled, and LeaseLost comes out.
        """
        grant = await self.acquire()
        grant._enter()
        self._entered.append(grant)
        return grant

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Release the grant that this entry made, and no other."""
        task = asyncio.current_task()
        grant = next((grant for grant in self._entered if grant._body is task), self._entered[0])
        self._entered.remove(grant)
        if grant.lost.is_set():
            grant._exit(exc)
        elif grant.released:
            raise RuntimeError(f"{self!r} has been released inside its 'async with' body already")
        else:
            grant._body = None
            await self._release(grant)

    async def _release(self, grant: Grant) -> None:
        grant.released = True
        if self._current is grant:
            self._current = None
        grant.check()
        self._session.drop(grant)
        try:
            await self._register.release(grant.token)
        except SessionLost as exc:
            raise LeaseLost(f"{grant!r} was lost before its release was known: {exc}") from exc
