"""The tasks of one session that wait under one name, by the tickets with which they have asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from holdfast.cluster.records.record import Grants


class Waiters:
    """The futures of the tickets that have neither been granted nor withdrawn."""

    def __init__(self, numbers: int) -> None:
        """numbers: no ticket before had a higher one."""
        self.futures: dict[int, asyncio.Future[int]] = {}
        self.last_ticket = numbers
        self._untaken: dict[int, Exception | None] = {}
        """The tickets that were granted something and whose tasks have yet to run; and why they have lost it, if so."""

    def add(self, loop: asyncio.AbstractEventLoop) -> tuple[int, asyncio.Future[int]]:
        """A new ticket, and the future of what it is granted."""
        self.last_ticket += 1
        future: asyncio.Future[int] = loop.create_future()
        self.futures[self.last_ticket] = future
        return self.last_ticket, future

    def add_again(self, ticket: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[int]:
        """A new future for a ticket that was granted something, and waits for more."""
        future: asyncio.Future[int] = loop.create_future()
        self.futures[ticket] = future
        return future

    def waits(self, ticket: int) -> bool:
        """Whether the ticket's task still waits for what it may be granted."""
        future = self.futures.get(ticket)
        return future is not None and not future.done()

    def forget(self, ticket: int) -> None:
        """The ticket waits no more. Its task knows that."""
        self.futures.pop(ticket, None)
        self._untaken.pop(ticket, None)

    def take(self, ticket: int) -> None:
        """The ticket's task runs, and takes what it was granted. Raises the reason if that was lost meanwhile."""
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

    def take_all(self) -> list[asyncio.Future[int]]:
        """Nobody waits any more; return the futures."""
        futures = [*self.futures.values()]
        self.futures.clear()
        return futures
