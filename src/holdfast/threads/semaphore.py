"""Semaphore and BoundedSemaphore: at most so many tasks and threads at a time.

While there is no queue, a permit is taken or put back in one statement that calls nothing. With the GIL no other thread
can run in between, so the critical section is not needed.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from holdfast.blocking.timeouts import check_timeout
from holdfast.tasks.context_manager import FINISHED, returns_awaitable
from holdfast.tasks.gil import ONE_AT_A_TIME
from holdfast.tasks.semaphore import ONE, AsyncioBoundedSemaphore, Bounded, at_least_one

from . import task_tier as task_tier
from .critical_section import Section, this_thread
from .primitive import Shared
from .sync_view import SyncView
from .wait_queue import SharedQueue
from .waiter import Waiter


class Semaphore(Shared, task_tier.Semaphore):
    """A number of permits, shared by threads and the tasks of any event loops.

    Tasks and threads get permits in the order in which they asked for them. `release()` hands the permit to the first
    waiter at once, and no other task or thread can take it. Any task or thread may release it.

    The methods here are for tasks; `sync` is the same semaphore with threading's methods.

    value: the number of permits at the start, not negative; math.inf for a semaphore that is always free.

    Raises ValueError if `value` is below 0, TypeError if it is neither an integer nor infinite.

    Source: asyncio.Semaphore, and threading.Semaphore for `sync`.
    """

    _instead = "async with semaphore:"
    _instead_of_with = "'with semaphore.sync:', or in a coroutine 'async with semaphore:',"

    def __init__(self, value: int = 1) -> None:
        self._section = Section()
        task_tier.Semaphore.__init__(self, value)

    @property
    def sync(self) -> SyncSemaphore:
        """The same semaphore with the methods of threading.Semaphore, for threads."""
        return SyncSemaphore(self)

    def try_acquire(self, n: int = 1) -> bool:
        """Take `n` permits if they are free; return whether they were taken. Never waits, never overtakes a waiter.

        n: the number of permits, 1 or more.

        In a signal handler or finalizer that has interrupted a change of a primitive, it may return False although they
        are free.

        Raises TypeError and ValueError as acquire() does.
        """
        return self._try_acquire(n if n is ONE else self._needs(n))

    async def acquire(self, n: int = 1) -> Literal[True]:
        """Wait until `n` permits are free, take them at once, and return True.

        n: the number of permits, 1 or more. Who needs many keeps the place in the line: none that asks later gets a
        permit first, so permits may be free while others wait.

        Raises TypeError if `n` is no integer, ValueError if it is below 1 or more than a BoundedSemaphore has.

        Cancellation: the task stops waiting, and holds no permit. Permits that were granted to it already, and those
        that it kept from others, go to the next waiters.
        """
        needs = n if n is ONE else self._needs(n)
        if not self._take(needs):
            await self._wait(needs)
        return True

    def release(self, n: int = 1) -> None:
        """Hand `n` permits to the first waiters, and add the rest to the free ones. Never blocks.

        n: the number of permits, 1 or more.

        May be called more often than acquire().

        Raises TypeError if `n` is no integer, ValueError if it is below 1; it then adds nothing.
        """
        if n is not ONE:
            self._add(at_least_one(n))
            return
        if ONE_AT_A_TIME:
            self._value += (free := self._queue is None)
        elif free := self._queue is None and not this_thread.state.inside:
            with self._section:
                self._value += (free := self._queue is None)
        if not free:
            self._section.run_or_defer(self._give_back)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take a permit, at once if one is free, and otherwise as acquire() does. The `as` value is None."""
        return FINISHED if type(self).acquire is ACQUIRE and self._take() else self._enter()

    def _take(self, needs: int = 1) -> bool:
        """Take permits if there is no queue and they are free; return whether they were taken."""
        # A waiter sets `_queue` before it looks for permits, and here one step looks at both.
        if ONE_AT_A_TIME:
            self._value -= (taken := needs if self._queue is None and self._value >= needs else 0)
            return taken > 0
        if self._value < needs or self._queue is not None or this_thread.state.inside:
            return False
        with self._section:
            self._value -= (taken := needs if self._queue is None and self._value >= needs else 0)
        return taken > 0

    def _add(self, n: int) -> None:
        self._section.run_or_defer(self._give_back, n)

    def _put_back_closed(self, n: int) -> None:
        self._add(n)

    # In the critical section

    def _try(self, line: SharedQueue, needs: int) -> bool:
        if self._value >= needs and not line.granted and not line.has_waiters():
            self._value -= needs
            return True
        return False

    def _arrive(self, waiter: Waiter) -> Any:
        line = waiter.line
        assert line is not None  # it has waited there
        line.finish(waiter)
        if self._value > 0:
            self._hand_out()
        return True


