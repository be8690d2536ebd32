from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """All that a test starts shares an engine of its own."""
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    return tmp_path / "locks"
