"""A line in the terminal while a search is long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

_PATIENCE: Final = 1.0  # seconds
_WIDTH: Final = 30


class Progress:
    """Shows nothing in the first second, or if stderr is no terminal."""

    def __init__(self) -> None:
        self._started = self._shown = time.perf_counter()
        self._wanted = sys.stderr is not None and sys.stderr.isatty()
        self._line = ""

    def show(self, interventions: int, part: float, schedules: int) -> None:
        """Show how far the search is: in the schedules with so many interventions, and how many there were in all."""
        now = time.perf_counter()
        if self._wanted and now - self._started > _PATIENCE and now - self._shown > 0.1:
            self._shown = now
            bar = "#" * int(part * _WIDTH)
            rate = schedules / (now - self._started)
            self._write(
                f"exploring, {interventions} interventions: [{bar:.<{_WIDTH}}] {part:4.0%}, "
                f"{schedules:,} schedules, {rate:,.0f}/s"
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
