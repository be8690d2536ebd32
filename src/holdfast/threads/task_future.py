"""The future that a waiting task awaits, which can resume its task at once.

asyncio's Future resumes its task in the loop's next iteration, and before that the loop asks the kernel about all its
files. This one keeps the callback that resumes the task. A callback of the loop can call it directly, as no other task
runs then. There is only one callback, because nothing but the task has this future.
"""

from __future__ import annotations

import sys
from asyncio import Future
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Self

from holdfast.tasks.wait_queue import SteadfastWaiter

if sys.version_info >= (3, 14):
    from asyncio import future_discard_from_awaited_by as forget_task
else:
    forget_task = None
"""Since Python 3.14 a future refers to the task that awaits it until that task runs, so the primitive would keep the
task alive. Once a wake-up is under way, only the loop may do so: a loop that is closed drops the task, and then the
coroutine of the task is closed and gives its grant back."""


class TaskFuture(Future[int]):
    """What a waiting task awaits."""

    __slots__ = ("_context", "_wake_task")

    _wake_task: Callable[[TaskFuture], object]
    _context: Context

    def add_done_callback(self, fn: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        """Keep the callback that resumes the task."""
        self._wake_task = fn  # type: ignore[assignment]  # it will get this future
        self._context = copy_context() if context is None else context

    def set_result(self, result: int, /) -> None:
        """Resume the task in the loop's next iteration."""
        Future.set_result(self, result)  # the class of the import above: nest_asyncio replaces asyncio.Future
        self._schedule()

    def set_result_and_run(self, result: int) -> None:
        """Resume the task now. KeyboardInterrupt and SystemExit of the task come out."""
        Future.set_result(self, result)
        try:
            wake_task, context = self._wake_task, self._context
        except AttributeError:  # there is no task: the coroutine is driven by hand
            return
        del self._wake_task  # a cycle, if the task fails: callback, task, exception, frame, this future
        if forget_task is not None:
            forget_task(self, getattr(wake_task, "__self__", None))
        try:
            context.run(wake_task, self)
        finally:
            del wake_task

    def cancel(self, msg: object = None) -> bool:
        """Resume the task in the loop's next iteration, to be cancelled."""
        if not Future.cancel(self, msg):
            return False
        self._schedule()
        return True

    def _schedule(self) -> None:
        try:
            wake_task, context = self._wake_task, self._context
        except AttributeError:  # as above
            return
        del self._wake_task
        if forget_task is not None:
            forget_task(self, getattr(wake_task, "__self__", None))
        self.get_loop().call_soon(wake_task, self, context=context)


class SteadfastTaskFuture(SteadfastWaiter, TaskFuture):
    """A TaskFuture that refuses to be cancelled."""

    __slots__ = ()
