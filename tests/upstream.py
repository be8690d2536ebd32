"""Running one test of CPython's own suites."""

from __future__ import annotations

import sys
import unittest

import pytest
from interpreters import PYPY

if PYPY:
    # Its own compiles C when it is imported, and Debian leaves the source out. What is run here can do without.
    sys.modules.setdefault("_testcapi", None)  # type: ignore[arg-type]


def run_case(case: unittest.TestCase) -> None:
    """Run it, and fail or skip as it does."""
    result = unittest.TestResult()
    case.run(result)
    for _, trace in result.errors + result.failures:
        pytest.fail(trace, pytrace=False)
    for _, reason in result.skipped:
        pytest.skip(reason)
    assert result.testsRun == 1
