"""asyncio's Lock, Event, Condition, Semaphore and Barrier for tasks, threads, processes and machines.

The classes here are for the tasks of one event loop. `holdfast.threads` has those for threads, and `connect()` opens a
session that has those for processes. All are fair, and a cancellation at any moment loses nothing.
"""

import asyncio as _asyncio
import importlib as _importlib
import os as _os
from asyncio import BrokenBarrierError as BrokenBarrierError
from typing import TYPE_CHECKING

from . import _hooks
from ._connect import connect as connect
from ._install import install as install
from ._install import uninstall as uninstall
from ._locked import locked as locked
from .tasks.barrier import Barrier as Barrier
from .tasks.closed import Closable as Closable
from .tasks.closed import Closed as Closed
from .tasks.condition import Condition as Condition
from .tasks.event import Event as Event
from .tasks.keyed_lock import KeyedLock as KeyedLock
from .tasks.lock import Lock as Lock
from .tasks.rate_limiter import RateLimiter as RateLimiter
from .tasks.rate_limiter import acquire_all as acquire_all
from .tasks.rw_lock import RWLock as RWLock
from .tasks.semaphore import BoundedSemaphore as BoundedSemaphore
from .tasks.semaphore import Semaphore as Semaphore
from .tasks.single_flight import Once as Once
from .tasks.single_flight import SingleFlight as SingleFlight
from .tasks.twins import accelerated as accelerated
from .tasks.twins import reference as _reference

if TYPE_CHECKING:
    from . import debug as debug
    from .cluster.errors import EngineError as EngineError
    from .cluster.errors import LeaseLost as LeaseLost
    from .cluster.errors import NameConflict as NameConflict
    from .cluster.errors import SessionLost as SessionLost
    from .instrumentation import instrument as instrument

__version__ = "0.2.0"
__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Closable",
    "Closed",
    "Condition",
    "EngineError",
    "Event",
    "KeyedLock",
    "LeaseLost",
    "Lock",
    "NameConflict",
    "Once",
    "RWLock",
    "RateLimiter",
    "Semaphore",
    "SessionLost",
    "SingleFlight",
    "accelerated",
    "acquire_all",
    "connect",
    "install",
    "instrument",
    "locked",
    "uninstall",
]
# repr() and pickles name a class as users import it. So does help(), also where holdfast.threads inherits from a Python
# twin.
for _public in (
    Barrier,
    BoundedSemaphore,
    Closable,
    Closed,
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
for _public in (Barrier, Condition, Event, KeyedLock, Lock, Semaphore):
    _reference(_public).__module__ = __name__
del _public

_OF_THE_CLUSTER_TIER = "EngineError", "LeaseLost", "NameConflict", "SessionLost"


def __getattr__(name: str) -> object:
    """Load `debug`, `instrument`, and the errors of the cluster tier, when the first of them is used."""
    if name == "debug":
        return _importlib.import_module(".debug", __name__)
    if name == "instrument":
        from .instrumentation import instrument

        return instrument
    if name in _OF_THE_CLUSTER_TIER:
        from .cluster import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "debug"})


def _look_in_debug_mode(loop: _asyncio.AbstractEventLoop, waiter: _asyncio.Future[int]) -> None:
    """Load what looks for deadlocks in asyncio's debug mode, when somebody waits there first."""
    from .debug.debug_mode import look_soon

    _hooks.look_in_debug_mode = look_soon
    look_soon(loop, waiter)


if _os.environ.get("HOLDFAST_DEBUG") != "0":
    _hooks.look_in_debug_mode = _look_in_debug_mode
if _os.environ.keys() & {
    "HOLDFAST_DEBUG",
    "HOLDFAST_DUMP_ON_SIGNAL",
    "HOLDFAST_WARN_FOREIGN_RELEASE",
}:
    _importlib.import_module(".debug.environment", __name__).begin()
