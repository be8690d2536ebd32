"""The tests that the running interpreter has for threading's primitives, on the `.sync` views."""

import time

import lock_tests
import pytest
from interpreters import BOUND
from lock_tests import PRIVATE
from upstream import run_case

from holdfast import threads
from holdfast.threads.thread_waiter import ThreadWaiter

OWN_REPR = "threading's repr with the name of its class; ours is tested in test_order.py"

EXCLUDED = {
    "LockTests.test_at_fork_reinit": PRIVATE,
    "ConditionTests.test_nan_timeout": "looks at a private attribute; see test_condition.py",
    "ConditionTests.test_acquire": "asserts that the default lock is reentrant; ours is not (docs/threads.md)",
    "EventTests.test_at_fork_reinit": PRIVATE,
    "EventTests.test_reset_internal_locks": PRIVATE,
    "EventTests.test_repr": OWN_REPR,
    "SemaphoreTests.test_repr": OWN_REPR,
    "BoundedSemaphoreTests.test_repr": OWN_REPR,
    "BarrierTests.test_repr": OWN_REPR,
}


def new_condition(lock=None):
    return threads.Condition(lock).sync


KINDS = {
    "LockTests": {"locktype": lambda: threads.Lock().sync},
    "EventTests": {"eventtype": lambda: threads.Event().sync},
    "ConditionTests": {"condtype": new_condition},
    "SemaphoreTests": {"semtype": lambda *args, **kwargs: threads.Semaphore(*args, **kwargs).sync},
    "BoundedSemaphoreTests": {"semtype": lambda *args, **kwargs: threads.BoundedSemaphore(*args, **kwargs).sync},
    "BarrierTests": {"barriertype": lambda *args, **kwargs: threads.Barrier(*args, **kwargs).sync},
}


def until_threads_are_blocked(count):
    """Wait until each thread of a Bunch waits for something or has ended."""
    end = time.monotonic() + BOUND
    while not lock_tests.threads_are_blocked(ThreadWaiter.wait):
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_short_sleeps(monkeypatch):
    lock_tests.use_to_wait(monkeypatch, until_threads_are_blocked)


@pytest.mark.parametrize("case", [*lock_tests.cases(KINDS, EXCLUDED)])
def test_upstream(case):
    run_case(case)
