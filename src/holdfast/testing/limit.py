"""How long a search may take."""

from __future__ import annotations

import time


class Limit:
    """So many seconds of CPU time of this process, from now on. What else the machine does makes no difference."""

    def __init__(self, seconds: float) -> None:
        self._end = time.process_time() + seconds
        self._look = time.perf_counter() + seconds

    def is_over(self, now: float) -> bool:
        """Whether they are used up. now: time.perf_counter(), which is cheaper to ask."""
        if now < self._look:
            return False
        left = self._end - time.process_time()
        self._look = now + max(left, 0.001)  # in one thread, CPU time is no faster than the clock on the wall
        return left < 0
