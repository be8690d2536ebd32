"""The reports of the searches at the end of pytest's output, in whatever process they were made."""

import math
from typing import NamedTuple

import pytest

from holdfast.cluster.session_life import life
from holdfast.testing import Report

from .size import SIZE

TITLE = f"explored, size {SIZE}"


class Search(NamedTuple):
    name: str
    exhausted: bool
    interventions: int
    schedules: int
    runs: int
    seconds: float


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Summary())


@pytest.fixture(autouse=True)
def no_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that closes lets the loop run every few milliseconds: on a busy machine at other steps each time."""
    monkeypatch.setattr(life, "SLICE", math.inf)


@pytest.fixture
def keep(request: pytest.FixtureRequest):
    """Keep a report for the summary."""

    def keep(report: Report) -> None:
        node = request.node
        found = (node.name, report.exhausted, report.interventions, report.schedules, report.runs, report.seconds)
        node.user_properties.append((TITLE, found))

    return keep


class Summary:
    """How much was explored; each search by itself, if they are not small."""

    def __init__(self) -> None:
        self.searches: list[Search] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.searches += [Search(*value) for name, value in report.user_properties if name == TITLE]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.searches:
            return
        terminalreporter.section(TITLE)
        if SIZE != "small":
            for search in self.searches:
                verdict = "exhausted" if search.exhausted else f"up to {search.interventions} interventions"
                figures = f"{search.schedules:,} schedules ({search.runs:,} run) in {search.seconds:.1f} s"
                terminalreporter.line(f"{search.name}: {verdict}; {figures}")
        schedules = sum(search.schedules for search in self.searches)
        runs = sum(search.runs for search in self.searches)
        seconds = sum(search.seconds for search in self.searches)
        exhausted = sum(search.exhausted for search in self.searches)
        terminalreporter.line(
            f"{len(self.searches)} searches, {exhausted} of them exhausted; "
            f"{schedules:,} schedules ({runs:,} run) in {seconds:.1f} s"
        )
