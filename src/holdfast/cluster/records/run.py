"""One run of a line: tickets of one session, in succession. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

Spans = tuple[int, ...]
"""Tickets in rising order: the first ticket of each span, and the one behind its last."""


class Run(NamedTuple):
    """Tickets of one session, in succession in a line."""

    session: str
    spans: Spans
    since: float = 0.0
    """The engine's time at which the first ticket joined, in seconds since 1970; 0 if it is not known. See
    `line.TOGETHER`."""
    asks: int = 1
    """What each ticket asks for: so many permits of a semaphore; of an RWLock, to read or to write (`rw_lock.WRITE`); 1
    where there is only one thing to ask for."""

    def size(self) -> int:
        return sum(self.spans[1::2]) - sum(self.spans[::2])

    def tickets(self) -> Iterator[int]:
        return (ticket for first, end in self.pairs() for ticket in range(first, end))

    def pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self.spans[::2], self.spans[1::2], strict=True)

    def last(self) -> int:
        return self.spans[-1] - 1

    def has(self, ticket: int) -> bool:
        return bisect_right(self.spans, ticket) % 2 == 1
