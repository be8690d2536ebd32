"""Who waits for what another task holds, told to asyncio: from Python 3.14 on it keeps by whom each task is awaited.

asyncio's own tools then show it, also those that look from another process. `python -m asyncio pstree PID` prints a
circle in place of a tree.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

from .contended import Contended

Edge = tuple[asyncio.Task[Any], asyncio.Task[Any]]
"""A task that holds something, and one that waits for it."""

if sys.version_info >= (3, 14):
    from asyncio import future_add_to_awaited_by as add
    from asyncio import future_discard_from_awaited_by as discard
else:

    def add(holder: object, waiter: object) -> None:
        """There is nothing to tell."""

    discard = add


class Edges:
    """What one watch has told asyncio. A holder keeps those that wait for it alive until it is taken back."""

    def __init__(self) -> None:
        self._told: set[Edge] = set()

    def tell(self, primitives: Iterable[Contended]) -> None:
        """Tell who waits for whom now, and take back what is not so any more."""
        now = {
            (holding.party.subject, party.subject)
            for primitive in primitives
            for holding in primitive.holdings
            if isinstance(holding.party.subject, asyncio.Task)
            for party in primitive.line
            if isinstance(party.subject, asyncio.Task) and party is not holding.party
        }
        for holder, waiter in self._told - now:
            discard(holder, waiter)
        for holder, waiter in now - self._told:
            add(holder, waiter)
        self._told = now
