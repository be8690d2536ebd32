"""What a Lock, a Semaphore and an RWLock share: acquire, release, and `async with`."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from holdfast.cluster.errors import FormatError, LeaseLost, NameConflict, SessionLost
from holdfast.cluster.only_async_with import OnlyAsyncWith
from holdfast.cluster.records.record import Record
from holdfast.cluster.session_life.life import Life
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.session_life.recovery import REPLACED
from holdfast.cluster.session_life.register import Register
from holdfast.tasks.context_manager import FINISHED, returns_awaitable

from .grant import Grant
from .primitive import Primitive
from .wish import FOR_ONE, NOT_NOW, Wish


class Leased(Primitive, OnlyAsyncWith):
    """A primitive that is acquired and released: a Lock, a Semaphore, a side of an RWLock."""

    def __init__(self, session: Membership, name: str, initial: Record) -> None:
        super().__init__(session, name, initial)
        self._held: list[Grant] = []  # by acquire() and try_acquire(), the oldest first
        self._entered: list[Grant] = []  # by `async with`

    if not TYPE_CHECKING:  # type checkers say it by themselves

        def __await__(self):
            """Refuse `await`: raise a TypeError that says what to write."""
            raise TypeError(
                f"a {type(self).__name__} is not awaited; write 'async with' before it, or await its acquire()"
            )

    _ACQUIRE: ClassVar[Callable[..., object]]
    """The class's acquire(), as it is here."""
    _WISH: ClassVar[Wish] = FOR_ONE
    """What `async with` asks for."""

    async def acquire(self) -> Grant:
        """See the class."""
        raise NotImplementedError

    async def try_acquire(self) -> Grant | None:
        """See the class."""
        raise NotImplementedError

    async def _try_acquire(self, wish: Wish) -> Grant | None:
        await self._session._ready()
        life, register = self._session._life, self._register
        ticket, value = await register.ask_at_once(wish.try_acquire, wish.leave)
        if value < NOT_NOW:
            raise self._refusal(value, wish)
        return None if value < 0 else self._hold(life, ticket, value, False, wish.permits)

    def _refusal(self, value: int, wish: Wish) -> Exception:
        """The error for a wish that can never be granted. value: what the record has said."""
        raise NotImplementedError

    async def release(self) -> None:
        """See the class."""
        if not self._held:
            raise self._not_acquired()
        await self._release(self._to_release())

    def _not_acquired(self) -> RuntimeError:
        return RuntimeError(
            f"{self!r} is not acquired. Release it once for each acquire(), or write 'async with', in threads 'with'"
        )

    def _asking(self, kind: type[Acquiring], wish: Wish) -> Coroutine[Any, Any, Grant]:
        """What a task awaits to acquire it; a session that opens again by itself does so first."""
        return kind(self, wish) if self._session._anew is None else self._ask_when_ready(kind, wish)

    async def _ask_when_ready(self, kind: type[Acquiring], wish: Wish) -> Grant:
        await self._session._ready()
        return await kind(self, wish)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, Grant]:
        """Acquire it, as acquire() does; the `as` value is the grant.

        If the grant is lost, the body is cancelled, and LeaseLost comes out of it.
        """
        kind = type(self)
        is_patched = "acquire" in self.__dict__ or kind.acquire is not kind._ACQUIRE
        return self._enter_after(self.acquire()) if is_patched else self._asking(Entering, self._WISH)

    async def _enter_after(self, acquired: Awaitable[Grant]) -> Grant:
        """Enter the body with what a method has acquired that somebody has put in place of acquire(), as mocks do."""
        return self._entered_with(await acquired, asyncio.current_task())

    def _entered_with(self, grant: Grant, task: asyncio.Task[object] | None) -> Grant:
        """task: the running one."""
        grant._enter(task)
        self._entered.append(grant)
        return grant

    @returns_awaitable
    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        """Release the grant of this entry, and no other, as release() does. In a forked child, do nothing.

        If the body has raised, its exception comes out, and no LeaseLost.
        """
        life = self._session._life
        if not (is_usable := life.is_usable()):
            if life.is_inherited():
                return FINISHED
            life.check_loop()
        grant = self._left_by(asyncio.current_task(life.loop))
        if grant._why is not None if is_usable and grant._life is life else grant._is_lost():
            if grant in self._held:
                self._held.remove(grant)
            grant._exit(exc)
        elif grant.released:
            raise RuntimeError(f"{self!r} has been released inside its 'async with' body already")
        else:
            grant._body = None
            try:
                outcome = self._end(grant)
            except (FormatError, NameConflict):
                if exc is None:
                    raise
            else:
                if outcome is not None:
                    return self._leave(grant, outcome, exc)
        return FINISHED

    async def _leave(self, grant: Grant, outcome: Awaitable[int], exc: BaseException | None) -> None:
        """Wait until a grant is given back. exc: what comes out of the body goes on, a cancellation above all."""
        try:
            await self._until_given_back(grant, outcome)
        except (LeaseLost, FormatError, NameConflict):
            if exc is None:
                raise

    def _left_by(self, task: asyncio.Task[object] | None) -> Grant:
        """Take out the grant whose `async with` body the running task leaves."""
        entered = self._entered
        if not entered:
            raise self._not_acquired()
        if entered[-1]._body is task:
            return entered.pop()
        grant = next((grant for grant in reversed(entered) if grant._body is task), None) or next(
            (grant for grant in entered if grant._body is None or grant._body.done()), entered[0]
        )
        entered.remove(grant)
        return grant

    def _hold(self, life: Life, ticket: int, value: int, enters: bool, permits: int) -> Grant:
        if not life.is_alive():  # it may have been lost after the grant and before this task ran
            life.check()
        task, token = asyncio.current_task(life.loop), self._token(ticket, value)
        grant = Grant(self._session, life, self._initial.KIND, self._name, token, permits, task)
        if self._held:
            for lost in [each for each in self._held if each._why is not None and each._is_mine()]:
                self._held.remove(lost)  # this task goes on with another grant, in a session that was opened again
        self._held.append(grant)
        life.hold(grant)
        return self._entered_with(grant, task) if enters else grant

    def _to_release(self) -> Grant:
        """What release() gives back: the oldest that this task has acquired, else what is held, else what is lost."""
        self._session._life.check_loop()
        return self._held[0] if len(self._held) == 1 else min(self._held, key=order_of_release)

    async def _release(self, grant: Grant) -> None:
        if grant._is_lost():
            self._held.remove(grant)
            grant.released = True
            grant._check_not_lost()
        outcome = self._end(grant)
        if outcome is not None:
            await self._until_given_back(grant, outcome)

    def _end(self, grant: Grant) -> Awaitable[int] | None:
        """Give back a grant that is not lost. Return as _give_back()."""
        self._held.remove(grant)
        grant.released = True
        grant._life.leases.drop(grant)
        return self._give_back(grant)

    async def _until_given_back(self, grant: Grant, outcome: Awaitable[int]) -> None:
        """Wait until the record has heard of the release. outcome: 0 if the grant had ended before."""
        try:
            released = await outcome
        except SessionLost as exc:
            lost = LeaseLost(f"{grant} was lost before its release was known: {exc}")
            grant._lose(lost, cancel=False)
            raise lost from exc
        if not released:
            lost = LeaseLost(f"{grant} was lost before its release: {REPLACED}")
            grant._lose(lost, cancel=False)
            raise lost

    async def _revoke(self, grant: Grant, why: LeaseLost) -> None:
        """Give back what its holder should have given back by now. For the holder it is lost."""
        self._held.remove(grant)
        grant._life.leases.drop(grant)
        grant._lose(why)
        outcome = self._give_back(grant)
        if outcome is not None:
            await outcome

    def _give_back(self, grant: Grant) -> Awaitable[int] | None:
        """End the grant. Return what gets 0 if it had ended before; None if nobody has to be asked."""
        raise NotImplementedError

    def _token(self, ticket: int, value: int) -> int:
        """The token of a grant, from its ticket and what that was granted."""
        raise NotImplementedError


