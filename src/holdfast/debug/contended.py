"""The primitives that somebody waits for, each with its line and its holders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .doubts import Doubt
from .parties import Party
from .primitives import free, line_of, taken
from .story import Place


@dataclass(frozen=True, slots=True)
class Holding:
    """A task or a thread that holds a primitive."""

    party: Party
    permits: int
    place: Place | None
    has_run: bool
    doubt: Doubt | None = None
    depth: int = 0
    """See stacks.Manager."""


@dataclass(eq=False, slots=True)
class Contended:
    """A primitive that somebody waits for."""

    core: Any
    shown: Any
    free: float
    """How many permits are free; of a lock, 1 if it is."""
    taken: float | None
    """How many permits are taken. None if it is not known; 0 if nobody holds such a primitive."""
    line: list[Party] = field(default_factory=list)
    """Those that wait, in order."""
    holdings: list[Holding] = field(default_factory=list)

    def unknown(self) -> int | None:
        """How many permits others hold than the known holders. None if it is not known."""
        if self.taken is None:
            return None
        return max(0, int(self.taken) - sum(holding.permits for holding in self.holdings))


def contended(parties: Sequence[Party]) -> list[Contended]:
    """The primitives that these wait for, in the order of the first that waits for each."""
    found: dict[int, Contended] = {}
    for party in parties:
        if party.waits():
            core = party.core
            if id(core) not in found:
                found[id(core)] = Contended(core, party.shown, free(core), taken(core))
            found[id(core)].line.append(party)
    for primitive in found.values():
        _put_in_order(primitive)
    _note_holders(parties, found)
    return list(found.values())


def _put_in_order(primitive: Contended) -> None:
    if len(primitive.line) > 1:
        places = {id(waiter): place for place, waiter in enumerate(line_of(primitive.core))}
        primitive.line.sort(key=lambda party: places.get(id(party.future), len(places)))


def _note_holders(parties: Sequence[Party], found: dict[int, Contended]) -> None:
    claims: Counter[int] = Counter()
    for party in parties:
        claims.update({id(held.generator) for held in party.held if held.generator is not None})
    for party in parties:
        if party.has_grant and (granted := found.get(id(party.core))) is not None:
            granted.holdings.append(Holding(party, party.needs, party.place, False))
        for held in party.held:
            primitive = found.get(id(held.taken.core))
            # A generator that is in the block, and that two tasks refer to, may be run by either.
            if primitive is not None and claims[id(held.generator)] < 2:
                primitive.holdings.append(Holding(party, held.taken.permits, held.place, True, held.doubt, held.depth))
    for primitive in found.values():
        if primitive.taken is not None and sum(each.permits for each in primitive.holdings) > primitive.taken:
            # Somebody has released it inside the block, or has given the variable of a `with` another value. It cannot
            # be told who.
            primitive.holdings.clear()
