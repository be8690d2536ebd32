"""What issue 21 of the project asks of the Lock across processes, held against the results.

These are no promises: the exit code does not depend on them. One that is not reached shows how far it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from .checks import Check, Results
from .competitors import BEFORE, FLOCK, HOLDFAST, HOLDFAST_ON_SERVER, REDIS_PY
from .figures import Measured
from .scenarios import CONTENDED, CROWDS, FAIR, MANY, ONE_CROWD, UNCONTENDED, Scenario

TIMES_BEFORE = {UNCONTENDED: 3.5, ONE_CROWD: 15.0, CONTENDED: 4.0, CROWDS: 10.0, MANY: 3.0}
"""How many times as fast as the build before that issue."""
HAND_OFF, TIMES_FLOCK = 0.2e-3, 3.0
JAIN = 0.99
TIMES_MEAN = 3.0
COMMANDS, OCTETS = 2.3, 900.0
SCRIPTS = 3.0

INTRODUCTION = "Issue 21 of the project asks for these figures. They are no promises."
WITH_BEFORE = "Those that compare with an earlier build are here if `--before` has named one."


def targets(results: Results) -> Iterator[Check]:
    """On one machine, as far as it was measured."""
    for scenario, row in results.items():
        mine, earlier, flock = (row.get(name) for name in (HOLDFAST, BEFORE, FLOCK))
        if mine is None:
            continue
        times = TIMES_BEFORE.get(scenario)
        if times is not None and earlier is not None:
            yield _rate(scenario, mine, earlier, times, "the earlier build")
        if scenario == ONE_CROWD and flock is not None:
            yield _rate(scenario, mine, flock, 1.0, FLOCK)
        if scenario == CONTENDED:
            yield from _hand_off(mine, flock)
        if scenario in (CROWDS, FAIR):
            yield _patience(scenario, mine)
        if scenario in (CONTENDED, FAIR):
            yield Check(f"{scenario.title}: Jain ≥ {JAIN}", f"{mine.jain:.4f}", mine.jain >= JAIN)


def _rate(scenario: Scenario, mine: Measured, other: Measured, times: float, whose: str) -> Check:
    ratio = mine.rate / other.rate
    figure = f"{ratio:.2f} times, {mine.rate:,.0f} and {other.rate:,.0f} per second"
    return Check(f"{scenario.title}: at least {times:g} times the rate of {whose}", figure, ratio >= times)


def _hand_off(mine: Measured, flock: Measured | None) -> Iterator[Check]:
    what, took = f"{CONTENDED.title}: hand-off p50", mine.hand_off(50)
    yield Check(f"{what} ≤ {HAND_OFF * 1e3:g} ms", f"{took * 1e3:.3f} ms", took <= HAND_OFF)
    if flock is not None:
        ratio = took / flock.hand_off(50)
        yield Check(f"{what} ≤ {TIMES_FLOCK:g} times that of {FLOCK}", f"{ratio:.2f} times", ratio <= TIMES_FLOCK)


def _patience(scenario: Scenario, mine: Measured) -> Check:
    ratio = mine.longest_wait / mine.mean_wait
    promise = f"{scenario.title}: longest wait ≤ {TIMES_MEAN:g} times the mean"
    return Check(promise, f"{ratio:.2f} times", ratio <= TIMES_MEAN)


def on_server(
    alone: Mapping[str, Measured], cost: tuple[float, float], crowds: Mapping[str, list[float]]
) -> Iterator[Check]:
    """On a server.

    alone: who has it where nobody contends, by competitor.
    cost: commands and bytes of an acquisition where four contend.
    crowds: scripts of each of many sessions that come at once, in each round, by what they do.
    """
    yield _rate(UNCONTENDED, alone[HOLDFAST_ON_SERVER], alone[REDIS_PY], 1.0, REDIS_PY)
    where = "4 processes, 10 ms hold, 20 ms think"
    commands, octets = cost
    yield Check(f"{where}: ≤ {COMMANDS} commands per acquisition", f"{commands:.2f}", commands <= COMMANDS)
    yield Check(f"{where}: ≤ {OCTETS:g} bytes per acquisition", f"{octets:,.0f}", octets <= OCTETS)
    for what, scripts in crowds.items():
        each = median(scripts)
        yield Check(f"{what}: ≤ {SCRIPTS:g} scripts for each call", f"{each:.2f}", each <= SCRIPTS)
