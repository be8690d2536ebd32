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
    for initial in (record.of_kind(document["kind"]) for record in KINDS):
        if initial is not None:
            return decode_document(document, text, name, initial)
    raise not_ours(text, name)
