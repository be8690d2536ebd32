"""Lets pytest end with one line for each explored test: `pytest -p holdfast.testing.pytest_plugin`."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from . import decorator

TITLE = "explored schedules"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Let the test's report carry the summaries: under pytest-xdist the test runs in another process."""
    before = len(decorator.finished)
    try:
        return (yield)
    finally:
        item.user_properties += [(TITLE, str(report)) for report in decorator.finished[before:]]


def pytest_configure(config: pytest.Config) -> None:
    """Begin to gather."""
    config.pluginmanager.register(Summaries())


class Summaries:
    """What the reports carry, in the process that writes them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the summaries of a test that has ended."""
        if report.when == "call":
            self.lines += [str(value) for name, value in report.user_properties if name == TITLE]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write them."""
        if self.lines:
            terminalreporter.section(TITLE)
            for line in self.lines:
                terminalreporter.line(line)
