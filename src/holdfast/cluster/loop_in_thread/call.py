"""One thing that a thread asks of a session's event loop, and how the thread leaves before that is done.

A call runs as a task in the loop, and the thread blocks on a gate until the task has ended. Where the engine allows it,
the first step is made without a task, in the callback that the thread has asked for; most often it is the last one as
well, or the one that sends the request. What must hold:

 1. The loop alone decides what became of a call. Its time is kept there, and a thread that is interrupted has the task
    cancelled there. So a grant that comes at that moment is either had or withdrawn.
 2. A thread that leaves by an exception has nothing: what the task got all the same is undone in the loop, whether or
    not the thread still waits for that.
 3. A call is answered also if the loop ends before.
"""

from __future__ import annotations

import asyncio
from _thread import LockType, allocate_lock
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from holdfast.cluster.background import begin, begin_at_once
from holdfast.cluster.errors import SessionLost

T = TypeVar("T")
ENDED = "the thread that serves the session has ended"
LEAVING = 5.0
"""Seconds for which a thread that was interrupted waits until it is known that it has nothing, at most."""


class OutOfTime(Exception):  # noqa: N818  # what happened, as in errors.py
    """The time of a call is up, and what it asked for was not had."""


class Call(Generic[T]):
    """Asked by one thread, done in the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], Coroutine[Any, Any, T]],
        seconds: float,
        undo: Callable[[T], Coroutine[Any, Any, None]] | None,
        patient: bool,
        may_begin_at_once: Callable[[], bool],
    ) -> None:
        """make: what is to be done. seconds: how long it may take; -1 means no limit.
        undo: takes back what was got for a thread that has left.
        patient: a thread that is interrupted waits for the end, however long that takes, and keeps what it gets.
            If it is interrupted once more, it leaves.
        may_begin_at_once: whether its first step may be made without a task. It is asked in the loop.
        """
        self._loop = loop
        self._make = make
        self._seconds = seconds
        self._undo = undo
        self._is_patient = patient
        self._may_begin_at_once = may_begin_at_once
        self._task: asyncio.Task[None] | None = None  # while it runs
        self._timer: asyncio.TimerHandle | None = None
        self._is_begun = False
        self._is_late = False
        self._is_answered = False
        self._is_interrupted = False
        self._is_left = False  # by its thread: nobody wants the result
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._answered = _gate()
        self._settled = _gate()  # for a thread that leaves

    # In the thread

    def wait(self) -> T:
        """Have it done; return its result. Raises its error, OutOfTime, and what a signal handler raises meanwhile."""
        try:
            self._ask()
            self._answered.acquire()
            return self._outcome()
        except BaseException as exc:
            if exc is not self._error:
                self._leave()
            raise
        finally:
            self._error = None  # whose traceback refers to this frame, and that would be a cycle

    def _ask(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.begin)
        except RuntimeError:  # it is closed
            raise SessionLost(ENDED) from None

    def _outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _leave(self) -> None:
        """Another exception has come up in the thread. Wait until it is known that the thread has nothing."""
        try:
            self._loop.call_soon_threadsafe(self._interrupt, not self._is_patient)
        except RuntimeError:
            return  # the loop has ended, and the session with it
        if not self._is_patient:
            self._settled.acquire(timeout=LEAVING)
            return
        try:
            self._settled.acquire()
        except BaseException:
            self._loop.call_soon_threadsafe(self._interrupt, True)
            raise

    # In the loop

    def begin(self) -> None:
        """Do it, unless it has been begun before."""
        if self._is_begun:
            return
        self._is_begun = True
        if self._may_begin_at_once():
            self._task = begin_at_once(self._loop, self._work, "holdfast does what a thread has asked for")
        else:
            self._task = self._loop.create_task(self._work())
        if self._task is None or self._is_answered:
            self._task = None
            return
        self._task.add_done_callback(self._done)
        if self._seconds >= 0:
            self._timer = self._loop.call_later(self._seconds, self._time_is_up)

    async def _work(self) -> None:
        self._result.append(await self._make())
        # Nothing can go wrong any more. To answer once the task is done would have the thread wait for the loop's next
        # turn, and for the interpreter's lock meanwhile.
        if self._task is not None:
            self._task.remove_done_callback(self._done)
        self._forget_task()
        self._answer(None)

    def _time_is_up(self) -> None:
        if self._task is not None and not self._task.done():
            self._is_late = True
            self._task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._forget_task()
        if task.cancelled():
            self._answer(OutOfTime() if self._is_late else SessionLost(ENDED))
        else:
            self._answer(task.exception())

    def _forget_task(self) -> None:
        self._task = None  # it has the error, whose traceback will refer to this call
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, error: BaseException | None) -> None:
        self._is_answered = True
        self._error = error
        self._answered.release()
        if self._is_left:
            self._settle()
        elif self._is_interrupted:
            _open(self._settled)

    def _interrupt(self, leave: bool) -> None:
        """leave: nobody wants the result any more."""
        first, self._is_interrupted = not self._is_interrupted, True
        self._is_left = self._is_left or leave
        if self._is_answered:
            if leave:
                self._settle()
            else:
                _open(self._settled)
        elif self._task is None:  # the thread was interrupted before it has asked
            _open(self._settled)
        elif first:
            self._task.cancel()

    def _settle(self) -> None:
        """Nobody wants the result: undo it."""
        if self._undo is None or not self._result:
            _open(self._settled)
            return
        undoing = begin(self._loop, partial(self._undo, self._result.pop()), "holdfast takes back what a thread left")
        undoing.add_done_callback(self._undone)

    def _undone(self, undoing: asyncio.Task[None]) -> None:
        if not undoing.cancelled():
            undoing.exception()  # it is lost already, and nobody is there to be told
        _open(self._settled)

    def end(self, error: BaseException) -> None:
        """The loop has ended. Called in its thread."""
        if not self._is_answered:
            self._answer(error)
        _open(self._settled)


def _gate() -> LockType:
    """A lock that is taken. It is released once, when what it stands for has happened."""
    gate = allocate_lock()
    gate.acquire()
    return gate


def _open(gate: LockType) -> None:
    if gate.locked():
        gate.release()
