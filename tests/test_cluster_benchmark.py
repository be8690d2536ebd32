# ruff: noqa: E402  # the benchmarks are not everywhere where the tests are
"""The benchmark of the Lock across processes: its figures on records made by hand, and a tiny run of it."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "benchmarks").is_dir() or not hasattr(os, "sched_setaffinity"):
    pytest.skip("no benchmarks here", allow_module_level=True)

from benchmarks.cluster.checks import check
from benchmarks.cluster.competitors import HOLDFAST
from benchmarks.cluster.figures import Measured, Run, Turn, hand_offs, jain, merge, overlaps, percentile, waits
from benchmarks.cluster.figures import same_owner as same_owner_of
from benchmarks.cluster.scenarios import COMBINING, PROMISED

EXACT = 1e-9
ENDLESS = math.inf


def two_processes() -> Run:
    """0 and 1 in turn, 0 twice in a row, then a moment when nobody asks; one of 1's tasks never gets it."""
    turns = [
        Turn(1, 100.5, 102.25, 103.0),
        Turn(0, 100.0, 100.0, 102.0),
        Turn(0, 102.5, 103.5, 104.0),
        Turn(0, 104.0, 104.25, 105.0),
        Turn(1, 106.0, 106.0, 107.0),
        Turn(0, 106.5, 107.125, ENDLESS),
        Turn(1, 108.0),
        Turn(1, 99.0, 99.5, 99.75),  # before the start
        Turn(1, 110.0),  # not before the end
    ]
    return merge(2, 100.0, 110.0, turns, [99.0, 100.0, 105.0, 109.0, 110.0])


def test_records_are_merged_in_the_order_of_holding_and_within_the_time():
    run = two_processes()
    assert [turn.began for turn in run.held] == [100.0, 102.25, 103.5, 104.25, 106.0, 107.125]
    assert len(run.turns) == 7
    assert run.swaps == [100.0, 105.0, 109.0]


def test_a_hand_off_goes_to_another_process_while_somebody_waits():
    # Not 104.0 to 104.25, which is within process 0, and not 105.0 to 106.0, when nobody had asked.
    assert hand_offs(two_processes()) == [0.25, 0.5, 0.125]


def test_who_barges_in_is_handed_what_another_one_waited_for():
    run = merge(3, 0, 10, [Turn(0, 0, 0, 2), Turn(1, 1, 6, 7), Turn(2, 3, 3, 5)])
    assert hand_offs(run) == [1, 1]


def test_a_wait_counts_until_the_end():
    assert waits(two_processes()) == [0.0, 1.75, 1.0, 0.25, 0.0, 0.625, 2.0]


def test_same_owner():
    assert same_owner_of(two_processes()) == pytest.approx(1 / 5, abs=EXACT)


@pytest.mark.parametrize(
    ("counts", "index"), [([5, 5, 5, 5], 1), ([8, 0, 0, 0], 1 / 4), ([1, 2, 3], 36 / 42), ([0, 7], 1 / 2)]
)
def test_jain(counts, index):
    assert jain(counts) == pytest.approx(index, abs=EXACT)


def test_jain_of_nothing_is_none():
    assert math.isnan(jain([0, 0]))


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (100, 100)])
def test_percentiles(percent, value):
    assert percentile([*range(100, 0, -1)], percent) == value


def test_a_percentile_of_nothing_is_none():
    assert math.isnan(percentile([], 50))


def test_overlaps():
    assert not overlaps(two_processes())
    first, second, third = Turn(0, 0, 1, 3), Turn(1, 0, 2, 4), Turn(0, 3, 4, 5)
    assert overlaps(merge(2, 0, 10, [first, second, third])) == [(first, second)]
    assert overlaps(merge(2, 0, 10, [Turn(0, 0, 1), second]))  # never released


def test_over_all_rounds():
    measured = Measured()
    measured.runs = [two_processes(), merge(2, 0, 10, [Turn(0, 0, 4, 6)], [1, 2])]
    assert measured.rate == pytest.approx((0.6 + 0.1) / 2, abs=EXACT)
    assert measured.hold == pytest.approx((2 + 0.75 + 0.5 + 0.75 + 1 + 2) / 6, abs=EXACT)
    assert measured.hand_off(50) == 0.25
    assert measured.longest_wait == 4
    assert measured.mean_wait == pytest.approx((5.625 + 4) / 8, abs=EXACT)
    assert measured.jain == pytest.approx(1 / 2, abs=EXACT)
    assert measured.swaps == pytest.approx(5 / 7, abs=EXACT)


def measured(*runs: Run) -> dict[str, Measured]:
    row = Measured()
    row.runs = [*runs]
    return {HOLDFAST: row}


def in_turns(hold: float, pause: float, processes: int = 4, last: float = 0.0) -> Run:
    """Each process has it in turn and asks for it again one turn after; the last request waits so much longer."""
    turns = [Turn(at % processes, at * (hold + pause) - hold, at * (hold + pause)) for at in range(1, 100)]
    turns = [turn._replace(released=turn.began + hold) for turn in turns]
    turns[-1] = turns[-1]._replace(asked=turns[-1].asked - last)
    return merge(processes, 0.0, 100 * (hold + pause), turns)


@pytest.mark.parametrize(
    ("run", "broken"),
    [
        (in_turns(0.01, 0.0005), []),
        (in_turns(0.01, 0.0015), ["10 ms hold, 20 ms think: at least", "the timer made it", "hand-off"]),
        (in_turns(0.0115, 0.0005), ["10 ms hold, 20 ms think: at least"]),
        (in_turns(0.01, 0.0005, last=0.1), ["longest wait"]),
        (merge(4, 0.0, 1.05, in_turns(0.01, 0.0005, processes=3).turns), ["Jain"]),
        (merge(4, 0.0, 1.05, [*in_turns(0.01, 0.0005).turns, Turn(0, 0.2, 0.212, 0.3)]), ["overlap"]),
    ],
)
def test_what_is_promised(run, broken):
    checks = [*check({PROMISED: measured(run)}, {HOLDFAST: [0.001, 0.002, 0.1]})]
    failed = [each.promise for each in checks if not each.holds]
    assert len(checks) == 7
    assert len([promise for promise in failed if "overlap" not in promise or "overlap" in broken]) >= len(broken)
    for words in broken:
        assert any(words in promise for promise in failed), failed
    if not broken:
        assert not failed


def test_a_slow_recovery_breaks_its_promise():
    (_, recovery) = check({}, {HOLDFAST: [0.001, 0.03, 0.04]})
    assert not recovery.holds


@pytest.mark.parametrize(("swaps", "holds"), [((8, 6, 4), True), ((4, 6, 8), False), ((8, 8, 8), False)])
def test_acquisitions_per_swap_should_rise(swaps, holds):
    def run(count: int) -> Run:
        return merge(4, 0, 10, [Turn(0, at, at, at) for at in range(4)], range(count))

    results = {scenario: measured(run(count)) for scenario, count in zip(COMBINING, swaps, strict=True)}
    (_, combining) = check(results, {})
    assert combining.holds is holds


@pytest.mark.skipif(importlib.util.find_spec("filelock") is None, reason="filelock is not installed")
def test_a_tiny_run():
    command = [sys.executable, "-m", "benchmarks.cluster", "--only", "2 x 100", "--rounds", "1", "--scale", "0.2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PASS: no two holdings overlap: 0 do" in done.stdout
    for name in ("holdfast", "AsyncFileLock", "flock in a thread"):
        (row,) = [line for line in done.stdout.splitlines() if f"| {name} |" in line]
        assert int(row.split("|")[3]) > 0
