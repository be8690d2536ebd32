"""The judge of histories sees what is wrong."""

import pytest

from .history import Turn, overtaken, stale, violations


@pytest.mark.parametrize(
    ("turns", "permits", "found"),
    [
        ([], 1, 0),
        ([Turn("a", 0, 1), Turn("b", 1, 2)], 1, 0),
        ([Turn("a", 0, 1.1), Turn("b", 1, 2)], 1, 1),
        ([Turn("a", 0, 9), Turn("b", 1, 2), Turn("c", 3, 4)], 1, 2),
        ([Turn("a", 0, 9), Turn("b", 1, 2), Turn("c", 3, 4)], 2, 0),
        ([Turn("a", 0, 9), Turn("b", 1, 5), Turn("c", 3, 4)], 2, 1),
        ([Turn("a", 0, float("inf")), Turn("b", 1, 2)], 1, 1),
        ([Turn("a", 0, 1, token=1), Turn("b", 1, 2, token=2)], 1, 0),
        ([Turn("a", 0, 1, token=2), Turn("b", 1, 2, token=1)], 1, 1),
        ([Turn("a", 0, 1, token=1), Turn("b", 1, 2, token=1)], 1, 1),
    ],
)
def test_violations(turns, permits, found):
    assert len(violations(turns, permits)) == found


def test_overtaken():
    later = Turn("b", 4, 5, asked=1, arrived=2)
    assert overtaken([Turn("a", 5, 6, asked=0, arrived=0.5), later]) == ["b overtook a"]
    assert overtaken([Turn("a", 5, 6, asked=0, arrived=1.5), later]) == []
    assert overtaken([Turn("a", 5, 6, asked=0), later]) == [], "nobody knows when it has arrived"
    assert overtaken([Turn("a", 4, 5, asked=0, arrived=0.5), Turn("b", 5, 6, asked=1, arrived=2)]) == []


def test_stale():
    assert stale([1, 2, 2, 3]) == []
    assert stale([2, 1, 3, 2]) == [1, 2]
