"""What a record says, for people and for programs that watch."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .barrier_record import BarrierRecord
from .engines.contract import SessionInfo
from .engines.evictions import Eviction
from .event_record import EventRecord
from .lock_record import LockRecord
from .record import Batch, Record, Step, decode_document, not_ours, parse, step
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
class Dead:
    """A session that has ended without giving back what it held: whoever asks next buries it, and may have that."""

    id: str
    session: SessionInfo | None
    """Who it was, if that is still known."""
    permits: int
    """How many it holds, as the record has it."""
    tasks: int
    """How many of its tasks wait there."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A name at one moment, as `Session.inspect()` has found it. The dead do not count, but in `dead`."""

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
    dead: tuple[Dead, ...] = ()
    """Whom nobody has buried yet."""
    evictions: tuple[Eviction, ...] = ()
    """Of sessions that held the name and were ended by somebody, `Session.evict()`, within the last day."""


KINDS: tuple[type[Record], ...] = LockRecord, SemaphoreRecord, EventRecord, BarrierRecord


def decode_any(text: str, name: str) -> Record:
    """A record as it was stored, of whatever kind. Raises FormatError if this version does not know it."""
    document = parse(text, name)
    for initial in (record.of_kind(document["kind"]) for record in KINDS):
        if initial is not None:
            return decode_document(document, text, name, initial)
    raise not_ours(text, name)


def report(
    record: Record, name: str, sessions: Mapping[str, SessionInfo], evictions: Iterable[Eviction] = ()
) -> Inspection:
    """What the record of a name says.

    sessions: those that are known. Those that are not are dead.
    evictions: all that there is a note of.
    """
    alive = {id: with_process(info) for id, info in sessions.items() if info.alive}
    held, waiting = [*record.held()], [*record.waiting()]
    gone = dict.fromkeys(who for who in [*(each.session for each in held), *(run.session for run, _ in waiting)])
    return Inspection(
        name,
        record.kind,
        record.made_by,
        tuple(
            Holding(alive[each.session], each.permits, each.token, _moment(each.since))
            for each in held
            if each.session in alive
        ),
        tuple(
            Waiting(alive[run.session], run.size(), condition, _moment(run.since))
            for run, condition in waiting
            if run.session in alive
        ),
        without_dead(record, record.sessions() - alive.keys()).figures(),
        tuple(
            Dead(
                who,
                sessions.get(who),
                sum(each.permits for each in held if each.session == who),
                sum(run.size() for run, _ in waiting if run.session == who),
            )
            for who in gone
            if who not in alive
        ),
        tuple(each for each in evictions if name in each.held),
    )


def without_dead(record: Record, dead: Collection[str]) -> Record:
    """What it becomes for who asks next."""
    return burial(record, dead, record.changed).record if dead else record


def burial(record: Record, dead: Collection[str], at: float) -> Step:
    """The step that buries them and does nothing else, for a session that need not be in the record."""
    return step(record, Batch("", 0, (), at), dead)


def with_process(info: SessionInfo) -> SessionInfo:
    """With what this machine can tell of its process, if that is here."""
    return replace(info, stopped=info.host == socket.gethostname() and _is_stopped(info.pid))


def _is_stopped(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # elsewhere than on Linux, or in another container
        return False
    return state in "Tt"


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
