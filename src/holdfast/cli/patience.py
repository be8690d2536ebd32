"""How long a command may wait."""

from __future__ import annotations

import asyncio

ANSWER = 5.0
"""Seconds that the engine may take if --timeout is 0."""


class Patience:
    """The time of --timeout. It counts from the start, so an engine that does not answer is given up as well."""

    def __init__(self, seconds: float | None) -> None:
        """seconds: what --timeout says; None if it was left out."""
        self.waits = seconds != 0
        """Whether to wait for others at all."""
        allowed = seconds if self.waits else ANSWER
        self._until = None if allowed is None else asyncio.get_running_loop().time() + allowed
        self._clock = asyncio.timeout_at(self._until)

    def limit(self) -> asyncio.Timeout:
        """A context manager for a block whose time counts."""
        self._clock = asyncio.timeout_at(self._until)
        return self._clock

    def end(self) -> None:
        """What the command has waited for is there: from now on its time is not limited."""
        self._until = None
        self._clock.reschedule(None)
