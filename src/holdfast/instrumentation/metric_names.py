"""What the name of a lock is called in metrics: a monitoring system keeps a time series for each, for ever."""

from __future__ import annotations

from collections.abc import Callable

MOST = 100
"""How many names have time series of their own, by default."""
OTHER = "other"
"""What all further names are called."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: the bounds of the histograms. A hand-off takes a millisecond, and a job that holds a lock some minutes."""


class MetricNames:
    """The names that have time series of their own: the first that were used."""

    def __init__(self, group: Callable[[str], str] | None, most: int) -> None:
        """group: what a name is called instead, as `lambda name: name.partition(":")[0]`. most: 0 or more."""
        if isinstance(most, bool) or not isinstance(most, int):
            raise TypeError(f"most_names must be an int, the number of names with metrics of their own, not {most!r}")
        if most < 0:
            raise ValueError(f"most_names must be 0 or more, not {most}")
        if group is not None and not callable(group):
            raise TypeError(f"group must be a function that makes one name of another, or None, not {group!r}")
        self._group = group
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """What a name is called in metrics. Always the same for one name, in one process."""
        if not name:  # a primitive that was given none
            return name
        if self._group is not None:
            name = self._group(name)
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
