"""The results as Markdown."""

from __future__ import annotations

import math
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.markdown import PYTHON, machine, table

from .checks import Check, Results
from .competitors import COMPETITORS, HOLDFAST
from .figures import Measured

_HOW_TO_READ = """\
*processes*: how many contend for one lock, x how many tasks in each; then the milliseconds that each holds it / that it
waits from its release to its next request. *hand-off*: from one holder's call of release() until the next holder, in
another process, is in, when somebody was waiting. *longest wait*: over all rounds, who was still waiting at the end
included; ÷ *mean*: the mean wait. *same owner*: the share of grants that went to the process that had it last. *Jain*:
Jain's fairness index over the processes, in the worst round. *swaps*: changes of the record per acquisition.

AsyncFileLock polls every 50 ms by default. flock() in a thread is as the kernel queues it, in the threads that asyncio
has by default: a task that waits blocks one of them, and cannot be cancelled.

"-": there is none."""


def markdown(
    results: Results,
    recoveries: Mapping[str, Sequence[float]],
    checks: Sequence[Check],
    rounds: int,
    seconds: float,
    load: float,
) -> str:
    """load: of the machine in the minute before the run, as uptime(1) has it."""
    facts = (
        f"{machine(['holdfast', 'filelock'])}; SQLite {sqlite3.sqlite_version}, kernel {platform.release()}; "
        f"{rounds} rounds, in each every competitor once; {seconds:.0f} s in all; the load before was {load:.2f}. "
        "Made by `python -m benchmarks.cluster`."
    )
    parts = [f"# The Lock across processes, on Python {PYTHON}", facts, _HOW_TO_READ, "## Contention", _times(results)]
    if recoveries:
        parts += ["## After SIGKILL of the holder", _recoveries(recoveries)]
    return "\n\n".join([*parts, "## Promises", promises(checks)]) + "\n"


def _times(results: Results) -> str:
    head = ["processes, hold / think", "", "per second", "hand-off p50, ms", "p99, ms", "longest wait, ms", "÷ mean"]
    return table(
        [*head, "same owner", "Jain", "swaps"],
        (
            [scenario.title if name == HOLDFAST else "", name, *_cells(measured)]
            for scenario, row in results.items()
            for name, measured in row.items()
        ),
        left=2,
    )


def _cells(measured: Measured) -> list[str]:
    longest = measured.longest_wait
    return [
        _number(measured.rate, ",.0f"),
        _number(measured.hand_off(50) * 1e3, ",.2f"),
        _number(measured.hand_off(99) * 1e3, ",.2f"),
        _number(longest * 1e3, ",.1f"),
        _number(longest / measured.mean_wait, ",.1f"),
        _number(measured.same_owner, ".0%"),
        _number(measured.jain, ".3f"),
        _number(measured.swaps, ".2f"),
    ]


def _number(value: float, style: str) -> str:
    return "-" if math.isnan(value) else format(value, style)


def _recoveries(recoveries: Mapping[str, Sequence[float]]) -> str:
    return table(
        ["next owner in after, ms", "median", "fastest", "slowest", "kills"],
        (
            [name, *(f"{pick(seconds) * 1e3:.2f}" for pick in (median, min, max)), str(len(seconds))]
            for name in COMPETITORS
            if (seconds := recoveries.get(name))
        ),
    )


def promises(checks: Sequence[Check]) -> str:
    """A line for each, whether it holds."""
    return "\n".join(f"- {'PASS' if each.holds else '**FAIL**'}: {each.promise}: {each.figure}" for each in checks)
