"""The primitives for any thread and any event loop of one process: asyncio's API, and threading's as `.sync`."""

from .barrier import Barrier as Barrier
from .barrier import BrokenBarrierError as BrokenBarrierError
from .condition import Condition as Condition
from .event import Event as Event
from .lock import Lock as Lock
from .semaphore import BoundedSemaphore as BoundedSemaphore
from .semaphore import Semaphore as Semaphore

__all__ = ["Barrier", "BoundedSemaphore", "BrokenBarrierError", "Condition", "Event", "Lock", "Semaphore"]
