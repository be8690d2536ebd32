"""The primitives across processes. `holdfast.connect()` opens a session."""

from .barrier import Barrier as Barrier
from .condition import Condition as Condition
from .engines.contract import SessionInfo as SessionInfo
from .engines.evictions import Eviction as Eviction
from .errors import EngineError as EngineError
from .errors import FormatError as FormatError
from .errors import LeaseLost as LeaseLost
from .errors import NameConflict as NameConflict
from .errors import SessionLost as SessionLost
from .event import Event as Event
from .fencing import Fence as Fence
from .fencing import RedisFence as RedisFence
from .fencing import SQLiteFence as SQLiteFence
from .fencing import StaleToken as StaleToken
from .grant import Grant as Grant
from .inspection import Dead as Dead
from .inspection import Holding as Holding
from .inspection import Inspection as Inspection
from .inspection import Waiting as Waiting
from .lock import Lock as Lock
from .semaphore import BoundedSemaphore as BoundedSemaphore
from .semaphore import Semaphore as Semaphore
from .session import Session as Session
