"""Calls at a time of the clock, in a thread of this module.

A thread that waits could wait until that time itself, and a task's loop has timers. But who waits first for a
RateLimiter may leave at any moment, and the next one, in whatever thread, would have to be told to take over. So one
thread keeps the time for all. It begins with the first alarm, and sleeps while there is none.

What must hold: to set or to call off an alarm never blocks, as both are done in critical sections, and by finalizers.
They go to the thread through a SimpleQueue, whose put() may interrupt itself. The heap belongs to the thread alone.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from queue import Empty, SimpleQueue

SWEPT = 64
"""How many alarms the heap has, at least, when those that were called off are swept out."""


class Alarm:
    """A call at some time. Made by `set_alarm()`."""

    __slots__ = ("_call", "_when")

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self._when = when
        self._call: Callable[[], object] | None = call

    def when(self) -> float:
        """The time, by time.monotonic()."""
        return self._when

    def cancel(self) -> None:
        """Call nothing, if it has not been called yet."""
        self._call = None

    def is_off(self) -> bool:
        """Whether there is nothing to call any more."""
        return self._call is None

    def ring(self) -> None:
        """Make the call, unless it was called off."""
        call, self._call = self._call, None
        if call is not None:
            call()


class _Clock(threading.Thread):
    """The thread that keeps the time."""

    def __init__(self) -> None:
        super().__init__(name="holdfast alarms", daemon=True)
        self.new: SimpleQueue[Alarm] = SimpleQueue()

    def run(self) -> None:
        heap: list[tuple[float, int, Alarm]] = []
        numbers = itertools.count()
        swept = SWEPT
        while True:
            while heap and (heap[0][2].is_off() or heap[0][0] <= time.monotonic()):
                heappop(heap)[2].ring()
            alarm = self._next_alarm(heap[0][0] if heap else None)
            if alarm is not None:
                heappush(heap, (alarm.when(), next(numbers), alarm))
                del alarm  # or what it calls would be kept until the next one comes
            if len(heap) > swept:
                heap = [entry for entry in heap if not entry[2].is_off()]
                heapify(heap)
                swept = max(SWEPT, 2 * len(heap))

    def _next_alarm(self, until: float | None) -> Alarm | None:
        """Wait for a new alarm until that time; without one, for as long as it takes."""
        if until is None:
            return self.new.get()
        try:
            return self.new.get(timeout=min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX))
        except Empty:
            return None


_clock: _Clock | None = None  # once there was an alarm
_starting = threading.Lock()


def set_alarm(when: float, call: Callable[[], object]) -> Alarm:
    """Have `call()` called in another thread at `when`, a time of time.monotonic(). It must not raise."""
    global _clock
    if _clock is None:
        with _starting:
            if _clock is None:
                clock = _Clock()
                clock.start()
                _clock = clock
    alarm = Alarm(when, call)
    _clock.new.put(alarm)
    return alarm


def _forget_clock() -> None:
    """In a forked child: its threads are gone, and so is all that they waited for."""
    global _clock, _starting
    _clock, _starting = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_clock)
