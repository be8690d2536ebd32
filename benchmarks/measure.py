"""Interleaved timing: in each round every library runs once, so that a change in the machine's mood hits all."""

from __future__ import annotations

import gc
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

from .competitors import ASYNCIO, Field, Library, MissingError
from .workloads import Row, Workload

BUDGET = 0.03
"""Seconds that the batches of one sample may take; at least one batch is run."""
LARGE, LARGE_ROUNDS = 10_000, 9
"""From so many waiters on, at most so many rounds."""
PATIENCE = 3.0
"""A library that would need more seconds for one batch is left out."""


@dataclass
class Result:
    """A row on one loop: the nanoseconds per operation, by library and by round."""

    row: Row
    loop: str
    rounds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    skipped: set[str] = field(default_factory=set)
    """The libraries that would have taken longer than PATIENCE."""

    def cost(self, library: str) -> float | None:
        """The median over the rounds."""
        return median(self.rounds[library]) if library in self.rounds else None

    def ratio(self, library: str, to: str = ASYNCIO) -> float | None:
        """The median over the rounds of the ratio within each."""
        if library not in self.rounds or to not in self.rounds:
            return None
        return median(mine / theirs for mine, theirs in zip(self.rounds[library], self.rounds[to], strict=True))


def measure(row: Row, competitors: Field, rounds: int, budget: float, earlier: Sequence[Result]) -> Result:
    """Measure a row; `earlier` are the results of the same workload with fewer waiters."""
    result = Result(row, competitors.loop.name)
    libraries = competitors.libraries(contended=row.contended)
    for library in list(libraries):
        if _predict(library.name, row.size, earlier) > PATIENCE:
            libraries.remove(library)
            result.skipped.add(library.name)
    for turn in range(min(rounds, LARGE_ROUNDS) if row.size >= LARGE else rounds):
        first = turn % len(libraries)
        for library in libraries[first:] + libraries[:first]:
            try:
                cost = _sample(row.workload, library, row.size, budget)
            except MissingError:
                continue
            result.rounds[library.name].append(cost)
    return result


def _sample(workload: Workload, library: Library, size: int, budget: float) -> float:
    """The median of some batches, in nanoseconds per operation."""

    async def batches() -> float:
        end = perf_counter() + budget
        costs: list[float] = []
        while not costs or perf_counter() < end:
            elapsed, operations = await workload(library, size)
            costs.append(elapsed / operations)
        return median(costs)

    with _gc_off():
        return library.loop.run(batches)


@contextmanager
def _gc_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _predict(library: str, size: int, earlier: Sequence[Result]) -> float:
    """The seconds that one batch would take, if the cost of an operation grows on as it did in the last two sizes."""
    known = [(result.row.size, cost) for result in earlier if (cost := result.cost(library)) is not None]
    if any(library in result.skipped for result in earlier):
        return math.inf
    if len(known) < 2:
        return 0.0
    (size1, cost1), (size2, cost2) = known[-2:]
    exponent = max(0.0, math.log(cost2 / cost1) / math.log(size2 / size1))
    return float(size * cost2 * (size / size2) ** exponent / 1e9)
