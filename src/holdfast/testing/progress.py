"""A line in the terminal while a search is long."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Final, Self

_PATIENCE: Final = 1.0  # seconds
_INTERVAL: Final = 0.1
_WIDTH: Final = 30


class Progress:
    """A line on stderr, if that is a terminal, from the second second on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        wanted = sys.stderr is not None and sys.stderr.isatty()
        self.due = self._started + _PATIENCE if wanted else math.inf
        """The time of time.perf_counter() at which to show something next."""
        self._line = ""

    def show(self, now: float, interventions: int, part: float, schedules: int) -> None:
        """Show how much is done of the schedules with so many interventions, and how many are covered in all."""
        self.due = now + _INTERVAL
        bar = "#" * int(part * _WIDTH)
        rate = schedules / (now - self._started)
        self._write(
            f"interventions: {interventions} [{bar:.<{_WIDTH}}] {part:4.0%}, {schedules:,} schedules, {rate:,.0f}/s"
        )

    def _write(self, line: str) -> None:
        sys.stderr.write("\r" + line.ljust(len(self._line)))
        sys.stderr.flush()
        self._line = line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._line:
            self._write("")
            sys.stderr.write("\r")
