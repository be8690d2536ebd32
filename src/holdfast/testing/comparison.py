"""Whether two runs did the same: of one scenario twice, or of two scenarios under one schedule."""

from __future__ import annotations

import re

from .describe import said
from .execution import Execution, Scenario
from .schedule import Failure, MisfitError, Rules, Schedule


def compare_runs(first: Execution, again: Execution) -> None:
    """Raise MisfitError unless two runs of one scenario, under one schedule, did the same."""
    if _trace(first) != _trace(again):
        raise MisfitError("the first run and a repetition differ")


def compare_with(other_scenario: Scenario, rules: Rules, schedule: Schedule, execution: Execution) -> None:
    """Run another scenario under the same schedule. If it does not do the same, the execution has failed."""
    other = Execution(other_scenario, rules)
    try:
        other.execute(schedule)
    except MisfitError as misfit:
        execution.failure = Failure("difference", f"the other scenario cannot do this: {misfit}")
    else:
        here, there = _events(execution), _events(other)
        if other.failure is not None:
            execution.failure = Failure("difference", f"the other scenario fails: {other.failure}")
        elif here != there:
            execution.failure = Failure("difference", f"the other scenario logs {there}, and this one {here}")


def _trace(execution: Execution) -> tuple[object, ...]:
    """What must be the same in each run under a schedule."""
    return execution.steps, execution.forks, execution.failure and execution.failure.kind, _events(execution)


def _events(execution: Execution) -> list[str]:
    """The log, without addresses."""
    return [re.sub(r"0x[0-9a-fA-F]+", "", said(event)) for event in execution.log]
