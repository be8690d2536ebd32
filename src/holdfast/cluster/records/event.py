"""The record of an Event, and every change of it. Pure.

Setting the event empties the line. So every task that waited at that moment is woken, even if the event is cleared at
once (`set(); clear()`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .line import join, leave
from .record import Record, Wake, Withdraw, wakes_for
from .shapes import Shape


class Wait(NamedTuple):
    """Wait until the event is set. Outcome: 1 if it is set, or 0 if the ticket waits now."""

    ticket: int


class Set(NamedTuple):
    """Set the event. Outcome: 1."""


class Clear(NamedTuple):
    """Clear the event. Outcome: 1."""


Operation = Wait | Set | Clear


@dataclass(frozen=True, kw_only=True)
class EventRecord(Record):
    """All that the cluster knows of one Event."""

    KIND = "event"
    ADDED: ClassVar[Mapping[str, type]] = {"wait": Wait, "set": Set, "clear": Clear, "withdraw": Withdraw}
    ASKS = frozenset({Wait})
    SHAPES: ClassVar[Mapping[str, Shape]] = {"is_set": shapes.truth}

    is_set: bool = False

    def refuses(self, operation: Operation) -> bool:
        """What an event tells has happened, be it closed or not."""
        return not self.is_set and super().refuses(operation)

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[EventRecord, int]:
        match operation:
            case Wait(ticket):
                if self.is_set:
                    return self, 1
                return self.but(line=join(self.line, session, ticket, self.changed)), 0
            case Set():
                wakes += wakes_for(self.line, 1)
                return self.but(is_set=True, line=()), 1
            case Clear():
                return self.but(is_set=False), 1

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[EventRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        return self.but(line=line), waited

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> EventRecord:
        return self.without_waiters(dead)

    def is_initial(self) -> bool:
        return not self.line and not self.is_set

    def figures(self) -> dict[str, int | bool]:
        return {"is_set": self.is_set}

    def state(self) -> dict[str, Any]:
        return {"is_set": self.is_set}

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        return {"is_set": document["is_set"]}
