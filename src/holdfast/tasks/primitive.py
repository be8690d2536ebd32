"""What all primitives have in common: the wait queue, the check of the loop, the repr, the number of waiting tasks.

What must hold: `self._queue is None` means that no task waits, no `loop=` was given, and nothing is owed. It is the
whole test of every fast path, so a queue is made when the first task has to wait, and removed when it is idle.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from holdfast._hooks import Named

from .closed import Closable, closed_error, closed_message
from .other_loop import do_there
from .twins import compiled
from .wait_queue import NOWHERE, Waiter, WaitQueue, this_run

Queue = compiled(WaitQueue)


class Primitive(Closable, Named):
    """An object that tasks of one event loop wait for."""

    _queue: WaitQueue | None

    def _bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start without a queue; or, with `loop=`, with one that stays for good, so that every use checks the loop."""
        if loop is None:
            self._queue = None
        elif isinstance(loop, asyncio.AbstractEventLoop):
            self._queue = Queue(self, bound=loop)
        else:
            raise TypeError(f"loop must be an event loop or None, not {loop!r}")

    def _close(self, reason: object) -> None:
        closed = partial(closed_error, closed_message(self, reason), reason)
        queue = self._live_queue()
        if queue is None:
            queue = self._queue = Queue(self)
        queue.close(closed)

    def _is_closed(self) -> bool:
        return self._queue is not None and self._queue.closed is not None

    def _enter_line(self, again: bool = False) -> WaitQueue:
        """Return the queue, and make one if there is none, after a check that the running loop may wait in it.

        again: see `WaitQueue.enter()`.
        """
        queue = self._queue
        if queue is None:
            loop = asyncio.get_running_loop()
            queue = self._queue = Queue(self, None, loop, this_run() or NOWHERE)
        else:
            queue.enter(again)
        return queue

    def _give_back(self) -> None:
        """A grant came back: see wait_queue.Owner. By default there is nothing to pass on."""

    def _give_back_all(self, n: int) -> None:
        """Grants came back: see wait_queue.Owner."""
        for _ in range(n):
            self._give_back()

    def _let_go(self) -> None:
        """No task waited for a grant: see wait_queue.Owner. By default there is nothing to take back."""

    def _settle(self) -> None:
        """See wait_queue.Owner."""
        self._give_back()

    def _is_granted(self) -> bool:
        """See wait_queue.Owner."""
        return True

    def _look_again(self) -> None:
        """Without the GIL, look whether there is a queue after a change that was made because there was none.

        A task that is about to wait in another thread first makes the queue, and then looks at the state once more. A
        thread that changes the state first changes it, and then looks for a queue. So at least one of the two sees the
        other, and the loop of the waiters does the rest.
        """
        queue = self._queue
        loop = None if queue is None else queue.elsewhere(refusing=False)
        if loop is not None:
            do_there(loop, self._settle)

    if not TYPE_CHECKING:  # In typeshed it is a deque.

        @property
        def _waiters(self) -> tuple[Waiter | None, ...]:
            """The waiters that have not left yet. asyncio has them under this name, and counts them in the repr."""
            return () if self._queue is None else self._queue.waiters()

        @_waiters.setter
        def _waiters(self, waiters: object) -> None:
            """Forget all waiters. Fixtures reset an asyncio primitive so, setting this to None or an empty deque."""
            if waiters:
                raise AttributeError(
                    "_waiters can only be set to None or to something empty; statistics() tells how many tasks wait"
                )
            self._bind(None if self._queue is None else self._queue.bound)

    def _describe(self, state: str) -> str:
        """The repr, in asyncio's form."""
        cls = type(self)
        closed = ", closed" if self._is_closed() else ""
        return f"<{cls.__module__}.{cls.__qualname__} object at {id(self):#x} [{state}{closed}]>"

    def _describe_with_waiters(self, state: str) -> str:
        waiters = self._count_waiters()
        return self._describe(f"{state}, waiters:{waiters}" if waiters else state)

    def _count_waiters(self) -> int:
        """The number of waiters that have not left yet, queued and granted."""
        queue = self._live_queue()
        return 0 if queue is None else queue.granted + len(queue)

    def _tasks_waiting(self) -> int:
        queue = self._live_queue()
        return 0 if queue is None else len(queue)

    def _live_queue(self) -> WaitQueue | None:
        """The queue, after the waiters of a closed loop have been forgotten."""
        if self._queue is not None:
            self._queue.forget_closed_loop()
        return self._queue
