"""Put holdfast's classes in the place of asyncio's, and undo that."""

from __future__ import annotations

import asyncio
import asyncio.locks

from .barrier import Barrier
from .condition import Condition
from .event import Event
from .lock import Lock
from .semaphore import BoundedSemaphore, Semaphore

_OURS = {
    "Lock": Lock,
    "Event": Event,
    "Condition": Condition,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Barrier": Barrier,
}
ASYNCIO = {name: getattr(asyncio.locks, name) for name in _OURS}
"""The classes that asyncio has, also after install()."""


def install() -> None:
    """Put holdfast's classes in the place of `asyncio.Lock` and its kin, for the whole process.

    From then on, `asyncio.Lock()`, asyncio.Queue and every library that looks the names up in `asyncio` when it makes a
    primitive use holdfast. Call it first, before you import the code that should use it: it cannot reach objects that
    were made before, nor names that were imported before with `from asyncio import Lock`.

    holdfast's classes are subclasses of asyncio's, so `isinstance(lock, asyncio.Lock)` is true of a holdfast lock
    before and after the call, also with a name that was imported before. After the call it is false of a lock that
    asyncio made before.

    A second call changes nothing.
    """
    _put(_OURS)


def uninstall() -> None:
    """Undo install(). Objects that were made meanwhile keep working. A second call changes nothing."""
    _put(ASYNCIO)


def _put(classes: dict[str, type]) -> None:
    for name, cls in classes.items():
        setattr(asyncio, name, cls)
        setattr(asyncio.locks, name, cls)
