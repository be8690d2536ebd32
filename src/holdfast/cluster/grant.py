"""What is held, how it is given back, and what happens to who holds it when it is lost."""

from __future__ import annotations

import asyncio
import weakref
from abc import abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast._refusals import refusing, shown

from .errors import FormatError, LeaseLost, NameConflict, SessionLost
from .primitive import Primitive
from .register import REPLACED

if TYPE_CHECKING:
    from .life import Life
    from .record import Record
    from .session import Session


class Grant:
    """One holding of a Lock or of a permit, from the moment it was granted until it is released or lost."""

    def __init__(self, session: Session, life: Life, name: str, token: int) -> None:
        """life: that of the session in which it was granted."""
        self._session = session  # which lasts as long as somebody has something of it
        self._life = life
        self.name = name
        self.token = token
        """Of a Lock: the fencing token, higher than that of every grant before. Of a permit: only its number here."""
        self.lost = asyncio.Event()
        """Set when the grant is no longer to be relied on, as the session is over."""
        self.released = False
        """Whether its release has begun."""
        self._is_waiting = False  # in Condition.wait(), which has released the lock and takes it again
        self._why: LeaseLost | None = None
        task = asyncio.current_task()
        self._acquirer = None if task is None else weakref.ref(task)
        self._body: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False

    def __repr__(self) -> str:
        if self.lost.is_set():
            state = "lost"
        elif self.released:
            state = "released"
        else:
            state = "in Condition.wait()" if self._is_waiting else "held"
        return f"<holdfast.cluster.Grant of {shown(self.name)}, token {self.token} [{state}]>"

    def __str__(self) -> str:
        """For messages about its end."""
        return f"the grant of {shown(self.name)} with token {self.token}"

    def check(self) -> None:
        """Raise LeaseLost if it is not held any more, as it was lost or released: for code between awaits."""
        self._life.check_process()
        self._check_not_lost()
        if self.released:
            raise LeaseLost(f"{self} was released; what it protects may be another one's by now")
        if self._is_waiting:
            raise LeaseLost(f"{self} is not held while its task is in Condition.wait(), which has released it")

    def _check_not_lost(self) -> None:
        if self._is_lost():
            raise LeaseLost(str(self._why))

    def _is_lost(self) -> bool:
        """By the clock, now."""
        self._life.look_at_clock()
        if self._why is None and self._life.over is not None and not self.released:
            self._lose(LeaseLost(f"{self} was lost: {self._life.over}"))  # it was not told yet
        return self._why is not None

    def _is_mine(self) -> bool:
        """Whether the running task has acquired it."""
        return self._acquirer is not None and self._acquirer() is asyncio.current_task()

    def _enter(self) -> None:
        """The running task is in an `async with` body, to be cancelled if the grant is lost."""
        self._body = asyncio.current_task()
        self._cancelling = self._body.cancelling() if self._body is not None else 0

    def _lose(self, why: LeaseLost, *, cancel: bool = True) -> None:
        if self._why is not None:
            return
        self._why = why
        self.lost.set()
        loop = self._life.loop
        if not cancel or self._body is None or loop.is_closed():
            return
        if asyncio.current_task(loop) is None:
            self._cancel_body()
        else:
            # A task that runs (this one, or one that has started this one eagerly) would get the cancellation at its
            # next await, wherever that is by then: before Python 3.13 uncancel() does not take it back.
            loop.call_soon(self._cancel_body)

    def _cancel_body(self) -> None:
        """Outside of all tasks: cancel the body, if it has not been left meanwhile."""
        if self._body is not None and not self._body.done():
            self._body.cancel()
            self._cancelled = True

    def _exit(self, exc: BaseException | None) -> None:
        """Leave the body after a loss; raises LeaseLost, unless something else is to be raised.

        These are asyncio.timeout()'s mechanics: the cancellation that was meant for this body becomes LeaseLost, one
        that came from elsewhere goes on. Of nested bodies the outermost converts. In another task than the one that
        entered, as at the end of a fixture, none was meant for this exit.
        """
        task, body = asyncio.current_task(), self._body
        self._body = None
        if task is not None and task is body:
            left = task.uncancel() if self._cancelled else task.cancelling()
            is_meant = isinstance(exc, asyncio.CancelledError) and self._cancelled and left <= self._cancelling
        else:
            is_meant = False
        if exc is None or is_meant:
            raise LeaseLost(str(self._why)) from exc


