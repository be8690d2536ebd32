"""Condition: tasks wait, under a lock, until another task tells them that something changed."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol, TypeGuard, TypeVar
from weakref import WeakKeyDictionary

from ._contextmanager import ContextManager, returns_awaitable
from ._primitive import Primitive
from ._twins import accelerated, compiled
from ._waitqueue import this_run
from .lock import Lock, LockStatistics

T = TypeVar("T")
_NOT_LOCKED = "cannot {0} on un-acquired lock; write 'async with condition:' around {0}()"
AsyncioLock = asyncio.Lock  # the original: install() puts ours in its place


@compiled
class Condition(ContextManager, Primitive, asyncio.Condition):
    """A lock, and a place to wait for a change of what it protects, for tasks of one event loop. Not thread-safe.

    lock: a holdfast or asyncio Lock, which several conditions may share; None makes a new one.
    loop: bind the condition, and a new lock, to this event loop; any use from another one raises RuntimeError.

    Raises TypeError if `lock` is no such lock, ValueError if it is bound to another loop.

    A coroutine that is closed inside `async with cond: await cond.wait()` (by the collector, or when its loop
    ends) leaves the lock alone if another task holds it by then. With `acquire()` and `release()` in
    try/finally instead of `async with` that is out of reach: the release hits the other task's lock.

    Source: asyncio.Condition as of 3.13. Unlike there, cancelling a waiter that nobody notified wakes no other.
    `loop=` was removed there in 3.10, and works here.
    """

    def __init__(self, lock: AsyncioLock | None = None, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if lock is None:
            lock = Lock(loop=loop)
        elif isinstance(lock, AsyncioLock):
            loop = _common_loop(lock, loop)
        else:
            raise NotALockError(f"Condition needs a holdfast.Lock, an asyncio.Lock or None, not {lock!r}")
        self._lock = lock
        self._grip = _grip(lock)
        if not (accelerated and type(self) is Condition):
            # The lock's own methods, as in asyncio: in Python, the detour below costs a third of an acquire().
            self.locked = lock.locked  # type: ignore[method-assign]
            self.acquire = self._grip.acquire  # type: ignore[method-assign]
            self.release = self._grip.release  # type: ignore[method-assign]
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else "unlocked")

    async def acquire(self) -> Literal[True]:
        """Acquire the lock: see Lock.acquire()."""
        return await self._grip.acquire()

    def release(self) -> None:
        """Release the lock: see Lock.release()."""
        self._grip.release()

    def locked(self) -> bool:
        """Return True if the lock is held, or on its way to a task that has not run yet."""
        return self._lock.locked()

    def statistics(self) -> LockStatistics:
        """Return whether the lock is locked, and how many tasks wait to be notified."""
        return LockStatistics(self.locked(), self._tasks_waiting())

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Acquire the lock; the `as` value is None."""
        return self._grip.__aenter__()

    def _exit_closed(self) -> None:
        self._grip._exit_closed()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, return True.

        Raises RuntimeError if the lock is not held, or if tasks of another event loop wait here.

        Cancellation: the task takes the lock again, however long that lasts, and then raises. If it had been
        notified, the notification goes to another waiter; if not, nobody is woken.
        """
        if not self.locked():
            raise RuntimeError(_NOT_LOCKED.format("wait"))
        line = self._queue
        if line is None or line.run is not this_run():
            line = self._enter_line()
        self.release()
        waiter = line.join()
        notified = False
        try:
            try:
                await waiter
            except GeneratorExit:
                notified = line.leave(waiter)
                self._grip._reacquire_closed()
                raise
            except BaseException:
                notified = line.leave(waiter)
                await self._grip._reacquire()
                raise
            line.granted -= 1
            notified = True
            await self._grip._reacquire()
        except BaseException:
            # Only now, as asyncio has it: who is woken instead queues for the lock behind this task.
            if notified:
                self._give_back()
            raise
        return True

    async def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until `predicate()` is true; return its value.

        The predicate is called with the lock held, at once and after each notification. If it raises, the
        error passes, and the lock is held. Raises RuntimeError if it has to wait and the lock is not held.

        Cancellation: as for wait().
        """
        result = predicate()
        while not result:
            await self.wait()
            result = predicate()
        return result

    def notify(self, n: float = 1) -> None:
        """Wake the first `n` tasks that wait, or all if they are fewer; 0 or less wakes none.

        They go on once they have the lock again, so release it soon.

        Raises RuntimeError, and wakes nobody, if the lock is not held, and in asyncio's debug mode if the loop of the
        waiting tasks runs in another thread; TypeError if `n` is not a number.
        """
        if not self.locked():
            raise RuntimeError(_NOT_LOCKED.format("notify"))
        try:
            some = n > 0
        except TypeError:
            raise TypeError(f"notify() needs the number of tasks to wake, not {n!r}") from None
        queue = self._queue
        if queue is None or not some:
            return
        if queue.line or queue.bound is not None or not (queue.granted or queue.retire_here()):
            queue.grant(n)

    def notify_all(self) -> None:
        """Wake every task that waits.

        Raises RuntimeError as notify() does.
        """
        if not self.locked():
            raise RuntimeError(_NOT_LOCKED.format("notify"))
        if self._queue is not None:
            self._queue.grant_all()

    def _give_back(self) -> None:
        if self._queue is not None:
            self._queue.grant(refusing=False)


