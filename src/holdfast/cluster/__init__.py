"""The primitives across processes. `holdfast.connect()` opens a session."""

from .deadlock import Deadlock as Deadlock
from .deadlock import DeadlockStep as DeadlockStep
from .engines.eviction_note import Eviction as Eviction
from .engines.session_info import SessionInfo as SessionInfo
from .errors import EngineError as EngineError
from .errors import FormatError as FormatError
from .errors import LeaseLost as LeaseLost
from .errors import NameConflict as NameConflict
from .errors import PrivateTmpWarning as PrivateTmpWarning
from .errors import SessionLost as SessionLost
from .fencing import EtcdFence as EtcdFence
from .fencing import Fence as Fence
from .fencing import PostgresFence as PostgresFence
from .fencing import RedisFence as RedisFence
from .fencing import SQLiteFence as SQLiteFence
from .fencing import StaleToken as StaleToken
from .inspection import Closing as Closing
from .inspection import Dead as Dead
from .inspection import Holding as Holding
from .inspection import Inspection as Inspection
from .inspection import Waiting as Waiting
from .primitives.barrier import Barrier as Barrier
from .primitives.closable import Closable as Closable
from .primitives.condition import Condition as Condition
from .primitives.event import Event as Event
from .primitives.grant import Grant as Grant
from .primitives.leader import Leader as Leader
from .primitives.lock import Lock as Lock
from .primitives.rate_limiter import RateLimiter as RateLimiter
from .primitives.rw_lock import Reader as Reader
from .primitives.rw_lock import RWLock as RWLock
from .primitives.rw_lock import Side as Side
from .primitives.rw_lock import Writer as Writer
from .primitives.semaphore import BoundedSemaphore as BoundedSemaphore
from .primitives.semaphore import Semaphore as Semaphore
from .primitives.several_locks import SeveralLocks as SeveralLocks
from .session import Session as Session
from .synchronous.barrier import SyncBarrier as SyncBarrier
from .synchronous.closable import SyncClosable as SyncClosable
from .synchronous.condition import SyncCondition as SyncCondition
from .synchronous.event import SyncEvent as SyncEvent
from .synchronous.grant import SyncGrant as SyncGrant
from .synchronous.lock import LockMethods as LockMethods
from .synchronous.lock import SyncLock as SyncLock
from .synchronous.rate_limiter import SyncRateLimiter as SyncRateLimiter
from .synchronous.rw_lock import SyncReader as SyncReader
from .synchronous.rw_lock import SyncRWLock as SyncRWLock
from .synchronous.rw_lock import SyncWriter as SyncWriter
from .synchronous.semaphore import SyncSemaphore as SyncSemaphore
from .synchronous.session import SyncSession as SyncSession

# What repr(), tracebacks and pickles say is what users import.
for _public in (
    Barrier,
    Closable,
    Condition,
    SessionInfo,
    Eviction,
    EngineError,
    FormatError,
    LeaseLost,
    NameConflict,
    PrivateTmpWarning,
    SessionLost,
    EtcdFence,
    Event,
    Fence,
    PostgresFence,
    RedisFence,
    SQLiteFence,
    StaleToken,
    Grant,
    Closing,
    Dead,
    Deadlock,
    DeadlockStep,
    Holding,
    Inspection,
    Waiting,
    Leader,
    Lock,
    SeveralLocks,
    RateLimiter,
    RWLock,
    Side,
    Reader,
    Writer,
    BoundedSemaphore,
    Semaphore,
    Session,
    SyncBarrier,
    SyncClosable,
    SyncCondition,
    SyncEvent,
    SyncGrant,
    LockMethods,
    SyncLock,
    SyncRWLock,
    SyncRateLimiter,
    SyncReader,
    SyncWriter,
    SyncSemaphore,
    SyncSession,
):
    _public.__module__ = __name__
del _public

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Closable",
    "Closing",
    "Condition",
    "Dead",
    "Deadlock",
    "DeadlockStep",
    "EngineError",
    "EtcdFence",
    "Event",
    "Eviction",
    "Fence",
    "FormatError",
    "Grant",
    "Holding",
    "Inspection",
    "Leader",
    "LeaseLost",
    "Lock",
    "LockMethods",
    "NameConflict",
    "PostgresFence",
    "PrivateTmpWarning",
    "RWLock",
    "RateLimiter",
    "Reader",
    "RedisFence",
    "SQLiteFence",
    "Semaphore",
    "Session",
    "SessionInfo",
    "SessionLost",
    "SeveralLocks",
    "Side",
    "StaleToken",
    "SyncBarrier",
    "SyncClosable",
    "SyncCondition",
    "SyncEvent",
    "SyncGrant",
    "SyncLock",
    "SyncRWLock",
    "SyncRateLimiter",
    "SyncReader",
    "SyncSemaphore",
    "SyncSession",
    "SyncWriter",
    "Waiting",
    "Writer",
]