class Leased(Primitive):
    """A primitive that is acquired and released: a Lock, a Semaphore."""

    def __init__(self, session: Session, name: str, initial: Record) -> None:
        super().__init__(session, name, initial)
        self._held: list[Grant] = []  # by acquire() and try_acquire(), the oldest first
        self._entered: list[Grant] = []  # by `async with`

    if not TYPE_CHECKING:  # type checkers say it by themselves

        def __enter__(self):
            raise TypeError(f"{_a(self)} is held with 'async with', not with 'with'")

        def __exit__(self, *exc):
            """Never reached; `with` looks it up before it calls `__enter__`."""

        def __await__(self):
            raise TypeError(f"{_a(self)} is not awaited; write 'async with' before it, or await its acquire()")

    @refusing
    async def acquire(self) -> Grant:
        """Wait until it is free, take it, return the grant (which is true).

        Raises SessionLost if the session ends before; EngineError if the engine fails; NameConflict if the name is
        in use for something else.

        Cancellation: raises at once; the place in the line, or what was on its way, goes to the next.
        """
        await self._session._ready()
        life, register = self._session._life, self._register
        return self._hold(life, *await register.ask(self._acquiring))

    @refusing
    async def try_acquire(self) -> Grant | None:
        """Take it if it is free and nobody waits; return the grant, else None.

        Raises as acquire() does.

        Cancellation: nothing has been taken.
        """
        await self._session._ready()
        life, register = self._session._life, self._register
        ticket, value = await register.ask_at_once(self._trying)
        return None if value < 0 else self._hold(life, ticket, value)

    async def release(self) -> None:
        """Give back what was acquired, to who is next. LeaseLost if it was lost.

        Cancellation: it is given back all the same.
        """
        if not self._held:
            raise RuntimeError(f"{self!r} is not acquired. Release it once for each acquire(), or write 'async with'")
        await self._release(self._to_release())

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
        """Release the grant that this entry made, and no other. In a forked child nothing is done: it is the parent's."""  # noqa: E501
        if self._session._life.is_inherited():
            return
        task = asyncio.current_task()
        self._session._life.check_loop()
        grant = next((grant for grant in reversed(self._entered) if grant._body is task), None) or next(
            (grant for grant in self._entered if grant._body is None or grant._body.done()), self._entered[0]
        )
        self._entered.remove(grant)
        if grant._is_lost():
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

    def _hold(self, life: Life, ticket: int, value: int) -> Grant:
        life.check()  # it may have been lost after the grant and before this task ran
        grant = Grant(self._session, life, self._name, self._token(ticket, value))
        for lost in [each for each in self._held if each.lost.is_set() and each._is_mine()]:
            self._held.remove(lost)  # this task goes on with another one, in a session that was opened again
        self._held.append(grant)
        life.hold(grant)
        return grant

    def _to_release(self) -> Grant:
        """What release() gives back: the oldest that this task has acquired, else what is held, else what is lost."""
        self._session._life.check_loop()
        return min(self._held, key=lambda grant: (not grant._is_mine(), grant.lost.is_set()))

    async def _release(self, grant: Grant) -> None:
        self._held.remove(grant)
        try:
            grant._check_not_lost()
        finally:
            grant.released = True
        grant._life.drop(grant)
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


def _a(leased: object) -> str:
    return f"a {type(leased).__name__}"
