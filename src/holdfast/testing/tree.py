"""The tree of schedules: what is remembered of those that were run, and which ones come next.

A schedule with one more intervention is a child of the schedule without it. The search goes through the tree level by
level, and each level is enumerated in the same order in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from .branches import NO_BRANCHES, Branches, Origin
from .reduction import Choice
from .schedule import BASE, CANCEL, Failure, Fork, Schedule

ROOM: Final = 200_000
"""So many schedules and forks of schedules are remembered, which takes some 40 MB."""


class Outcome(Protocol):
    """What the search asks of a run."""

    @property
    def failure(self) -> Failure | None: ...
    @property
    def forks(self) -> list[Fork]: ...
    @property
    def choices(self) -> list[Choice]: ...


class Candidate(NamedTuple):
    """A schedule that comes next in a level."""

    skipped: int
    """How many schedules before it need not be run, since the last candidate."""
    part: float
    """How much of the level is done, from 0 to 1."""
    schedule: Schedule
    origin: Origin | None
    """Where the schedule comes from. None if there is no schedule, and only others were skipped."""


class Tree:
    """The schedules that were run, with the points at which each goes on to others.

    There is room for the branches of a bounded number of schedules. When other branches are needed, their schedule is
    run again.
    """

    def __init__(self, run: Callable[[Schedule, Origin | None], Outcome]) -> None:
        self._run = run
        self._known: dict[Schedule, Branches] = {}
        self._room = ROOM

    @property
    def has_room(self) -> bool:
        """Whether more will be remembered."""
        return self._room > 0

    def remember(self, schedule: Schedule, origin: Origin | None, outcome: Outcome) -> Branches:
        """Keep the branches of a schedule if there is room; return them."""
        if not outcome.forks:
            branches = NO_BRANCHES
        else:
            inherited = origin[0].inherited_by(*origin[1:]) if origin is not None and outcome.choices else {}
            branches = Branches(schedule, outcome.forks, outcome.choices, inherited)
        if self._room > 0 or not schedule:
            self._room -= 1 + len(outcome.forks)
            self._known[schedule] = branches
        return branches

    def branches(self, schedule: Schedule, origin: Origin | None) -> Branches:
        """The branches of a schedule. If they are not remembered, the schedule is run again."""
        known = self._known.get(schedule)
        return self.remember(schedule, origin, self._run(schedule, origin)) if known is None else known

    def all_branches(self) -> Iterable[Branches]:
        """The branches of all schedules that are remembered."""
        return self._known.values()

    def level(self, between: int) -> Iterator[Candidate]:
        """All schedules with `between` interventions and one more. Those with `between` have been run before."""
        return self._extend(self._known[()], between, 0.0, 1.0)

    def _extend(self, found: Branches, between: int, start: float, width: float) -> Iterator[Candidate]:
        """All schedules that begin with this one, and have `between` interventions in between and one more.

        start, width: which part of the level they are: where it begins and how wide it is, from 0 to 1.
        """
        width /= sum(len(fork[1]) for fork in found.forks) or 1
        skipped = 0
        for place, fork in enumerate(found.forks):
            asleep, tried = found.choice(place)
            for code in fork[1]:
                if asleep >> code & 1:
                    skipped += self._count(found.tried_before(place, code), fork[0], between - 1) if between else 1
                else:
                    longer = (*found.schedule, (fork[0], code))
                    origin = (found, place, asleep)
                    if not between:
                        yield Candidate(skipped, start, longer, origin)
                        skipped = 0
                    else:
                        if skipped:
                            yield Candidate(skipped, start, (), None)
                            skipped = 0
                        yield from self._extend(self.branches(longer, origin), between - 1, start, width)
                if tried >> code & 1 or code % BASE == CANCEL:
                    asleep |= 1 << code
                start += width
        if skipped:
            yield Candidate(skipped, start, (), None)

    def _count(self, same: Schedule, since: int, between: int) -> int:
        """How many schedules come of one that was not run, and that does the same as this one from that step on.

        They need not be run, as those that come of this one are.
        """
        found = self.branches(same, None)
        if not between:
            return sum(len(fork[1]) for fork in found.forks if fork[0] >= since)
        count = 0
        for place, fork in enumerate(found.forks):
            if fork[0] >= since:
                asleep, _ = found.choice(place)
                for code in fork[1]:
                    longer = (*same, (fork[0], code))
                    if asleep >> code & 1:
                        longer = found.tried_before(place, code)
                    count += self._count(longer, fork[0], between - 1)
        return count
