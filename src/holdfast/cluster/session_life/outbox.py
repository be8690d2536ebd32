"""The operations of one session on one name that were not answered yet: those that gather, and the batch on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from operator import itemgetter
from typing import Any, NamedTuple

from holdfast.cluster.records.step import Batch


class Entry(NamedTuple):
    """One operation."""

    operation: Any
    done: asyncio.Future[int] | None = None
    """Gets the outcome, if a task waits for it."""
    ticket: int = 0
    """Of an operation that asks: the ticket, which is granted the outcome unless that is 0."""
    patient: bool = False
    """Whether the task waits on while the engine fails, because only the outcome says what became of its request."""


_OPERATION = itemgetter(0)


def fail(done: asyncio.Future[int], exc: Exception) -> None:
    """Tell whoever waits for the outcome that there is none. Perhaps nobody does, and then nobody is told."""
    if not done.done():
        done.set_exception(exc)
        done.exception()  # else asyncio complains that nobody has looked at it


class Outbox:
    """Entries in the order of asking. While a batch is on its way, more entries gather for the next one."""

    def __init__(self, numbers: int) -> None:
        """numbers: no batch before had a higher one."""
        self.pending: list[Entry] = []
        self.sent: tuple[Batch, list[Entry]] | None = None
        """The batch whose outcome is not known, and its entries."""
        self.last_batch = numbers

    def next_batch(self, session: str) -> tuple[Batch, list[Entry]]:
        """The batch on its way; if there is none, a new one of all that is pending."""
        if self.sent is None:
            entries, self.pending = self.pending, []
            self.last_batch += 1
            self.sent = Batch(session, self.last_batch, tuple(map(_OPERATION, entries))), entries
        return self.sent

    def sent_tickets(self) -> set[int]:
        """The tickets of the batch on its way."""
        return {entry.ticket for entry in self.sent[1]} if self.sent is not None else set()

    def without_pending(self, tickets: Collection[int]) -> Collection[int]:
        """Those of the tickets whose requests were sent."""
        pending = {entry.ticket for entry in self.pending if entry.ticket} if self.pending else None
        return {*tickets} - pending if pending else tickets

    def take_all(self) -> list[Entry]:
        """Nothing is to be sent any more; return all entries."""
        entries = [*(self.sent[1] if self.sent else ()), *self.pending]
        self.pending.clear()
        self.sent = None
        return entries
