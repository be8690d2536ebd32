"""docs/spec.md names a test for each row of the contract: row P4 is shown here."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    *("C1", "C2"),
    *("L1", "L2", "L3", "L4", "L5", "L6"),
    *("E1", "E2", "E3", "E4"),
    *("N1", "N2", "N3", "N4", "N5", "N6"),
    *("S1", "S2", "S3", "S4", "S5"),
    *("B1", "B2"),
    *("P1", "P2", "P3", "P4"),
]


def table() -> dict[str, list[str]]:
    """The names of the tests in the last column, by row."""
    rows = {}
    for line in (ROOT / "docs" / "spec.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if re.fullmatch(r"[A-Z]\d+", cells[0]):
            assert cells[0] not in rows
            assert len(cells) == 4
            assert all(cells[1:3])
            rows[cells[0]] = re.findall(r"`([^`]*)`", cells[3])
    return rows


def functions_in(path: Path) -> set[str]:
    """The names of the test functions of a module, `Class::function` for methods."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{part.name}" for part in node.body if hasattr(part, "name")}
    return {name for name in names if name.rpartition("::")[2].startswith("test")}


def test_every_row_is_in_the_table() -> None:
    assert list(table()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_row_names_tests_that_exist(row: str) -> None:
    tests = table()[row]
    assert tests
    for test in tests:
        module, _, name = test.partition("::")
        assert name in functions_in(ROOT / module), f"{row}: there is no {test}"


def test_supported_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classifiers = [
        classifier.rpartition(" :: ")[2] for classifier in project["classifiers"] if "Python ::" in classifier
    ]
    versions = [tuple(map(int, version.split("."))) for version in classifiers if "." in version]
    assert versions == [(3, minor) for minor in range(11, 16)]
    assert project["requires-python"] == ">=3.11"
    assert sys.version_info[:2] in versions
