"""How long tasks wait for a name: those that wait, and those whose wait was seen to end. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.cluster import Inspection

BOUNDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Where the classes of the histogram end, in seconds. Shorter ones would tell nothing: a record has the beginning of a
wait to a second."""

_Waits = Counter[tuple[str, float, str | None, str | None, int]]
"""How many tasks wait, by session, beginning, condition, side and permits."""


@dataclass(frozen=True, slots=True)
class Class:
    """One class of the histogram."""

    up_to: float | None
    """Seconds; None for the last class, which has no end."""
    under_way: int
    """The number of tasks that have waited so long until now."""
    ended: int
    """The number of waits that took so long, and were seen to end."""


class WaitTimes:
    """What was seen of the waits for each name, by one look after another.

    A wait has ended when a look does not find it any more. Whether the task got what it waited for, gave up or died is
    not known then. A wait that began and ended between two looks is never seen.
    """

    def __init__(self) -> None:
        self._waits: dict[str, _Waits] = {}
        self._ended: dict[str, list[int]] = {}

    def see(self, found: Iterable[Inspection], now: float) -> None:
        """Note what a look has found. now: seconds since 1970."""
        waits = {one.name: _waits(one) for one in found}
        for name, before in self._waits.items():
            for (_, since, *_), tasks in (before - waits.get(name, Counter())).items():
                classes = self._ended.setdefault(name, [0] * (len(BOUNDS) + 1))
                classes[_class(now - since)] += tasks
        self._waits = {name: those for name, those in waits.items() if those}
        self._ended = {name: classes for name, classes in self._ended.items() if name in waits}

    def histogram(self, one: Inspection, now: float) -> list[Class]:
        """The classes of a name, the shortest waits first. now: seconds since 1970."""
        under_way = [0] * (len(BOUNDS) + 1)
        for (_, since, *_), tasks in _waits(one).items():
            under_way[_class(now - since)] += tasks
        ended = self._ended.get(one.name, [0] * (len(BOUNDS) + 1))
        return [
            Class(None if up_to == math.inf else up_to, *numbers)
            for up_to, *numbers in zip((*BOUNDS, math.inf), under_way, ended, strict=True)
        ]


def _class(seconds: float) -> int:
    return bisect_left(BOUNDS, seconds)


def _waits(one: Inspection) -> _Waits:
    waits: _Waits = Counter()
    for each in one.waiters:
        if each.since is not None:
            key = each.session.id, each.since.timestamp(), each.condition, each.side, each.permits
            waits[key] += each.tasks
    return waits
