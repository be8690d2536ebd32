"""asyncio's synchronization primitives, drop-in: fair, cancellation-safe, and O(1) per waiter."""

from asyncio import BrokenBarrierError as BrokenBarrierError

from ._connect import connect as connect
from ._install import install as install
from ._install import uninstall as uninstall
from ._twins import accelerated as accelerated
from .barrier import Barrier as Barrier
from .condition import Condition as Condition
from .event import Event as Event
from .lock import Lock as Lock
from .semaphore import BoundedSemaphore as BoundedSemaphore
from .semaphore import Semaphore as Semaphore

__version__ = "0.1.0"
__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "Lock",
    "Semaphore",
    "accelerated",
    "connect",
    "install",
    "uninstall",
]
