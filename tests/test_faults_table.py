"""docs/faults.md names a test for each fault, and each of these exists."""

from __future__ import annotations

import re

import pytest
from tests.test_spec_table import ROOT, functions_in

ROWS = {
    int(row[1]): row[0]
    for row in re.finditer(r"^\| (\d+) \|.*$", (ROOT / "docs" / "faults.md").read_text(encoding="utf-8"), re.MULTILINE)
}


def test_no_fault_is_left_out():
    assert [*ROWS] == [*range(1, 37)]


@pytest.mark.parametrize("number", ROWS)
def test_each_names_tests_that_exist(number):
    _, happened, since, tests = [cell.strip() for cell in ROWS[number].strip("| ").split(" | ")]
    assert happened
    assert since
    named = re.findall(r"`([^`]*)`", tests)
    assert named
    for test in named:
        module, _, name = test.partition("::")
        assert name in functions_in(ROOT / module), f"{number}: there is no {test}"
