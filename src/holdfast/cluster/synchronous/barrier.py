"""Barrier: a number of threads and tasks, of any sessions, wait for each other, with threading.Barrier's methods."""

from __future__ import annotations

import asyncio
from functools import partial

from holdfast.blocking.broken_barrier import BrokenBarrierError
from holdfast.blocking.timeouts import check_optional_timeout
from holdfast.cluster.primitives.barrier import Barrier
from holdfast.cluster.primitives.closable import Closable

from .closable import SyncClosable
from .way_in import WayIn


class SyncBarrier(SyncClosable):
    """A Barrier of a session, with the methods of threading.Barrier. Made by `SyncSession.barrier()`.

    If the session of a thread that waits ends before the others have come, that thread does not count any more.
    """

    def __init__(self, way_in: WayIn, barrier: Barrier) -> None:
        """Called by `SyncSession.barrier()`."""
        self._way_in = way_in
        self._barrier = barrier

    def __repr__(self) -> str:
        return repr(self._barrier).replace("Barrier", "SyncBarrier", 1)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties have come; return the place in the order of arrival, from 0 on.

        timeout: how many seconds to wait at most; None means no limit, and a negative number is taken as 0. A thread
            whose time is up breaks the barrier, as in threading. If the others come at that very moment, either all of
            them go on, or it is broken for all.

        Raises `holdfast.Closed` if it is closed; threading.BrokenBarrierError, which is asyncio's as well, if the
        barrier is broken, is aborted or reset meanwhile, or if the time is up; OverflowError for a timeout above
        threading.TIMEOUT_MAX; EngineError if the engine fails; NameConflict if the name is in use for something else,
        or with another number of parties.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out. The arrival does not count, unless all others come before the engine has the withdrawal.
        """
        seconds = check_optional_timeout(timeout)
        wait = self._barrier.wait if seconds < 0 else partial(self._barrier._wait_at_most, seconds)
        try:
            return self._way_in._run(wait)
        except asyncio.BrokenBarrierError as exc:
            raise BrokenBarrierError(str(exc)) from None
        except TimeoutError:
            raise BrokenBarrierError(f"{self!r} is broken: a thread has waited longer than its timeout") from None

    def abort(self) -> None:
        """Break the barrier for all that wait and all that will come, until `reset()`.

        Raises FormatError or NameConflict if the name is in use for something else. While the engine fails, it goes on
        trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is broken all the same.
        """
        self._way_in._run(self._barrier.abort)

    def reset(self) -> None:
        """Make the barrier usable again. Those that wait get BrokenBarrierError.

        Raises as abort() does.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it is reset all the same.
        """
        self._way_in._run(self._barrier.reset)

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._barrier.parties

    @property
    def n_waiting(self) -> int:
        """How many wait for the others. This asks the engine, and raises what it raises."""
        return self._way_in._run(self._barrier._count)

    @property
    def broken(self) -> bool:
        """Whether it is broken. This asks the engine, and raises what it raises."""
        return self._way_in._run(self._barrier._is_broken)

    def _closes(self) -> tuple[WayIn, Closable]:
        return self._way_in, self._barrier
