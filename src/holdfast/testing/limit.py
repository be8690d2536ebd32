"""How long a search may take."""

from __future__ import annotations

import time


class Limit:
    """A number of seconds of CPU time, from now on: of this process, and of the busiest of those that help it.

    What else the machine does makes no difference.
    """

    def __init__(self, seconds: float) -> None:
        self.elsewhere = 0.0
        """The CPU time that the busiest of the other processes has used, in seconds."""
        self.was_over = False
        """Whether `is_over()` has ever returned true."""
        self._end = time.process_time() + seconds
        self._look = time.perf_counter() + seconds

    def is_over(self, now: float) -> bool:
        """Return whether the time is used up. now: time.perf_counter(), which is cheaper to ask for."""
        if now < self._look:
            return False
        left = self._end - time.process_time() - self.elsewhere
        # CPU time runs no faster than the clock on the wall, and that of two processes at most twice as fast
        self._look = now + max(left / 2, 0.001)
        self.was_over = left < 0
        return self.was_over

    def keep_elsewhere(self) -> None:
        """Count the time of the other processes as used. They have ended, and the next ones begin at 0."""
        self._end -= self.elsewhere
        self.elsewhere = 0.0
