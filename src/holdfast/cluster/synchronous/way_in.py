"""The way of a thread into a session: whether it may be used here and now, and the call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from holdfast.blocking.would_block import check_no_loop
from holdfast.cluster.errors import SessionLost
from holdfast.cluster.loop_in_thread.loop_thread import LoopThread
from holdfast.cluster.session_life.identity import HOW_IN_THREADS

from .asynchronous import Asynchronous

T = TypeVar("T")
INSTEAD = "async with holdfast.connect() as session:"


class WayIn:
    """What a session is to its primitives for threads. `SyncSession` has what users call."""

    def __init__(self, session: Asynchronous, thread: LoopThread) -> None:
        """Called by `Session.sync`."""
        self._session = session
        self._thread = thread

    def _is_inherited(self) -> bool:
        """Whether this process is a fork of the one that opened the session."""
        life = self._session._life
        return bool(life.id) and life.is_inherited()

    def _open(self) -> None:
        check_no_loop(INSTEAD)
        session, thread = self._session, self._thread
        with thread.mutex:
            if session._life.id:
                self._check_not_in_a_loop()
                raise RuntimeError(f"{session!r} has been opened before; call holdfast.connect() for another one")
            dropped = weakref.ref(session)

            async def close() -> None:
                if (here := dropped()) is not None:
                    await here._close()

            try:
                thread.begin(f"holdfast session {session.label}", close)
                thread.call(session._open)
                thread.serves = True
            except BaseException:
                thread.end()
                thread.join()
                raise

    def _close(self) -> None:
        if not self._is_inherited():
            self._check_not_in_a_loop()
            self._thread.end()
            self._thread.join()

    def _check_not_in_a_loop(self) -> None:
        if self._session._life.id and not self._thread.serves:
            raise RuntimeError(
                f"{self._session!r} is open in an event loop, and belongs to it; call holdfast.connect() for another "
                "one, and use that through '.sync'"
            )

    def _ready(self) -> None:
        """Raise an error if the session cannot be used in this thread now. If it may, it opens by itself."""
        check_no_loop(INSTEAD)
        session, thread = self._session, self._thread
        if not thread.serves:
            with thread.mutex:  # another thread may be opening it
                if not thread.serves:
                    self._open_by_itself()
        if not thread.is_running:
            if session.over is not None:
                session._check()
            raise thread.over()

    def _open_by_itself(self) -> None:
        session = self._session
        if not session._life.id:
            if not session._opens_by_itself:
                raise RuntimeError(f"{session!r} is not open; {HOW_IN_THREADS}")
            self._open()
            return
        if not self._is_inherited():
            self._check_not_in_a_loop()
        if not session._opens_by_itself:
            raise SessionLost(
                f"{session!r} was opened before this process was forked, and is its parent's; {HOW_IN_THREADS} in "
                "this process, or open it with connect(..., reopen=True): then it opens here by itself"
            )
        session._begin_in_child()
        self._open()

    def _run(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        seconds: float = -1,
        undo: Callable[[T], Coroutine[Any, Any, None]] | None = None,
        patient: bool = False,
    ) -> T:
        """Have something done in the session's event loop; see `Call`."""
        self._ready()
        return self._thread.call(make, seconds, undo, patient, self._may_begin_at_once)

    def _run_anyway(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """The same for what gives something back, and so is done wherever it is called, and never in a forked child."""
        session, thread = self._session, self._thread
        if not thread.serves:
            if session._life.id:
                session._life.check_process()
            self._ready()
        if not thread.is_running and session.over is not None:
            session._check()
        if thread.is_current():  # a finalizer runs there: to wait would be to wait for itself
            thread.start(make)
        else:
            thread.call_anyway(make, self._may_begin_at_once)

    def _may_begin_at_once(self) -> bool:
        return self._session._life.begins_at_once
