"""A record of whatever kind, for a reader that does not know what a name is used for. Pure."""

from __future__ import annotations

from .barrier import BarrierRecord
from .event import EventRecord
from .lock import LockRecord
from .rate_limiter import RateLimiterRecord
from .record import Record
from .rw_lock import RWLockRecord
from .semaphore import SemaphoreRecord
from .stored import decode_document, not_ours, parse

KINDS: tuple[type[Record], ...] = (
    LockRecord,
    SemaphoreRecord,
    EventRecord,
    BarrierRecord,
    RWLockRecord,
    RateLimiterRecord,
)


def decode_any(text: str, name: str) -> Record:
    """A stored record of any kind. Raises FormatError if this version does not know it."""
    document = parse(text, name)
    initial = initial_of(document["kind"])
    if initial is None:
        raise not_ours(text, name)
    return decode_document(document, text, name, initial)


def initial_of(kind: str) -> Record | None:
    """The record of this kind before its first change; None if it is no kind."""
    return next((record for record in (each.of_kind(kind) for each in KINDS) if record is not None), None)
