"""Barrier: so many tasks wait for each other."""

from __future__ import annotations

import asyncio
import enum
import operator
from asyncio import BrokenBarrierError, _get_running_loop
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from ._contextmanager import FINISHED, returns_awaitable
from ._errand import do_there
from ._primitive import Primitive
from ._twins import compiled
from ._waitqueue import WaitQueue


class _State(enum.Enum):
    FILLING = "filling"  # tasks arrive; the last party lets the first ones go
    DRAINING = "draining"  # let go, but not all of them have run yet; who arrives waits for the next round
    RESETTING = "resetting"  # the same, and they leave with BrokenBarrierError
    BROKEN = "broken"  # until reset(), everyone leaves with BrokenBarrierError


@dataclass(frozen=True, slots=True)
class BarrierStatistics:
    """A Barrier at one moment."""

    parties: int
    tasks_waiting: int
    """How many tasks wait for the other parties; 0 while a round is leaving."""
    broken: bool


@compiled
class Barrier(Primitive, asyncio.Barrier):
    """A meeting point for a fixed number of tasks of one event loop. Not thread-safe.

    parties: how many tasks must wait to go on together, at least 1.

    Raises ValueError if `parties` is below 1, TypeError if it is not an integer.

    Source: asyncio.Barrier. Unlike there, the indices of a round are 0 ... parties-1, each once, also after a
    task left while the barrier was filling (gh-155233), a task that is already cancelled is not counted as
    a party, and the tasks of a round leave in one iteration of the loop.
    """

    # There is one line. While the barrier fills, it is the round, and shorter than `parties`; who makes it complete
    # does not wait, but grants it. While a round leaves, whoever comes joins the line for the next one, which
    # begins with them, in order and without waking them, when the last of the round before has left. In asyncio
    # they wake and enter, and a reset() before that does not hit them; so they are spared for one iteration.

    def __init__(self, parties: int) -> None:
        try:
            self._parties = operator.index(parties)
        except TypeError:
            raise TypeError(f"parties must be an integer, not {parties!r}") from None
        if self._parties < 1:
            raise ValueError(f"parties must be >= 1, not {self._parties}")
        self._state = _State.FILLING
        self._spared = 0  # so many at the head of the line are not hit by a reset(),
        self._sparing: asyncio.Handle | None = None  # until this has run, one iteration after the round before
        self._bind(None)

    def __repr__(self) -> str:
        self._live_queue()
        if self.broken:
            return self._describe(self._state.value)
        return self._describe(f"{self._state.value}, waiters:{self.n_waiting}/{self.parties}")

    @property
    def parties(self) -> int:
        """How many tasks it takes."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many tasks wait for the others; 0 while a round is leaving."""
        waiting = self._tasks_waiting()
        return waiting if self._state is _State.FILLING else 0

    @property
    def broken(self) -> bool:
        """Whether abort() was called, and reset() was not since."""
        return self._state is _State.BROKEN

    def statistics(self) -> BarrierStatistics:
        """Return the number of parties, of waiting tasks, and whether the barrier is broken."""
        return BarrierStatistics(self._parties, self.n_waiting, self.broken)

    async def wait(self) -> int:
        """Wait until `parties` tasks do; return this one's index, each of 0 ... parties-1 going to one task.

        Raises BrokenBarrierError if the barrier is broken, or is aborted or reset meanwhile; RuntimeError if it
        would have to wait while tasks of another event loop do.

        Cancellation: the task no longer counts as a party. If its round was complete already, the others
        go on without it.
        """
        if self._state is _State.BROKEN:
            raise BrokenBarrierError("Barrier aborted")
        line = self._enter_line()
        if self._state is _State.BROKEN:  # type: ignore[comparison-overlap]  # by another thread meanwhile
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

    async def reset(self) -> None:
        """Return to the empty state; the tasks of the current round get BrokenBarrierError.

        Tasks that wait for the next round, as the current one has not left yet, keep waiting. Never waits itself.
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
        """Break the barrier: every task that waits, or comes before the next reset(), gets BrokenBarrierError.

        Never waits itself.
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
        """Wait for the other parties; the `as` value is the index."""
        return await self.wait()

    @returns_awaitable
    def __aexit__(self, *exc_info: object) -> Coroutine[Any, Any, None]:
        """Nothing to undo."""
        return FINISHED

    def _trip(self, line: WaitQueue, waiting: int) -> bool:
        """If at least `waiting` tasks wait, let the first of them go as a complete round."""
        if len(line) < waiting or line.count_live() < waiting:
            return False
        if line.grant(waiting, refusing=False):
            self._state = _State.DRAINING
        return True

    def _end_round(self) -> None:
        """If the round has left, begin the next one with who waits already."""
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
            self._sparing.cancel()  # cheaper than to run it for nothing, as each round of a barrier of 2 would
            self._sparing = None

    def _give_back(self) -> None:
        self._end_round()

    @property
    def _count(self) -> int:
        """How many tasks have not left a complete round yet. The name is asyncio's, whose suite reads it."""
        return int(getattr(self._queue, "granted", 0))
