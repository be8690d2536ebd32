"""The stress test of `make soak`, for a few seconds."""

import sys
import threading

import pytest

from holdfast import threads

from .stress import stress


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
def test_stress():
    contest = stress(3, 1)
    assert contest.errors == []
    assert contest.turns


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
def test_free_permits_are_neither_lost_nor_made():
    """No task or thread ever waits, so each permit is taken and put back without the queue."""
    semaphore = threads.Semaphore(10)

    def use():
        for _ in range(20_000):
            assert semaphore.sync.acquire(False)
            semaphore.release()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        users = [threading.Thread(target=use) for _ in range(4)]
        for user in users:
            user.start()
        for user in users:
            user.join()
    finally:
        sys.setswitchinterval(interval)
    assert semaphore.statistics().value == 10
