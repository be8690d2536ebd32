"""The version that pages name is the version of the package, and the changelog says what is in it."""

import re
from datetime import date
from pathlib import Path

import holdfast

ROOT = Path(__file__).parents[2]


def test_the_wheels_that_pages_name_are_of_this_version():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    assert set(re.findall(r"holdfast-(\d[^-]*)-py3-none-any\.whl", pages)) <= {holdfast.__version__}


def test_the_changelog_has_a_day_for_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (day,) = re.findall(rf"^## \[{re.escape(holdfast.__version__)}\] - (.+)$", changelog, re.MULTILINE)
    assert date.fromisoformat(day).isoformat() == day
