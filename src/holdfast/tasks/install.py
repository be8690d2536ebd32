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


def put_ours() -> None:
    """Put holdfast's classes in the place of asyncio's."""
    _put(_OURS)


def put_asyncios() -> None:
    """Put asyncio's classes back."""
    _put(ASYNCIO)


def _put(classes: dict[str, type]) -> None:
    for name, cls in classes.items():
        setattr(asyncio, name, cls)
        setattr(asyncio.locks, name, cls)
