"""Tests that are run under every schedule."""

import asyncio
import inspect
import os
import unittest

import pytest

import holdfast
from holdfast.testing import ExplorationError, Run, decorator, explored

from .toys import ForgetfulLock

pytest_plugins = ["pytester"]


@pytest.fixture
def permits():
    return 2


@explored(cancels=2)
@pytest.mark.parametrize("users", [2, 3])
async def test_fixtures_and_parameters(permits, users):
    semaphore = holdfast.Semaphore(permits)
    inside = 0

    async def user():
        nonlocal inside
        async with semaphore:
            inside += 1
            assert inside <= permits
            try:
                await asyncio.sleep(0)
            finally:
                inside -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(users):
            group.create_task(user())
    assert semaphore.statistics().value == permits


@explored
async def test_without_arguments():
    await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])


@explored(cancels=1)
def test_a_plain_function_with_a_run(run: Run, permits):
    run.spawn(asyncio.sleep, 0)
    run.late(asyncio.sleep, 0)
    run.at_end(lambda: permits == 2)


@explored(cancels=1)
async def test_a_coroutine_with_a_run(run):
    run.late(asyncio.sleep, 0)


class TestMethods:
    @explored
    async def test_method(self, permits):
        assert isinstance(self, TestMethods)
        assert permits == 2


class Methods(unittest.TestCase):
    @explored
    async def test_method(self):
        assert isinstance(self, Methods)


def test_the_decorated_function_looks_like_a_plain_one():
    @explored(kills=0)
    async def function(a, run, b=1):
        """Documented."""

    assert not inspect.iscoroutinefunction(function)
    assert list(inspect.signature(function).parameters) == ["a", "b"]
    assert (function.__name__, function.__doc__) == ("function", "Documented.")


def test_a_failure_fails_the_test(capsys):
    lock_class = ForgetfulLock

    @explored(cancels=1)
    async def function():
        lock = lock_class()

        async def user():
            async with lock:
                await asyncio.sleep(0)

        await asyncio.wait([asyncio.create_task(user()) for _ in range(3)])

    with pytest.raises(ExplorationError, match="deadlock") as caught:
        function()
    assert "replay=[" in str(caught.value)
    assert capsys.readouterr().out.startswith("test_a_failure_fails_the_test.function: failed (deadlock); ")
    lock_class = holdfast.Lock
    function()
    assert capsys.readouterr().out.startswith("test_a_failure_fails_the_test.function: passed, exhausted; ")


def test_a_search_that_is_out_of_time_fails():
    @explored(time_limit=0)
    async def function():
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])

    with pytest.raises(ExplorationError, match="not exhausted"):
        function()


def test_a_replay_can_stay_as_a_test():
    @explored(replay=[0, 1 + 8 * 0])
    def function(run):
        run.spawn(asyncio.sleep, 0)

    function()


def test_skipping():
    @explored
    async def function():
        pytest.skip("not today")

    with pytest.raises(pytest.skip.Exception):
        function()


@pytest.mark.parametrize("processes", ["0", "1"], ids=["here", "elsewhere"])
def test_the_pytest_plugin_ends_with_a_summary(pytester, processes):
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from holdfast.testing import explored

        @explored(cancels=1)
        async def test_it(tmp_path):
            await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])
        """
    )
    result = pytester.runpytest("-p", "holdfast.testing.pytest_plugin", "-n", processes)
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(["=* explored schedules =*", r"test_it: passed, exhausted; \d+ schedules in .* s"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()")
@pytest.mark.parametrize("workers", ["0", "1"], ids=["here", "elsewhere"])
def test_the_pytest_plugin_sets_the_number_of_processes(pytester, workers):
    pytester.makepyfile(
        """
        from holdfast.testing import decorator, explored

        def forwarded(scenario, **options):
            seen.append(options.get("processes"))
            return explore(scenario, **options)

        seen = []
        explore, decorator.explore = decorator.explore, forwarded

        @explored(cancels=1)
        async def test_that_says_nothing():
            pass

        @explored(cancels=1, processes=1)
        async def test_that_says_one():
            pass

        def test_what_was_seen():
            assert seen == [2, 1]
            decorator.explore = explore
        """
    )
    options = ("-p", "holdfast.testing.pytest_plugin", "-n", workers, "-p", "no:randomly")
    pytester.runpytest(*options, "--explore-processes", "2").assert_outcomes(passed=3)
    assert decorator.defaults == {}
    pytester.runpytest(*options, "--help").stdout.fnmatch_lines(["*--explore-processes=N*"])
    result = pytester.runpytest(*options, "--explore-processes", "many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
