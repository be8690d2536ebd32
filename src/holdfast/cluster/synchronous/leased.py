"""What threads hold: a lock or a permit. Who holds it here, and what a release gives back.

The lists are read and changed in the session's loop alone, so they need no lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from threading import TIMEOUT_MAX, get_ident
from types import TracebackType
from typing import Any

from holdfast.blocking.timeouts import check_timeout
from holdfast.cluster.background import begin
from holdfast.cluster.errors import FormatError, LeaseLost, NameConflict, SessionLost
from holdfast.cluster.loop_in_thread.call import OutOfTime
from holdfast.cluster.primitives.leased import Leased
from holdfast.cluster.values_in_messages import shown

from .grant import OnLost, SyncGrant
from .way_in import WayIn


class SyncLeased:
    """What SyncLock and the semaphores have in common."""

    def __init__(self, way_in: WayIn, leased: Leased, on_lost: OnLost | None, hold_at_most: float | None) -> None:
        """Called by a method of SyncSession."""
        if hold_at_most is not None and not (_is_number(hold_at_most) and 0 < hold_at_most <= TIMEOUT_MAX):
            raise ValueError(f"hold_at_most must be a number of seconds above 0, or None, not {shown(hold_at_most)}")
        if on_lost is not None and not callable(on_lost):
            raise TypeError(f"on_lost must be something to call with the grant, or None, not {shown(on_lost)}")
        self._way_in = way_in
        self._leased = leased
        self._on_lost = on_lost
        self._hold_at_most = hold_at_most
        self._held: list[SyncGrant] = []  # the oldest first
        self._entered: list[SyncGrant] = []  # by `with`

    def __repr__(self) -> str:
        name = type(self._leased).__name__
        return repr(self._leased).replace(name, f"Sync{name}", 1)

    def _acquire(self, blocking: bool, timeout: float, *n: int) -> SyncGrant | None:
        """n: how many permits, if it is a semaphore; one by default."""
        seconds = check_timeout(blocking, timeout)
        if not seconds:
            return self._way_in._run(partial(self._try, get_ident(), *n), undo=self._drop)
        try:
            return self._way_in._run(partial(self._take, get_ident(), *n), seconds, undo=self._drop)
        except OutOfTime:
            return None

    def _within(self, timeout: float, *n: int) -> AbstractContextManager[SyncGrant]:
        return _Within(self, timeout, *n)

    def __enter__(self) -> SyncGrant:
        """Acquire it, as acquire() does; the `as` value is the grant."""
        return self._enter_with()

    def _enter_with(self, *n: int) -> SyncGrant:
        return self._way_in._run(partial(self._enter, get_ident(), *n), undo=self._leave_entered)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Release the grant of this entry, and no other, as release() does. In a forked child, do nothing.

        Raises LeaseLost if the grant was lost. If the body has raised, its exception comes out, and no LeaseLost.
        """
        if self._way_in._is_inherited():
            return
        try:
            self._end(self._exit)
        except (LeaseLost, FormatError, NameConflict):
            if exc is None:
                raise

    def _end(self, how: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        try:
            self._way_in._run_anyway(partial(how, get_ident()))
        except LeaseLost:
            raise
        except SessionLost as exc:
            raise LeaseLost(f"what {self!r} held was lost: {exc}") from exc

    # In the loop

    async def _take(self, thread: int, *n: int) -> SyncGrant:
        return self._hold(SyncGrant(await self._leased.acquire(*n), self._way_in._thread, thread, self._on_lost))

    async def _try(self, thread: int, *n: int) -> SyncGrant | None:
        grant = await self._leased.try_acquire(*n)
        if grant is None:
            return None
        return self._hold(SyncGrant(grant, self._way_in._thread, thread, self._on_lost))

    async def _enter(self, thread: int, *n: int) -> SyncGrant:
        held = await self._take(thread, *n)
        self._entered_with(held, thread)
        return held

    async def _try_to_enter(self, thread: int, *n: int) -> SyncGrant | None:
        held = await self._try(thread, *n)
        if held is not None:
            self._entered_with(held, thread)
        return held

    def _entered_with(self, held: SyncGrant, thread: int) -> None:
        held._grant._with_in = thread
        self._entered.append(held)

    async def _leave_entered(self, held: SyncGrant | None) -> None:
        if held is not None:
            self._entered.remove(held)
            await self._give_back(held)

    async def _exit(self, thread: int) -> None:
        # Mostly the thread that has entered leaves, and not from the middle of Condition.wait().
        held = max(
            reversed(self._entered),
            key=lambda each: (each._waits_in == thread, not each._grant._is_waiting, each._thread == thread),
        )
        self._entered.remove(held)
        if held.released and held._grant._why is None:
            raise RuntimeError(f"{self!r} has been released inside its 'with' body already")
        await self._give_back(held)

    async def _release(self, thread: int) -> None:
        held = next(iter(self._in_order_of_release(thread)), None)
        if held is None:
            await self._leased.release()  # which raises, or adds a permit
        else:
            await self._give_back(held)

    def _in_order_of_release(self, thread: int) -> list[SyncGrant]:
        return sorted(
            (each for each in self._held if not each._grant._is_waiting),
            # That of a `with` ends with its body, if there is another one.
            key=lambda each: (each._thread != thread, each in self._entered, each._grant._why is not None),
        )

    async def _drop(self, held: SyncGrant | None) -> None:
        """The thread that has asked for it has left."""
        if held is not None:
            await self._give_back(held)

    def _hold(self, held: SyncGrant) -> SyncGrant:
        for lost in [each for each in self._held if each._grant._why is not None and each._thread == held._thread]:
            self._forget(lost)  # this thread goes on with another grant, in a session that was opened again
        self._held.append(held)
        self._start_clock(held)
        return held

    async def _give_back(self, held: SyncGrant) -> None:
        held._end()
        if held in self._held:
            self._held.remove(held)
        if held._grant in self._leased._held:
            await self._leased._release(held._grant)
        else:
            held._grant._check_not_lost()

    def _forget(self, held: SyncGrant) -> None:
        self._held.remove(held)
        if held._grant in self._leased._held:
            self._leased._held.remove(held._grant)

    def _start_clock(self, held: SyncGrant) -> None:
        held._start_clock(self._hold_at_most, self._overdue)

    def _overdue(self, held: SyncGrant) -> None:
        """It was held for too long: give it to the next in line, and have its holder find it lost."""
        grant = held._grant
        if grant in self._leased._held and grant._why is None:
            why = LeaseLost(f"{grant} was lost: it was held for longer than its hold_at_most of {self._hold_at_most} s")
            begin(grant._life.loop, partial(self._leased._revoke, grant, why), "holdfast ends a holding")


class _Within:
    """The context manager of within()."""

    def __init__(self, leased: SyncLeased, timeout: float, *n: int) -> None:
        self._leased = leased
        self._timeout = timeout
        self._n = n

    def __enter__(self) -> SyncGrant:
        leased, seconds = self._leased, check_timeout(True, self._timeout)
        if seconds < 0:
            raise ValueError("timeout value must be a non-negative number")
        way_in, thread = leased._way_in, get_ident()
        held: SyncGrant | None = None
        with contextlib.suppress(OutOfTime):
            if seconds:
                held = way_in._run(partial(leased._enter, thread, *self._n), seconds, undo=leased._leave_entered)
            else:
                held = way_in._run(partial(leased._try_to_enter, thread, *self._n), undo=leased._leave_entered)
        if held is None:
            raise TimeoutError(f"{leased!r} was not free within {self._timeout} s")
        return held

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._leased.__exit__(exc_type, exc, tb)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
