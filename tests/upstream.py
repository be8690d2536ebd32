"""Running one test of CPython's own suites."""

from __future__ import annotations

import unittest

import pytest


def run_case(case: unittest.TestCase) -> None:
    """Run it, and fail or skip as it does."""
    result = unittest.TestResult()
    case.run(result)
    for _, trace in result.errors + result.failures:
        pytest.fail(trace, pytrace=False)
    for _, reason in result.skipped:
        pytest.skip(reason)
    assert result.testsRun == 1
