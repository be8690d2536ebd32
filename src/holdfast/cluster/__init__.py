"""The primitives across processes. `holdfast.connect()` opens a session."""

from .errors import EngineError as EngineError
from .errors import FormatError as FormatError
from .errors import LeaseLost as LeaseLost
from .errors import SessionLost as SessionLost
from .lock import Grant as Grant
from .lock import Lock as Lock
from .session import Session as Session
