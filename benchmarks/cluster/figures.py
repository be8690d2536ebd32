"""From the records of all processes to figures. Times are seconds of CLOCK_MONOTONIC, which all processes share."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple


class Turn(NamedTuple):
    """One task's request, holding and release; what has not happened is infinitely late."""

    process: int
    asked: float
    began: float = math.inf
    """When its acquire() had returned."""
    released: float = math.inf
    """When it called release()."""


@dataclass(frozen=True)
class Run:
    """What all processes did between `start` and `end`."""

    processes: int
    start: float
    end: float
    turns: list[Turn]
    """In the order in which they began."""
    swaps: list[float] = field(default_factory=list)
    cpu: float = 0.0
    """Seconds of CPU time that the processes took."""

    @property
    def held(self) -> list[Turn]:
        """Those that began in time."""
        return self.turns[: bisect_left(self.turns, self.end, key=lambda turn: turn.began)]


def merge(
    processes: int, start: float, end: float, turns: Iterable[Turn], swaps: Iterable[float] = (), cpu: float = 0.0
) -> Run:
    in_time = (turn for turn in turns if start <= turn.asked < end)
    kept = sorted(at for at in swaps if start <= at < end)
    return Run(processes, start, end, sorted(in_time, key=lambda turn: turn.began), kept, cpu)


def overlaps(run: Run) -> list[tuple[Turn, Turn]]:
    """The pairs that held it at once."""
    return [(first, second) for first, second in pairwise(run.held) if second.began < first.released]


def hand_offs(run: Run) -> list[float]:
    """The seconds from each release, while somebody waited, to the next holding, if that is another process's."""
    asked = sorted(turn.asked for turn in run.turns)
    return [
        second.began - first.released
        for before, (first, second) in enumerate(pairwise(run.held), start=1)
        if second.process != first.process and bisect_right(asked, first.released) > before
    ]


def waits(run: Run) -> list[float]:
    """How long each request waited; who has waited until the end, that long."""
    return [min(turn.began, run.end) - turn.asked for turn in run.turns]


def same_owner(run: Run) -> float:
    """Of all holdings but the first, the share of those that follow one of the same process."""
    pairs = [*pairwise(run.held)]
    return sum(first.process == second.process for first, second in pairs) / len(pairs) if pairs else math.nan


def jain(counts: Sequence[float]) -> float:
    """Jain's fairness index: 1 if all have the same, 1/n if one has all."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else math.nan


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of all do not exceed."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


class Measured:
    """One competitor in one scenario, over all rounds. What did not occur is NaN."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    @property
    def rate(self) -> float:
        """Acquisitions per second; the median round's."""
        return median(len(run.held) / (run.end - run.start) for run in self.runs)

    @property
    def hold(self) -> float:
        """The mean seconds between acquire() and release(), the timer's lateness included."""
        return _mean(turn.released - turn.began for run in self.runs for turn in run.held if turn.released < run.end)

    def hand_off(self, percent: float) -> float:
        """A percentile over all rounds, in seconds."""
        return percentile([seconds for run in self.runs for seconds in hand_offs(run)], percent)

    @property
    def longest_wait(self) -> float:
        """In seconds, over all rounds."""
        return max((seconds for run in self.runs for seconds in waits(run)), default=math.nan)

    @property
    def mean_wait(self) -> float:
        """In seconds, over all rounds."""
        return _mean(seconds for run in self.runs for seconds in waits(run))

    @property
    def same_owner(self) -> float:
        """The median round's."""
        return median(same_owner(run) for run in self.runs)

    @property
    def jain(self) -> float:
        """Over the processes; the worst round's."""
        counts = (
            [sum(turn.process == each for turn in run.held) for each in range(run.processes)] for run in self.runs
        )
        return min(jain(each) for each in counts)

    @property
    def swaps(self) -> float:
        """Swaps per acquisition."""
        swaps, held = sum(len(run.swaps) for run in self.runs), sum(len(run.held) for run in self.runs)
        return swaps / held if swaps and held else math.nan

    @property
    def cpu(self) -> float:
        """Seconds of CPU time for each acquisition; the median round's."""
        return median(run.cpu / len(run.held) if run.held else math.nan for run in self.runs)

    @property
    def overlaps(self) -> int:
        return sum(len(overlaps(run)) for run in self.runs)


def _mean(values: Iterable[float]) -> float:
    known = [*values]
    return fmean(known) if known else math.nan
