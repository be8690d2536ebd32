"""The tests that docs/howto/tests.md shows, with the fixtures that it shows, as a program's own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import holdfast

from .test_synchronous import write_files

pytest_plugins = ["holdfast.testing.pytest_plugin"]


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files("howto/tests.md", tmp_path)
    monkeypatch.setenv("HOLDFAST_URL", "sqlite:///nowhere/that/can/be/made")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=90)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_a_test_shares_nothing_with_what_was_there_before(request: pytest.FixtureRequest) -> None:
    """The fixture is asked for in the middle of this test. What is held outside is not held inside."""
    with holdfast.connect("memory:").sync as before, before.lock("x"):
        session = request.getfixturevalue("holdfast_session")
        assert session.names() == []
        with session.lock("x"), holdfast.connect().sync as another:
            assert another.lock("x").acquire(blocking=False) is None
            assert another.names() == ["x"]