ACQUIRE = Semaphore.acquire
"""See the task tier's Lock."""


class BoundedSemaphore(Bounded, Semaphore, AsyncioBoundedSemaphore):  # type: ignore[misc]  # its queue is another one
    """A Semaphore that refuses to be released more often than it was acquired.

    It takes the arguments of Semaphore, and raises the same errors.

    Source: asyncio.BoundedSemaphore, and threading.BoundedSemaphore for `sync`.
    """

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._bound_value = self._value

    def release(self, n: int = 1) -> None:
        """Hand `n` permits to the first waiters, and add the rest to the free ones. Never blocks.

        n: the number of permits, 1 or more.

        Raises ValueError, and adds nothing, if fewer than `n` permits are taken, or if `n` is below 1; TypeError if `n`
        is no integer.
        """
        self._add(n if n is ONE else at_least_one(n))

    def resize(self, value: int) -> None:
        """Change the number of permits to `value`. Never blocks.

        value: the new number of permits, 0 or more.

        If there are more, they go to the waiters at once. If there are fewer, holders go on, and what is put back is
        not given out again until no more than `value` permits are taken. Who waits for more than `value` permits gets
        the ValueError that acquire() raises for so many.

        Raises TypeError if `value` is not an integer; ValueError if it is below 0, or if it or the number of permits so
        far is math.inf.
        """
        self._section.run_or_defer(self._set_size, self._checked_size(value))

    def _add(self, n: int) -> None:
        self._section.run(self._check_and_give_back, n, if_inside=self._check_and_defer)

    def _check_and_give_back(self, n: int) -> None:
        self._check_change(n)
        self._give_back(n)

    def _change(self, n: int) -> None:
        self._give_back(n)

    def _check_change(self, n: int) -> None:
        """Raise ValueError if fewer than `n` permits are taken.

        The test is threading's, which counts `n`. The task tier has asyncio's, which differs for math.inf.
        """
        if self._value + n > self._bound_value:
            raise ValueError(
                f"BoundedSemaphore released too many times: of its {self._bound_value} permits {self._value} are free. "
                "Release it once for each acquire(), or use a Semaphore if more permits are to be added"
            )


class SyncSemaphore(SyncView):
    """A Semaphore or BoundedSemaphore as threads see it, with the methods of threading.Semaphore."""

    __slots__ = ()

    _shared: Semaphore

    def acquire(self, blocking: bool = True, timeout: float | None = None, *, n: int = 1) -> bool:
        """Take `n` permits at once; return whether they were taken.

        blocking: whether to wait if they are not free.
        timeout: how many seconds to wait at most; None means no limit, and a negative number is taken as 0.
        n: the number of permits, 1 or more.

        Raises RuntimeError if the call would block a running event loop, or would have to wait in a signal handler or
        finalizer that has interrupted a change of a primitive; ValueError for a timeout with `blocking=False`, and for
        an `n` below 1 or above what a BoundedSemaphore has; TypeError if `n` is no integer; OverflowError for a timeout
        above threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and no permit is held. If some were granted already, the next waiters get them.
        """
        semaphore = self._shared
        needs = n if n is ONE else semaphore._needs(n)
        if timeout is not None:
            timeout = max(timeout, 0)  # as threading does
        seconds = check_timeout(blocking, -1 if timeout is None else timeout)
        if semaphore._take(needs):
            return True
        return bool(semaphore._block(seconds, needs)) if seconds else semaphore.try_acquire(needs)

    def release(self, n: int = 1) -> None:
        """Put back `n` permits at once, and hand them to the first waiters. Never blocks.

        n: the number of permits, 1 or more.

        Raises ValueError, and adds nothing, if `n` is below 1. A BoundedSemaphore also does so if fewer than `n` of its
        permits are taken.
        """
        self._shared._add(at_least_one(n))

    @contextmanager
    def permits(self, n: int) -> Iterator[None]:
        """Take `n` permits for a `with` block, as acquire() does, and put them back at its end.

        n: the number of permits, 1 or more.

        Raises what acquire() raises.
        """
        self.acquire(n=n)
        try:
            yield
        finally:
            self._shared.release(n)

    def __enter__(self) -> bool:
        """Take a permit, as acquire() does. The `as` value is True."""
        return self._shared._take() or bool(self._shared._block())

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        """Put back one permit, as release() does."""
        self._shared.release()

    def __repr__(self) -> str:
        name = f"Sync{type(self._shared).__name__}"
        return f"<holdfast.threads.{name} at {id(self._shared):#x}: value={self._shared._value}>"
