"""A thread whose event loop serves one session, for as long as the session is open.

The loop belongs to nobody else, so it goes on while the program's own threads block, and the session is renewed in
time. It is a daemon thread: it keeps no program from ending. When the program ends, the session is closed first.

Nothing here refers to the Session. So one that the program has dropped is collected, and ends its thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from _thread import LockType, allocate_lock
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakSet

from holdfast.cluster.background import begin
from holdfast.cluster.errors import SessionLost

from .call import ENDED, Call

T = TypeVar("T")
ENDING = 10.0
"""Seconds for which the end of the thread is waited for, at most. A session needs less to close."""


class LoopThread:
    """A thread with an event loop, which does what other threads ask."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        """Of the opening."""
        self.serves = False
        """Whether its session was opened in this process, and through it."""
        self.may_start_threads = True
        """Not while the interpreter ends: Python 3.12 refuses it then."""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Future[None]
        self._is_ending = False
        self._has_ended = False
        self._calls: set[Call[Any]] = set()
        self.failure: BaseException | None = None
        """What has ended the loop, if that was no end as it should be."""
        _here.add(self)

    @property
    def is_running(self) -> bool:
        """Whether it has begun in this process, and has not ended."""
        return self._thread is not None and not self._has_ended

    def begin(self, title: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the thread, and wait until its loop runs. It does not run yet.

        title: the name of the thread. close: is done in the loop at its end.
        """
        running = allocate_lock()
        running.acquire()
        self._is_ending = self._has_ended = False
        self.failure = None
        thread = threading.Thread(target=self._live, args=(close, running), name=title, daemon=True)
        thread.start()
        self._thread = thread
        running.acquire()

    def call(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        seconds: float = -1,
        undo: Callable[[T], Coroutine[Any, Any, None]] | None = None,
        patient: bool = False,
        may_begin_at_once: Callable[[], bool] = lambda: False,
    ) -> T:
        """Have something done in the loop, and wait for it; see `Call`. Raises SessionLost if the loop has ended."""
        return self._wait(Call(self._running(), make, seconds, undo, patient, may_begin_at_once))

    def call_anyway(self, make: Callable[[], Coroutine[Any, Any, None]], may_begin_at_once: Callable[[], bool]) -> None:
        """The same for what is done in any case, also if a signal handler raises before the loop was asked."""
        call: Call[None] | None = None
        try:
            call = Call(self._running(), make, -1, None, False, may_begin_at_once)
            self._wait(call)
        except BaseException:
            self.soon(call.begin if call is not None else lambda: self.start(make))
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise self.over()
        return self._loop

    def _wait(self, call: Call[T]) -> T:
        self._calls.add(call)
        try:
            # In this order: the thread notes that it has ended before it answers the calls that are left.
            if self._has_ended:
                raise self.over()
            return call.wait()
        finally:
            self._calls.discard(call)

    def is_current(self) -> bool:
        """Whether this is called in the thread itself."""
        return self._thread is threading.current_thread()

    def start(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """In the thread: have something done later, whatever comes of it."""
        assert self._loop is not None
        doing = begin(self._loop, make, "holdfast gives back what a finalizer has left")
        doing.add_done_callback(lambda done: done.cancelled() or done.exception())

    def soon(self, callback: Callable[[], object]) -> None:
        """Have something done in the loop without waiting for it, if the loop still runs."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(callback)

    def end(self) -> None:
        """Have the session closed and the thread end, soon."""
        self._is_ending = True
        self.soon(self._ask_to_stop)

    def join(self) -> None:
        """Wait for the end, a while."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(ENDING)

    def forget(self) -> None:
        """In a forked child, which has no such thread."""
        if self._loop is not None:
            _of_parents.append(self._loop)
        self.mutex = threading.RLock()
        self.serves = False
        self._thread = self._loop = None
        self._calls = set()

    # In the thread

    def _live(self, close: Callable[[], Coroutine[Any, Any, None]], running: LockType) -> None:
        try:
            asyncio.run(self._serve(close, running))
        except BaseException as exc:
            self.failure = exc
            raise
        finally:
            self._has_ended = True
            for call in [*self._calls]:
                call.end(self.over())
            if running.locked():
                running.release()

    async def _serve(self, close: Callable[[], Coroutine[Any, Any, None]], running: LockType) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        running.release()
        if not self._is_ending:
            await self._stop
        await close()

    def _ask_to_stop(self) -> None:
        if not self._stop.done():
            self._stop.set_result(None)

    def over(self) -> SessionLost:
        """Why nothing can be done here any more."""
        over = SessionLost(ENDED)
        over.__cause__ = self.failure
        return over


_here: WeakSet[LoopThread] = WeakSet()
"""Those of this process."""
_of_parents: list[asyncio.AbstractEventLoop] = []
"""Loops that a forked child has inherited. They are kept: to finalize one would change the parent's epoll."""


def _end_all() -> None:
    """The interpreter ends."""
    running = [thread for thread in [*_here] if thread.is_running]
    for thread in running:
        thread.may_start_threads = False
        thread.end()
    for thread in running:
        thread.join()


def _forget_all() -> None:
    for thread in [*_here]:
        thread.forget()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
