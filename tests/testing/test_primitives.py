"""The explorer on real primitives: ours pass, and what is wrong in asyncio's is found."""

import asyncio

import pytest
from interpreters import closing

import holdfast
from holdfast.testing import explore

from . import scenarios


@pytest.mark.parametrize("scenario", scenarios.ALL)
@pytest.mark.parametrize("bounds", [{"cancels": 2}, {"cancels": 1, "kills": 1}], ids=str)
def test_ours(scenario, bounds):
    explore(scenario(holdfast), **bounds).check()


@closing
@pytest.mark.parametrize("scenario", scenarios.ALL)
def test_ours_at_the_end_of_the_loop(scenario):
    explore(scenario(holdfast), ends=1).check()


@pytest.mark.parametrize("scenario", [scenarios.lock, scenarios.semaphore, scenarios.event])
def test_asyncios_under_cancellation(scenario):
    explore(scenario(asyncio), cancels=2).check()


@pytest.mark.parametrize("scenario", [scenarios.lock, scenarios.semaphore, scenarios.condition])
def test_asyncios_lose_a_grant_when_a_granted_task_is_closed(scenario):
    assert explore(scenario(asyncio), kills=1, cancels=0).counterexample


@pytest.mark.parametrize("scenario", [scenarios.lock, scenarios.semaphore, scenarios.event])
def test_ours_do_what_asyncios_do(scenario):
    explore(scenario(holdfast), against=scenario(asyncio), cancels=2).check()
