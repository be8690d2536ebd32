"""A file of ours that the manual or a comment names by its path is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SOURCES = [path for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".c", ".h")]
FOLDERS = (
    "tasks|threads|blocking|cluster|debug|testing|cli|demo|engines|records|speedups|session_life|primitives|synchronous"
    "|tests|benchmarks|src"
)
pytestmark = pytest.mark.skipif(not SOURCES, reason="the source is not at hand: a wheel is tested")
PATH = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w/]*\w\.(?:py|c|h|lua))\b")


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_it_names_are_there(path: Path) -> None:
    above = [
        ROOT,
        ROOT / "src" / "holdfast",
        ROOT / "src" / "holdfast" / "cluster",
        ROOT / "src" / "holdfast" / "tasks",
    ]
    named = PATH.findall(path.read_text())
    if path.name == "compatibility.md":  # which names files of other libraries' suites
        named = [each for each in named if not each.startswith("tests/")]
    assert not [each for each in named if not any((folder / each).is_file() for folder in above)]


def test_some_are_named() -> None:
    assert PATH.findall((ROOT / "docs" / "design.md").read_text())
