"""The schedules that the explorer does not run, on all scenarios of this suite: each does the same as another one.

Both are run, step by step, and compared: what was logged, how it ended, after how many steps, and what would be
possible on the way. And the search finds the same as one that runs all of them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.history.cases import CASES

import holdfast
from holdfast import threads
from holdfast.testing import explore
from holdfast.testing.execution import Execution
from holdfast.testing.exploration import with_argument
from holdfast.testing.interpreter import quiet_interpreter
from holdfast.testing.reduction import codes_in
from holdfast.testing.schedule import Rules, Schedule
from holdfast.testing.search import Search

from . import cluster_scenarios, test_primitives, test_threads
from .beyond_scenarios import BEYOND
from .size import SIZE
from .test_primitives import WAIT_FOR_MAKES_A_TASK, condition, marks

BOUNDS = ("late", "cancels", "timers", "deliveries", "reorders", "kills", "ends", "switches")


def searches() -> Iterator[Any]:
    """In the small size, with one cancellation more where there are few."""
    for kind, rules in test_primitives.KINDS.items():
        for name, build in test_primitives.ALL.items():
            if not rules.without(name):
                bounds = {"timers": 0, "deliveries": 0, "cancel_created": name not in BEYOND, **rules.bounds["small"]}
                if kind == "wait_for" and WAIT_FOR_MAKES_A_TASK:
                    bounds |= {"swallow_ok": True, **({"cancels": 0} if condition(name) else {})}
                yield pytest.param(build(holdfast, rules.setup), bounds, id=f"{kind}: {name}", marks=marks(bounds))
    for name, build in test_primitives.ALL.items():
        late = {"late": 0} if name in test_primitives.TRIMMED or name in BEYOND else {}
        bounds = {"timers": 0, "deliveries": 0, "cancels": 2, "cancel_created": name not in BEYOND, **late}
        yield pytest.param(build(holdfast, test_primitives.Setup()), bounds, id=f"cancelled twice: {name}")
    for kind, rules in test_threads.KINDS.items():
        for name, build in test_threads.ALL.items():
            bounds = {"timers": 0, "cancel_created": name not in BEYOND, **rules.bounds["small"]}
            scenario = build(threads, rules.setup)
            yield pytest.param(scenario, bounds, id=f"two loops, {kind}: {name}", marks=marks(bounds))
    for name, make in cluster_scenarios.SCENARIOS.items():
        bounds = {"cancels": 1, "late": 0, "timers": 0, "deliveries": 0, "cancel_created": False}
        yield pytest.param(make(cluster_scenarios.Cluster()), bounds, id=f"cluster: {name}")


SEARCHES = [*searches()]


def rules_of(bounds: dict[str, Any]) -> Rules:
    """What explore() makes of its arguments."""
    options = {"late": None, "cancels": 1, "timers": 1, "deliveries": 1} | bounds
    budgets = tuple(1 << 30 if options.get(name, 0) is None else options.get(name, 0) for name in BOUNDS)
    return Rules(budgets, False, options.get("swallow_ok", False), 10_000, options.get("cancel_created", True))


def done(scenario: Any, rules: Rules, schedule: Schedule, since: int) -> tuple[Any, ...]:
    execution = Execution(scenario, rules)
    execution.execute(schedule, all_forks=True)
    forks = [fork for fork in execution.forks if fork[0] >= since]
    return str(execution.failure), execution.steps, [str(event) for event in execution.log], forks


@pytest.mark.timeout(300)
@pytest.mark.skipif(SIZE == "deep", reason="it does not depend on the size")
@pytest.mark.parametrize(("scenario", "bounds"), SEARCHES)
def test_a_schedule_that_is_not_run_does_the_same(scenario: Callable[..., object], bounds: dict[str, Any]) -> None:
    rules = rules_of(bounds)
    search = Search(with_argument(scenario), None, rules, 200, True)
    not_run = 0
    with quiet_interpreter():
        assert search.search() is None
        assert search.exhausted
        for branches in search.tree.all_branches():
            for place, fork in enumerate(branches.forks):
                for code in codes_in(branches.choice(place)[0]):
                    if code in fork[1]:
                        schedule = (*branches.schedule, (fork[0], code))
                        here = done(scenario, rules, schedule, fork[0])
                        there = done(scenario, rules, branches.tried_before(place, code), fork[0])
                        assert here == there, f"{schedule} and {branches.tried_before(place, code)}"
                        not_run += 1
            gc.collect(0)
    assert not_run <= search.schedules - search.runs
    assert bool(not_run) == (search.schedules > search.runs)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.faulty.__name__) for case in CASES])
def test_a_fault_is_found_by_the_same_schedule(case: Any) -> None:
    reduced = explore(case.scenario(case.faulty), **case.bounds)
    whole = explore(case.scenario(case.faulty), reduce=False, **case.bounds)
    found, expected = reduced.counterexample, whole.counterexample
    assert found is not None
    assert expected is not None
    assert (found.kind, found.replay, found.story) == (expected.kind, expected.replay, expected.story)
    assert reduced.schedules == whole.schedules == whole.runs >= reduced.runs


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{case.faulty.__name__}, mended") for case in CASES if case.sound and case.interventions],
)
def test_without_the_fault_as_many_are_covered(case: Any) -> None:
    bounds = {**case.bounds, "cancels": case.bounds.get("cancels", 1) + 1}
    reduced = explore(case.scenario(case.sound), **bounds)
    whole = explore(case.scenario(case.sound), reduce=False, **bounds)
    assert reduced.exhausted
    assert whole.exhausted
    assert (reduced.schedules, reduced.interventions) == (whole.schedules, whole.interventions)
    assert reduced.runs < whole.runs
