"""How the tasks of one session have, one after the other, what the record has granted to all of them together: a run.

A lock is granted to a run of tickets (`records/lock.py`). This session lets them in in their order, and gives the run
back after the last one. A ticket whose task has left is passed over. No change of the record is needed for that, and
no other session is overtaken: the tickets of a run stood in succession at the head of the line.

A session that others have ended does not know it at once. So the engine is asked now and then in between: it hears up
to which ticket the run is done, and only its answer lets the next one in (`Exchange.is_confirmed`).
"""

from __future__ import annotations

from holdfast.cluster.records.record import Grants

from .waiters import Waiters


class Turns:
    """The last run that was granted under one name, and whose turn it is."""

    def __init__(self, waiters: Waiters) -> None:
        self._waiters = waiters
        self._first, self._last = 0, -1
        """The first and the last ticket of the run."""
        self._ahead = 0
        """How far the value that each ticket of the run was granted is ahead of the ticket."""
        self._inside = 0
        """The ticket that is in, or whose task is about to learn it."""
        self.is_under_way = False
        """Whether a ticket is in."""

    def begin(self, run: Grants) -> int:
        """Take note of a run that the record has granted, and let its first ticket in.

        Return the value with which the run has to be given back because no task waits for it any more; else 0. Of a run
        that is known, the next ticket is let in if the record knows that the one before it is done.
        """
        first, value, tickets = run
        end, known = value + tickets - 1, self._last + self._ahead
        if end > known:
            self._first, self._last, self._ahead = first, first + tickets - 1, value - first
            return self._let_in(self._waiters.first_between(first, self._last))
        if self.is_under_way and end == known and value > self._inside + self._ahead:
            # The record has heard that the one that was in is done.
            return self._let_in(self._waiters.first_between(self._inside + 1, self._last))
        return 0

    def knows(self, ticket: int) -> bool:
        """Whether the ticket is in the run. If it is not in, its task may leave without anything being done."""
        return self._first <= ticket <= self._last

    def value_if_in(self, ticket: int) -> int:
        """What the ticket was granted, if it is its turn; else 0."""
        return ticket + self._ahead if self.is_under_way and ticket == self._inside else 0

    def end(self, value: int, is_confirmed: bool) -> int:
        """The ticket with this value is done: let the next one in.

        is_confirmed: whether the engine has said lately that this session has the run.

        Return the value up to which the record has to hear that the run is done; 0 if it need not hear of it now. What
        is not known here is for the record to judge.
        """
        if not (self.is_under_way and value == self._inside + self._ahead):
            return value
        ticket = self._waiters.first_between(self._inside + 1, self._last)
        return self._let_in(ticket) if is_confirmed or ticket is None else value

    def still_waiting(self) -> list[int]:
        """The tickets of the run that have yet to be let in, but for tasks that take back what they have had."""
        if not self.is_under_way:
            return []
        rest = range(self._inside + 1, self._last + 1)
        return [ticket for ticket in self._waiters.futures if ticket in rest and not self._waiters.returns(ticket)]

    def clear(self) -> None:
        """The run was lost, or the session is over."""
        self.is_under_way = False

    def _let_in(self, ticket: int | None) -> int:
        """Let a ticket in, or nobody any more. Return as begin()."""
        if ticket is None:
            self.is_under_way = False
            return self._last + self._ahead
        self.is_under_way, self._inside = True, ticket
        self._waiters.grant(ticket, ticket + self._ahead)
        return 0
