"""The tests that the running interpreter has for threading's primitives, on those of a `SyncSession`."""

import asyncio
import itertools
import os
import time

import lock_tests
import pytest
from interpreters import BOUND
from lock_tests import PRIVATE
from upstream import run_case

import holdfast
from holdfast.cluster.loop_in_thread.call import Call

OWN_REPR = "threading's repr with the name of its class; ours is tested in test_synchronous.py"
NO_ACTION = "a barrier across processes has no action= and no timeout= of its own"
NOT_REENTRANT = "asserts that the default lock is reentrant; ours is not"

EXCLUDED = {
    "LockTests.test_at_fork_reinit": PRIVATE,
    "LockTests.test_locked_repr": OWN_REPR,
    "LockTests.test_repr": OWN_REPR,
    "ConditionTests.test_nan_timeout": "looks at a private attribute",
    "ConditionTests.test_acquire": NOT_REENTRANT,
    "EventTests.test_at_fork_reinit": PRIVATE,
    "EventTests.test_reset_internal_locks": PRIVATE,
    "EventTests.test_repr": OWN_REPR,
    "SemaphoreTests.test_repr": OWN_REPR,
    "BoundedSemaphoreTests.test_repr": OWN_REPR,
    "BarrierTests.test_repr": OWN_REPR,
    "BarrierTests.test_action": NO_ACTION,
    "BarrierTests.test_default_timeout": NO_ACTION,
    "BarrierTests.test_constructor": NO_ACTION,
}

_numbers = itertools.count(1)
_session = holdfast.connect("memory:", namespace=f"lock tests {os.getpid()}").sync


def a_name():
    return f"name {next(_numbers)}"


class WithBools:
    """A semaphore whose acquire() says True or False, as upstream compares, in place of a grant or None."""

    def __init__(self, semaphore):
        self.semaphore = semaphore
        self.release = semaphore.release

    def acquire(self, *args, **kwargs):
        return bool(self.semaphore.acquire(*args, **kwargs))

    def __enter__(self):
        return self.semaphore.__enter__()

    def __exit__(self, *exc):
        self.semaphore.__exit__(*exc)


KINDS = {
    "LockTests": {"locktype": lambda: _session.lock(a_name())},
    "EventTests": {"eventtype": lambda: _session.event(a_name())},
    "ConditionTests": {"condtype": lambda lock=None: _session.condition(a_name(), lock)},
    "SemaphoreTests": {"semtype": lambda value=1: WithBools(_session.semaphore(a_name(), value))},
    "BoundedSemaphoreTests": {"semtype": lambda value=1: WithBools(_session.bounded_semaphore(a_name(), value))},
    "BarrierTests": {"barriertype": lambda parties, timeout=None: _session.barrier(a_name(), parties)},
}


@pytest.fixture(scope="module", autouse=True)
def session():
    with _session:
        yield


async def many_turns():
    for _ in range(50):
        await asyncio.sleep(0)


def until_threads_are_blocked(count):
    """Wait until each thread of a Bunch waits for something that does not come, or has ended."""
    end = time.monotonic() + BOUND
    before = None
    while True:
        assert time.monotonic() < end
        asked = {id(call): call for call in [*_session._thread._calls]}
        is_answered = any(call._is_answered for call in asked.values())  # a thread that looks blocked until it runs
        is_same = before is not None and before.keys() == asked.keys()
        if is_same and not is_answered and lock_tests.threads_are_blocked(Call.wait):
            return
        before = asked
        _session._run(many_turns)


@pytest.fixture(autouse=True)
def no_short_sleeps(monkeypatch):
    lock_tests.use_to_wait(monkeypatch, until_threads_are_blocked)


@pytest.mark.parametrize("case", [*lock_tests.cases(KINDS, EXCLUDED)])
def test_upstream(case):
    run_case(case)
