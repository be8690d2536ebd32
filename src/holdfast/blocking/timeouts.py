"""threading's checks of a timeout."""

from __future__ import annotations

import math
import threading


def check_timeout(blocking: bool, timeout: float) -> float:
    """How many seconds to wait: -1 means no limit, 0 that the call must not block. Raises the errors of threading."""
    if blocking not in (True, False):  # 1 and 0 as well, as in threading
        raise TypeError(
            f"blocking must be True or False, not {blocking!r}; a number of permits or tokens is written n={blocking!r}"
        )
    if not blocking:
        if timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    if math.isnan(timeout):
        raise ValueError("timeout value must be a number, not NaN")
    if timeout > threading.TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return timeout


def check_optional_timeout(timeout: float | None) -> float:
    """The same of a timeout for which None means no limit, and of which a negative number is taken as 0."""
    return -1 if timeout is None else check_timeout(True, max(timeout, 0))