LOCKS_OWN = (Lock.acquire, Lock.release)
"""Where tests or tracers put others into the class, the lock is used through those."""


class NotALockError(TypeError, AttributeError):
    """A Condition over something that is no lock: a TypeError, and what asyncio raises, an AttributeError."""


class _Grip(Protocol):
    """How a Condition handles its lock. A Lock is its own; see there."""

    async def acquire(self) -> Literal[True]: ...
    def release(self) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, None]: ...
    async def _reacquire(self) -> None: ...
    def _reacquire_closed(self) -> None: ...
    def _exit_closed(self) -> None: ...


def _is_ours(lock: AsyncioLock) -> TypeGuard[Lock]:
    """Whether it has all that a Lock has. For isinstance() a Mock of one is one, and has the methods alone."""
    return issubclass(type(lock), Lock)


def _grip(lock: AsyncioLock) -> _Grip:
    cls = type(lock)
    if _is_ours(lock) and (cls.acquire, cls.release) == LOCKS_OWN:
        return lock
    return _ForeignGrip(lock)


_owed_exits: WeakKeyDictionary[AsyncioLock, int] = WeakKeyDictionary()
"""The owed exits of asyncio's locks; see Lock._owe_exit(). Several conditions may share the lock."""


class _ForeignGrip:
    """asyncio's Lock, a subclass of ours that overrides acquire() or release(), or a mock, handled by its methods."""

    def __init__(self, lock: AsyncioLock) -> None:
        self._lock = lock

    async def acquire(self) -> Literal[True]:
        _owed_exits.pop(self._lock, None)
        return await self._lock.acquire()

    def release(self) -> None:
        _owed_exits.pop(self._lock, None)
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def _reacquire(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._lock.acquire()
                break
            except asyncio.CancelledError as exc:
                cancelled = exc
            except GeneratorExit:
                self._reacquire_closed()
                raise
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # its traceback refers to this frame: no cycle

    def _reacquire_closed(self) -> None:
        if not self._lock.locked() and self._acquire_without_waiting():
            return
        if _is_ours(self._lock):
            self._lock._owe_exit()
        else:
            _owed_exits[self._lock] = _owed_exits.get(self._lock, 0) + 1

    def _acquire_without_waiting(self) -> bool:
        """Run acquire() up to its first wait, and close it there."""
        acquire = self._lock.acquire()
        try:
            acquire.send(None)
        except StopIteration:
            return True
        except RuntimeError:  # it would have to wait, in another loop than its own or in none
            return False
        acquire.close()
        return False

    def _exit_closed(self) -> None:
        if _is_ours(self._lock):
            self._lock._exit_closed()
        elif owed := _owed_exits.pop(self._lock, 0):
            if owed > 1:
                _owed_exits[self._lock] = owed - 1
        else:
            self._lock.release()


def _common_loop(lock: AsyncioLock, loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """The loop that a condition over `lock` is bound to."""
    if _is_ours(lock):
        bound = None if lock._queue is None else lock._queue.bound
        wanted = loop or _get_running_loop()
    else:
        bound = getattr(lock, "_loop", None)  # asyncio's Lock remembers the first loop that waited for it
        wanted = loop
    if bound is not None and wanted is not None and bound is not wanted:
        raise ValueError(f"loop argument must agree with lock: {lock!r} is bound to {bound!r}, not to {wanted!r}")
    return loop if bound is None or not _is_ours(lock) else bound
