"""The tests that the running interpreter has for threading's primitives, on the `.sync` views."""

import importlib
import sys
import time
import unittest

import pytest
from interpreters import BOUND
from upstream import run_case

from holdfast import threads
from holdfast.threads.thread_waiter import ThreadWaiter

PRIVATE = "a private method of threading's, for its own use after fork()"
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

try:
    upstream = importlib.import_module("test.lock_tests")
except ImportError as error:  # some distributions leave the tests out
    pytest.skip(f"this interpreter comes without its own tests: {error}", allow_module_level=True)


def until_threads_are_blocked(count):
    """Wait until each thread of a Bunch waits for something or has ended.

    Upstream's sleeps for 10 ms for each, which is too short for a busy machine.
    """
    end = time.monotonic() + BOUND
    while not all(map(is_blocked, sys._current_frames().items())):
        assert time.monotonic() < end
        time.sleep(0.001)


def is_blocked(thread):
    number, frame = thread
    outermost = frame
    while outermost.f_back is not None:
        outermost = outermost.f_back
    if outermost.f_code is not upstream.Bunch.task.__code__:
        return True  # it is none of theirs
    return frame.f_code is ThreadWaiter.wait.__code__ or number in outermost.f_locals["self"].finished


def is_no_less(case, actual, expected):
    """In place of upstream's assertTimeout(), to which a busy machine is insane."""
    assert actual >= expected * 0.6


ON_A_BUSY_MACHINE = {"assertTimeout": is_no_less, "defaultTimeout": 8.0}


@pytest.fixture(autouse=True)
def no_short_sleeps(monkeypatch):
    monkeypatch.setattr(upstream, "wait_threads_blocked", until_threads_are_blocked, raising=False)


def cases():
    for name, types in KINDS.items():
        attributes = {attribute: staticmethod(make) for attribute, make in types.items()} | ON_A_BUSY_MACHINE
        cls = type(name, (getattr(upstream, name), unittest.TestCase), attributes)
        for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
            title = f"{name}.{case._testMethodName}"
            marks = [pytest.mark.skip(reason=EXCLUDED[title])] if title in EXCLUDED else []
            yield pytest.param(case, id=title, marks=marks)


@pytest.mark.parametrize("case", [*cases()])
def test_upstream(case):
    run_case(case)
