"""Schedules that are not run do the same as one that is."""

import asyncio
import sys

import pytest

import holdfast
from holdfast.testing import explore
from holdfast.testing.reduction import codes_in
from holdfast.testing.schedule import BASE, CANCEL, LATE, TIMER

from . import scenarios
from .toys import ForgetfulLock, three_users


def outcomes(scenario, **bounds):
    """The logs and ends of all runs, and the report."""
    seen = set()

    def noting(run):
        run.at_end(lambda: seen.add(tuple(run._log)))
        return scenario(run)

    report = explore(noting, **{"timers": 0, "deliveries": 0, **bounds})
    assert report.counterexample is None, report.counterexample
    return seen, report


def agree(scenario, **bounds):
    """Reduced or not, it is the same. Return how many were not run."""
    seen, report = outcomes(scenario, **bounds)
    all_seen, whole = outcomes(scenario, reduce=False, **bounds)
    assert seen == all_seen
    assert report.schedules == whole.schedules == whole.runs
    assert report.interventions == whole.interventions
    return report.schedules - report.runs


def two_that_run(look):
    """A and B take some steps; B looks at A, or around, in each of its own, of which the last makes nothing ready."""

    def scenario(run):
        tasks = {}

        async def steps(name):
            for number in range(4 if name == "A" else 2):
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    run.log(f"{name} cancelled")
                    raise
                run.log(f"A {number}" if name == "A" else str(look(tasks)))

        async def late():
            run.log("late")
            await asyncio.sleep(0)

        for name in "BA":
            tasks[name] = run.spawn(steps, name, name=name)
        tasks["clock"] = asyncio.get_running_loop()
        tasks["clock"].call_later(5, run.log, "timer")
        run.late(late)

    return scenario


LOOKS = {
    "nowhere": lambda tasks: None,
    "at cancelling()": lambda tasks: tasks["A"].cancelling(),
    "at repr()": lambda tasks: "cancelling" in repr(tasks["A"]),
    "at what repr() looks at": lambda tasks: tasks["A"]._must_cancel,
    "by cancel()": lambda tasks: tasks["A"].cancel(str(tasks["A"].cancelling())),
    "at all_tasks()": lambda tasks: sorted(task.get_name() for task in asyncio.all_tasks()),
    "at the clock": lambda tasks: tasks["clock"].time(),
    "at the number of tasks": lambda tasks: number_of_tasks(tasks),
}


async def nothing():
    pass


def number_of_tasks(tasks):
    """From 3.12 on, of a task that is not among what is ready; before that, nothing is made."""
    if sys.version_info >= (3, 12):
        return tasks["clock"].create_task(nothing(), eager_start=True).get_name()
    return None


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "bounds",
    [{"cancels": 2, "late": 0}, {"cancels": 0}, {"cancels": 0, "late": 0, "timers": 1}, {"cancels": 1, "timers": 1}],
    ids=["cancelled", "late", "time", "all"],
)
def test_who_looks_sees_all_that_can_be_seen(look, bounds):
    agree(two_that_run(LOOKS[look]), swallow_ok=True, **bounds)


def test_an_invariant_that_looks_at_a_task_sees_it():
    """It is checked after each step, and what it sees is part of what happens."""

    def scenario(run):
        tasks = []
        seen = []

        async def steps(name):
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        tasks += [run.spawn(steps, name, name=name) for name in "AB"]
        run.invariant(lambda: seen.append(tasks[0].cancelling()))
        run.at_end(lambda: run.log(str(seen)))

    agree(scenario, cancels=2)


class Loud(asyncio.Future):
    """A future of the user's, which tells when a task that waits for it is cancelled."""

    def cancel(self, msg=None):
        self.tell()
        return super().cancel(msg)


@pytest.mark.parametrize("future_class", [Loud, asyncio.Future])
def test_a_task_that_waits_for_any_future_is_cancelled_at_each_step(future_class):
    """Before it is done, and after that, when the task is about to run."""

    def scenario(run):
        futures = [future_class(loop=asyncio.get_running_loop()) for _ in range(2)]

        async def wait(name, future):
            future.tell = lambda: run.log(f"{name} is cancelled")
            try:
                await future
            finally:
                run.log(f"{name} goes on")

        async def steps():  # the main task, which is not cancelled
            for number, future in enumerate(futures):
                await asyncio.sleep(0)
                run.log(f"step {number}, {future.cancelled()}")
                if not future.done():
                    future.set_result(None)

        for name, future in zip("XY", futures, strict=True):
            run.spawn(wait, name, future)
        return steps()

    agree(scenario, cancels=3)


def test_a_late_task_that_is_made_by_more_than_a_coroutine_function_is_tried_at_each_step():
    def scenario(run):
        async def nothing():
            pass

        def makes():
            run.log("made")
            return nothing()

        async def steps():
            run.log("step")
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1, future.set_result, None)
            await future
            run.log("end")

        for _ in range(2):
            run.spawn(steps)
        run.late(makes)

    agree(scenario, cancels=0)


def test_what_only_reorders_what_does_not_touch_is_not_run():
    """Three tasks that do not wait for anything: it is enough to cancel each of them once before it runs."""

    def scenario(run):
        async def worker(name):
            run.log(name)

        for name in "abc":
            run.spawn(worker, name)

    assert agree(scenario, cancels=3) > 0
    assert explore(scenario, cancels=3).runs == 2**3


@pytest.mark.parametrize("scenario", scenarios.ALL)
@pytest.mark.parametrize(
    "bounds",
    [
        {"cancels": 2},
        {"cancels": 1, "kills": 1},
        {"cancels": 1, "reorders": 1},
        {"cancels": 1, "timers": 1, "deliveries": 1},
    ],
    ids=lambda bounds: ", ".join(bounds),
)
def test_reduced_or_not_the_outcomes_are_the_same(scenario, bounds):
    if scenario is scenarios.condition and "cancels" in bounds:
        bounds = {**bounds, "cancels": 1}
    assert agree(scenario(holdfast), **bounds) > 0


def test_the_counterexample_is_the_same():
    for bounds in ({}, {"cancels": 2}, {"cancels": 2, "kills": 1}):
        reduced = explore(three_users(ForgetfulLock), **bounds)
        whole = explore(three_users(ForgetfulLock), reduce=False, **bounds)
        assert reduced.counterexample.story == whole.counterexample.story
        assert reduced.counterexample.replay == whole.counterexample.replay
        assert reduced.schedules == whole.schedules
        assert reduced.runs < whole.runs == whole.schedules


def test_beside_another_scenario_all_are_run():
    """It could be another one that touches."""
    report = explore(three_users(holdfast.Lock), against=three_users(asyncio.Lock), cancels=2)
    assert report.runs == report.schedules


def test_when_little_is_remembered_it_is_the_same(monkeypatch):
    """What is forgotten is run again."""
    whole = explore(three_users(holdfast.Lock), cancels=2, kills=1, reduce=False)
    much = explore(three_users(holdfast.Lock), cancels=2, kills=1)
    monkeypatch.setattr("holdfast.testing.tree.ROOM", 20)
    little = explore(three_users(holdfast.Lock), cancels=2, kills=1)
    assert little.passed
    assert little.schedules == much.schedules == whole.schedules
    assert little.interventions == whole.interventions


def test_a_set_of_interventions():
    codes = [LATE + BASE * 3, CANCEL, TIMER, CANCEL + BASE * 100]
    assert codes_in(sum(1 << code for code in codes)) == sorted(codes)
    assert codes_in(0) == []
