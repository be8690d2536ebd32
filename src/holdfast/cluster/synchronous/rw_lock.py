"""RWLock: any number of readers, or one writer, among all sessions, with threading.Lock's methods on each side."""

from __future__ import annotations

from holdfast.cluster.primitives.closable import Closable
from holdfast.cluster.primitives.rw_lock import Reader, RWLock, Writer

from .closable import SyncClosable
from .grant import OnLost, SyncGrant
from .lock import LockMethods
from .way_in import WayIn


class SyncReader(LockMethods):
    """The readers' side of an RWLock of a session, with the methods of threading.Lock."""

    _leased: Reader

    def __init__(self, writer: SyncWriter, side: Reader, on_lost: OnLost | None, hold_at_most: float | None) -> None:
        """Called by the SyncRWLock."""
        super().__init__(writer._way_in, side, on_lost, hold_at_most)
        self._writer = writer

    async def _release(self, thread: int) -> None:
        downgraded = None if self._held else self._writer._that_was_downgraded(thread)
        if downgraded is None:
            await super()._release(thread)
        else:
            await self._writer._give_back(downgraded)


class SyncWriter(LockMethods):
    """The writers' side of an RWLock of a session, with the methods of threading.Lock."""

    _leased: Writer

    def downgrade(self) -> None:
        """Become a reader: the readers at the head of the line come in as well; see `RWLock.writer` of a session.

        Raises RuntimeError if no writer is in through this object; LeaseLost if the grant was lost; FormatError or
        NameConflict if somebody has put another record in its place. While the engine fails, it goes on trying.

        Cancellation: if a signal handler raises meanwhile, its exception comes out, and it is a reader all the same.
        """
        self._end(lambda thread: self._leased.downgrade())

    def _that_was_downgraded(self, thread: int) -> SyncGrant | None:
        found = (each for each in self._in_order_of_release(thread) if each._grant in self._leased._downgraded)
        return next(found, None)


class SyncRWLock(SyncClosable):
    """An RWLock of a session, for threads. Made by `SyncSession.rw_lock()`.

    Threads, tasks and processes stand in one line. They come in in the order of asking; readers that stand behind each
    other at the head of the line come in together. Not reentrant, and a reader cannot become a writer.
    """

    def __init__(self, way_in: WayIn, rw_lock: RWLock, on_lost: OnLost | None, hold_at_most: float | None) -> None:
        """Called by `SyncSession.rw_lock()`."""
        self._rw_lock = rw_lock
        self.writer = SyncWriter(way_in, rw_lock.writer, on_lost, hold_at_most)
        """What writers acquire."""
        self.reader = SyncReader(self.writer, rw_lock.reader, on_lost, hold_at_most)
        """What readers acquire."""

    def __repr__(self) -> str:
        return repr(self._rw_lock).replace("RWLock", "SyncRWLock", 1)

    def _closes(self) -> tuple[WayIn, Closable]:
        return self.writer._way_in, self._rw_lock
