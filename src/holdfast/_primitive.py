"""What every primitive has: its wait queue while there is one, its repr, its statistics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._twins import compiled
from ._waitqueue import NOWHERE, Waiter, WaitQueue, this_run

Queue = compiled(WaitQueue)


class Primitive:
    """An object that tasks of one event loop wait for."""

    _queue: WaitQueue | None

    def _bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start without a queue; `loop=` makes one for life, so that each use meets its check."""
        if loop is None:
            self._queue = None
        elif isinstance(loop, asyncio.AbstractEventLoop):
            self._queue = Queue(self, bound=loop)
        else:
            raise TypeError(f"loop must be an event loop or None, not {loop!r}")

    def _enter_line(self) -> WaitQueue:
        """The queue, made if there is none, after the check that the running loop may wait in it."""
        queue = self._queue
        if queue is None:
            loop = asyncio.get_running_loop()
            queue = self._queue = Queue(self, None, loop, this_run() or NOWHERE)
        else:
            queue.enter()
        return queue

    def _give_back(self) -> None:
        """Nothing that was granted here needs to go to another waiter."""

    def _let_go(self) -> None:
        """Nothing can be had without waiting."""

    def _settle(self) -> None:
        self._give_back()

    if not TYPE_CHECKING:  # typeshed has it as a deque

        @property
        def _waiters(self) -> tuple[Waiter | None, ...]:
            """Who has not left the wait yet: what asyncio has under this name, and counts in the repr."""
            return () if self._queue is None else self._queue.waiters()

        @_waiters.setter
        def _waiters(self, waiters: object) -> None:
            """Forget who waits, as who resets a primitive of asyncio's between two tests does with None or a deque."""
            if waiters:
                raise AttributeError(
                    "_waiters can be emptied, by None, and nothing can be put into it; statistics() tells how many wait"
                )
            self._bind(None if self._queue is None else self._queue.bound)

    def _describe(self, state: str) -> str:
        """asyncio's repr, with the name that users import."""
        cls = type(self)
        module = "holdfast" if cls.__module__.startswith("holdfast.") else cls.__module__
        return f"<{module}.{cls.__qualname__} object at {id(self):#x} [{state}]>"

    def _describe_with_waiters(self, state: str) -> str:
        waiters = self._count_waiters()
        return self._describe(f"{state}, waiters:{waiters}" if waiters else state)

    def _count_waiters(self) -> int:
        """How many tasks have not left the wait yet."""
        queue = self._live_queue()
        return 0 if queue is None else queue.granted + len(queue)

    def _tasks_waiting(self) -> int:
        queue = self._live_queue()
        return 0 if queue is None else len(queue)

    def _live_queue(self) -> WaitQueue | None:
        """The queue, without the waiters of a closed loop."""
        if self._queue is not None:
            self._queue.forget_closed_loop()
        return self._queue
