"""KeyedLock: a lock for each key, which exists only while somebody uses it.

Made by hand, this is a dict of locks. Either it grows for ever, or it removes a lock that somebody holds or is about to
take, and then two tasks are in with the same key.

What must hold: a key is in the dict exactly while tasks hold it, wait for it, or are about to take it with others. In
place of an entry there is a mark while one task holds it and nobody else wants it. A task that wants a key is expected
at its entry from before it asks until it holds the lock, or has left. An entry goes when its lock is free and nobody is
expected, so nobody can find a new entry beside one that is in use. (A task whose event loop has ended in the middle of
its wait is expected until its coroutine is closed, as by the collector.)

A mark is any object that is no entry. Python code may run in the middle of each look into the dict: a key's own
`__hash__` and `__eq__`, and finalizers that the collector calls. It may use the same KeyedLock. So a key is taken by
setdefault(), which looks and puts in one step, with a mark of its own; and what was found there is looked at again when
it has been taken out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar

from holdfast import _hooks
from holdfast._hooks import Named

from .context_manager import FINISHED, ContextManager, returns_awaitable
from .lock import NOT_ACQUIRED, Lock, LockStatistics
from .twins import compiled

K = TypeVar("K", bound=Hashable)


class Entry:
    """The lock of one key, while several tasks use it."""

    __slots__ = ("expected", "lock", "number")

    def __init__(self, lock: Lock, number: int) -> None:
        self.lock = lock
        self.number = number
        """Who takes several takes them in this order."""
        self.expected: set[object] = set()
        """A token of each task that wants it and does not hold it yet."""


NOBODY = Entry(Lock(), -1)
"""In place of an entry, where a key is not in use."""

NUMBERS = itertools.count()


@compiled
class KeyedLock(Named, Generic[K]):
    """A Lock for each key, for the tasks of one event loop. Not thread-safe.

    `locks[key]` has the methods of a Lock. Tasks get a key in the order in which they asked for it; tasks with
    different keys do not wait for each other. A key costs memory only while a task holds it or waits for it.

    Example::

        accounts = holdfast.KeyedLock()
        async with accounts["alice"]:
            ...  # one task at a time with this key
        async with accounts.all("alice", "bob"):
            ...  # with both; in whatever order others name them, nobody waits for ever

    Source: the demand of many public reports of leaking or evicted locks; asyncio-keyed-lock for the use.
    """

    def __init__(self) -> None:
        self._entries: dict[K, object] = {}
        """For each key its Entry, or a mark."""

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} object at {id(self):#x} [keys:{len(self)}]>"

    def __len__(self) -> int:
        """The number of keys that are held or waited for."""
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        """Whether a task holds the key or waits for it."""
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        """The keys that are held or waited for, as they are now."""
        return iter([*self._entries])

    def __getitem__(self, key: K) -> KeyLock[K]:
        """The lock of a key. It may be kept, and used again and again.

        The first use raises TypeError if the key is not hashable.
        """
        return KeyLock(self, key)

    def all(self, *keys: K) -> AllKeys[K]:
        """What takes several keys in `async with`, one after the other, in an order that is the same for all tasks.

        keys: the keys. One that is named twice is taken once.

        Tasks that take several keys so do not wait for each other in a circle. A task that holds a key already, and
        asks for more, may.

        Raises TypeError if a key is not hashable.
        """
        return AllKeys(self, self._keys_of(keys))

    def _keys_of(self, keys: Iterable[K]) -> list[K]:
        """The keys, each once, as `__getitem__()` has them; a subclass may make others of them."""
        return [*dict.fromkeys(self[key]._key for key in keys)]

    def _lock_of(self, key: K) -> KeyLock[K]:
        """The lock of a key that `__getitem__()` has returned."""
        return KeyLock(self, key)

    def _new_lock(self) -> Lock:
        return Lock()

    def _take(self, key: K) -> bool:
        """Take a key that nobody holds or waits for; return whether it was taken."""
        mark = object()
        return self._entries.setdefault(key, mark) is mark

    def _join(self, key: K, token: object) -> Entry:
        """Expect a task at the entry of a key. It holds the lock, or `_part()`s, in the end."""
        entries = self._entries
        while True:
            entry = found = entries.get(key, NOBODY)
            if found is NOBODY or not isinstance(entry, Entry):
                entry = Entry(self._new_lock(), next(NUMBERS))
                if _hooks.are_installed:
                    entry.lock._kind, entry.lock._name = "keyed lock", self._name
                if found is not NOBODY:
                    entry.lock.try_acquire()
                # The collector may have come between. It does not in these two lines, as they call no function.
                if (entries[key] if key in entries else NOBODY) is found:  # noqa: SIM401
                    entries[key] = entry
            entry.expected.add(token)
            if entries.get(key) is entry:  # the same
                return entry

    def _part(self, key: K, token: object) -> None:
        """Do not expect a task any more, if it was."""
        entry = self._entries.get(key)
        if isinstance(entry, Entry):
            entry.expected.discard(token)
            self._drop_if_idle(key, entry)

    def _drop_if_idle(self, key: K, entry: Entry) -> None:
        if not entry.expected and not entry.lock.locked() and self._entries.get(key) is entry:
            del self._entries[key]

    def _free(self, key: K, closed: bool = False) -> None:
        """Let the next task have the key. Raises RuntimeError if it is not held.

        closed: whether the holder's coroutine is being closed; then nothing else is refused.
        """
        entry = self._free_if_alone(key)
        if entry is not None:
            entry.lock._release_closed() if closed else entry.lock.release()
            self._drop_if_idle(key, entry)

    def _free_if_alone(self, key: K) -> Entry | None:
        """Free a key that one task holds and nobody else wants; else return its entry."""
        entries = self._entries
        entry = entries.get(key, NOBODY)
        if entry is NOBODY:
            raise RuntimeError(NOT_ACQUIRED)
        if not isinstance(entry, Entry):
            entry = entries.pop(key, None)
            if not isinstance(entry, Entry):
                return None
            entries[key] = entry  # somebody has asked for the key while pop() looked for it
        return entry


@compiled
class KeyLock(ContextManager, Generic[K]):
    """The lock of one key. Made by `locks[key]`."""

    def __init__(self, keyed: KeyedLock[K], key: K) -> None:
        self._keyed = keyed
        self._key = key

    def __repr__(self) -> str:
        return f"<lock of {self._key!r} [{'locked' if self.locked() else 'unlocked'}] in {self._keyed!r}>"

    def locked(self) -> bool:
        """Return True if the key is held, or has been handed to a task that has not run yet."""
        return self.statistics().locked

    def statistics(self) -> LockStatistics:
        """Return whether the key is held, and the number of tasks that wait for it."""
        entry = self._keyed._entries.get(self._key, NOBODY)
        return entry.lock.statistics() if isinstance(entry, Entry) else LockStatistics(True, 0)

    def try_acquire(self) -> bool:
        """Take the key if it is free, and return whether it was. Never waits, and never overtakes a waiting task."""
        if self._keyed._take(self._key):
            return True
        token = object()
        taken = self._keyed._join(self._key, token).lock.try_acquire()
        self._keyed._part(self._key, token)
        return taken

    async def acquire(self) -> Literal[True]:
        """Wait until the key is free, take it, return True.

        Raises RuntimeError if it would have to wait while tasks of another event loop wait for the key.

        Cancellation: the task leaves the line, and does not hold the key. If it had already been handed to it, the next
        waiting task gets it.
        """
        if self._keyed._take(self._key):
            return True
        token = object()
        try:
            return await self._keyed._join(self._key, token).lock.acquire()
        finally:
            self._keyed._part(self._key, token)

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Take the key, at once if it is free, else as acquire() does. The `as` value is None."""
        if type(self).acquire is ACQUIRE and self._keyed._take(self._key):
            return FINISHED
        return self._enter()

    def release(self) -> None:
        """Hand the key to the first waiting task, or free it if none waits. Any task may do so.

        Raises RuntimeError if it is not held.
        """
        self._keyed._free(self._key)

    def _release_closed(self) -> None:
        self._keyed._free(self._key, closed=True)


