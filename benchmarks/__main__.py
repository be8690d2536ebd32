"""Run the benchmarks; write the tables and plots."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

from . import report
from .checks import check
from .competitors import fields
from .imports import import_times
from .markdown import PYTHON
from .measure import BUDGET, LARGE, LARGE_ROUNDS, Result, measure
from .memory import measure_memory
from .progress import progress
from .workloads import ROWS

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    options = _options()
    rows = [row for row in ROWS if options.only.lower() in row.label.lower()]
    rounds, budget = options.rounds, BUDGET
    if options.quick:
        rows = [row for row in rows if row.size <= 1_000]
        rounds, budget = 3, BUDGET / 10
    competitors = fields()
    results: list[Result] = []
    start = perf_counter()
    for field in competitors:
        for row in rows:
            progress(start, f"{row.label}, on {field.loop.name}")
            earlier = [old for old in results if old.row.title == row.title and old.loop == field.loop.name]
            results.append(measure(row, field, rounds, budget, earlier))
    progress(start, "memory, import")
    memory = [] if options.only else measure_memory(competitors[0])
    imports = None if options.only else import_times(rounds)
    progress(start, "done\n")

    plots: list[str] = []
    if options.output:
        plots = [str(path.relative_to(options.output)) for path in report.plot(results, options.output / PYTHON)]
    text = report.markdown(results, memory, imports, check(results, memory), plots, rounds)
    if options.output:
        (options.output / f"{PYTHON}.md").write_text(text, encoding="utf-8")
    print(text, end="")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds",
        type=int,
        default=7,
        help=f"how often each library runs in a row (default: 7; at most {LARGE_ROUNDS} from {LARGE:,} waiters on)",
    )
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="run the rows whose label contains this")
    parser.add_argument("--quick", action="store_true", help="3 short rounds, and no row above 1,000 waiters")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where to write the tables and plots (default: benchmarks/results; with --only or --quick nowhere)",
    )
    options = parser.parse_args()
    if options.output is None and not (options.only or options.quick):
        options.output = RESULTS
    return options


if __name__ == "__main__":
    main()
