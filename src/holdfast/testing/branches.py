"""Where a schedule that was run goes on to others."""

from __future__ import annotations

from typing import Final

from .reduction import Choice, Codes, codes_in
from .schedule import Fork, Schedule

Where = tuple[int, int]
"""How many interventions of a schedule come before another one, and the step of that."""


class Branches:
    """The forks of a schedule, and the choices at them."""

    __slots__ = ("_choices", "_inherited", "forks", "schedule")

    def __init__(
        self, schedule: Schedule, forks: list[Fork], choices: list[Choice], inherited: dict[int, Where]
    ) -> None:
        self.schedule = schedule
        self.forks = forks
        self._choices = choices
        self._inherited = inherited
        """Where that was tried which sleeps from the last intervention on."""

    def choice(self, place: int) -> Choice:
        """The choice at a fork."""
        return self._choices[place] if self._choices else (0, 0)

    def inherited_by(self, place: int, asleep: Codes) -> dict[int, Where]:
        """Where what sleeps was tried, for a schedule that comes of this fork."""
        return {code: self._where(place, code) for code in codes_in(asleep)}

    def tried_before(self, place: int, code: int) -> Schedule:
        """A schedule that does the same as the one that would do, at this fork, what sleeps there."""
        before, step = self._where(place, code)
        schedule = self.schedule
        return (*schedule[:before], (step, code), *schedule[before:])

    def _where(self, place: int, code: int) -> Where:
        asleep, _ = self._choices[place]
        if not asleep >> code & 1:  # it was tried at this fork
            return len(self.schedule), self.forks[place][0]
        for earlier in range(place, -1, -1):
            if self._choices[earlier][1] >> code & 1:
                return len(self.schedule), self.forks[earlier][0]
        return self._inherited[code]


Origin = tuple[Branches, int, Codes]
"""Where a schedule comes from: the branches, which of the forks, and what sleeps there."""
NO_BRANCHES: Final = Branches((), [], [], {})
