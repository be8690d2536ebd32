"""The explorer finds again what others shipped, from the scenario alone."""

import inspect
import re

import pytest

from holdfast.testing import explore

from . import faulty
from .cases import CASES, UNDISTURBED, Case

each_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.faulty.__name__) for case in CASES])


def found(case: Case):
    report = explore(case.scenario(case.faulty), **case.bounds)
    assert report.counterexample is not None, str(report)
    return report, report.counterexample


def test_every_fault_has_a_case():
    classes = inspect.getmembers(faulty, inspect.isclass)
    own = {name for name, cls in classes if cls.__module__ == faulty.__name__ and not name.startswith("_")}
    assert own == {case.faulty.__name__ for case in CASES}


@each_case
def test_it_is_found(case):
    report, counterexample = found(case)
    assert counterexample.kind == case.kind
    assert re.search(case.message, counterexample.message)
    assert report.schedules <= 2 * case.schedules


@each_case
def test_the_story_names_what_it_takes_and_no_more(case):
    _, counterexample = found(case)
    told = [line.strip(" >") for line in counterexample.story if line.startswith("   >>  ")]
    assert len(told) == len(case.interventions), counterexample
    for line, expected in zip(told, case.interventions, strict=True):
        assert line.startswith(expected), counterexample


@each_case
def test_the_replay_reproduces_it(case):
    _, counterexample = found(case)
    again = explore(case.scenario(case.faulty), replay=counterexample.replay)
    assert again.schedules == 1
    assert again.counterexample is not None
    assert again.counterexample.kind == case.kind
    assert again.counterexample.story == counterexample.story


@pytest.mark.parametrize("case", [pytest.param(case, id=case.faulty.__name__) for case in CASES if case.interventions])
def test_without_that_it_is_not_seen(case):
    explore(case.scenario(case.faulty), **UNDISTURBED).check()


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.faulty.__name__}, mended") for case in CASES if case.sound is not None]
)
def test_without_the_fault_nothing_is_found(case):
    report = explore(case.scenario(case.sound), **case.bounds)
    report.check()
    assert report.exhausted
