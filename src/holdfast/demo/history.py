"""What the processes of the second screen report, and what must hold in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .worker import CAPACITY, PARTIES, PERMITS

ROLES = "producer", "producer", "consumer", "victim"
LATENCY = 0.5
"""The time within which a request has surely reached the engine after it was reported, in seconds, also on a busy
machine."""


@dataclass
class Holding:
    """One turn in the lock: the process that had it, when it was asked for, and when it began and ended."""

    pid: int
    token: int
    asked: float
    began: float
    ended: float = float("inf")


@dataclass
class History:
    """What the workers have reported, in the order in which the reports arrived."""

    roles: dict[int, str] = field(default_factory=dict)
    """The role of each process, by its pid."""
    holdings: dict[int, Holding] = field(default_factory=dict)
    """The turns in the lock, by their tokens."""
    permits: list[tuple[float, int, int]] = field(default_factory=list)
    """Each change of the semaphore: its time, 1 for a permit taken or -1 for one given back, and the pid."""
    items: list[int] = field(default_factory=list)
    """How many items were in the buffer after each change."""
    places: list[int] = field(default_factory=list)
    """What the barrier returned."""
    counts: dict[int, Counter[str]] = field(default_factory=dict)
    """How many reports of each sort came from each process, by its pid."""
    killed: tuple[int, float] | None = None
    """The pid of the process that was killed, and the time."""

    def add(self, pid: int, event: Sequence[Any]) -> None:
        """Add a report of a worker."""
        *what, at = event
        match what:
            case ["lock in", token, asked]:
                self.holdings[token] = Holding(pid, token, asked, at)
            case ["lock out", token]:
                self.holdings[token].ended = at
            case ["semaphore in"]:
                self.permits.append((at, 1, pid))
            case ["semaphore out"]:
                self.permits.append((at, -1, pid))
            case ["items", items]:
                self.items.append(items)
            case ["met", place]:
                self.places.append(place)
        self.counts.setdefault(pid, Counter())[what[0]] += 1

    def bury(self) -> None:
        """End what the killed process held, at the time of its death. Call this when its last report is in."""
        assert self.killed is not None
        pid, at = self.killed
        for holding in self.holdings.values():
            if holding.pid == pid:
                holding.ended = min(holding.ended, at)
        inside = sum(change for _, change, who in self.permits if who == pid)
        self.permits += [(at, -1, pid)] * inside


@dataclass(frozen=True)
class Finding:
    """One line of the summary."""

    ok: bool
    name: str
    seen: str


def judge(history: History) -> Iterator[Finding]:
    """Yield a finding for each promise that the history shows to be kept or broken."""
    turns = sorted(history.holdings.values(), key=lambda holding: holding.began)
    overlaps = sum(later.began < earlier.ended for earlier, later in pairwise(turns))
    inside = most = 0
    for _, change, _ in sorted(history.permits):
        inside += change
        most = max(most, inside)
    yield Finding(
        overlaps == 0 and len(turns) > 0 and 0 < most <= PERMITS,
        "overlaps",
        f"{overlaps} in {len(turns):,} turns of the lock, at most {most} in the semaphore of {PERMITS}",
    )
    disordered = sum(later.token < earlier.token for earlier, later in pairwise(turns))
    overtaken = sum(_is_overtaken(holding, turns) for holding in turns)
    yield Finding(
        not (disordered or overtaken), "order", f"{disordered} tokens out of order, {overtaken} turns overtaken"
    )
    wrong = [items for items in history.items if not 0 <= items <= CAPACITY]
    yield Finding(
        bool(history.items) and not wrong,
        "condition",
        f"{len(history.items):,} items, {len(wrong)} times too many or too few in the buffer",
    )
    places = [history.places.count(place) for place in range(PARTIES)]
    unreported = len(ROLES)  # processes that ended between the barrier and the report
    yield Finding(
        min(places) > 0 and max(places) - min(places) <= unreported and sum(places) == len(history.places),
        "barrier",
        f"{min(places):,} rounds of {PARTIES}, each place once in each",
    )
    if history.killed is not None:
        _, at = history.killed
        next_turn = min((turn.began for turn in turns if turn.began >= at), default=None)
        yield Finding(
            next_turn is not None,
            "recovery",
            f"{(next_turn - at) * 1000:.1f} ms after the holder was killed, the next one had its lock"
            if next_turn is not None
            else "nobody got the lock of the process that was killed",
        )


def _is_overtaken(holding: Holding, turns: Iterable[Holding]) -> bool:
    """Whether a process surely asked later, and had the lock earlier."""
    return any(holding.asked + LATENCY < turn.asked and turn.began < holding.began for turn in turns)
