"""What a record says, for people and for programs that watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from .barrier_record import BarrierRecord
from .engines.contract import SessionInfo
from .event_record import EventRecord
from .lock_record import LockRecord
from .record import Record, decode, not_ours, parse
from .semaphore_record import SemaphoreRecord


@dataclass(frozen=True, slots=True)
class Holding:
    """What a session holds of a Lock or a semaphore."""

    session: SessionInfo
    permits: int
    """How many; 1 for a Lock."""
    token: int | None
    """Of a Lock: the fencing token."""
    since: datetime | None
    """Of a Lock: when it was granted, by the engine's clock."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Tasks of one session that wait, one behind the other."""

    session: SessionInfo
    tasks: int
    """How many."""
    condition: str | None
    """The condition that they wait for, if it is not the primitive itself."""
    since: datetime | None
    """Since when the first of them waits, to a second, by the engine's clock."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A name at one moment, as `Session.inspect()` has found it."""

    name: str
    kind: str
    """With its value, if it has one: "semaphore of 10"."""
    made_by: str
    """The name of the session that used it first."""
    holders: tuple[Holding, ...]
    waiters: tuple[Waiting, ...]
    """In the order in which they are served; then those of conditions."""
    state: Mapping[str, int | bool]
    """What else there is to say of this kind: whether an event is set, how many permits are free, ..."""


KINDS: tuple[type[Record], ...] = LockRecord, SemaphoreRecord, EventRecord, BarrierRecord


def decode_any(text: str, name: str) -> Record:
    """A record as it was stored, of whatever kind. Raises FormatError if this version does not know it."""
    kind = parse(text, name)["kind"]
    for initial in (record.of_kind(kind) for record in KINDS):
        if initial is not None:
            return decode(text, name, initial)
    raise not_ours(text, name)


def report(record: Record, name: str, sessions: Mapping[str, SessionInfo]) -> Inspection:
    """What the record of a name says; `sessions` are those that are known. Those that are not are dead."""
    holders = (
        Holding(
            sessions[held.session],
            held.permits,
            held.token,
            _moment(held.since),
        )
        for held in record.held()
        if held.session in sessions
    )
    waiters = (
        Waiting(sessions[run.session], run.size(), condition, _moment(run.since))
        for run, condition in record.waiting()
        if run.session in sessions
    )
    return Inspection(name, record.kind, record.made_by, tuple(holders), tuple(waiters), record.figures())


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
