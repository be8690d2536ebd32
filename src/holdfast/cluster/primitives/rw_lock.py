"""RWLock: any number of readers, or one writer, among all sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar
from weakref import WeakSet

from holdfast._refusals import refusing
from holdfast.cluster.errors import LeaseLost
from holdfast.cluster.records.closing import ITSELF
from holdfast.cluster.records.record import Withdraw
from holdfast.cluster.records.rw_lock import (
    Downgrade,
    EndRead,
    EndWrite,
    Read,
    RWLockRecord,
    TryRead,
    TryWrite,
    Write,
)
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.session_life.recovery import REPLACED
from holdfast.cluster.values_in_messages import shown

from .closable import Closable
from .grant import Grant
from .leased import Acquiring, Leased, order_of_release
from .primitive import Primitive
from .wish import Wish


class Side(Leased):
    """What readers, or writers, use: a lock, with a Lock's methods."""

    def __init__(self, session: Membership, name: str) -> None:
        """Called by the RWLock."""
        super().__init__(session, name, RWLockRecord())

    @refusing
    async def acquire(self) -> Grant:
        """Wait until it can be taken and take it; return the grant, which is true.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; EngineError if the
        engine fails; NameConflict if the name is in use for something else.

        Cancellation: raises at once. The task leaves the line. What had been granted already, and what it kept from
        others, goes to the next waiters.
        """
        return await self._asking(Acquiring, self._WISH)

    _ACQUIRE: ClassVar[Callable[..., object]] = acquire

    @refusing
    async def try_acquire(self) -> Grant | None:
        """Take it if that needs no waiting; return the grant, or None. Never overtakes a waiter.

        Raises `holdfast.Closed` if it is closed; SessionLost if the session is over or ends before; FormatError if
        another version of holdfast wrote the record; NameConflict if the name is in use for something else. While the
        engine fails, it goes on trying, because a request that is not known to have been refused may still be granted.

        Cancellation: raises at once, and nothing has been taken. What is granted all the same is given back as soon as
        that is known.
        """
        return await self._try_acquire(self._WISH)

    async def release(self) -> None:
        """Give it back; those who are next come in.

        Of several grants of this side of this object, it is the oldest that this task has acquired.

        Raises RuntimeError if it is not acquired through this object; LeaseLost if the grant was lost; FormatError or
        NameConflict if somebody has put another record in its place. While the engine fails, it goes on trying.

        Cancellation: it is given back all the same.
        """
        await super().release()

    def _token(self, ticket: int, value: int) -> int:
        return value


class Reader(Side):
    """The readers' side of an RWLock of a session. Any number of tasks hold it at a time, while no writer is in."""

    _WISH = Wish(Read, TryRead, Withdraw)

    def __init__(self, session: Membership, name: str, writer: Writer) -> None:
        """Called by the RWLock."""
        super().__init__(session, name)
        self._writer = writer

    async def locked(self) -> bool:
        """Whether acquire() would have to wait: a writer is in, or waits.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict as acquire() does.

        Cancellation: raises at once; nothing has been changed.
        """
        record = await self._read_living()
        return record.writer is not None or bool(record.line)

    async def release(self) -> None:
        """Give it back; those who are next come in. It may also be a writer of this object that was downgraded.

        Of several grants of this side of this object, it is the oldest that this task has acquired.

        Raises RuntimeError if it is not acquired through this object; LeaseLost if the grant was lost; FormatError or
        NameConflict if somebody has put another record in its place. While the engine fails, it goes on trying.

        Cancellation: it is given back all the same.
        """
        downgraded = None if self._held else self._writer._that_was_downgraded()
        if downgraded is None:
            await super().release()
        else:
            await self._writer._release(downgraded)

    def _give_back(self, grant: Grant) -> Awaitable[int]:
        return self._register.send(EndRead())


class Writer(Side):
    """The writers' side of an RWLock of a session. One task of all sessions holds it at a time, and no reader is in."""

    _WISH = Wish(Write, TryWrite, Withdraw)

    def __init__(self, session: Membership, name: str) -> None:
        """Called by the RWLock."""
        super().__init__(session, name)
        self._downgraded: WeakSet[Grant] = WeakSet()

    async def locked(self) -> bool:
        """Whether acquire() would have to wait: a reader or a writer is in.

        Raises SessionLost if the session is over; EngineError if the engine fails; NameConflict as acquire() does.

        Cancellation: raises at once; nothing has been changed.
        """
        return not (await self._read_living()).is_free()

    async def downgrade(self) -> None:
        """Become a reader: the readers at the head of the line come in as well. No writer has been in meanwhile.

        The grant stays, with its token. It is given back by `release()` of either side, or by the end of the `async
        with` block.

        Raises RuntimeError if no writer is in through this object; LeaseLost if the grant was lost; SessionLost if the
        session ends before; FormatError or NameConflict if somebody has put another record in its place. While the
        engine fails, it goes on trying.

        Cancellation: it is a reader all the same.
        """
        self._session._life.check_loop()
        writing = [grant for grant in self._held if grant not in self._downgraded]
        if not writing:
            self._session._check()
            raise RuntimeError(f"{self!r} is not acquired, so it cannot become a reader")
        grant = min(writing, key=order_of_release)
        grant.check()
        self._downgraded.add(grant)
        if not await self._register.tell(Downgrade(grant.token)):
            lost = LeaseLost(f"{grant} was lost before it became a reader: {REPLACED}")
            grant._life.leases.drop(grant)
            grant._lose(lost, cancel=False)
            raise lost

    def _that_was_downgraded(self) -> Grant | None:
        return min((grant for grant in self._held if grant in self._downgraded), key=order_of_release, default=None)

    def _give_back(self, grant: Grant) -> Awaitable[int]:
        if grant in self._downgraded:
            self._downgraded.discard(grant)
            return self._register.send(EndRead())
        return self._register.send(EndWrite(grant.token))


class RWLock(Closable):
    """Any number of readers, or one writer, among all tasks of all sessions that name it. Made by `Session.rw_lock()`.

    They come in in the order of asking. A reader that asks after a writer comes in after it, so writers do not starve;
    readers that stand behind each other at the head of the line come in together. Who holds it cannot acquire it again,
    and a reader cannot become a writer: either would wait for itself. When a session or its process ends, its readers
    and its writer are out.

    A writer's `grant.token` is a fencing token. A reader's is that of the last writer before it, or higher, and lower
    than that of the next one: so a fence refuses what a reader writes after the next writer.
    """

    def __init__(self, session: Membership, name: str) -> None:
        """Called by `Session.rw_lock()`."""
        self.writer = Writer(session, name)
        """What writers acquire."""
        self.reader = Reader(session, name, self.writer)
        """What readers acquire."""

    def __repr__(self) -> str:
        return f"<holdfast.cluster.RWLock {shown(self.writer._name)} of {self.writer._session!r}>"

    def _closes(self) -> tuple[Primitive, str]:
        return self.writer, ITSELF
