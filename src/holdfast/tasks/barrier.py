"""Barrier: a fixed number of tasks wait for each other.

There is one line. While the barrier fills, the line is the current round, and is shorter than `parties`. The last party
does not wait: it grants the whole round. While a round leaves, tasks that arrive join the line for the next round. The
next round begins when the last task of this one has left. Its tasks keep their order, and are not woken for that.

In asyncio, such early tasks are woken when a round has left, and then enter the barrier. A reset() before they have
entered does not hit them. So here a reset() spares the early tasks for one iteration of the loop.
"""

from __future__ import annotations

import asyncio
import enum
import operator
from asyncio import BrokenBarrierError, _get_running_loop
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from .context_manager import FINISHED, returns_awaitable
from .other_loop import do_there
from .primitive import Primitive
from .pypy import closed_when_collected
from .twins import compiled
from .wait_queue import WaitQueue


class _State(enum.Enum):
    FILLING = "filling"  # Tasks arrive. The last party grants the round.
    DRAINING = "draining"  # A complete round leaves. Tasks that arrive wait for the next one.
    RESETTING = "resetting"  # A round leaves with BrokenBarrierError. Tasks that arrive wait for the next one.
    BROKEN = "broken"  # Until reset(), every task leaves with BrokenBarrierError.


@dataclass(frozen=True, slots=True)
class BarrierStatistics:
    """The state of a Barrier at one moment."""

    parties: int
    tasks_waiting: int
    """The number of tasks that wait for the other parties; 0 while a round is leaving. In `holdfast.threads`, of tasks
    and threads."""
    broken: bool


