"""What the records of a Lock and a Semaphore share: something is asked for, held, and given back. Pure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from .line import join, join_all
from .record import Record


class Acquire(NamedTuple):
    """Ask for the lock or for a permit. Outcome: what was granted, or 0 if the ticket waits now."""

    ticket: int


class TryAcquire(NamedTuple):
    """Ask for the lock or for a permit, without waiting. Outcome: what was granted, or -1."""

    ticket: int


@dataclass(frozen=True, kw_only=True)
class LeasedRecord(Record):
    """A record of which sessions hold something until they give it back."""

    @abstractmethod
    def is_free(self) -> bool:
        """Whether the lock or a permit can be granted at once. Then nobody waits."""

    @abstractmethod
    def granting(self, session: str, ticket: int) -> tuple[Self, int]:
        """Grant it to the ticket; return the new record and what was granted: a token, or 1."""

    def asked(self, session: str, operation: Acquire | TryAcquire) -> tuple[Self, int]:
        """Grant it at once if it is free. If it is not, an Acquire joins the line."""
        if self.is_free():
            return self.granting(session, operation.ticket)
        if isinstance(operation, TryAcquire):
            return self, -1
        return self.but(line=join(self.line, session, operation.ticket, self.changed)), 0

    def asked_in_a_row(self, session: str, operations: Sequence[Acquire]) -> tuple[Self, list[int]]:
        """As asked() for one after the other. Those that have to wait join the line together: crowds ask at once."""
        record, outcomes = self, list[int]()
        while len(outcomes) < len(operations) and record.is_free():
            record, outcome = record.granting(session, operations[len(outcomes)].ticket)
            outcomes.append(outcome)
        waiting = [operation.ticket for operation in operations[len(outcomes) :]]
        if waiting:
            record = record.but(line=join_all(record.line, session, waiting, record.changed))
        return record, outcomes + [0] * len(waiting)
