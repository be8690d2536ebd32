"""RWLock: any number of readers, or one writer, among tasks and threads: the task tier's, over a shared Semaphore."""

from __future__ import annotations

import types

from holdfast.blocking.timeouts import check_timeout
from holdfast.tasks import rw_lock

from .semaphore import Semaphore


class _Permits(Semaphore):
    _kind = "reader-writer lock"
    _downgraded = False
    _instead = "async with rw.reader: or async with rw.writer:"

    def __repr__(self) -> str:
        return rw_lock.describe(self)


class _Reader(rw_lock.Reader):
    _permits: _Permits
    _instead_of_with = "'with rw.reader.sync:', or in a coroutine 'async with rw.reader:',"

    @property
    def sync(self) -> SyncReader:
        """The same side with the methods of threading.Lock, for threads."""
        return SyncReader(self)


class _Writer(rw_lock.Writer):
    _permits: _Permits
    _instead_of_with = "'with rw.writer.sync:', or in a coroutine 'async with rw.writer:',"

    @property
    def sync(self) -> SyncWriter:
        """The same side with the methods of threading.Lock, for threads."""
        return SyncWriter(self)


class RWLock(rw_lock.RWLock):
    """Any number of readers, or one writer, among threads and the tasks of any event loops.

    They come in in the order in which they asked. One that asks to read after a writer comes in after it, so writers do
    not starve; readers that stand behind each other at the head come in together. Who holds it cannot acquire it again,
    and a reader cannot become a writer: either would wait for itself.

    The methods of `reader` and `writer` are for tasks; the `sync` of each has threading's methods, for threads.

    Example::

        cache = holdfast.threads.RWLock()
        async with cache.reader:
            ...  # in a task
        with cache.writer.sync:
            ...  # in a thread

    Source: the order of tokio's RwLock; aiorwlock and fasteners for the use.
    """

    reader: _Reader
    writer: _Writer

    def __init__(self) -> None:
        permits = _Permits(rw_lock.ALL)
        self._permits = permits
        self.reader = _Reader(permits)
        self.writer = _Writer(permits)


class SyncSide:
    """A side of an RWLock as threads see it, with the methods of threading.Lock. Two views of one side are equal."""

    __slots__ = ("_side",)

    def __init__(self, side: _Reader | _Writer) -> None:
        """Called by the `sync` of a side."""
        self._side = side

    def __eq__(self, other: object) -> bool:
        """Whether it is the same side of the same RWLock."""
        return type(other) is type(self) and other._side is self._side

    def __hash__(self) -> int:
        return hash((SyncSide, id(self._side)))

    def __repr__(self) -> str:
        return f"<sync of {self._side!r}>"

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; return whether it was taken.

        blocking: whether to wait if others are in.
        timeout: how many seconds to wait at most; -1 means no limit.

        Raises RuntimeError if the call would block a running event loop, or would have to wait in a signal handler or
        finalizer that has interrupted a change of a primitive; ValueError for a timeout that is negative, or given with
        `blocking=False`; OverflowError for one above threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and nothing is held. What was granted already, and what it kept from others, goes to the next ones.
        """
        permits, needs = self._side._permits, self._side._needs
        seconds = check_timeout(blocking, timeout)
        if permits._take(needs):
            return True
        return bool(permits._block(seconds, needs)) if seconds else permits.try_acquire(needs)

    def release(self) -> None:
        """Give it back; those who are next come in. Never blocks.

        Raises RuntimeError if it is not acquired.
        """
        self._side.release()

    def locked(self) -> bool:
        """Return True if acquire() would have to wait."""
        return self._side.locked()

    def __enter__(self) -> bool:
        """Take it, as acquire() does. The `as` value is True."""
        return self.acquire()

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        """Give it back, as release() does."""
        self._side.release()


class SyncReader(SyncSide):
    """The readers' side of an RWLock as threads see it."""

    __slots__ = ()


class SyncWriter(SyncSide):
    """The writers' side of an RWLock as threads see it."""

    __slots__ = ()

    _side: _Writer

    def downgrade(self) -> None:
        """Become a reader: the readers at the head of the line come in as well. Never blocks.

        What is held then is given back by `release()` of either side, or by the end of the `with` block.

        Raises RuntimeError if no writer is in.
        """
        self._side.downgrade()
