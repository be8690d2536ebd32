"""The clock: the CPU time of this thread, which other processes do not add to as they do to the time on the wall.

What is measured runs in one thread and never sleeps, so on an idle machine the two agree.
"""

from __future__ import annotations

import time

_FINE = time.get_clock_info("thread_time").resolution <= 1e-6  # not so on Windows

now = time.thread_time_ns if _FINE else time.perf_counter_ns
