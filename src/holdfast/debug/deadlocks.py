"""Which tasks and threads wait for each other in a circle, and whether anything can help them.

A task is *stuck* if all that could let it go on are stuck as well: the one holder of a lock, *all* holders of a
semaphore's permits, all tasks whose end it awaits. So first all that wait are taken to be stuck. Then those are taken
out, again and again, that something outside of the set may let go on. What is left is certain, and the circles are in
it. What would take too long for each look is looked for only then: what makes them uncertain after all. A second
search, which takes timeouts for endless and known holders of a semaphore for all of them, finds what may be a deadlock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .closer_look import note_doubts
from .contended import Contended, Holding
from .parties import Party
from .primitives import name_of
from .story import Deadlock, Step


def deadlocks(parties: Sequence[Party], primitives: Sequence[Contended]) -> list[tuple[Deadlock, list[Party]]]:
    """The circles, certain ones first, each with those that are in it."""
    for party in parties:
        if party.cancels:
            for other in parties:
                if any(other.subject is task for task in party.tasks):
                    other.timeout = True
    graph = _Graph(parties, primitives)
    certain = graph.stuck(strict=True)
    if certain and note_doubts(certain, primitives):
        graph = _Graph(parties, primitives)
        certain = graph.stuck(strict=True)
    possible = graph.stuck(strict=False) - certain if graph.has_doubts() else set()
    found = [_tell(graph, circle, certain, True) for circle in _circles(graph, certain)]
    found += [_tell(graph, circle, possible, False) for circle in _circles(graph, possible)]
    return found


class _Graph:
    """Who waits for whom."""

    def __init__(self, parties: Sequence[Party], primitives: Sequence[Contended]) -> None:
        self.parties = parties
        self.by_core = {id(primitive.core): primitive for primitive in primitives}
        by_task = {id(party.subject): party for party in parties}
        self.awaited = {party: [by_task.get(id(task)) for task in party.tasks] for party in parties if party.tasks}
        self.awaited_by: dict[Party, list[Party]] = defaultdict(list)
        for party, awaited in self.awaited.items():
            for other in awaited:
                if other is not None:
                    self.awaited_by[other].append(party)
        self.holds: dict[Party, list[Contended]] = defaultdict(list)
        for primitive in primitives:
            for holding in primitive.holdings:
                self.holds[holding.party].append(primitive)
        self.waiting = [party for party in parties if not party.goes_on and (party.waits() or party in self.awaited)]
        self.rescued = self._rescued()

    def _rescued(self) -> set[Party]:
        """Those whose end is awaited by one with a timeout, which will cancel them. Until then they are stuck."""
        rescued: set[Party] = set()
        pending = [party for party in self.awaited if party.timeout]
        while pending:
            for party in self.awaited.get(pending.pop(), ()):
                if party is not None and party not in rescued:
                    rescued.add(party)
                    pending.append(party)
        return rescued

    def has_doubts(self) -> bool:
        """Whether a search that is not strict may find more."""
        return any(party.timeout for party in self.waiting) or any(
            _may_be_hopeless(primitive, False) and not _may_be_hopeless(primitive, True)
            for primitive in self.by_core.values()
        )

    def stuck(self, strict: bool) -> set[Party]:
        """Those that nothing outside of the set can let go on. strict: see `deadlocks()`."""
        hopeless = {core: primitive for core, primitive in self.by_core.items() if _may_be_hopeless(primitive, strict)}
        stuck = {*self.waiting}
        leaving = [party for party in self.parties if party not in stuck or self._can_go_on(party, hopeless, strict)]
        stuck.difference_update(leaving)
        while leaving:
            party = leaving.pop()
            others = [*self.awaited_by[party]]
            for primitive in self.holds[party]:
                if hopeless.pop(id(primitive.core), None) is not None:
                    others += primitive.line
            if party.waits() and self.by_core[id(party.core)].free > 0:
                others += self.by_core[id(party.core)].line  # what is free may be enough for those behind
            others = [other for other in dict.fromkeys(others) if other in stuck]
            stuck.difference_update(others)
            leaving += others
        return stuck

    def _can_go_on(self, party: Party, hopeless: dict[int, Contended], strict: bool) -> bool:
        if strict and party.timeout:
            return True
        return id(party.core) not in hopeless if party.waits() else None in self.awaited[party]

    def successors(self, party: Party) -> list[tuple[Party, Holding | None]]:
        if not party.waits():
            return [(other, None) for other in self.awaited.get(party, ()) if other is not None]
        return [(holding.party, holding) for holding in self.by_core[id(party.core)].holdings]


def _may_be_hopeless(primitive: Contended, strict: bool) -> bool:
    """Whether those who wait for it are stuck if its known holders are."""
    unknown = primitive.unknown()
    is_sure = unknown == 0 and not any(holding.doubt for holding in primitive.holdings)
    return bool(primitive.holdings) and (is_sure or (not strict and not unknown))


Circle = list[tuple[Party, Holding | None]]
"""Each that waits, and what the next one holds."""


def _circles(graph: _Graph, stuck: set[Party]) -> list[Circle]:
    """Circles that have nobody in common, so that each is told once."""
    found: list[Circle] = []
    told: set[Party] = set()
    visited: set[Party] = set()
    for start in graph.waiting:
        if start not in stuck or start in visited:
            continue
        path: Circle = []
        places: dict[Party, int] = {}
        party = start
        while party in stuck and party not in places and party not in visited:
            places[party] = len(path)
            following = graph.successors(party)
            other, holding = next((each for each in following if each[0] in stuck), following[0])
            path.append((party, holding))
            party = other
        visited.update(places)
        if party in places:
            circle = path[places[party] :]
            if told.isdisjoint(each for each, _ in circle):
                told.update(each for each, _ in circle)
                found.append(circle)
    return found


def _tell(graph: _Graph, circle: Circle, stuck: set[Party], certain: bool) -> tuple[Deadlock, list[Party]]:
    members = [party for party, _ in circle]
    steps = []
    for i, (party, holding) in enumerate(circle):
        if holding is None:
            steps.append(Step(party.name, party.place, members[(i + 1) % len(members)].name, None, None))
        else:
            name, _ = name_of(party.core, party.shown)
            steps.append(Step(party.name, party.place, name, holding.party.name, holding.place))
    why = _what_may_help(graph, members, certain)
    behind = _behind(graph, {*members}, stuck)
    return Deadlock(tuple(steps), certain, why, behind), members


def _what_may_help(graph: _Graph, members: Iterable[Party], certain: bool) -> str:
    for party in members:
        if party.timeout:
            return f"a timeout ends the wait of {party.name}"
        if not certain and party.waits() and graph.by_core[id(party.core)].unknown() is None:
            return "a Semaphore does not know how many permits there are; a BoundedSemaphore does"
        doubts = [holding.doubt for _, holding in graph.successors(party) if holding is not None and holding.doubt]
        if doubts:
            return f"what {party.name} waits for {doubts[0].value}"
    for party in members:
        if party in graph.rescued:
            return f"one that waits for {party.name} to end has a timeout, which will cancel it"
    return "" if certain else "another one that waits with them has a timeout"


def _behind(graph: _Graph, members: set[Party], stuck: set[Party]) -> int:
    """How many wait for these, directly or not."""
    before: dict[Party, list[Party]] = {}
    for party in stuck:
        for other, _ in graph.successors(party):
            before.setdefault(other, []).append(party)
    reached, pending = {*members}, [*members]
    while pending:
        for party in before.get(pending.pop(), ()):
            if party not in reached:
                reached.add(party)
                pending.append(party)
    return len(reached) - len(members)
