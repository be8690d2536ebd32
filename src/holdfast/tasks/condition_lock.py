"""The lock of a Condition: how the condition uses a holdfast.Lock, and how any other lock.

A Condition takes a lock again in spite of cancellations, and leaves another task's lock alone when a waiting coroutine
is closed. A holdfast.Lock has methods for that, and is used through them. Any other lock (asyncio's, a subclass of ours
that overrides acquire() or release(), a mock) has only the public ones, and ForeignGrip does the same with those.

What must hold: a lock whose acquire() or release() is not the one of holdfast.Lock is used through just these two, as
its author, or the one who patched it, expects.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Coroutine
from typing import Any, Literal, Protocol, TypeGuard
from weakref import WeakKeyDictionary

from .lock import Lock

AsyncioLock = asyncio.Lock  # The original one, also after install() has put ours in its place.
LOCKS_OWN = (Lock.acquire, Lock.release)
"""The methods as they are in lock.py. Tests and tracers may put others into the class."""


class Grip(Protocol):
    """How a Condition uses its lock. A Lock is its own grip: see there."""

    async def acquire(self) -> Literal[True]: ...
    def release(self) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, None]: ...
    async def _reacquire(self) -> None: ...
    def _reacquire_closed(self) -> None: ...
    def _exit_closed(self) -> None: ...


def is_ours(lock: AsyncioLock) -> TypeGuard[Lock]:
    """Whether it has all that a Lock has. A Mock(spec=Lock) passes isinstance(), and has only the methods."""
    return issubclass(type(lock), Lock)


def grip(lock: AsyncioLock) -> Grip:
    """Return how a Condition uses this lock."""
    cls = type(lock)
    if is_ours(lock) and (cls.acquire, cls.release) == LOCKS_OWN:
        return lock
    return ForeignGrip(lock)


_owed_exits: WeakKeyDictionary[AsyncioLock, int] = WeakKeyDictionary()
"""The owed exits of locks that are not ours: see Lock._owe_exit(). They are kept here, and not in the grip, because
several conditions may share a lock."""


class ForeignGrip:
    """The use of a lock through its public methods alone."""

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
                del cancelled  # Its traceback refers to this frame. This breaks the cycle.

    def _reacquire_closed(self) -> None:
        if not self._lock.locked() and self._acquire_without_waiting():
            return
        if is_ours(self._lock):
            self._lock._owe_exit()
        else:
            _owed_exits[self._lock] = _owed_exits.get(self._lock, 0) + 1

    def _acquire_without_waiting(self) -> bool:
        """Run acquire() up to its first wait, and close it if it gets there."""
        acquire = self._lock.acquire()
        try:
            acquire.send(None)
        except StopIteration:
            return True
        except RuntimeError:  # It would have to wait, in a loop that is not its own, or outside of any.
            return False
        acquire.close()
        return False

    def _exit_closed(self) -> None:
        if is_ours(self._lock):
            self._lock._exit_closed()
        elif owed := _owed_exits.pop(self._lock, 0):
            if owed > 1:
                _owed_exits[self._lock] = owed - 1
        else:
            self._lock.release()


def common_loop(lock: AsyncioLock, loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """Return the loop that a condition over `lock`, made with `loop=loop`, is bound to.

    Raises ValueError if the lock is bound to another loop.
    """
    if is_ours(lock):
        bound = None if lock._queue is None else lock._queue.bound
        wanted = loop or _get_running_loop()
    else:
        bound = getattr(lock, "_loop", None)  # asyncio's Lock remembers the first loop in which a task waited for it.
        wanted = loop
    if bound is not None and wanted is not None and bound is not wanted:
        raise ValueError(f"loop argument must agree with lock: {lock!r} is bound to {bound!r}, not to {wanted!r}")
    return loop if bound is None or not is_ours(lock) else bound
