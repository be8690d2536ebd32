"""pytest's fixtures for code that takes locks: a memory for each test in place of the engine that the program uses.

`holdfast.testing.pytest_plugin` brings them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.cluster.connecting import connect
from holdfast.cluster.engines.memory import memory_of_its_own
from holdfast.cluster.synchronous.session import SyncSession


@pytest.fixture
def holdfast_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """While the test runs, `holdfast.connect()` and `locked()` without a URL use a memory that is this test's alone.

    So does the URL "memory:", which is the fixture's value. Other URLs are what they always are. A process that the
    test starts has a memory of its own, and shares nothing with the test's.
    """
    with memory_of_its_own():
        monkeypatch.setenv("HOLDFAST_URL", "memory:")
        yield "memory:"


@pytest.fixture
def holdfast_session(holdfast_memory: str) -> Iterator[SyncSession]:
    """A session of `holdfast_memory`, open for threads: what stands beside the code under test, and in its way."""
    with connect(holdfast_memory, None, "default", "the test").sync as session:
        yield session
