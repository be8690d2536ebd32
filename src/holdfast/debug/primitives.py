"""What a primitive is to a dump: which object has the state, who stands in its line, how much of it is taken.

Several objects may stand for one: a Condition for its lock, the reader of an RWLock for its permits, `locks[key]` for
the lock of that key, `sync` for what threads share with tasks. The one that has the state is the *core*.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from holdfast.tasks import rw_lock
from holdfast.tasks.context_manager import _Held
from holdfast.tasks.install import ASYNCIO
from holdfast.tasks.keyed_lock import AllKeys, Entry
from holdfast.tasks.primitive import Primitive
from holdfast.tasks.semaphore import Bounded, Permits
from holdfast.threads.condition import SyncCondition
from holdfast.threads.keyed_lock import SyncKeyLock
from holdfast.threads.rw_lock import SyncSide
from holdfast.threads.sync_view import SyncView
from holdfast.threads.task_tier import KeyLock

from .names import class_name, repr_of

log = logging.getLogger("holdfast.debug")
_Lock, _Semaphore, _Condition = ASYNCIO["Lock"], ASYNCIO["Semaphore"], ASYNCIO["Condition"]
_ASYNCIOS = tuple(ASYNCIO.values())


class Taken(NamedTuple):
    """What a context manager takes of a primitive."""

    core: Any
    permits: int


def is_asyncios(kind: type) -> bool:
    """Whether it is a class of asyncio's primitives, and not one of ours, which are subclasses."""
    return issubclass(kind, _ASYNCIOS) and not issubclass(kind, Primitive)


def is_condition(value: object) -> bool:
    """Whether it is a condition, of ours or of asyncio's."""
    return issubclass(type(value), _Condition)


def taken_by(manager: Any) -> Iterator[Taken]:
    """What is held inside the block of a context manager; nothing if it is not one of ours or of asyncio's."""
    kind = type(manager)
    if issubclass(kind, _Condition):
        yield from taken_by(manager._lock)
    elif issubclass(kind, (_Lock, _Semaphore)):
        yield Taken(manager, 1)
    elif issubclass(kind, rw_lock.Side):
        permits = manager._permits
        yield Taken(permits, 1 if permits._downgraded else manager._needs)
    elif issubclass(kind, Permits):
        yield Taken(manager._semaphore, manager._n)
    elif issubclass(kind, KeyLock):
        yield from taken_of_key(manager._keyed, manager._key)
    elif issubclass(kind, AllKeys):
        for key in manager._keys:
            yield from taken_of_key(manager._keyed, key)
    elif issubclass(kind, _Held) and manager._lock is not None:
        yield from taken_by(manager._lock)
    else:
        inner = _shown_to_threads(manager)
        if inner is not None:
            yield from taken_by(inner)


def taken_of_key(keyed: Any, key: Any) -> Iterator[Taken]:
    """The lock of a key of a KeyedLock."""
    entry = keyed._entries.get(key)
    if isinstance(entry, Entry):
        yield Taken(entry.lock, 1)


def _shown_to_threads(manager: Any) -> Any:
    """What a `sync` is a view of."""
    kind = type(manager)
    if issubclass(kind, SyncCondition):
        return manager._shared._lock
    if issubclass(kind, SyncView):
        return manager._shared
    if issubclass(kind, SyncSide):
        return manager._side
    if issubclass(kind, SyncKeyLock):
        return manager._all
    return None


def name_of(core: Any, shown: Any) -> tuple[str, str]:
    """The repr and the kind of a primitive. shown: what stands for it in the program."""
    kind = type(shown)
    if issubclass(kind, (KeyLock, AllKeys)):
        entries = tuple(shown._keyed._entries.items())
        keys = [key for key, entry in entries if isinstance(entry, Entry) and entry.lock is core]
        name = f"<lock of {repr_of(keys[0])} in {repr_of(shown._keyed)}>" if keys else repr_of(core)
        return name, "KeyedLock"
    if is_of_rw_lock(core):
        return f"<RWLock over {id(core):#x} [{rw_lock.state_of(core)}]>", "RWLock"
    return repr_of(core), class_name(core)


def is_of_rw_lock(core: Any) -> bool:
    """Whether it is what the readers and writers of an RWLock take permits of."""
    return issubclass(type(core), Primitive) and hasattr(core, "_downgraded")


def shown_permits(core: Any, permits: int) -> int:
    """A number of permits as people know it: a writer takes all."""
    return 1 if is_of_rw_lock(core) and permits > rw_lock.ALL // 2 else permits


def line_of(core: Any) -> list[Any]:
    """The futures and other waiters in the line of a primitive, in order. Granted ones are not among them."""
    waiters = tuple(getattr(core, "_waiters", None) or ())
    return [getattr(waiter, "future", waiter) for waiter in waiters if waiter is not None]


def free(core: Any) -> float:
    """How many permits are free; 0 or 1 of a lock. 1 if a subclass of the program's does not tell."""
    try:
        return _free(core)
    except Exception:
        log.debug("a %s cannot be looked at", class_name(core), exc_info=True)
        return 1


def _free(core: Any) -> float:
    if issubclass(type(core), _Semaphore):
        value: float = core._value
        return max(0, value)
    return int(not _is_locked(core)) if issubclass(type(core), _Lock) else 1


def taken(core: Any) -> float | None:
    """How many permits are taken; 0 or 1 of a lock. None if it is not known, 0 if nobody holds such a primitive."""
    try:
        return _taken(core)
    except Exception:
        log.debug("a %s cannot be looked at", class_name(core), exc_info=True)
        return None


def _taken(core: Any) -> float | None:
    kind = type(core)
    if issubclass(kind, _Lock):
        return int(_is_locked(core))
    if is_of_rw_lock(core):
        return int(rw_lock.ALL - core._value)
    if issubclass(kind, (Bounded, ASYNCIO["BoundedSemaphore"])):
        return None if math.isinf(core._bound_value) else int(core._bound_value - core._value)
    return None if issubclass(kind, _Semaphore) else 0


def _is_locked(lock: Any) -> bool:
    """Whether a lock is locked. Unlike its `locked()`, this changes nothing, and waits for nothing."""
    held = getattr(lock, "_held", None)
    return bool(lock._locked if held is None else held.locked())
