"""Condition: tasks of all sessions wait, under a Lock, until one of them notifies them of a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeVar

from holdfast._refusals import refusing
from holdfast.cluster.errors import EngineError, LeaseLost, NameConflict, SessionLost
from holdfast.cluster.only_async_with import OnlyAsyncWith
from holdfast.cluster.records.lock import Notify, Relock, Return, Wait
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.values_in_messages import shown
from holdfast.tasks.closed import Closed, closed_error, closed_message

from .closable import Closable
from .grant import Grant
from .lock import Lock
from .primitive import Primitive

T = TypeVar("T")
ALL = -1


class Condition(OnlyAsyncWith, Closable):
    """A lock, and a place to wait for a change of what it protects. Made by `Session.condition()`.

    It lives in the record of its lock. `wait()` releases the lock and joins the condition's line in one change. A
    notification moves waiters to the lock's own line, so no task is woken before it holds the lock.
    """

    def __init__(self, session: Membership, name: str, lock: Lock) -> None:
        """Called by `Session.condition()`."""
        self._session = session
        self._name = name
        self._lock = lock

    def __repr__(self) -> str:
        return f"<holdfast.cluster.Condition {shown(self._name)} of {self._lock!r}>"

    @refusing
    async def acquire(self) -> Grant:
        """Wait until the lock is free and take it, as `Lock.acquire()` does; return the grant, which is true.

        Raises `holdfast.Closed` if the lock is closed; SessionLost if the session is over or ends before; EngineError
        if the engine fails; NameConflict if the lock's name is in use for something else.

        Cancellation: raises at once. The task leaves the line. If the lock was granted already, it goes to the next
        waiter.
        """
        return await self._lock.acquire()

    @refusing
    async def try_acquire(self) -> Grant | None:
        """Take the lock if it is free and nobody waits for it; return the grant, or None.

        Raises as `Lock.try_acquire()` does.

        Cancellation: raises at once, and nothing has been taken.
        """
        return await self._lock.try_acquire()

    async def release(self) -> None:
        """Give back the lock; it goes to the first that waits for it. Tasks that wait to be notified go on waiting.

        Raises as `Lock.release()` does.

        Cancellation: it is given back all the same.
        """
        await self._lock.release()

    async def locked(self) -> bool:
        """Whether any session holds the lock, or it is on its way to a waiter.

        Raises as `Lock.locked()` does.

        Cancellation: raises at once; nothing has been changed.
        """
        return await self._lock.locked()

    async def __aenter__(self) -> Grant:
        """Acquire the lock, as acquire() does; the `as` value is the grant."""
        return await self._lock.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Release the lock, as `async with` of the lock itself does."""
        await self._lock.__aexit__(exc_type, exc, tb)

    @refusing
    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, return True. The grant gets a new token.

        Raises `holdfast.Closed` if the condition is closed, when the task holds the lock again. Raises RuntimeError if
        this condition's lock object does not hold the lock, SessionLost if the session was over before and nothing is
        held. Raises LeaseLost if the session ends, or the record is replaced by another one; then
        the lock is not held. While the engine fails, it waits.

        Cancellation: the task takes the lock again, however long that lasts, and then raises. If it had been notified,
        the notification goes to another waiter. If the session ends, it raises at once, without the lock.
        """
        grant = self._grant("wait")
        life, register, condition = grant._life, self._lock._register, self._name
        token = grant.token
        life.leases.drop(grant)  # while the task waits, it holds nothing that could be lost
        self._lock._held.remove(grant)  # nor anything that another task of this object could release
        grant._is_waiting = True
        ticket, granted = register.begin(
            lambda ticket: Wait(ticket, condition, token),
            patient=True,
            waits_for=("condition", condition),
            returns=True,
        )
        register.let_next_in(token, token)
        relock: asyncio.Future[int] | None = None
        interruption: BaseException | None = None
        closed: Closed | None = None
        was_notified = False  # if it was turned away
        while True:
            while granted.done() and isinstance(error := granted.exception(), Closed):
                if closed is None:
                    closed, was_notified = error, register.was_notified(ticket)
                register.withdraw(ticket)  # the record keeps until then that it was turned away
                ticket, granted = register.begin(Return, patient=True, returns=True)
            if granted.done() and (relock is None or relock.done()):
                break
            try:
                await asyncio.wait([granted] if relock is None else [granted, relock])
            except GeneratorExit:
                register.withdraw(ticket)
                self._lost(grant, "its task was closed in wait()")
                raise
            except BaseException as exc:
                if life.is_inherited():
                    raise  # in a forked child, where nothing is ever answered
                interruption = exc
                if relock is None and closed is None:
                    register.gives_up(ticket)
                    relock = register.send(Relock(ticket, condition))
        self._lock._held.append(grant)
        grant._is_waiting = False
        try:
            register.take(ticket)
            token = granted.result()
            notified = relock.result() < 0 if relock is not None else closed is None or was_notified
            if token < 0:
                raise SessionLost("the grant had ended")
            life.check_alive()  # it may have been lost after the grant and before this task ran
        except (SessionLost, EngineError, NameConflict) as exc:
            lost = self._lost(grant, str(exc))
            if interruption is None:
                raise lost from exc
            try:
                raise interruption from lost
            finally:
                del interruption
        grant.token = token
        life.hold(grant)
        if interruption is None:
            if notified or closed is None:
                return True
            raise closed_error(closed_message(self, closed.reason), closed.reason)
        if notified:
            register.send(Notify(condition, 1, token))
        try:
            raise interruption
        finally:
            del interruption  # its traceback refers to this frame, and that would be a cycle

    @refusing
    async def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until `predicate()` is true; return its value.

        predicate: called with the lock held, at once and after each notification.

        Raises what wait() raises, if it has to wait; and what the predicate raises, with the lock held.

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

    async def notify(self, n: int = 1) -> None:
        """Notify the first `n` tasks that wait here: move them to the lock's line.

        n: how many; all if there are fewer, and none if it is 0 or less.

        Raises RuntimeError if this condition's lock object does not hold the lock; LeaseLost if the lock was lost;
        SessionLost if the session is over or ends before; TypeError if `n` is not an integer. While the engine fails,
        it goes on trying.

        Cancellation: they are notified all the same.
        """
        if not isinstance(n, int):
            raise TypeError(f"notify() needs the number of tasks to wake, not {shown(n)}")
        await self._notify(max(n, 0))

    async def notify_all(self) -> None:
        """Notify all tasks that wait here: move them to the lock's line.

        Raises as notify() does.

        Cancellation: they are notified all the same.
        """
        await self._notify(ALL)

    async def _notify(self, n: int) -> None:
        grant = self._grant("notify")
        if await self._lock._register.tell(Notify(self._name, n, grant.token)) < 0:
            raise self._lost(grant, "the grant had ended")

    def _closes(self) -> tuple[Primitive, str]:
        return self._lock, self._name

    def _grant(self, what: str) -> Grant:
        if not self._lock._held:
            self._session._check()
            raise RuntimeError(
                f"cannot {what} on un-acquired lock; write 'async with condition:' around {what}(), or in threads "
                "'with condition:'"
            )
        grant = self._lock._to_release()
        grant.check()
        return grant

    def _lost(self, grant: Grant, why: str) -> LeaseLost:
        grant._life.leases.drop(grant)
        exc = LeaseLost(f"{grant} was lost: {why}")
        grant._lose(exc, cancel=False)
        return exc
