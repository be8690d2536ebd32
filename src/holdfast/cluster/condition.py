"""Condition: tasks of all sessions wait, under a Lock, until one of them tells that something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar

from holdfast._refusals import refusing, shown

from .errors import EngineError, LeaseLost, NameConflict, SessionLost
from .grant import Grant
from .lock import Lock
from .lock_record import Notify, Relock, Wait

if TYPE_CHECKING:
    from .session import Session

T = TypeVar("T")
ALL = -1


class Condition:
    """A lock, and a place to wait for a change of what it protects. Made by `Session.condition()`.

    It lives in the record of its lock. Waiting releases the lock in the same change that joins the line, and a
    notification moves to the lock's own line: nobody is woken before the lock is theirs.
    """

    def __init__(self, session: Session, name: str, lock: Lock) -> None:
        self._session = session
        self._name = name
        self._lock = lock
        self.acquire = lock.acquire
        self.try_acquire = lock.try_acquire
        self.release = lock.release
        self.locked = lock.locked

    def __repr__(self) -> str:
        return f"<holdfast.cluster.Condition {shown(self._name)} of {self._lock!r}>"

    if not TYPE_CHECKING:  # type checkers say it by themselves

        def __enter__(self):
            raise TypeError("a Condition is held with 'async with', not with 'with'")

        def __exit__(self, *exc):
            """Never reached; `with` looks it up before it calls `__enter__`."""

    async def __aenter__(self) -> Grant:
        """Acquire the lock; the `as` value is the grant."""
        return await self._lock.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Release the lock; see Lock."""
        await self._lock.__aexit__(exc_type, exc, tb)

    @refusing
    async def wait(self) -> Literal[True]:
        """Release the lock, wait to be notified, take the lock again, return True. The grant gets a new token.

        Raises RuntimeError if this condition's lock object does not hold the lock; LeaseLost, without the lock, if the
        session ends.

        Cancellation: the task takes the lock again, however long that lasts (unless the session ends: then at once,
        and without the lock), and then raises. If it had been
        notified, the notification goes to another waiter.
        """
        grant = self._grant("wait")
        life, register, condition = grant._life, self._lock._register, self._name
        token = grant.token
        life.drop(grant)  # while it waits nothing is held that could be lost
        self._lock._held.remove(grant)  # nor could be taken for that of another task of this object
        grant._is_waiting = True
        ticket, granted = register.begin(lambda ticket: Wait(ticket, condition, token), patient=True)
        relock: asyncio.Future[int] | None = None
        interruption: BaseException | None = None
        while not granted.done() or (relock is not None and not relock.done()):
            try:
                await asyncio.wait([granted] if relock is None else [granted, relock])
            except GeneratorExit:
                register.withdraw(ticket)
                self._lost(grant, "its task was closed in wait()")
                raise
            except BaseException as exc:
                if life.is_inherited():
                    raise  # nobody answers here
                interruption = exc
                if relock is None:
                    relock = register.send(Relock(ticket, condition))
        self._lock._held.append(grant)
        grant._is_waiting = False
        try:
            token = granted.result()
            notified = relock is None or relock.result() < 0
            if token < 0:
                raise SessionLost("the grant had ended")
            life.check_deadline()  # it may have been lost after the grant and before this task ran
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
            return True
        if notified:
            register.send(Notify(condition, 1, token))
        try:
            raise interruption
        finally:
            del interruption  # its traceback refers to this frame: no cycle

    @refusing
    async def wait_for(self, predicate: Callable[[], T]) -> T:
        """Wait until `predicate()` is true; return its value. It is called with the lock held.

        Cancellation: as for wait().
        """
        result = predicate()
        while not result:
            await self.wait()
            result = predicate()
        return result

    async def notify(self, n: int = 1) -> None:
        """Move the first `n` tasks that wait here to the lock's line.

        Raises RuntimeError if this condition's lock object does not hold the lock, LeaseLost if it was lost.

        Cancellation: they are notified all the same.
        """
        if not isinstance(n, int):
            raise TypeError(f"notify() needs the number of tasks to wake, not {shown(n)}")
        await self._notify(max(n, 0))

    async def notify_all(self) -> None:
        """Move all tasks that wait here to the lock's line. Raises as notify() does.

        Cancellation: they are notified all the same.
        """
        await self._notify(ALL)

    async def _notify(self, n: int) -> None:
        grant = self._grant("notify")
        if await self._lock._register.tell(Notify(self._name, n, grant.token)) < 0:
            raise self._lost(grant, "the grant had ended")

    def _grant(self, what: str) -> Grant:
        if not self._lock._held:
            self._session._check()
            raise RuntimeError(f"cannot {what} on un-acquired lock; write 'async with condition:' around {what}()")
        grant = self._lock._to_release()
        grant.check()
        return grant

    def _lost(self, grant: Grant, why: str) -> LeaseLost:
        grant._life.drop(grant)
        exc = LeaseLost(f"{grant} was lost: {why}")
        grant._lose(exc, cancel=False)
        return exc