@compiled
class Barrier(Primitive, asyncio.Barrier):
    """A meeting point for a fixed number of tasks of one event loop. Not thread-safe.

    parties: the number of tasks that wait for each other and then go on together, at least 1.

    Raises ValueError if `parties` is below 1, TypeError if it is not an integer.

    Example::

        barrier = holdfast.Barrier(3)

        async def party():
            index = await barrier.wait()  # until all three are here
            return index

        assert sorted(await asyncio.gather(party(), party(), party())) == [0, 1, 2]

    Source: asyncio.Barrier. Three things differ. The indices of a round are 0 ... parties-1, each once, even after a
    task has left while the barrier was filling (gh-155233). A task that is already cancelled does not count as a party.
    And the tasks of a round leave in one iteration of the loop.
    """

    _kind = "barrier"

    def __init__(self, parties: int) -> None:
        try:
            self._parties = operator.index(parties)
        except TypeError:
            raise TypeError(f"parties must be an integer, not {parties!r}") from None
        if self._parties < 1:
            raise ValueError(f"parties must be >= 1, not {self._parties}")
        self._state = _State.FILLING
        self._spared = 0  # A reset() does not hit this many waiters at the head of the line,
        self._sparing: asyncio.Handle | None = None  # until this has run, one iteration later.
        self._bind(None)

    def __repr__(self) -> str:
        self._live_queue()
        if self.broken:
            return self._describe(self._state.value)
        return self._describe(f"{self._state.value}, waiters:{self.n_waiting}/{self.parties}")

    @property
    def parties(self) -> int:
        """The number of tasks that wait for each other. In `holdfast.threads`, of tasks and threads."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """The number of tasks that wait for the others; 0 while a round is leaving.

        In `holdfast.threads`, of tasks and threads.
        """
        waiting = self._tasks_waiting()
        return waiting if self._state is _State.FILLING else 0

    @property
    def broken(self) -> bool:
        """Whether abort() has been called, and reset() has not been called since.

        In `holdfast.threads`, a thread whose time is up, or an action that raises, breaks it as well.
        """
        return self._state is _State.BROKEN

    def statistics(self) -> BarrierStatistics:
        """Return the number of parties, the number of waiting tasks, and whether the barrier is broken."""
        return BarrierStatistics(self._parties, self.n_waiting, self.broken)

    @closed_when_collected
    async def wait(self) -> int:
        """Wait until `parties` tasks wait, then return this task's index: 0 ... parties-1, each to one task.

        Raises BrokenBarrierError if the barrier is broken, or is aborted or reset meanwhile; RuntimeError if it would
        have to wait while tasks of another event loop wait; Closed if it was closed, or is closed meanwhile.

        Cancellation: the task no longer counts as a party. If its round was already complete, the others go on
        without it.
        """
        if self._state is _State.BROKEN:
            raise BrokenBarrierError("Barrier aborted")
        line = self._enter_line()
        if self._state is _State.BROKEN:  # type: ignore[comparison-overlap]  # by another thread
            line.retire()
            raise BrokenBarrierError("Barrier aborted")
        early = self._state is not _State.FILLING
        if not early and self._trip(line, self._parties - 1):
            line.retire()
            return self._parties - 1
        if not line.line:
            self._spare_nobody()
        waiter = line.join()
        try:
            index = await waiter
        except BaseException:
            if early and self._spared:
                self._spared -= 1
            if line.leave(waiter):
                self._give_back()
            raise
        line.granted -= 1
        complete = self._state is _State.DRAINING
        if not line.granted:
            self._end_round()
        if not complete:
            raise BrokenBarrierError("Abort or reset of barrier")
        return index

    def _is_granted(self) -> bool:
        return self._state is _State.DRAINING

    async def reset(self) -> None:
        """Empty the barrier. The tasks of the current round get BrokenBarrierError.

        Tasks that already wait for the next round, because the current one has not left yet, keep waiting. It is a
        coroutine function, as in asyncio.

        Raises RuntimeError in asyncio's debug mode if the tasks wait in an event loop of another thread.

        Cancellation: it never waits, so the task cannot be cancelled in it.
        """
        loop = self._loop_elsewhere()
        if loop is None:
            self._reset()
        else:
            do_there(loop, self._reset)

    def _reset(self) -> None:
        if self._state is _State.FILLING and self._queue is not None:
            self._queue.grant_all(behind=self._spared)
        self._state = _State.RESETTING
        self._end_round()

    async def abort(self) -> None:
        """Break the barrier. Every task that waits, or arrives before the next reset(), gets BrokenBarrierError.

        It is a coroutine function, as in asyncio.

        Raises RuntimeError in asyncio's debug mode if the tasks wait in an event loop of another thread.

        Cancellation: it never waits, so the task cannot be cancelled in it.
        """
        loop = self._loop_elsewhere()
        if loop is None:
            self._abort()
        else:
            self._state = _State.BROKEN
            do_there(loop, self._abort)

    def _loop_elsewhere(self) -> asyncio.AbstractEventLoop | None:
        return None if self._queue is None else self._queue.elsewhere()

    def _abort(self) -> None:
        if self._queue is not None:
            self._queue.grant_all()
        self._spare_nobody()
        self._state = _State.BROKEN

    async def __aenter__(self) -> int:  # type: ignore[override]  # typeshed says Self
        """Wait for the other parties. The `as` value is the index."""
        return await self.wait()

    @returns_awaitable
    def __aexit__(self, *exc_info: object) -> Coroutine[Any, Any, None]:
        """Do nothing: a party has nothing to undo."""
        return FINISHED

    def _trip(self, line: WaitQueue, waiting: int) -> bool:
        """If at least `waiting` tasks wait, grant that many of them as a complete round, and return True."""
        if len(line) < waiting or line.count_live() < waiting:
            return False
        if line.grant(waiting, refusing=False):
            self._state = _State.DRAINING
        return True

    def _end_round(self) -> None:
        """If the round has left, begin the next one with the tasks that already wait for it."""
        line = self._queue
        if self._state in (_State.DRAINING, _State.RESETTING) and (line is None or not line.granted):
            self._state = _State.FILLING
            if line is None or self._trip(line, self._parties):
                return
            line.retire()
            loop = line.loop
            if loop is not None and loop is _get_running_loop() and len(line):
                self._spared = len(line)
                self._sparing = loop.call_soon(self._spare_nobody)

    def _spare_nobody(self) -> None:
        self._spared = 0
        if self._sparing is not None:
            self._sparing.cancel()  # A barrier of 2 comes here in each round. Cancelling is faster than running it.
            self._sparing = None

    def _give_back(self) -> None:
        self._end_round()

    @property
    def _count(self) -> int:
        """The number of tasks that have not left a complete round yet. asyncio's own test suite reads it."""
        return int(getattr(self._queue, "granted", 0))
