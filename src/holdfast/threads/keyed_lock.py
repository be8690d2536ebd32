"""KeyedLock: a lock for each key, for tasks and threads. It is the task tier's, with its dict in a critical section.

The lock of a key has a section of its own, which is entered when that of the dict has been left.
"""

from __future__ import annotations

import time
import types
from functools import partial
from typing import Generic

from holdfast.blocking.timeouts import check_timeout
from holdfast.tasks import keyed_lock
from holdfast.tasks.keyed_lock import Entry, K

from . import task_tier
from .critical_section import Section, this_thread
from .lock import Lock


class KeyedLock(task_tier.KeyedLock[K]):
    """A Lock for each key, for threads and the tasks of any event loops.

    `locks[key]` has the methods of a Lock, for tasks; its `sync` has those of a threading.Lock, for threads. Tasks and
    threads get a key in the order in which they asked for it. A key costs memory only while it is held or waited for.

    Example::

        accounts = holdfast.threads.KeyedLock()
        async with accounts["alice"]:
            ...  # in a task
        with accounts["alice"].sync:
            ...  # in a thread
        with accounts.all("alice", "bob").sync:
            ...  # with both

    Source: the demand of many public reports of leaking or evicted locks; asyncio-keyed-lock for the use.
    """

    def __init__(self) -> None:
        super().__init__()
        self._section = Section()

    def __getitem__(self, key: K) -> KeyLock[K]:
        """The lock of a key. It may be kept, and used again and again.

        The first use raises TypeError if the key is not hashable.
        """
        return KeyLock(self, key)

    def all(self, *keys: K) -> AllKeys[K]:
        """What takes several keys, one after the other, in an order that is the same for all tasks and threads.

        keys: the keys. One that is named twice is taken once.

        Those that take several keys so do not wait for each other in a circle. Who holds a key already, and asks for
        more, may.

        Raises TypeError if a key is not hashable.
        """
        return AllKeys(self, self._keys_of(keys))

    def _lock_of(self, key: K) -> KeyLock[K]:
        return KeyLock(self, key)

    def _new_lock(self) -> Lock:
        return Lock()

    def _take(self, key: K) -> bool:
        return self._section.run(super()._take, key, if_inside=_not_now)

    def _join(self, key: K, token: object) -> Entry:
        return self._section.run(super()._join, key, token)

    def _part(self, key: K, token: object) -> None:
        self._section.run_or_defer(super()._part, key, token)

    def _drop_if_idle(self, key: K, entry: Entry) -> None:
        self._section.run_or_defer(super()._drop_if_idle, key, entry)

    def _free_if_alone(self, key: K) -> Entry | None:
        return self._section.run(super()._free_if_alone, key)

    def _free(self, key: K, closed: bool = False) -> None:
        if this_thread.state.inside:  # a finalizer or a signal handler has interrupted a change
            this_thread.state.deferred.append(partial(self._free, key, closed))
        else:
            super()._free(key, closed)


def _not_now(key: object) -> bool:
    """Whether a signal handler or finalizer that has interrupted a section gets a key."""
    return False


class KeyLock(task_tier.KeyLock[K]):
    """The lock of one key. Made by `locks[key]`."""

    _instead_of_with = "'with locks[key].sync:', or in a coroutine 'async with locks[key]:',"

    def try_acquire(self) -> bool:
        """Take the key if it is free, and return whether it was. Never waits, and never overtakes a waiter.

        In a signal handler or finalizer that has interrupted a change of a primitive, it returns False.
        """
        return not this_thread.state.inside and super().try_acquire()

    @property
    def sync(self) -> SyncKeyLock[K]:
        """The same lock with the methods of threading.Lock, for threads."""
        return SyncKeyLock(self._keyed, [self._key])


class AllKeys(keyed_lock.AllKeys[K]):
    """Several keys. Made by `KeyedLock.all()`."""

    _instead_of_with = "'with locks.all(...).sync:', or in a coroutine 'async with locks.all(...):',"

    @property
    def sync(self) -> SyncKeyLock[K]:
        """The same keys with the methods of threading.Lock, for threads."""
        return SyncKeyLock(self._keyed, self._keys)


class SyncKeyLock(Generic[K]):
    """One key, or several, as threads see them, with the methods of threading.Lock."""

    def __init__(self, keyed: keyed_lock.KeyedLock[K], keys: list[K]) -> None:
        """Called by `sync`."""
        self._all = AllKeys(keyed, keys)

    def __repr__(self) -> str:
        return f"<sync of {self._all!r}>"

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, or all of them; return whether that was done. If not, none is held.

        blocking: whether to wait if others hold it.
        timeout: how many seconds to wait at most; -1 means no limit.

        Raises RuntimeError if the call would block a running event loop; ValueError for a timeout that is negative, or
        given with `blocking=False`; OverflowError for one above threading.TIMEOUT_MAX.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out, and no key is held.
        """
        seconds = check_timeout(blocking, timeout)
        if not seconds:
            return self._all.try_acquire()
        end = time.monotonic() + seconds if seconds > 0 else None

        def take(entry: Entry) -> bool:
            lock = entry.lock
            assert isinstance(lock, Lock)
            return lock.sync.acquire(True, -1 if end is None else max(0.0, end - time.monotonic()))

        return self._all._acquire_by(take)

    def release(self) -> None:
        """Hand it, or each of them, to the first waiter, or free it if none waits. Never blocks.

        Raises RuntimeError if one is not held.
        """
        self._all.release()

    def locked(self) -> bool:
        """Whether it, or any of them, is held."""
        return self._all.locked()

    def __enter__(self) -> bool:
        """Take it, as acquire() does. The `as` value is True."""
        return self.acquire()

    def __exit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        """Give it back, as release() does."""
        self._all.release()
