"""What an exploration returns: a report, with a counterexample if a schedule fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class ExplorationError(AssertionError):
    """A schedule fails, or the search was not finished in time."""


@dataclass(frozen=True)
class Counterexample:
    """A schedule under which the scenario fails."""

    kind: str
    """The kind of failure: "exception", "deadlock", "invariant" ..."""
    message: str
    """What went wrong."""
    replay: tuple[int, ...]
    """Give this to `explore(..., replay=...)` to run the schedule again: pairs of a step and an intervention."""
    story: tuple[str, ...]
    """Line by line, what each task did, and where it was then."""
    log: tuple[object, ...]
    """What the scenario logged."""
    exception: BaseException | None
    """The exception behind it, if there is one."""

    def __str__(self) -> str:
        return "\n".join([f"{self.kind}: {self.message}", *self.story, f"replay={list(self.replay)}"])


@dataclass(frozen=True)
class Report:
    """What an exploration did, and what it found."""

    scenario: str
    """The name of the scenario."""
    bounds: Mapping[str, int | None]
    """The most interventions of each kind; None is no limit."""
    schedules: int
    """How many schedules were covered: run, or seen to do the same as one that was run."""
    seconds: float
    """How long it took, by the clock on the wall."""
    exhausted: bool
    """Whether every schedule within the bounds was covered. False if the time was over, or if a schedule failed."""
    interventions: int
    """All schedules with at most so many interventions were covered."""
    counterexample: Counterexample | None
    """A schedule that fails, with as few interventions as possible."""
    replayed: bool = False
    """Whether one given schedule was run, without a search."""
    runs: int = 0
    """How many of the schedules were run."""

    @property
    def passed(self) -> bool:
        """Whether no schedule failed, and the search is complete."""
        return self.counterexample is None and (self.exhausted or self.replayed)

    def check(self) -> None:
        """Do nothing if all schedules were covered and none failed, as `passed` says.

        Raises ExplorationError, an AssertionError, if not.
        """
        if not self.passed:
            found = self.counterexample
            if found is None:
                raise ExplorationError(str(self))
            raise ExplorationError(f"{self}\n{found}") from found.exception

    def __str__(self) -> str:
        """One line: the verdict, the number of schedules, how many of them were run, the seconds, the bounds."""
        bounds = ", ".join(f"{name}={'any' if n is None else n}" for name, n in self.bounds.items() if n != 0)
        found = self.counterexample
        if found is not None:
            verdict = f"failed ({found.kind})"
        elif self.replayed:
            verdict = "passed, one schedule replayed"
        elif self.exhausted:
            verdict = "passed, exhausted"
        else:
            verdict = f"not exhausted: only the schedules of up to {self.interventions} interventions are complete"
        run = f" ({self.runs:,} run)" if self.runs < self.schedules else ""
        return f"{self.scenario}: {verdict}; {self.schedules:,} schedules{run} in {self.seconds:.2f} s" + (
            f" ({bounds})" if bounds else ""
        )
