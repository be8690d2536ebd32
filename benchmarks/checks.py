"""What holdfast promises about speed, held against the results. Nothing here fails a build: machines are noisy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .competitors import FLOOR, HOLDFAST
from .measure import Result

NOISE = 1.05
GROWTH = 1.5
GROWTH_SIZES = (1_000, 50_000)
GROWTH_FAMILIES = ("In a row", "Cancel")
BARRIER = 0.5


@dataclass(frozen=True)
class Check:
    promise: str
    subject: str
    value: float
    limit: float
    """The value should be at most this."""

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


def check(results: Sequence[Result]) -> list[Check]:
    return [*_not_slower(results), *_growth(results), *_barrier(results)]


def _not_slower(results: Sequence[Result]) -> Iterator[Check]:
    promise = f"not slower than asyncio, with {NOISE - 1:.0%} for noise"
    for result in results:
        if (ratio := result.ratio(HOLDFAST)) is not None:
            yield Check(promise, _subject(result), ratio, NOISE)


def _growth(results: Sequence[Result]) -> Iterator[Check]:
    """Each cost as a multiple of bare futures', so that what these grow by is taken out."""
    small, large = GROWTH_SIZES
    promise = f"the cost grows less than {GROWTH} times from {small:,} to {large:,}, bare futures' growth taken out"
    multiples = {
        (result.loop, result.row.title, result.row.size): multiple
        for result in results
        if result.row.family in GROWTH_FAMILIES and (multiple := result.ratio(HOLDFAST, FLOOR)) is not None
    }
    for (loop, title, size), multiple in multiples.items():
        if size == large and (loop, title, small) in multiples:
            yield Check(promise, f"{title}, on {loop}", multiple / multiples[loop, title, small], GROWTH)


def _barrier(results: Sequence[Result]) -> Iterator[Check]:
    for result in results:
        if result.row.family == "Barrier" and result.row.size == 10 and (ratio := result.ratio(HOLDFAST)) is not None:
            yield Check("a barrier of 10 costs at most half of asyncio's", _subject(result), ratio, BARRIER)


def _subject(result: Result) -> str:
    return f"{result.row.label}, on {result.loop}"