def order_of_release(grant: Grant) -> tuple[bool, bool]:
    """What is given back first is what this task has acquired, and what is not lost; of these the oldest."""
    return not grant._is_mine(), grant._why is not None


class Acquiring(Coroutine[Any, Any, Grant]):
    """What a task awaits that acquires a primitive.

    Each task that waits keeps it, and the frame of an `async def` takes four times as much memory. So it does itself
    what a coroutine does that awaits the future of its ticket.
    """

    __slots__ = "_granted", "_leased", "_life", "_register", "_ticket", "_wish"
    _ENTERS: ClassVar[bool] = False
    """Whether the running task enters an `async with` body with the grant."""
    _granted: asyncio.Future[int]
    _life: Life
    _register: Register

    def __init__(self, leased: Leased, wish: Wish) -> None:
        self._leased = leased
        self._wish = wish
        self._ticket: int | None = None
        """None before it has asked, 0 after its end."""

    def __repr__(self) -> str:
        return f"<acquires {self._leased!r}>"

    def __await__(self) -> Generator[Any, Any, Grant]:
        self._ask()
        return self  # what is below is all that `await` needs

    def __iter__(self) -> Generator[Any, Any, Grant]:
        return self

    def _ask(self) -> int:
        """Ask for it; return the ticket."""
        if self._ticket is not None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self._ticket = 0
        leased, wish = self._leased, self._wish
        session = leased._session
        if not session._is_ready():
            session._check()
        self._life, self._register = session._life, leased._register
        self._ticket, self._granted = ticket, _ = self._register.begin(wish.acquire, leave=wish.leave)
        return ticket

    def __next__(self) -> asyncio.Future[int]:
        """Tell the task which future it waits for; at the end, raise StopIteration with the grant."""
        try:
            ticket = self._ticket or self._ask()  # it has yet to ask if a task runs it as its own coroutine
            granted = self._granted
            if not granted.done():
                granted._asyncio_future_blocking = True  # as when a coroutine awaits it
                return granted
            value = granted.result()
            self._register.take(ticket)
            if value < 0:
                raise self._leased._refusal(value, self._wish)
        except BaseException:
            self._fail()
            raise
        grant = self._leased._hold(self._life, ticket, value, self._ENTERS, self._wish.permits)
        self._ticket = 0
        raise StopIteration(grant)

    def _fail(self) -> None:
        """Its task handles an exception: nothing is to be left of what it has asked for."""
        ticket, self._ticket = self._ticket, 0
        if ticket:
            self._register.not_taken(ticket, self._wish.leave)

    def send(self, value: Any) -> Any:
        return next(self)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> NoReturn:
        """The task is cancelled while it waits, or does not go on."""
        try:
            if self._ticket == 0:
                raise RuntimeError("cannot reuse already awaited coroutine")
            raise typ if val is None else val
        except BaseException:
            self._fail()
            raise
        finally:
            del typ, val, tb  # its traceback refers to this frame; this breaks the cycle

    def close(self) -> None:
        ticket, self._ticket = self._ticket, 0
        if ticket:
            self._register.withdraw(ticket, self._wish.leave)

    def __del__(self) -> None:
        """What a task has dropped leaves nothing behind, as after a signal handler has raised in the middle."""
        if self._ticket:
            self.close()
        elif self._ticket is None:
            what = f"coroutine '{type(self._leased).__name__}.acquire' was never awaited"
            warnings.warn(what, RuntimeWarning, 2, source=self)


class Entering(Acquiring):
    """The same, of a task that enters an `async with` body."""

    __slots__ = ()
    _ENTERS = True
