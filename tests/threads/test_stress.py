"""The stress of `make soak`, for seconds."""

import pytest

from .stress import stress


@pytest.mark.timeout(120)
def test_stress():
    contest = stress(3, 1)
    assert contest.errors == []
    assert contest.turns
