"""What holdfast promises about speed, held against the results. Nothing here fails a build: machines are noisy."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import holdfast

from .competitors import ASYNCIO, FLOOR, FLOOR_IN_C, HOLDFAST, PURE
from .markdown import PYTHON
from .measure import Result
from .memory import Memory

NOISE = 1.05
GROWTH = 1.5
GROWTH_SIZES = (1_000, 50_000)
GROWTH_FAMILIES = ("In a row", "Cancel")
BARRIER = 0.5
ABOVE_NO_OP = 1.1
ABOVE_FUTURES = 1.2
HAND_OFF_SIZES = (10, 1_000)
FRAME = 1.05
"""From Python 3.14 on a wait is a coroutine with a frame, and one without."""
FASTER_THAN_ASYNCIO = {
    "Lock, async with": {"3.11": 3.4, "3.13": 2.3},
    "Lock, acquire and release": {"3.11": 4.4, "3.13": 2.6},
    "Semaphore, async with": {"3.11": 5.7, "3.13": 4.2},
    "Condition, async with": {"3.11": 4.0, "3.13": 2.3},
    "Event, wait when set": {"3.11": 3.3, "3.13": 1.7},
}
"""How many times faster the compiled twin is to be, by row and Python."""
IDLE_BYTES = {"Lock, idle": 120, "Semaphore, idle": 120, "Event, idle": 120, "Condition with its lock, idle": 250}


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


def check(results: Sequence[Result], memory: Sequence[Memory] = ()) -> list[Check]:
    checks = []
    for twin in (HOLDFAST, PURE):  # the second is not there where the first is pure Python already
        checks += [*_not_slower(results, twin), *_growth(results, twin), *_barrier(results, twin)]
    if holdfast.accelerated:
        checks += [*_above_no_op(results), *_faster(results), *_near_futures(results), *_bytes(memory)]
    return checks


def _not_slower(results: Sequence[Result], twin: str) -> Iterator[Check]:
    promise = f"{twin}: not slower than asyncio, with {NOISE - 1:.0%} for noise"
    for result in results:
        if (ratio := result.ratio(twin)) is not None:
            yield Check(promise, _subject(result), ratio, NOISE)


def _growth(results: Sequence[Result], twin: str) -> Iterator[Check]:
    """Each cost as a multiple of bare futures', so that what these grow by is taken out."""
    small, large = GROWTH_SIZES
    grown = f"grows less than {GROWTH} times from {small:,} to {large:,}"
    promise = f"{twin}: the cost {grown}, bare futures' growth taken out"
    multiples = {
        (result.loop, result.row.title, result.row.size): multiple
        for result in results
        if result.row.family in GROWTH_FAMILIES and (multiple := result.ratio(twin, FLOOR)) is not None
    }
    for (loop, title, size), multiple in multiples.items():
        if size == large and (loop, title, small) in multiples:
            yield Check(promise, f"{title}, on {loop}", multiple / multiples[loop, title, small], GROWTH)


def _barrier(results: Sequence[Result], twin: str) -> Iterator[Check]:
    for result in results:
        if result.row.family == "Barrier" and result.row.size == 10 and (ratio := result.ratio(twin)) is not None:
            yield Check(f"{twin}: a barrier of 10 costs at most half of asyncio's", _subject(result), ratio, BARRIER)


def _above_no_op(results: Sequence[Result]) -> Iterator[Check]:
    promise = f"uncontended, at most {ABOVE_NO_OP} times a no-op in C, with {NOISE - 1:.0%} for noise"
    for result in results:
        if (multiple := result.ratio(HOLDFAST, FLOOR_IN_C)) is not None:
            yield Check(promise, _subject(result), multiple, ABOVE_NO_OP * NOISE)


def _faster(results: Sequence[Result]) -> Iterator[Check]:
    for result in results:
        times = FASTER_THAN_ASYNCIO.get(result.row.title, {}).get(PYTHON)
        ratio = result.ratio(HOLDFAST)
        if times is not None and ratio is not None:
            yield Check(
                "so many times faster than asyncio as was aimed at", f"{_subject(result)}, {times}", ratio, 1 / times
            )


def _near_futures(results: Sequence[Result]) -> Iterator[Check]:
    for result in results:
        family, multiple = result.row.family, result.ratio(HOLDFAST, FLOOR)
        if multiple is None:
            continue
        if family == "Hand-off" and result.row.size in HAND_OFF_SIZES:
            yield Check(
                "a hand-off costs no more than bare futures, with 5% for noise", _subject(result), multiple, NOISE
            )
        elif family in ("In a row", "Barrier") or "newest first" in result.row.title:
            promise = f"in a row, barrier and newest first: at most {ABOVE_FUTURES} times bare futures"
            yield Check(promise, _subject(result), multiple, ABOVE_FUTURES)


def _bytes(memory: Sequence[Memory]) -> Iterator[Check]:
    for row in memory:
        mine, theirs = row.bytes.get(HOLDFAST), row.bytes.get(ASYNCIO)
        if mine is not None and row.title in IDLE_BYTES:
            yield Check("bytes of an idle primitive", row.title, mine, IDLE_BYTES[row.title])
        elif mine is not None and theirs is not None and "waiting" in row.title:
            promise = f"bytes of a waiting task, at most asyncio's, and {FRAME - 1:.0%} more where it has a frame"
            yield Check(promise, row.title, mine, theirs * (FRAME if sys.version_info >= (3, 14) else 1))


def _subject(result: Result) -> str:
    return f"{result.row.label}, on {result.loop}"
