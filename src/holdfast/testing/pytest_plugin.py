"""The pytest plugin: `pytest -p holdfast.testing.pytest_plugin`.

It ends pytest's output with one line for each explored test, and has the option `--explore-processes`. It brings the
fixtures `holdfast_memory` and `holdfast_session`.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from . import decorator
from .fixtures import holdfast_memory as holdfast_memory
from .fixtures import holdfast_session as holdfast_session

TITLE = "explored schedules"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("holdfast", "holdfast.testing").addoption(
        "--explore-processes",
        type=int,
        metavar="N",
        help="let N processes share the search of each @explored test that does not say processes= itself; for tests "
        "whose runs change nothing outside of themselves (default: 1)",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Put the summaries into the report of the test, which reaches the main process of pytest-xdist."""
    before = len(decorator.finished)
    try:
        return (yield)
    finally:
        item.user_properties += [(TITLE, str(report)) for report in decorator.finished[before:]]


def pytest_configure(config: pytest.Config) -> None:
    """Take the option, and begin to gather."""
    config.pluginmanager.register(Summaries())
    processes = config.getoption("--explore-processes")
    if processes is not None:
        decorator.defaults["processes"] = processes


def pytest_unconfigure() -> None:
    """Forget the option: a process may run pytest several times."""
    decorator.defaults.pop("processes", None)


class Summaries:
    """The summaries of all tests, in the process that writes them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the summaries of a test."""
        if report.when == "call":
            self.lines += [str(value) for name, value in report.user_properties if name == TITLE]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write them."""
        if self.lines:
            terminalreporter.section(TITLE)
            for line in self.lines:
                terminalreporter.line(line)
