"""What one task awaits, and who rings has the task go on: if possible in the same step of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Bell(asyncio.Future[None]):
    """A future of which one task hears at once.

    The answer of a server is read in a callback of the loop, where no task runs. So the task that waits for it may run
    there and then, as the loop would have it run in its next turn.
    """

    _wake: tuple[Callable[..., object], Context | None] | None = None
    """What has the task go on, and where that has to run."""
    _goes_on = False
    """Whether the task has heard of it."""

    def __await__(self) -> Generator[Any, None, None]:
        if not self.done():
            self._asyncio_future_blocking = True  # tells the task, as that of each future does
            try:
                yield self
            finally:
                self._goes_on = True
        return self.result()

    def add_done_callback(self, callback: Callable[..., object], /, *, context: Context | None = None) -> None:
        super().add_done_callback(callback, context=context)
        self._wake = callback, context

    def ring(self, at_once: bool = False) -> None:
        """Have the task go on, at once or in the next turn of the loop.

        At once means that it has made its next step when this returns. It is the next turn all the same if this is
        called in the step of a task, as one step cannot be made in the middle of another.
        """
        if self.done():
            return
        if not at_once or self._wake is None or asyncio.current_task(self.get_loop()) is not None:
            self.set_result(None)
            return
        callback, context = self._wake
        try:
            self.remove_done_callback(callback)
            self.set_result(None)
            if context is None:
                callback(self)
            else:
                context.run(callback, self)
        finally:
            if not self._goes_on:  # a signal handler has raised before the task could hear of it
                if not self.done():
                    self.set_result(None)
                self.get_loop().call_soon(callback, self, context=context)
