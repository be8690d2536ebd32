"""The clock by which sessions on one machine expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial


def _best() -> Callable[[], float]:
    """What the system has, and grants: Pyodide has the clocks and refuses one, Windows has none of them."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        number = getattr(time, name, None)
        if number is None:
            continue
        try:
            time.clock_gettime(number)
        except (AttributeError, OSError):
            continue
        return partial(time.clock_gettime, number)
    return time.monotonic


_now = _best()


def monotonic() -> float:
    """Seconds that only go forward, also while the machine is suspended where the system can tell.

    (Python's own time.monotonic() stands still then, so a holder would believe in its lease for hours.) All
    processes of a machine see the same.
    """
    return _now()
