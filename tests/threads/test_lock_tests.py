"""threading's own tests of its primitives, of the interpreter that runs this, on the `.sync` views."""

import importlib
import unittest

import pytest
from upstream import run_case

from holdfast import threads

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


def cases():
    for name, types in KINDS.items():
        attributes = {attribute: staticmethod(make) for attribute, make in types.items()}
        cls = type(name, (getattr(upstream, name), unittest.TestCase), attributes)
        for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
            title = f"{name}.{case._testMethodName}"
            marks = [pytest.mark.skip(reason=EXCLUDED[title])] if title in EXCLUDED else []
            yield pytest.param(case, id=title, marks=marks)


@pytest.mark.parametrize("case", [*cases()])
def test_upstream(case):
    run_case(case)
