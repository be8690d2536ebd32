"""What the tests that drive the schedule have in common."""

import pytest

from holdfast.threads._waiter import ThreadWaiter

from .by_hand import HandLoop, finish


@pytest.fixture(name="loops")
def two_loops():
    loops = HandLoop(), HandLoop()
    yield loops
    finish(*loops)


@pytest.fixture(name="instead_of_waiting")
def replace_wait(monkeypatch):
    """Let threads do something instead of blocking; then their time is up, or an exception comes out."""

    def replace(act):
        monkeypatch.setattr(ThreadWaiter, "wait", lambda self, timeout: act())

    return replace
