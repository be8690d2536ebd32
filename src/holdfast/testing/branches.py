"""Where a schedule that was run goes on to longer ones, and which of these sleep: see reduction.py."""

from __future__ import annotations

from typing import Final

from .reduction import Choice, Codes, codes_in
from .schedule import Fork, Schedule

Where = tuple[int, int]
"""The place of an intervention: how many interventions of a schedule come before it, and its step."""


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
        """For each intervention that sleeps since the last one of the schedule, where it was tried."""

    def choice(self, place: int) -> Choice:
        """Return the choice at a fork."""
        return self._choices[place] if self._choices else (0, 0)

    def inherited_by(self, place: int, asleep: Codes) -> dict[int, Where]:
        """Return where each sleeping intervention was tried, for a schedule that comes of this fork."""
        return {code: self._where(place, code) for code in codes_in(asleep)}

    def tried_before(self, place: int, code: int) -> Schedule:
        """Return the schedule that was run, and does the same as this one with a sleeping intervention at this fork."""
        before, step = self._where(place, code)
        schedule = self.schedule
        return (*schedule[:before], (step, code), *schedule[before:])

    def _where(self, place: int, code: int) -> Where:
        asleep, _ = self._choices[place]
        if not asleep >> code & 1:  # it was tried at this fork itself
            return len(self.schedule), self.forks[place][0]
        for earlier in range(place, -1, -1):
            if self._choices[earlier][1] >> code & 1:
                return len(self.schedule), self.forks[earlier][0]
        return self._inherited[code]


Origin = tuple[Branches, int, Codes]
"""Where a schedule comes from: the branches of a shorter one, which of its forks, and what sleeps there."""
NO_BRANCHES: Final = Branches((), [], [], {})
