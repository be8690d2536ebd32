"""A test that fails takes no other test along: what it has left open is let go before the next one begins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from interpreters import BOUND

HERE = Path(__file__).parent
TESTS = """
import asyncio, gc, socket, sqlite3

def test_that_fails():
    left_open = [socket.socket(), sqlite3.connect(":memory:"), asyncio.new_event_loop()]
    left_open.append(left_open)
    assert not left_open

def test_that_comes_after_it():
    gc.collect()

def test_that_complains_itself():
    socket.socket()
"""


def test_what_a_failed_test_has_left_open_fails_no_other(tmp_path):
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert "FAILED test_some.py::test_that_fails" in done.stdout, done.stdout + done.stderr
    assert "PASSED test_some.py::test_that_comes_after_it" in done.stdout, done.stdout
    assert "FAILED test_some.py::test_that_complains_itself" in done.stdout, "only failed tests are forgiven"
