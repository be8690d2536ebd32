"""asyncio's synchronization primitives, drop-in: fair, cancellation-safe, and O(1) per waiter."""

from asyncio import BrokenBarrierError as BrokenBarrierError
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from .cluster.errors import EngineError as EngineError
    from .cluster.errors import LeaseLost as LeaseLost
    from .cluster.errors import NameConflict as NameConflict
    from .cluster.errors import SessionLost as SessionLost

__version__ = "0.1.0"
__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "EngineError",
    "Event",
    "LeaseLost",
    "Lock",
    "NameConflict",
    "Semaphore",
    "SessionLost",
    "accelerated",
    "connect",
    "install",
    "uninstall",
]
_OF_THE_CLUSTER_TIER = "EngineError", "LeaseLost", "NameConflict", "SessionLost"


def __getattr__(name: str) -> object:
    """What the cluster tier raises: that is loaded when somebody asks for it."""
    if name in _OF_THE_CLUSTER_TIER:
        from .cluster import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
