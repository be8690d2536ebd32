"""What holdfast promises about the Lock across processes, held against the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from .competitors import HOLDFAST
from .figures import Measured
from .scenarios import COMBINING, PROMISED, Scenario

SHARE = 0.9
HAND_OFF = 1e-3
FAIR = 0.99
PATIENT = 5.0
RECOVERY = 20e-3
NOISE = 0.01

Results = Mapping[Scenario, Mapping[str, Measured]]


@dataclass(frozen=True)
class Check:
    promise: str
    figure: str
    """What was measured, for people."""
    holds: bool


def check(results: Results, recoveries: Mapping[str, Sequence[float]]) -> Iterator[Check]:
    overlaps = sum(measured.overlaps for row in results.values() for measured in row.values())
    yield Check("no two holdings overlap", f"{overlaps} do", overlaps == 0)
    if PROMISED in results:
        yield from _promised(results[PROMISED][HOLDFAST])
    if recoveries:
        recovery = median(recoveries[HOLDFAST])
        text = f"{recovery * 1e3:.2f} ms, the slowest {max(recoveries[HOLDFAST]) * 1e3:.2f} ms"
        yield Check(f"next owner within {RECOVERY * 1e3:g} ms after SIGKILL of the holder", text, recovery <= RECOVERY)
    rows = [results[scenario][HOLDFAST] for scenario in COMBINING if scenario in results]
    if len(rows) == len(COMBINING):
        per_swap = [1 / row.swaps for row in rows]
        yield Check(
            f"acquisitions per swap rise with {_listed(scenario.tasks for scenario in COMBINING)} tasks per process, "
            f"to the {NOISE:.0%}",
            _listed(f"{each:.3f}" for each in per_swap),
            all(more >= fewer * (1 - NOISE) for fewer, more in pairwise(per_swap)) and per_swap[-1] > per_swap[0],
        )


def _promised(measured: Measured) -> Iterator[Check]:
    where = f"{PROMISED.processes} processes, {PROMISED.hold * 1e3:g} ms hold, {PROMISED.think * 1e3:g} ms think"
    nominal, real = 1 / PROMISED.hold, 1 / measured.hold
    for ceiling, what in (nominal, "the nominal hold"), (real, f"the hold as the timer made it, {real:.1f}"):
        share = measured.rate / ceiling
        figure = f"{share:.1%}, {measured.rate:.1f} per second"
        yield Check(f"{where}: at least {SHARE:.0%} of what {what} allows", figure, share >= SHARE)
    hand_off = measured.hand_off(50)
    yield Check(f"{where}: hand-off p50 < {HAND_OFF * 1e3:g} ms", f"{hand_off * 1e3:.3f} ms", hand_off < HAND_OFF)
    yield Check(f"{where}: Jain ≥ {FAIR}", f"{measured.jain:.4f}", measured.jain >= FAIR)
    ratio = measured.longest_wait / measured.mean_wait
    yield Check(f"{where}: longest wait < {PATIENT:g} times the mean", f"{ratio:.2f} times", ratio < PATIENT)


def _listed(values: Iterator[object]) -> str:
    return ", ".join(map(str, values))
