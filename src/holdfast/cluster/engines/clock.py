"""The clock by which sessions on one machine expire."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic() -> float:
    """Seconds that only go forward, also while the machine is suspended where the system can tell.

    (Python's own time.monotonic() stands still then, so a holder would believe in its lease for hours.) All
    processes of a machine see the same.
    """
    return time.clock_gettime(_CLOCK)
