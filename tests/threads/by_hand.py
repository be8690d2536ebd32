"""Event loops that run only when told to, in this thread: so a test decides what comes first."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class HandLoop(asyncio.SelectorEventLoop):
    """Counts what is sent to it from elsewhere."""

    def __init__(self):
        super().__init__()
        self.sent = 0

    def call_soon_threadsafe(self, *args, **kwargs):
        self.sent += 1
        return super().call_soon_threadsafe(*args, **kwargs)

    def turn(self, times: int = 3) -> None:
        """Run what is ready, and what that makes ready."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that has gone as far as it gets."""
        task = self.create_task(coroutine)
        self.turn()
        return task


def finish(*loops: HandLoop) -> None:
    """Cancel what is left, and close them."""
    for loop in loops:
        if not loop.is_closed():
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.turn()
            loop.close()
