"""The primitives for all threads and all event loops of one process.

Each has asyncio's methods, for tasks. Its `sync` has threading's methods, for threads.
"""

from .barrier import Barrier as Barrier
from .barrier import BrokenBarrierError as BrokenBarrierError
from .condition import Condition as Condition
from .event import Event as Event
from .keyed_lock import KeyedLock as KeyedLock
from .lock import Lock as Lock
from .rate_limiter import RateLimiter as RateLimiter
from .rw_lock import RWLock as RWLock
from .semaphore import BoundedSemaphore as BoundedSemaphore
from .semaphore import Semaphore as Semaphore
from .single_flight import Once as Once
from .single_flight import SingleFlight as SingleFlight

# repr() and pickles name the module that users import.
for _public in (
    Barrier,
    BoundedSemaphore,
    BrokenBarrierError,
    Condition,
    Event,
    KeyedLock,
    Lock,
    Once,
    RateLimiter,
    RWLock,
    Semaphore,
    SingleFlight,
):
    _public.__module__ = __name__
del _public

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "KeyedLock",
    "Lock",
    "Once",
    "RWLock",
    "RateLimiter",
    "Semaphore",
    "SingleFlight",
]
