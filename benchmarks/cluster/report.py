"""The results as Markdown."""

from __future__ import annotations

import math
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.markdown import PYTHON, machine, table

from .checks import Check, Results
from .competitors import BEFORE, COMPETITORS, HOLDFAST
from .figures import Measured
from .scenarios import FAIR
from .targets import INTRODUCTION, WITH_BEFORE

_HOW_TO_READ = """\
*processes*: how many contend for one lock, x how many tasks in each; then the milliseconds that each holds it / that it
waits from its release to its next request. *hand-off*: from one holder's call of release() until the next holder, in
another process, is in, when somebody was waiting. *longest wait*: over all rounds, who was still waiting at the end
included; ÷ *mean*: the mean wait. *same owner*: the share of grants that went to the process that had it last. *Jain*:
Jain's fairness index over the processes, in the worst round. *swaps*: changes of the record per acquisition.

*÷ earlier build*: its rate divided by that of an earlier build of holdfast, {earlier}, in the same run.

*floor*: a ring of processes, which is no lock. A datagram goes round. Who gets it changes one row of a database of
SQLite, in two transactions (`BEGIN IMMEDIATE`, `SELECT`, `UPDATE`, `COMMIT`; nothing is synced), and sends the datagram
on. A process alone makes the two changes, and that is all. A lock that asks SQLite twice for each acquisition can
hardly be faster. One that hands itself on within a process without asking can, so the rows with many tasks have no
floor.

AsyncFileLock and grelmicro's Lock poll, every 50 and every 100 ms by default. grelmicro's SQLite syncs the disk at each
change, and cannot be used by many tasks of a process at once ("SQL statements in progress"). Where a peer fails, it has
no row. flock() in a thread is as the kernel queues it, in the threads that asyncio has by default: a task that
waits blocks one of them, and cannot be cancelled.

"-": there is none."""
NO_BUILD = "of which there is none here"


def markdown(
    results: Results,
    recoveries: Mapping[str, Sequence[float]],
    checks: Sequence[Check],
    rounds: int,
    seconds: float,
    load: float,
    targets: Sequence[Check] = (),
    earlier: str = "",
) -> str:
    """What was measured.

    load: of the machine in the minute before the run, as uptime(1) has it.
    earlier: what the earlier build is.
    """
    facts = (
        f"{machine(['holdfast', 'filelock', 'grelmicro'])}; SQLite {sqlite3.sqlite_version}, "
        f"kernel {platform.release()}; {rounds} rounds, in each every competitor once, but {FAIR.title} only in the "
        f"first; {seconds:.0f} s in all; the load before was {load:.2f}. Made by `python -m benchmarks.cluster`."
    )
    how_to_read = _HOW_TO_READ.format(earlier=earlier or NO_BUILD)
    parts = [f"# The Lock across processes, on Python {PYTHON}", facts, how_to_read, "## Contention", _times(results)]
    if recoveries:
        parts += ["## After SIGKILL of the holder", _recoveries(recoveries)]
    return "\n\n".join([*parts, *verdicts(checks, targets)]) + "\n"


def _times(results: Results) -> str:
    return table(
        ["processes, hold / think", "", *HEAD, "swaps"],
        (
            [
                scenario.title if name == HOLDFAST else "",
                name,
                *cells(measured, row.get(BEFORE)),
                number(measured.swaps, ".2f"),
            ]
            for scenario, row in results.items()
            for name, measured in row.items()
            if measured.runs
        ),
        left=2,
    )


HEAD = (
    "per second",
    "÷ earlier build",
    "hand-off p50, ms",
    "p99, ms",
    "longest wait, ms",
    "÷ mean",
    "same owner",
    "Jain",
)
"""Over what `cells()` returns."""


def cells(measured: Measured, before: Measured | None) -> list[str]:
    """before: the earlier build in the same scenario, if there is one."""
    longest = measured.longest_wait
    return [
        number(measured.rate, ",.0f"),
        number(measured.rate / before.rate if before is not None and before.runs else math.nan, ".2f"),
        number(measured.hand_off(50) * 1e3, ",.2f"),
        number(measured.hand_off(99) * 1e3, ",.2f"),
        number(longest * 1e3, ",.1f"),
        number(longest / measured.mean_wait, ",.1f"),
        number(measured.same_owner, ".0%"),
        number(measured.jain, ".3f"),
    ]


def number(value: float, style: str) -> str:
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


def verdicts(checks: Sequence[Check], targets: Sequence[Check]) -> list[str]:
    """The last parts of a report: what is promised, and what was asked for."""
    parts = ["## Promises", promises(checks)]
    return [*parts, "## Targets", f"{INTRODUCTION} {WITH_BEFORE}", promises(targets)] if targets else parts


def promises(checks: Sequence[Check]) -> str:
    """A line for each, whether it holds."""
    return "\n".join(f"- {'PASS' if each.holds else '**FAIL**'}: {each.promise}: {each.figure}" for each in checks)
