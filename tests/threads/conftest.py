"""Fixtures of the tests that decide themselves what comes first."""

import pytest

from holdfast.tasks.gil import ONE_AT_A_TIME
from holdfast.threads import lock, semaphore, task_waiter
from holdfast.threads.thread_waiter import ThreadWaiter

from .by_hand import HandLoop, finish


@pytest.fixture(name="loops")
def two_loops():
    loops = HandLoop(), HandLoop()
    yield loops
    finish(*loops)


@pytest.fixture(params=[True, False] if ONE_AT_A_TIME else [False], ids=lambda one: "GIL" if one else "no GIL")
def either_way(request, monkeypatch):
    """Run the test with and without the shortcuts that rely on the GIL."""
    for module in (lock, semaphore):
        monkeypatch.setattr(module, "ONE_AT_A_TIME", request.param)


@pytest.fixture(name="woken_by_calls")
def no_eventfd_without_the_gil(monkeypatch):
    """Have loops woken by calls at first without the GIL too, where they get an eventfd with their first waiter."""
    monkeypatch.setattr(task_waiter, "ONE_AT_A_TIME", True)


@pytest.fixture(name="instead_of_waiting")
def replace_wait(monkeypatch):
    """Have threads do something instead of blocking. Then their time is up, or an exception comes out of the wait."""

    def replace(act):
        monkeypatch.setattr(ThreadWaiter, "wait", lambda self, timeout: act())

    return replace
