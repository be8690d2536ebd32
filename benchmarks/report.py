"""The results as Markdown and as plots."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .checks import Check
from .clock import now
from .competitors import ASYNCIO, FLOOR, FLOOR_IN_C, HOLDFAST, PURE
from .markdown import PYTHON, machine, table
from .measure import LARGE, LARGE_ROUNDS, PATIENCE, Result
from .memory import Memory

_TIME = "CPU time" if now is time.thread_time_ns else "time"
_HOW_TO_READ = f"""\
Nanoseconds of {_TIME} per operation, and in parentheses the ratio to asyncio on the same loop; for trio, which has its
own, to asyncio on asyncio's. Both are medians over the rounds; in each round every library runs once, and the ratio is
taken within the round. An operation that wakes or cancels a task includes that task's run to its end.

*floor*: a no-op in the uncontended rows; in all others the same workload on bare futures, which a task can neither
leave safely nor hand on, and under Conditions without a lock. *floor in C*: a no-op in C with a primitive's protocol.
*holdfast* is the compiled twin, where there is one, *holdfast, pure* the Python one. *anyio, fast_acquire*: taking a
free lock does not yield to the loop, as in asyncio and holdfast; without it, and in trio, it does.

"-": the library has no such primitive. "…": left out, as by its growth over the smaller sizes one run would have taken
more than {PATIENCE:g} s."""


def markdown(
    results: Sequence[Result],
    memory: Sequence[Memory],
    imports: tuple[float, float] | None,
    checks: Sequence[Check],
    plots: Iterable[str] = (),
    rounds: int = 0,
) -> str:
    parts = [f"# Benchmarks on Python {PYTHON}", _setting(rounds), _HOW_TO_READ]
    for loop in dict.fromkeys(result.loop for result in results):
        parts += [f"## On {loop}'s event loop", *_time_tables([r for r in results if r.loop == loop])]
    if plots := list(plots):
        parts += ["## Cost over the number of waiters", "On asyncio's event loop, and trio on its own."]
        parts += [f"![{Path(plot).stem}]({plot})" for plot in plots]
    if memory:
        parts += ["## Memory", "Bytes, by tracemalloc. The floor of a waiting task is the task and a bare future."]
        libraries = _in_order(library for row in memory for library in row.bytes)
        parts.append(table(["", *libraries], (_memory_cells(row, libraries) for row in memory)))
    if imports is not None:
        parts += ["## Import", _imports(*imports)]
    parts += ["## Checks", *_checks(checks)]
    return "\n\n".join(parts) + "\n"


def _setting(rounds: int) -> str:
    packages = "holdfast", "anyio", "aiologic", "trio", "uvloop"
    return (
        f"{machine(packages)}; {rounds} rounds, "
        f"at most {LARGE_ROUNDS} from {LARGE:,} waiters on. Made by `python -m benchmarks`."
    )


def _time_tables(results: Sequence[Result]) -> Iterator[str]:
    for family in dict.fromkeys(result.row.family for result in results):
        rows = [result for result in results if result.row.family == family]
        libraries = _in_order(library for row in rows for library in [*row.rounds, *row.skipped])
        yield f"### {family}"
        yield table(
            ["", *libraries], ([row.row.label, *(_cell(row, library) for library in libraries)] for row in rows)
        )


def _in_order(libraries: Iterable[str]) -> list[str]:
    found = set(libraries)
    return [library for library in _STYLES if library in found]


def _cell(result: Result, library: str) -> str:
    cost = result.cost(library)
    if cost is None:
        return "…" if library in result.skipped else "-"
    ratio = result.ratio(library)
    text = f"{cost:,.0f}" if ratio is None or library == ASYNCIO else f"{cost:,.0f} ({ratio:.2f})"
    return f"**{text}**" if library == HOLDFAST else text


def _memory_cells(row: Memory, libraries: Sequence[str]) -> list[str]:
    return [row.title, *(f"{row.bytes[library]:,}" if library in row.bytes else "-" for library in libraries)]


def _imports(asyncio: float, holdfast: float) -> str:
    return (
        f"CPU time: `import asyncio` {asyncio * 1e3:.1f} ms, `import holdfast` after it {holdfast * 1e3:.1f} ms more."
    )


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    for promise in dict.fromkeys(check.promise for check in checks):
        mine = [check for check in checks if check.promise == promise]
        kept = sum(check.holds for check in mine)
        lines = [f"**{promise[0].upper()}{promise[1:]}**: holds in {kept} of {len(mine)}.", ""]
        # Many rows, of which only those that do not hold are of interest; few, whose values are.
        shown = mine if len(mine) <= 20 else [check for check in mine if not check.holds]
        lines += [f"- {'yes' if check.holds else '**no**'}: {check.subject}: {check.value:.3f}" for check in shown]
        yield "\n".join(lines).rstrip()


# Plots

_STYLES: dict[str, dict[str, object]] = {
    FLOOR: {"color": "0.6", "linestyle": ":", "marker": ""},
    FLOOR_IN_C: {"color": "0.6", "linestyle": "--", "marker": ""},
    ASYNCIO: {"color": "tab:blue", "marker": "s"},
    HOLDFAST: {"color": "tab:red", "marker": "o", "linewidth": 2.5, "zorder": 3},
    PURE: {"color": "tab:orange", "marker": "."},
    "anyio": {"color": "tab:green", "marker": "^"},
    "anyio, fast_acquire": {"color": "tab:olive", "marker": "v"},
    "aiologic": {"color": "tab:purple", "marker": "D"},
    "trio": {"color": "tab:brown", "marker": "x"},
}


def plot(results: Sequence[Result], folder: Path) -> list[Path]:
    """One picture for each family of workloads that has curves, with the results of asyncio's loop."""
    import matplotlib as mpl

    mpl.use("Agg")

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for family in dict.fromkeys(result.row.family for result in results if result.row.contended):
        path = folder / f"{family.lower().replace(' ', '-')}.png"
        _plot_family(family, [r for r in results if r.row.family == family and r.loop == ASYNCIO], path)
        paths.append(path)
    return paths


def _plot_family(family: str, results: Sequence[Result], path: Path) -> None:
    from matplotlib import pyplot

    titles = list(dict.fromkeys(result.row.title for result in results))
    columns = min(2, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(max(6, 5 * columns), 4 * rows + 0.8), sharey=True, squeeze=False, layout="constrained"
    )
    all_costs: list[float] = []
    for axes, title in zip(grid.flat, titles, strict=True):
        mine = [result for result in results if result.row.title == title]
        for library, style in _STYLES.items():
            points = {result.row.size: cost for result in mine if (cost := result.cost(library)) is not None}
            all_costs += points.values()
            if points:
                axes.loglog(points.keys(), points.values(), label=library, markersize=5, **style)
        sizes = [result.row.size for result in mine]
        axes.set(title=f"{title}, Python {PYTHON}" if len(titles) == 1 else title, xlabel=mine[0].row.unit)
        axes.set_xticks(sizes, labels=[f"{size:,}" for size in sizes], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(visible=True, which="major", alpha=0.6)
        axes.grid(visible=True, which="minor", axis="y", alpha=0.2)
    # Whole decades, so that noise does not fill the picture.
    grid[0][0].set_ylim(10 ** math.floor(math.log10(min(all_costs))), 10 ** math.ceil(math.log10(max(all_costs))))
    grid[0][0].set_ylabel("ns per operation")
    grid[0][0].yaxis.set_major_formatter("{x:,.0f}")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4 * columns, frameon=False)
    if len(titles) > 1:
        figure.suptitle(f"{family}, Python {PYTHON}")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