ACQUIRE = KeyLock.acquire
"""The method as it is here: see lock.ACQUIRE."""


class AllKeys(ContextManager, Generic[K]):
    """Several keys. Made by `KeyedLock.all()`."""

    def __init__(self, keyed: KeyedLock[K], keys: list[K]) -> None:
        self._keyed = keyed
        self._keys = keys

    def __repr__(self) -> str:
        return f"<locks of {', '.join(map(repr, self._keys))} in {self._keyed!r}>"

    def try_acquire(self) -> bool:
        """Take all keys if all are free, and return whether they were. Never waits, and never overtakes a task."""
        taken: list[K] = []
        for key in self._keys:
            if not self._keyed._lock_of(key).try_acquire():
                self._free(taken)
                return False
            taken.append(key)
        return True

    async def acquire(self) -> Literal[True]:
        """Wait until all keys were free, one after the other, take each, return True.

        Raises RuntimeError if it would have to wait while tasks of another event loop wait for a key.

        Cancellation: the task holds no key. Those that it had taken, or had been handed, go to the next waiting tasks.
        """
        token = object()
        taken: list[K] = []
        try:
            for entry, key in self._join(token):
                await entry.lock.acquire()
                taken.append(key)
        except BaseException:
            self._free(taken)
            raise
        finally:
            self._part(token)
        return True

    def _acquire_by(self, take: Callable[[Entry], bool]) -> bool:
        """Take all keys by a function that waits for one as a thread does; return whether it got all. If not, none.

        What it raises comes out, and no key is held.
        """
        token = object()
        taken: list[K] = []
        try:
            for entry, key in self._join(token):
                if not take(entry):
                    self._free(taken)
                    return False
                taken.append(key)
        except BaseException:
            self._free(taken)
            raise
        finally:
            self._part(token)
        return True

    def _join(self, token: object) -> list[tuple[Entry, K]]:
        """Be expected at each key, before any is taken: so whoever wants some of them now finds the same entries."""
        entries = [(self._keyed._join(key, token), key) for key in self._keys]
        # Two may have the same number if one is a copy from another process.
        return sorted(entries, key=lambda each: (each[0].number, id(each[0])))

    def _part(self, token: object) -> None:
        for key in self._keys:
            self._keyed._part(key, token)

    def _free(self, keys: list[K], closed: bool = False) -> None:
        for key in reversed(keys):
            self._keyed._free(key, closed)

    def locked(self) -> bool:
        """Whether any of the keys is held."""
        return any(self._keyed._lock_of(key).locked() for key in self._keys)

    def release(self) -> None:
        """Release all keys, as the lock of each does.

        Raises RuntimeError, and releases none, if one of them is not held.
        """
        if not all(self._keyed._lock_of(key).locked() for key in self._keys):
            raise RuntimeError(NOT_ACQUIRED)
        self._free(self._keys)

    def _release_closed(self) -> None:
        self._free(self._keys, closed=True)
