"""Rows of samples, one for each library, taken in turns; ratios are medians of those within one round."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median

from .markdown import PYTHON, table

Sample = Callable[[], float]
"""Nanoseconds per operation."""
Rows = Mapping[str, Mapping[str, Sample]]
"""By title: the libraries, the one that is measured first."""
Costs = dict[str, dict[str, list[float]]]
"""By title and library: what each round took."""
Promise = tuple[str, str, float]
"""A title, a rival, and the part of the rival's cost that the first library's may be at most."""
RESULTS = Path(__file__).parent / "results"


def taken(rows: Rows, rounds: int) -> Costs:
    """Measure. In each round every library runs once, and another one begins."""
    costs: Costs = {}
    for title, samples in rows.items():
        costs[title] = {name: [] for name in samples}
        for turn in range(rounds):
            names = [*samples]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                gc.collect()
                costs[title][name].append(samples[name]())
    return costs


def ratio(costs: Costs, title: str, rival: str) -> float:
    """What part of the rival's cost the first library has."""
    first = next(iter(costs[title].values()))
    return median(mine / theirs for mine, theirs in zip(first, costs[title][rival], strict=True))


def as_table(costs: Costs) -> str:
    """The medians and the ratios."""
    lines = [
        [title, name, f"{median(values):,.0f}", f"{ratio(costs, title, name):.2f}"]
        for title, row in costs.items()
        for name, values in row.items()
    ]
    return table(["", "", "ns per operation", "the first one's part of it"], lines, left=2)


def verdicts(costs: Costs, promises: Iterable[Promise]) -> list[str]:
    """Which promises hold, of those whose rows were measured."""
    return [
        f"- {verdict(found, limit)}: {title}: {found:.2f} of {rival}, at most {limit:.2f}"
        for title, rival, limit in promises
        if title in costs
        for found in [ratio(costs, title, rival)]
    ]


def verdict(found: float, limit: float) -> str:
    return "yes" if found <= limit else "**no**"


def run(program: str, description: str, file: str, rows: Rows, report: Callable[[Costs, int], str]) -> None:
    """Read the command line, measure, print the report, and write it to a file of that name, with Python's version."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="run the rows whose title contains this")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where to write the table (default: benchmarks/results; with --only nowhere)",
    )
    options = parser.parse_args()
    costs = taken({title: row for title, row in rows.items() if options.only in title}, options.rounds)
    text = report(costs, options.rounds)
    output = options.output or (None if options.only else RESULTS)
    if output:
        (output / f"{file}-{PYTHON}.md").write_text(text, encoding="utf-8")
    print(text, end="")
