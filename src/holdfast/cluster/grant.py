"""What is held, how it is given back, and what happens to who holds it when it is lost."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import FormatError, LeaseLost, NameConflict, SessionLost
from .primitive import Primitive
from .register import REPLACED

if TYPE_CHECKING:
    from .session import Session


class Grant:
    """One holding of a Lock or of a permit, from the moment it was granted until it is released or lost."""

    def __init__(self, session: Session, name: str, token: int) -> None:
        self._session = session
        self.name = name
        self.token = token
        """Of a Lock: the fencing token, higher than that of every grant before. Of a permit: only its number here."""
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

    def __str__(self) -> str:
        """For messages about its end."""
        return f"the grant of {self.name!r} with token {self.token}"

    def check(self) -> None:
        """Raise LeaseLost if the grant has been lost: for code between awaits."""
        self._session.check_process()
        self._session.look_at_clock()
        if self._why is not None:
            raise LeaseLost(str(self._why))

    def _enter(self) -> None:
        """The running task is in an `async with` body, to be cancelled if the grant is lost."""
        self._body = asyncio.current_task()
        self._cancelling = self._body.cancelling() if self._body is not None else 0

    def _lose(self, why: LeaseLost, *, cancel: bool = True) -> None:
        self._why = why
        self.lost.set()
        if cancel and self._body is not None and not self._body.done():
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


class Leased(Primitive):
    """A primitive that is acquired and released: a Lock, a Semaphore."""

    _held: list[Grant]  # by acquire() and try_acquire(), the oldest first
    _entered: list[Grant]  # by `async with`

    async def acquire(self) -> Grant:
        """Wait until it is free, take it, return the grant (which is true).

        Raises SessionLost if the session ends before; EngineError if the engine fails; NameConflict if the name is
        in use for something else.

        Cancellation: raises at once; the place in the line, or what was on its way, goes to the next.
        """
        self._session.check()
        return self._hold(*await self._register.ask(self._acquiring))

    async def try_acquire(self) -> Grant | None:
        """Take it if it is free and nobody waits; return the grant, else None.

        Raises as acquire() does.

        Cancellation: nothing has been taken.
        """
        self._session.check()
        ticket, value = await self._register.ask_at_once(self._trying)
        return None if value < 0 else self._hold(ticket, value)

    async def release(self) -> None:
        """Give back what was acquired, to who is next. LeaseLost if it was lost.

        Cancellation: it is given back all the same.
        """
        if not self._held:
            raise RuntimeError(f"{self!r} is not acquired. Release it once for each acquire(), or write 'async with'")
        self._session.check_loop()
        await self._release(self._held[0])

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
        self._session.check_loop()
        grant = next((grant for grant in reversed(self._entered) if grant._body is task), None) or next(
            (grant for grant in self._entered if grant._body is None or grant._body.done()), self._entered[0]
        )
        self._entered.remove(grant)
        self._session.look_at_clock()
        if grant.lost.is_set():
            if grant in self._held:
                self._held.remove(grant)
            grant._exit(exc)
        elif grant.released:
            raise RuntimeError(f"{self!r} has been released inside its 'async with' body already")
        else:
            grant._body = None
            try:
                await self._release(grant)
            except (LeaseLost, FormatError, NameConflict):
                if exc is None:
                    raise  # else what comes out of the body passes, a cancellation above all

    def _hold(self, ticket: int, value: int) -> Grant:
        self._session.check()  # it may have been lost after the grant and before this task ran
        grant = Grant(self._session, self._name, self._token(ticket, value))
        self._held.append(grant)
        self._session.hold(grant)
        return grant

    async def _release(self, grant: Grant) -> None:
        grant.released = True
        self._held.remove(grant)
        grant.check()
        self._session.drop(grant)
        try:
            released = await self._register.tell(self._releasing(grant))
        except SessionLost as exc:
            lost = LeaseLost(f"{grant} was lost before its release was known: {exc}")
            grant._lose(lost, cancel=False)
            raise lost from exc
        if not released:
            lost = LeaseLost(f"{grant} was lost before its release: {REPLACED}")
            grant._lose(lost, cancel=False)
            raise lost

    @abstractmethod
    def _acquiring(self, ticket: int) -> Any:
        """The operation that asks for it."""

    @abstractmethod
    def _trying(self, ticket: int) -> Any:
        """The operation that asks for it and does not wait."""

    @abstractmethod
    def _releasing(self, grant: Grant) -> Any:
        """The operation that ends the grant."""

    @abstractmethod
    def _token(self, ticket: int, value: int) -> int:
        """The token of a grant, from its ticket and what that was granted."""
