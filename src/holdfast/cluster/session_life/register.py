"""One name, as the primitives of one session use it: ask for something, have something done, read the record."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from holdfast.cluster.errors import FormatError, NameConflict, SessionLost
from holdfast.cluster.records.record import Record, Withdraw
from holdfast.instrumentation import installed
from holdfast.instrumentation.periods import Wait
from holdfast.tasks.closed import Closed

from .dead_sessions import read_living
from .exchange import Exchange
from .outbox import Entry, fail


class Register(Exchange):
    """The operations of one session on one name."""

    def begin(
        self,
        make: Callable[[int], Any],
        *,
        leave: Callable[[int], Any] = Withdraw,
        patient: bool = False,
        waits_for: tuple[str, str] | None = None,
        ends_with_grant: bool = True,
        returns: bool = False,
    ) -> tuple[int, asyncio.Future[int]]:
        """Ask for something with a new ticket; return the ticket, and a future of what it is granted (never 0).

        make: the operation, from the ticket.
        leave: the operation that gives the ticket up.
        patient: wait on while the engine fails, instead of raising EngineError. For a task that cannot simply withdraw.
        waits_for: the kind and the name that hooks are told; None: those of the record.
        ends_with_grant: whether a wait that hooks are told of ends when the ticket is granted something; if not, it
            ends with has_all().
        returns: whether the task takes back a lock that it has had, and so gets it even if it is closed.
        """
        if self.is_replaced:
            self._check_replaced()
        ticket, future = self._waiters.add(self._session.loop, returns)
        if installed.hooks:
            wait = Wait(*(waits_for or (self.initial.KIND, self._name)))
            self._waiters.note_wait(ticket, wait, ends_with_grant)
        try:
            self._submit(Entry(make(ticket), None, ticket, patient))
        except BaseException:  # a signal handler has raised it in the middle
            self.withdraw(ticket, leave)
            raise
        return ticket, future

    def take(self, ticket: int) -> None:
        """The task that has begun with this ticket takes what it was granted. Raises SessionLost if that was lost."""
        self._waiters.take(ticket)

    def was_notified(self, ticket: int) -> bool:
        """Whether the ticket, which was begun with `returns` and turned away, had been notified before."""
        return self._waiters.was_notified(ticket)

    async def check_not_turned_away(self, ticket: int) -> None:
        """Read the record, and raise Closed if it has turned the ticket away.

        Cancellation: raises at once; nothing has been changed.
        """
        for _, away in (await self.read()).turned_away_among(self._session.id, [ticket]):
            raise self._closed(away.reason)

    def gives_up(self, ticket: int) -> None:
        """The ticket's task was cancelled, and waits on only to leave in order."""
        self._waiters.end_wait(ticket, "cancelled")

    def has_all(self, ticket: int) -> None:
        """The ticket, which was begun with `ends_with_grant=False`, has all that it waits for."""
        self._waiters.end_wait(ticket, "granted")

    async def wait_at_most(self, ticket: int, seconds: float) -> int | None:
        """Wait on with a ticket that was granted something but is in the line still; return what it is granted then.

        Return None if the time is up. Raises as the future of begin().
        """
        self._waiters.go_on_waiting(ticket)
        future = self._waiters.add_again(ticket, self._session.loop)
        self._session.keep_looking()
        try:
            await asyncio.wait([future], timeout=seconds)
        except BaseException:
            if not future.cancel():
                future.exception()  # the session has ended in the same step, and the future says so to nobody
            raise
        if not future.done():
            del self._waiters.futures[ticket]
            return None
        self._waiters.take(ticket)
        return future.result()

    async def ask(self, make: Callable[[int], Any]) -> tuple[int, int]:
        """Ask for something and wait for it; return the ticket and what it is granted.

        Cancellation: raises at once. The ticket is withdrawn soon after.
        """
        ticket, future = self.begin(make)
        try:
            value = await future
            self.take(ticket)
            return ticket, value
        except BaseException:
            self.not_taken(ticket)
            raise

    def not_taken(self, ticket: int, leave: Callable[[int], Any] = Withdraw) -> None:
        """In place of taking what it was granted, the task that has begun with this ticket handles an exception.

        leave: as for begin().
        """
        if isinstance(sys.exception(), (SessionLost, FormatError, NameConflict)):
            self._waiters.end_wait(ticket, "failed")
            return  # nothing of the ticket is in the record
        self.withdraw(ticket, leave)

    async def ask_at_once(self, make: Callable[[int], Any], leave: Callable[[int], Any] = Withdraw) -> tuple[int, int]:
        """Ask for something without waiting for others; return the ticket and the outcome. leave: as for begin().

        Waits while the engine fails, because a request that is not known to have been refused may still be granted. If
        the request is refused and sessions that stand in its way have died since, they are buried and it is made again.

        Cancellation: raises at once. What was granted all the same is withdrawn as soon as that is known.
        """
        while True:
            ticket, outcome = await self._ask_once(make, leave)
            others = self._users()
            if outcome > 0 or not others or not (dead := await self._session.engine.dead(others)):
                return ticket, outcome
            self._session.check()
            self._deaths.doomed |= dead

    async def _ask_once(self, make: Callable[[int], Any], leave: Callable[[int], Any]) -> tuple[int, int]:
        ticket, future = self.begin(make, leave=leave, patient=True)
        try:
            await asyncio.wait([future])
        except BaseException:
            future.add_done_callback(lambda done: self._withdraw_granted(ticket, leave, done))
            raise
        self._waiters.take(ticket)
        try:
            return ticket, future.result()
        except Closed:
            self.withdraw(ticket, leave)  # the record keeps until then that it was turned away
            raise

    def _withdraw_granted(self, ticket: int, leave: Callable[[int], Any], done: asyncio.Future[int]) -> None:
        error = done.exception()
        if isinstance(error, Closed) or (error is None and done.result() > 0):
            self.withdraw(ticket, leave)
        else:
            self._waiters.forget(ticket)

    def withdraw(self, ticket: int, leave: Callable[[int], Any] = Withdraw) -> None:
        """Give the ticket up, soon, whatever it was granted. leave: as for begin()."""
        self._waiters.forget(ticket)
        if not self._turns.knows(ticket):
            self._submit(Entry(leave(ticket)))
        elif value := self._turns.value_if_in(ticket):
            self.let_next_in(value, 0)

    async def give_up(self, ticket: int, operation: Any) -> int:
        """Give the ticket up by an operation that says what it was granted; return the outcome.

        Cancellation: it is done all the same.
        """
        self._waiters.forget(ticket)
        return await self.send(operation)

    def let_next_in(self, value: int, ended: int) -> None:
        """The ticket with this value is done: let the next one in.

        ended: the value up to which the record hears of it in another way.
        """
        rest = self._turns.end(value, self.is_confirmed())
        if rest > ended:
            self._submit(Entry(self.initial.ending(rest)))

    def end(self, value: int) -> asyncio.Future[int] | None:
        """Let the next one in after the ticket with this value. Return a future if its task has to wait.

        The future gets 1, or 0 if the record does not know the ticket any more. It is done also if no task awaits that.
        """
        if self.is_replaced:
            self._check_replaced()
        rest = self._turns.end(value, self.is_confirmed())
        return self.send(self.initial.ending(rest)) if rest else None

    def send(self, operation: Any) -> asyncio.Future[int]:
        """Have an operation done; return a future of its outcome. It is done also if no task awaits that."""
        if self.is_replaced:
            self._check_replaced()
        future: asyncio.Future[int] = self._session.loop.create_future()
        if self._session.over is not None:
            fail(future, SessionLost(str(self._session.over)))
        self._submit(Entry(operation, future))
        return future

    async def tell(self, operation: Any) -> int:
        """Have an operation done; return its outcome.

        Cancellation: it is done all the same.
        """
        return await self.send(operation)

    async def read_living(self) -> Any:
        """The record as it is, without what the dead hold and wait for."""
        self._check_replaced()
        record = await read_living(
            self._session.engine, self._name, self._known.decoded, self._session.id, self._users()
        )
        return self._known.agreed(record, self._session.label)

    def serves(self, wanted: Record) -> bool:
        """Whether a primitive that uses the name as `wanted` may use this register."""
        return self._known.serves(wanted)

    def _users(self) -> frozenset[str]:
        """The other sessions that hold something or wait, as far as this session knows."""
        return self._known.others(self._session.id, lambda record: record.users())
