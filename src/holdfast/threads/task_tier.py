"""The task tier's primitives, from which this tier's are derived: always the Python twins.

The code of this tier is Python, and reads the fields of a Python class faster than those of the compiled twin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.tasks import barrier, condition, event, keyed_lock, lock, semaphore
from holdfast.tasks.twins import reference

if TYPE_CHECKING:
    from holdfast.tasks.barrier import Barrier
    from holdfast.tasks.condition import Condition
    from holdfast.tasks.event import Event
    from holdfast.tasks.keyed_lock import KeyedLock, KeyLock
    from holdfast.tasks.lock import Lock
    from holdfast.tasks.semaphore import Semaphore
else:
    Barrier, Condition, Event, Lock, Semaphore = map(
        reference, (barrier.Barrier, condition.Condition, event.Event, lock.Lock, semaphore.Semaphore)
    )
    KeyedLock, KeyLock = reference(keyed_lock.KeyedLock), reference(keyed_lock.KeyLock)

__all__ = ["Barrier", "Condition", "Event", "KeyLock", "KeyedLock", "Lock", "Semaphore"]
