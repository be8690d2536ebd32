"""The reports of the searches at the end of pytest's output."""

import pytest

from holdfast.testing import Report

from .size import SIZE

reports = pytest.StashKey[list[tuple[str, Report]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[reports] = []


@pytest.fixture
def keep(request: pytest.FixtureRequest):
    """Keep a report for the summary."""
    return lambda report: request.config.stash[reports].append((request.node.name, report))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How much was explored; each search by itself, if they are not small."""
    kept = config.stash[reports]
    if kept:
        terminalreporter.section(f"explored, size {SIZE}")
        if SIZE != "small":
            for name, report in kept:
                verdict = "exhausted" if report.exhausted else f"up to {report.interventions} interventions"
                terminalreporter.line(f"{name}: {verdict}; {report.schedules:,} schedules in {report.seconds:.1f} s")
        schedules = sum(report.schedules for _, report in kept)
        seconds = sum(report.seconds for _, report in kept)
        exhausted = sum(report.exhausted for _, report in kept)
        terminalreporter.line(
            f"{len(kept)} searches, {exhausted} of them exhausted; {schedules:,} schedules in {seconds:.1f} s"
        )
