"""Run the benchmarks of the Lock across processes; write the table. Exits with 1 if a promise does not hold."""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path
from time import perf_counter

from benchmarks.markdown import PYTHON
from benchmarks.progress import progress

from . import before
from .checks import check
from .competitors import BEFORE, COMPETITORS, FLOOR, GRELMICRO, HOLDFAST
from .figures import Measured
from .measure import measure_recovery, runs
from .report import markdown
from .scenarios import SCENARIOS, Scenario
from .targets import targets

RESULTS = Path(__file__).parents[1] / "results"
KILLS = 5
"""In each round."""
WITHOUT_RECOVERY = FLOOR, GRELMICRO
"""grelmicro's lock is free when it has expired, by default after a minute."""


def main() -> int:
    options = _options()
    scenarios = [
        scenario for scenario in SCENARIOS if options.only in scenario.title and (scenario.quick or not options.quick)
    ]
    rounds = 1 if options.quick else options.rounds
    names = [name for name in COMPETITORS if name != BEFORE or options.before]
    results = {scenario: {name: Measured() for name in names if takes_part(name, scenario)} for scenario in scenarios}
    recoveries: defaultdict[str, list[float]] = defaultdict(list)
    load, _, _ = os.getloadavg()
    with before.installed(options.before) as earlier:
        start = perf_counter()
        for turn in range(rounds):
            first = turn % len(names)
            order = names[first:] + names[:first]
            for scenario in scenarios:
                if scenario.is_long and turn > 0:
                    continue
                progress(start, f"round {turn + 1}: {scenario.title}")
                for name in order:
                    if takes_part(name, scenario):
                        results[scenario][name].runs += runs(
                            name, scenario.scaled(options.scale), earlier.places, may_fail=name != HOLDFAST
                        )
            if not options.only:
                progress(start, f"round {turn + 1}: SIGKILL")
                for name in order:
                    if name not in WITHOUT_RECOVERY:
                        recoveries[name] += measure_recovery(name, KILLS, earlier.places)
        seconds = perf_counter() - start
    progress(start, "done\n")

    checks = [*check(results, recoveries)]
    text = markdown(results, recoveries, checks, rounds, seconds, load, [*targets(results)], earlier.title)
    if options.output:
        (options.output / f"cluster-{PYTHON}.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if all(each.holds for each in checks) else 1


def takes_part(name: str, scenario: Scenario) -> bool:
    """Whether a competitor is for a scenario.

    A floor is one only for requests that come at once, of one task in each process. grelmicro's backend has one
    connection to SQLite, and its commits fail while another task has a cursor there.
    """
    return (name != FLOOR or not scenario.think) and (name not in (FLOOR, GRELMICRO) or scenario.tasks == 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each lock runs in each scenario (default: 3)")
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="run the scenarios whose title contains this")
    parser.add_argument("--quick", action="store_true", help="one round of a few scenarios")
    parser.add_argument("--scale", type=float, default=1.0, help="run each scenario so many times as long")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where to write the table (default: benchmarks/results; with --only or --quick nowhere)",
    )
    before.add_option(parser)
    options = parser.parse_args()
    if options.output is None and not (options.only or options.quick):
        options.output = RESULTS
    return options


if __name__ == "__main__":
    sys.exit(main())
