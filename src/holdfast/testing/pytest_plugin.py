"""Lets pytest end with one line for each explored test: `pytest -p holdfast.testing.pytest_plugin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import decorator

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the summary lines."""
    if decorator.finished:
        terminalreporter.section("explored schedules")
        for report in decorator.finished:
            terminalreporter.line(str(report))
