"""What a package index shows of holdfast has no link and no picture that is dead there; see docs/design.md."""

import json
import re
import runpy
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHOWN: str = runpy.run_path(str(ROOT / "setup.py"))["description"]()


def test_nothing_is_relative() -> None:
    targets = re.findall(r"\]\(([^)]*)\)|^\[[^\]]*\]: *(\S+)|(?:src|href)=\"([^\"]*)", SHOWN, re.MULTILINE)
    assert all("".join(target).startswith("https://") for target in targets)
    assert "![" not in SHOWN


def test_nothing_else_is_left_out() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for line in readme.splitlines() if line and "](" not in line]
    assert len(lines) > 30
    assert [line for line in SHOWN.splitlines() if line in lines] == lines


def test_a_link_leaves_the_name_of_its_file() -> None:
    assert "Tutorial (`docs/tutorial.md`)" in SHOWN


def test_it_is_what_was_installed() -> None:
    installed = distribution("holdfast")
    if json.loads(installed.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        pytest.skip("an editable installation is as old as its last `pip install`")
    assert installed.metadata.json["description"] == SHOWN
