"""Put holdfast's classes in asyncio's place, and take them out again."""

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
_THEIRS = {name: getattr(asyncio.locks, name) for name in _OURS}


def install() -> None:
    """Put holdfast's classes in the place of `asyncio.Lock` and its kin, for the whole process.

    From then on `asyncio.Lock()`, asyncio.Queue, and every library that looks the names up in `asyncio` when it
    makes a primitive, use holdfast. Call it first thing, before importing what should use it: out of reach are
    objects made before, and names imported before with `from asyncio import Lock`. As holdfast's classes are
    subclasses of asyncio's, `isinstance(lock, asyncio.Lock)` is true of a holdfast lock before and after, and
    with names imported earlier too; after the call it is false of asyncio locks made before.

    Calling it again changes nothing.
    """
    _put(_OURS)


def uninstall() -> None:
    """Undo install(). Objects made meanwhile keep working. Calling it again changes nothing."""
    _put(_THEIRS)


def _put(classes: dict[str, type]) -> None:
    for name, cls in classes.items():
        setattr(asyncio, name, cls)
        setattr(asyncio.locks, name, cls)
