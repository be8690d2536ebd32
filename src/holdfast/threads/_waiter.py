"""Who waits: a task of some event loop, or a thread. What it was granted is noted here, in the critical section.

The wait queue sees something of a future's shape. That a future is done says something only in its own loop, so the
future of a task, and the gate of a thread, do no more than wake it.
"""

from __future__ import annotations

import asyncio
import sys
from _thread import allocate_lock, get_ident
from asyncio import Future
from collections.abc import Callable
from contextvars import Context, copy_context
from types import FrameType
from typing import TYPE_CHECKING, Self

from holdfast._waitqueue import SteadfastWaiter

from ._bell import bells
from ._letter import send
from ._section import here

if TYPE_CHECKING:
    from ._primitive import Shared
    from ._queue import SharedQueue


class Waiter:
    """A waiter in a queue of this tier."""

    __slots__ = ("granted", "line", "loop", "notified_by", "result", "thread")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        """Whose task it is; None for a thread."""
        self.thread = get_ident()
        """The thread itself, or that of the loop. A loop that has gone to another one is woken as from outside."""
        self.line: SharedQueue | None = None
        """Where it has been put."""
        self.granted = False
        self.result: int
        self.notified_by: Shared | None = None
        """Whose notification it goes on with, and passes on if its event loop is closed before."""

    def done(self) -> bool:
        """Whether a grant should pass over it."""
        return self.granted

    def cancelled(self) -> bool:
        """Whether one that is done will leave without a grant."""
        return not self.granted

    def set_result(self, result: int) -> None:
        """Note that it is granted, in the section; it is woken when that has been left."""
        self.result = result
        self.granted = True
        self.line.grantees.add(self)  # type: ignore[union-attr]  # it waits there
        here.me.woken.append(self)

    def get_loop(self) -> None:
        """All waiters of this tier belong to the same queue, whatever their loops."""

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        """Wake it from where that loop runs. To do so twice is harmless."""
        raise NotImplementedError


if sys.version_info >= (3, 14):
    from asyncio import future_discard_from_awaited_by as forget_task
else:
    forget_task = None


class TaskFuture(Future[int]):
    """What a task awaits. Where no task runs, as in a callback of the loop, it may let its task run at once.

    asyncio's own lets it run in the loop's next iteration, for which the loop first looks at all its files. Here the
    task's callback is kept instead, the only one there is, as nobody else has the future.
    """

    __slots__ = ("_context", "_wake_task")

    _wake_task: Callable[[TaskFuture], object]
    _context: Context

    def add_done_callback(self, fn: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        """Remember how to wake the task."""
        self._wake_task = fn  # type: ignore[assignment]  # it will get this future
        self._context = copy_context() if context is None else context

    def set_result(self, result: int, /) -> None:
        """Let the task run in the loop's next iteration."""
        Future.set_result(self, result)  # not asyncio's by now, which nest_asyncio replaces
        self._schedule()

    def set_result_and_run(self, result: int) -> None:
        """Let the task run now. Raises what it does: KeyboardInterrupt or SystemExit."""
        Future.set_result(self, result)
        try:
            wake_task, context = self._wake_task, self._context
        except AttributeError:  # there is no task: somebody drives the coroutine by hand
            return
        del self._wake_task  # which has the task, which may get an exception, which has this future and frame
        if forget_task is not None:
            forget_task(self, getattr(wake_task, "__self__", None))
        try:
            context.run(wake_task, self)
        finally:
            del wake_task

    def cancel(self, msg: object = None) -> bool:
        """Let the task run in the loop's next iteration, to be cancelled."""
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
        # From now on the loop alone keeps the task: closed, it drops it, and the task gives back its grant. Since
        # Python 3.14 a future refers to the task that awaits it, until that runs, and so the primitive would keep it.
        if forget_task is not None:
            forget_task(self, getattr(wake_task, "__self__", None))
        self.get_loop().call_soon(wake_task, self, context=context)


class SteadfastTaskFuture(SteadfastWaiter, TaskFuture):
    """One that refuses to be cancelled."""

    __slots__ = ()


class TaskWaiter(Waiter):
    """The running task."""

    __slots__ = ("future", "keeps_place")

    loop: asyncio.AbstractEventLoop

    def __init__(self, keeps_place: bool = False) -> None:
        self.loop = loop = asyncio.get_running_loop()  # asked there, as trio-asyncio has its own way
        self.thread = get_ident()
        self.line = None
        self.granted = False
        self.notified_by = None
        self.future = TaskFuture(loop=loop)
        self.keeps_place = keeps_place
        """To be granted also if it is cancelled."""

    def done(self) -> bool:
        return self.granted or (not self.keeps_place and self.future.cancelled())

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if running is not self.loop:
            hung = bells.get(id(self.loop))
            bell = None if hung is None else hung()
            if bell is None:
                send(self)
            else:
                bell.ring(self)
        elif not self.future.done():
            self.future.set_result(self.result)

    def run(self) -> None:
        """Let the task run at once, in a callback of its loop. To do so twice is harmless."""
        if self.granted and not self.future.done():
            if asyncio._get_running_loop() is self.loop:
                self.future.set_result_and_run(self.result)
            else:  # trio-asyncio calls readers where its loop cannot be seen
                self.future.set_result(self.result)

    def lose(self) -> None:
        """Its loop was closed before it was woken: its grant goes on."""
        line = self.line
        assert line is not None
        line.owner._section.do(line.forget_closed_loop)


class ThreadWaiter(Waiter):
    """The running thread."""

    __slots__ = ("gate",)

    def __init__(self) -> None:
        super().__init__(None)
        self.gate = allocate_lock()
        self.gate.acquire()

    def wait(self, timeout: float) -> None:
        """Block until woken, or for so many seconds; -1 is for ever."""
        self.gate.acquire(True, timeout)

    def wake(self, running: asyncio.AbstractEventLoop | None) -> None:
        if self.gate.locked():
            self.gate.release()


def check_no_loop(instead: str) -> None:
    """Raise RuntimeError if to block here would block an event loop."""
    loop = asyncio._get_running_loop()
    if loop is not None and not goes_on_meanwhile(loop):
        raise RuntimeError(
            f"this would block the event loop that runs in this thread, and all its tasks: write {instead!r} instead"
        )


COOPERATIVE = type(allocate_lock()).__module__ != "_thread"
"""Whether a blocked gate lets other greenlets of its thread run: where gevent or eventlet replaced Python's locks."""


def goes_on_meanwhile(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop of this thread runs in another greenlet, and on while this one is blocked."""
    if not (COOPERATIVE and isinstance(loop, asyncio.BaseEventLoop)):
        return False  # of a loop that is not made of asyncio's there is no telling
    frame: FrameType | None = sys._getframe()
    while frame is not None:  # a greenlet has a stack of its own
        if frame.f_code is asyncio.BaseEventLoop.run_forever.__code__ and frame.f_locals.get("self") is loop:
            return False
        frame = frame.f_back
    return True
