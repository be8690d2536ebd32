"""The tests that the running interpreter has for threading's primitives, for whatever else has their methods."""

import importlib
import sys
import unittest

import pytest

try:
    upstream = importlib.import_module("test.lock_tests")
except ImportError as error:  # some distributions leave the tests out
    pytest.skip(f"this interpreter comes without its own tests: {error}", allow_module_level=True)

PRIVATE = "a private method of threading's, for its own use after fork()"


def is_no_less(case, actual, expected):
    """In place of upstream's assertTimeout(), to which a busy machine is insane."""
    assert actual >= expected * 0.6


ON_A_BUSY_MACHINE = {"assertTimeout": is_no_less, "defaultTimeout": 8.0}


def cases(kinds, excluded):
    """Parameters for `run_case`.

    kinds: for each of upstream's classes, what makes the primitives. excluded: why a test is skipped, by its title.
    """
    for name, types in kinds.items():
        attributes = {attribute: staticmethod(make) for attribute, make in types.items()} | ON_A_BUSY_MACHINE
        cls = type(name, (getattr(upstream, name), unittest.TestCase), attributes)
        for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
            title = f"{name}.{case._testMethodName}"
            marks = [pytest.mark.skip(reason=excluded[title])] if title in excluded else []
            yield pytest.param(case, id=title, marks=marks)


def use_to_wait(monkeypatch, until_threads_are_blocked):
    """Upstream's own wait sleeps for 10 ms for each thread of a Bunch, which is too short for a busy machine."""
    monkeypatch.setattr(upstream, "wait_threads_blocked", until_threads_are_blocked, raising=False)


def threads_are_blocked(function):
    """Whether each thread of a Bunch is in this function, in which it waits, or has ended."""
    return all(_is_blocked(number, frame, function) for number, frame in sys._current_frames().items())


def _is_blocked(number, frame, function):
    outermost = frame
    while outermost.f_back is not None:
        outermost = outermost.f_back
    if outermost.f_code is not upstream.Bunch.task.__code__:
        return True  # it is none of theirs
    return frame.f_code is function.__code__ or number in outermost.f_locals["self"].finished
