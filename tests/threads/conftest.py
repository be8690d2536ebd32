"""What the tests that drive the schedule have in common."""

import pytest

from holdfast.threads import lock, semaphore
from holdfast.threads._section import ONE_AT_A_TIME
from holdfast.threads._waiter import ThreadWaiter

from .by_hand import HandLoop, finish


@pytest.fixture(name="loops")
def two_loops():
    loops = HandLoop(), HandLoop()
    yield loops
    finish(*loops)


@pytest.fixture(params=[True, False] if ONE_AT_A_TIME else [False], ids=lambda one: "GIL" if one else "no GIL")
def either_way(request, monkeypatch):
    """Also what is done without the GIL, which is right with it as well."""
    for module in (lock, semaphore):
        monkeypatch.setattr(module, "ONE_AT_A_TIME", request.param)


@pytest.fixture(name="instead_of_waiting")
def replace_wait(monkeypatch):
    """Let threads do something instead of blocking; then their time is up, or an exception comes out."""

    def replace(act):
        monkeypatch.setattr(ThreadWaiter, "wait", lambda self, timeout: act())

    return replace
