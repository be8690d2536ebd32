"""The clock by which sessions on one machine expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial


def _best() -> Callable[[], float]:
    """The best clock that works here. Pyodide has both and refuses one; Windows has neither."""
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
    """Seconds that only go forward. All processes of a machine see the same.

    Where the system can tell, they also go on while the machine is suspended. Python's own time.monotonic() stands
    still then, and a holder would believe in its lease for hours.
    """
    return _now()
