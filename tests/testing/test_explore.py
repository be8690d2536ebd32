import asyncio

import pytest

import holdfast
from holdfast.testing import explore

from .toys import ForgetfulLock, three_users


def test_a_lost_wake_up_is_found_with_the_fewest_interventions():
    report = explore(three_users(ForgetfulLock), cancels=2)
    found = report.counterexample
    assert found.kind == "deadlock"
    assert len(found.replay) == 2 * 2
    assert not report.exhausted
    assert not report.passed


@pytest.mark.parametrize("lock_class", [holdfast.Lock, asyncio.Lock])
def test_a_good_lock_passes(lock_class):
    report = explore(three_users(lock_class), cancels=2)
    assert report.passed
    assert report.exhausted
    assert report.schedules > 400
    report.check()


def test_a_replay_gives_the_same_counterexample():
    found = explore(three_users(ForgetfulLock)).counterexample
    again = explore(three_users(ForgetfulLock), replay=found.replay)
    assert again.schedules == 1
    assert (again.counterexample.kind, again.counterexample.story) == (found.kind, found.story)


def test_a_replay_of_a_good_schedule_passes():
    found = explore(three_users(ForgetfulLock)).counterexample
    report = explore(three_users(holdfast.Lock), replay=found.replay)
    assert report.passed
    assert not report.exhausted
