"""The tasks of one session that wait under one name, by the tickets with which they have asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from holdfast.cluster.records.record import Grants
from holdfast.instrumentation.hook import Outcome
from holdfast.instrumentation.periods import Wait
from holdfast.tasks.closed import Closed

NEAR = 64
"""So many tickets are looked at one by one; after them all that wait, as a wake-up may name any number of tickets."""


class Waiters:
    """The futures of the tickets that have neither been granted nor withdrawn."""

    def __init__(self, numbers: int) -> None:
        """numbers: no ticket before had a higher one."""
        self.futures: dict[int, asyncio.Future[int]] = {}
        self.last_ticket = numbers
        self._untaken: dict[int, Exception | None] = {}
        """The tickets that were granted something and whose tasks have yet to run; and why they have lost it, if so."""
        self._waits: dict[int, Wait] = {}
        """The waits that hooks are told of, or will be if the ticket has to wait."""
        self._go_on: set[int] = set()
        """Those of them that go on after a grant."""
        self._returning: set[int] = set()
        """The tickets of tasks that have had a lock before, and take it back."""
        self._notified: dict[int, bool] = {}
        """Those of them that were turned away, and whether a notification had come before."""

    def add(self, loop: asyncio.AbstractEventLoop, returns: bool = False) -> tuple[int, asyncio.Future[int]]:
        """A new ticket, and the future of what it is granted. returns: whether its task takes a lock back."""
        self.last_ticket = ticket = self.last_ticket + 1
        if returns:
            self._returning.add(ticket)
        future: asyncio.Future[int] = loop.create_future()
        self.futures[ticket] = future
        return ticket, future

    def note_wait(self, ticket: int, wait: Wait, ends_with_grant: bool) -> None:
        """Tell hooks of it if the ticket, which is new, has to wait.

        ends_with_grant: if False, the wait goes on after that until end_wait().
        """
        self._waits[ticket] = wait
        if not ends_with_grant:
            self._go_on.add(ticket)

    def begin_waits(self, tickets: Iterable[int]) -> None:
        """The record has these tickets now. Those that were not granted anything wait."""
        for ticket in tickets:
            if ticket in self._waits and self.waits(ticket):
                self._waits[ticket].begin()

    def go_on_waiting(self, ticket: int) -> None:
        """The ticket was granted something, and has to wait for more."""
        if ticket in self._waits:
            self._waits[ticket].begin()

    def end_wait(self, ticket: int, outcome: Outcome) -> None:
        """The ticket does not wait any more."""
        wait = self._waits.pop(ticket, None)
        if wait is not None:
            self._go_on.discard(ticket)
            wait.end(outcome)

    def add_again(self, ticket: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[int]:
        """A new future for a ticket that was granted something, and waits for more."""
        future: asyncio.Future[int] = loop.create_future()
        self.futures[ticket] = future
        return future

    def first_between(self, first: int, last: int) -> int | None:
        """The first ticket from `first` to `last` whose task still waits."""
        ticket = first
        while ticket <= last:
            future = self.futures.get(ticket)
            if future is not None and not future.done():
                return ticket
            ticket += 1
            if ticket == first + NEAR:
                waiting = (each for each in self.futures if ticket <= each <= last and self.waits(each))
                return min(waiting, default=None)
        return None

    def waits(self, ticket: int) -> bool:
        """Whether the ticket's task still waits for what it may be granted."""
        future = self.futures.get(ticket)
        return future is not None and not future.done()

    def returns(self, ticket: int) -> bool:
        """Whether the ticket's task takes back a lock that it has had."""
        return ticket in self._returning

    def turn_away(self, ticket: int, condition: str, exc: Exception) -> None:
        """The ticket was turned away from a condition, or if that is empty, from what the name stands for."""
        if ticket in self._returning:
            self._notified[ticket] = not condition
        self.refuse(ticket, exc)

    def was_notified(self, ticket: int) -> bool:
        """Whether a ticket that takes a lock back, and was turned away, had been notified before."""
        return self._notified.get(ticket, False)

    def forget(self, ticket: int) -> None:
        """The ticket waits no more. Its task knows that."""
        self.futures.pop(ticket, None)
        if self._returning:
            self._returning.discard(ticket)
            self._notified.pop(ticket, None)
        self._untaken.pop(ticket, None)
        if self._waits:
            self.end_wait(ticket, "cancelled")

    def take(self, ticket: int) -> None:
        """The ticket's task runs, and takes what it was granted. Raises the reason if that was lost meanwhile."""
        if self._returning:
            self._returning.discard(ticket)
        lost = self._untaken.pop(ticket, None)
        if lost is not None:
            raise lost

    def lose_untaken(self, exc: Exception) -> None:
        """What was granted to tasks that have yet to run is lost."""
        for ticket in self._untaken:
            self._untaken[ticket] = exc

    def grant(self, ticket: int, value: int) -> bool:
        """Grant it to a ticket; return whether its task was still waiting."""
        future = self.futures.pop(ticket, None)
        if future is None or future.done():
            return False
        future.set_result(value)
        self._untaken[ticket] = None
        if self._waits and ticket not in self._go_on:
            self.end_wait(ticket, "granted")
        return True

    def grant_all(self, granted: Iterable[Grants]) -> int:
        """Grant the same to all tickets that were granted together, in the order of asking.

        Return how many of their tasks were still waiting.
        """
        woken = 0
        for first, value, count in sorted(granted):
            if count <= len(self.futures):
                tickets = [*range(first, first + count)]
            else:
                tickets = [ticket for ticket in self.futures if first <= ticket < first + count]
            for ticket in tickets:
                woken += self.grant(ticket, value)
        return woken

    def refuse(self, ticket: int, exc: Exception) -> None:
        future = self.futures.pop(ticket, None)
        if future is not None and not future.done():
            future.set_exception(exc)
        self.end_wait(ticket, "closed" if isinstance(exc, Closed) else "failed")

    def take_all(self) -> list[asyncio.Future[int]]:
        """Nobody waits any more; return the futures."""
        futures = [*self.futures.values()]
        self.futures.clear()
        for ticket in [*self._waits]:
            self.end_wait(ticket, "failed")
        return futures
