"""Event loops other than asyncio's own: docs/compatibility.md has the table, each of whose cells is a test here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from interpreters import BOUND
from tests.cluster.servers import shared

from .program import NOT_INSTALLED

PROGRAM = Path(__file__).with_name("program.py")
TABLE = Path(__file__).parents[2] / "docs" / "compatibility.md"
LOOPS = "asyncio", "uvloop", "rloop", "qasync", "gbulb", "nest_asyncio", "trio_asyncio"
PARTS = "tasks", "threads", "cluster", "lease", "redis"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("loop", LOOPS)
def test_holds_in(loop, part, tmp_path):
    urls = {"cluster": [f"sqlite://{tmp_path}/state"], "lease": [f"sqlite://{tmp_path}/state"]}
    if part == "redis":
        urls["redis"] = [shared().url]
    what = "cluster" if part == "redis" else part
    command = [sys.executable, "-W", "ignore", PROGRAM, loop, what, *urls.get(part, [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND)
    if done.returncode == NOT_INSTALLED:
        pytest.skip(done.stdout)
    if loop == "qasync" and "none_dealloc" in done.stderr:
        pytest.skip("PySide6 on Python 3.11 gives back more references to None than it has taken")
    assert (done.returncode, done.stdout, done.stderr) == (0, "held\n", "")


def test_the_table_names_every_loop():
    named = set(re.findall(r"^\| `(\w+)`", TABLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {*LOOPS, "winloop"} <= named
