"""What a schedule is, which interventions there are, and how a run can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

# The kinds of interventions, and what else can happen. Without an intervention a run goes on: it runs the next ready
# handle, or does what idle.py says if there is none.
LATE, CANCEL, TIMER, DELIVER, REORDER, KILL, END, SWITCH = KINDS = range(8)
STOP, RUN, NOTHING = range(8, 11)
BASE: Final = 8

Intervention = tuple[int, int]
"""A step, and what to do after it: the kind + BASE * the number of the task, handle or loop."""
Schedule = tuple[Intervention, ...]
Fork = tuple[int, tuple[int, ...], int, int]
"""A point at which interventions are possible: the step, which ones, how many handles are ready, the log's length."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which schedules there are, and what counts as a failure. For the fields see explore()."""

    budgets: tuple[int, ...]
    """The most interventions of each kind."""
    cancel_main: bool
    swallow_ok: bool
    max_steps: int
    cancel_created: bool = True
    belated: list[tuple[Schedule, dict[str, Any]]] = field(default_factory=list)
    """What asyncio complained of when a run was over, and the schedule of that run."""


class Failure(Exception):  # noqa: N818  # not an error of ours
    """A run went wrong."""

    def __init__(self, kind: str, message: str, cause: BaseException | None = None) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.cause = cause
        self.steps = 0
        """How many steps the run took."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class MisfitError(Exception):
    """A schedule cannot be carried out: the scenario did something else in the run that the schedule was made from."""


def flat(schedule: Schedule) -> tuple[int, ...]:
    """A schedule as `Counterexample.replay` has it."""
    return tuple(number for intervention in schedule for number in intervention)
