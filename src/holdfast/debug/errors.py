"""The error of a task or thread that is in a deadlock."""

from __future__ import annotations

from .story import Deadlock


class DeadlockError(RuntimeError):
    """A task or thread waits in a circle. Its message tells the circle.

    It is raised only while `watch(raises=True)` is on, with HOLDFAST_DEBUG=1, or in asyncio's debug mode.
    """

    def __init__(self, deadlock: Deadlock) -> None:
        super().__init__(deadlock)
        self.deadlock = deadlock
        """The circle."""

    def __str__(self) -> str:
        return f"{self.deadlock}. Take the locks in one order everywhere, or none while another one is held"
