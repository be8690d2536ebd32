"""What the runs came to, kept for each Python, and the table of it in docs/compatibility.md."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .environments import HERE, PYTHON, ROOT
from .libraries import LIBRARIES, Library
from .outcomes import Comparison, spoken

RESULTS = HERE / "results"
PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- made by make third-party: begin -->\n", "<!-- made by make third-party: end -->\n"
PYTHONS = "3.11", "3.13"
OUTCOMES = "passed", "failed", "error", "skipped", "xfailed", "xpassed"

Row = Mapping[str, Any]


def row(library: Library, comparison: Comparison) -> dict[str, Any]:
    """What is kept of the comparison of a suite on one Python."""
    plain, ours = comparison.plain, comparison.with_holdfast
    return {
        "version": library.version,
        "python": sys.version.split()[0],
        "outcomes": dict(Counter(plain.outcomes.values())),
        "same": not comparison.complaints,
        "complaints": comparison.complaints,
        "flaky": [found.test for found in comparison.flaky],
        "made": dict(ours.made),
        "made_in_children": ours.made_in_children,
        "with_primitives": ours.with_primitives,
    }


def keep(rows: Mapping[str, Row]) -> None:
    """Put the rows of this Python into its file, in place of what is there of the same libraries."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{PYTHON}.json"
    kept = {**kept_of(PYTHON), **rows}
    file.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")


def kept_of(python: str) -> dict[str, Row]:
    """The rows of a Python, without those of libraries and releases that are in the table no more."""
    file = RESULTS / f"{python}.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    versions = {library.name: library.version for library in LIBRARIES}
    return {name: row for name, row in kept.items() if row["version"] == versions.get(name)}


def write_page() -> None:
    """Put the table into the docs."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{section()}\n{END}{after}", encoding="utf-8")


def section() -> str:
    """The rows of all Pythons as Markdown, and the tests that are not as all others."""
    lines = [
        f"| suite | {' | '.join(f'outcomes, {python}' for python in PYTHONS)} | the same | use them | made |",
        f"|---|{'---|' * len(PYTHONS)}---|---:|---:|",
    ]
    notes = []
    kept = {python: kept_of(python) for python in PYTHONS}
    for library in LIBRARIES:
        rows = {python: kept[python].get(library.name) for python in PYTHONS}
        cells = [f"{library.name} {library.version}"]
        cells += [outcomes(row["outcomes"]) if row else "not run" for row in rows.values()]
        cells.append(verdict(library, rows))
        cells.append(" / ".join(f"{row['with_primitives']:,}" if row else "-" for row in rows.values()))
        cells.append(" / ".join(f"{sum(row['made'].values()):,}" if row else "-" for row in rows.values()))
        lines.append(f"| {' | '.join(cells)} |")
        if library.tests != ("tests",):
            notes.append(f"{library.name}: {', '.join(f'`{test}`' for test in library.tests)}")
        notes += [f"{library.name}, left out: `{test}`: {why}" for test, why in library.deselected.items()]
        notes += [f"{library.name}, differs: `{test}`: {why}" for test, why in library.expected.items()]
        notes += [f"{library.name}, varies as it is: `{test}`" for test in flaky(rows)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def outcomes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES if counts.get(outcome))


def verdict(library: Library, rows: Mapping[str, Row | None]) -> str:
    """Whether all outcomes were the same, and which were not."""
    ran = [row for row in rows.values() if row is not None]
    if not ran:
        return "not run"
    said = "yes" if all(row["same"] for row in ran) else "**no**"
    if library.expected:
        said += f", but for {len(library.expected)}"
    if vary := len(flaky(rows)):
        said += f"; {vary} var{'ies' if vary == 1 else 'y'}"
    return said


def flaky(rows: Mapping[str, Row | None]) -> list[str]:
    """Which tests vary as they are, without their parameters, which may be long."""
    return sorted({test.partition("[")[0] for row in rows.values() if row for test in row["flaky"]})


def tell(library: Library, comparison: Comparison) -> None:
    """Say what came out, for who watches."""
    plain, ours = comparison.plain, comparison.with_holdfast
    made = ", ".join(f"{n} {name}" for name, n in ours.made.items())
    print(f"  {outcomes(Counter(plain.outcomes.values()))}; made {made} ({ours.made_in_children} in children)")
    for found in comparison.flaky:
        print(f"  varies as it is: {found.test}: {spoken(found.plain)}, with holdfast {spoken(found.with_holdfast)}")
    for found in comparison.expected:
        print(f"  differs as expected: {found}")
    for found in comparison.different:
        print(f"  DIFFERS: {found}\n{found.reason}")
    for complaint in comparison.complaints:
        print(f"  {library.name} is not green: {complaint}")
