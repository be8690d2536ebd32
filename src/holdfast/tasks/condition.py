"""Condition: tasks wait until another task, which holds the same lock, tells them that something has changed.

What must hold: a task leaves wait() holding the lock, however often it is cancelled meanwhile. (A task whose
coroutine is closed may have to leave without it: see Lock._owe_exit().) A notification is not lost: if the task that
got it raises, another waiter gets it. How the lock is used is in condition_lock.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal, TypeVar

from holdfast._hooks import Named

from .closed import Closed
from .condition_lock import AsyncioLock, common_loop, grip
from .context_manager import ContextManager, returns_awaitable
from .lock import Lock, LockStatistics
from .primitive import Primitive
from .twins import accelerated, compiled
from .wait_queue import this_run

T = TypeVar("T")
_NOT_LOCKED = "cannot {0} on un-acquired lock; write 'async with condition:' around {0}()"


@compiled
class Condition(ContextManager, Primitive, asyncio.Condition):
    """A lock, and a place to wait for a change of what it protects, for tasks of one event loop. Not thread-safe.

    lock: a holdfast or asyncio Lock, which several conditions may share. None makes a new one.
    loop: bind the condition, and a new lock, to this event loop. Any use from another loop then raises RuntimeError.

    Raises TypeError if `lock` is no such lock, ValueError if it is bound to another loop.

    A coroutine may be closed inside `async with cond: await cond.wait()`, by the collector or when its loop ends. If
    another task holds the lock by then, the exit of the block leaves the lock alone. With `acquire()` and `release()`
    in try/finally instead of `async with`, the `finally` releases the other task's lock: holdfast cannot prevent that.

    Example::

        condition, items = holdfast.Condition(), []

        async def take():
            async with condition:
                await condition.wait_for(lambda: items)
                return items.pop()

        async def put(item):
            async with condition:
                items.append(item)
                condition.notify()

        assert await asyncio.gather(take(), put("tea")) == ["tea", None]

    Source: asyncio.Condition as of 3.13. Unlike there, the cancellation of a waiter that was not notified wakes no
    other. asyncio removed `loop=` in 3.10; here it works.
    """

    _kind = "condition"

    def __init__(self, lock: AsyncioLock | None = None, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if lock is None:
            lock = Lock(loop=loop)
        elif isinstance(lock, AsyncioLock):
            loop = common_loop(lock, loop)
        else:
            raise NotALockError(f"Condition needs a holdfast.Lock, an asyncio.Lock or None, not {lock!r}")
        self._lock = lock
        self._grip = grip(lock)
        if not (accelerated and type(self) is Condition):
            # The lock's own methods, as in asyncio. In Python, the methods below would cost a third of an acquire().
            self.locked = lock.locked  # type: ignore[method-assign]
            self.acquire = self._grip.acquire  # type: ignore[method-assign]
            self.release = self._grip.release  # type: ignore[method-assign]
        self._bind(loop)

    def __repr__(self) -> str:
        return self._describe_with_waiters("locked" if self.locked() else "unlocked")

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, return True.

        Raises what the acquire() of the lock raises. That of a holdfast.Lock raises RuntimeError if the lock is bound
        to another event loop, or if it would have to wait while tasks of another event loop wait.

        Cancellation: the task leaves the line of the lock, and does not hold it. If the lock had already been handed to
        it, the next task in that line gets it. (This holds for an asyncio.Lock as far as asyncio keeps it.)
        """
        return await self._grip.acquire()

    def release(self) -> None:
        """Hand the lock to the first task that waits for it, or unlock it. Any task may do so, as in asyncio.

        Tasks that wait to be notified go on waiting.

        Raises what the release() of the lock raises. That of a holdfast.Lock raises RuntimeError if the lock is not
        locked, or is bound to another event loop; and in asyncio's debug mode if the loop of the tasks that wait for it
        runs in another thread. The lock then stays as it is.
        """
        self._grip.release()

    def locked(self) -> bool:
        """Return True if the lock is held, or has been handed to a task that has not run yet."""
        return self._lock.locked()

    def statistics(self) -> LockStatistics:
        """Return whether the lock is locked, and the number of tasks that wait to be notified."""
        return LockStatistics(self.locked(), self._tasks_waiting())

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Acquire the lock. The `as` value is None."""
        return self._grip.__aenter__()

    def _exit_closed(self) -> None:
        self._grip._exit_closed()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, return True.

        Raises RuntimeError if the lock is not held, if the condition is bound to another event loop, or if tasks of
        another event loop wait here; Closed if the condition was closed, or is closed meanwhile. The lock is held then.

        Cancellation: the task first takes the lock again, however long that takes, and then raises. If it had been
        notified, the notification goes to another waiter. If not, no other task is woken.
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
            # Only now, as in asyncio: this task has queued for the lock before the one that is woken in its place.
            if notified:
                self._give_back()
            raise
        return True

    def _parts(self) -> Iterable[Named]:
        return [self._lock] if isinstance(self._lock, Named) else []

    async def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until `predicate()` is true, and return its value.

        predicate: called with the lock held, at once and after each notification.

        Raises what the predicate raises, with the lock held; and what wait() raises, if it has to wait.

        Cancellation: as for wait().
        """
        result = predicate()
        while not result:
            try:
                await self.wait()
            except Closed:
                if result := predicate():  # the last items are there, and nobody was notified of them
                    return result
                raise
            result = predicate()
        return result

    def notify(self, n: float = 1) -> None:
        """Wake the first `n` tasks that wait, or all of them if there are fewer. 0 or less wakes none.

        A task that is woken goes on when it has the lock again, so release it soon.

        Raises RuntimeError if the lock is not held, if the condition is bound to another event loop, and in asyncio's
        debug mode if the loop of the waiting tasks runs in another thread; TypeError if `n` is not a number. It then
        wakes no task.
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

        Raises RuntimeError where notify() does.
        """
        if not self.locked():
            raise RuntimeError(_NOT_LOCKED.format("notify"))
        if self._queue is not None:
            self._queue.grant_all()

    def _give_back(self) -> None:
        if self._queue is not None:
            self._queue.grant(refusing=False)


class NotALockError(TypeError, AttributeError):
    """A Condition was made over something that is no lock.

    It is an AttributeError because asyncio raises that, and a TypeError because it should be one.
    """
