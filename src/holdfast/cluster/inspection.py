"""Reports: what a record says, for people and for programs that watch."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .engines.eviction_note import Eviction
from .engines.session_info import SessionInfo
from .records.record import Record
from .records.run import Run
from .records.step import burial


@dataclass(frozen=True, slots=True)
class Holding:
    """What a session holds of a Lock or a semaphore."""

    session: SessionInfo
    permits: int
    """The number of permits; 1 for a Lock. Of an RWLock, the number of readers, or 1 for the writer."""
    token: int | None
    """Of a Lock, or of the writer of an RWLock: the fencing token. If several tasks of the session have the lock in
    turn, that of the first one."""
    since: datetime | None
    """Of these: the time of the grant, by the engine's clock."""
    side: str | None = None
    """Of an RWLock: "reader" or "writer"."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Tasks of one session that wait one behind the other."""

    session: SessionInfo
    tasks: int
    """The number of tasks."""
    permits: int
    """How many permits of a semaphore, or tokens of a RateLimiter, each of them asks for; 1 if it is another kind."""
    condition: str | None
    """The name of the condition in which they wait; None if they wait for the primitive itself."""
    since: datetime | None
    """The time since which the first of them waits, to a second, by the engine's clock."""
    side: str | None = None
    """Of an RWLock: "reader" or "writer"."""


@dataclass(frozen=True, slots=True)
class Dead:
    """A session that has ended without giving back what it held.

    The next session that asks for the name buries it, and may get what it held.
    """

    id: str
    session: SessionInfo | None
    """What is still known of it, if anything is."""
    permits: int
    """The number of permits that it holds, as the record has it."""
    tasks: int
    """The number of its tasks that wait, as the record has it."""


@dataclass(frozen=True, slots=True)
class Closing:
    """That a primitive, or one of its conditions, was closed; see `Lock.close()`."""

    condition: str | None
    """The name of the condition; None if the primitive is closed itself."""
    reason: str | None
    """What close() was given."""
    since: datetime | None
    """The time of that call, by the engine's clock."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A name at one moment, as `Session.inspect()` has found it. Dead sessions are only in `dead`."""

    name: str
    kind: str
    """The kind of the primitive, with its value if it has one: "semaphore of 10"."""
    made_by: str
    """The name of the session that used the name first."""
    holders: tuple[Holding, ...]
    waiters: tuple[Waiting, ...]
    """In the order in which they are served; after them those in conditions."""
    state: Mapping[str, int | bool]
    """What else a primitive of this kind has to say: whether an event is set, how many permits are free, ..."""
    dead: tuple[Dead, ...] = ()
    """The dead sessions that nobody has buried yet."""
    evictions: tuple[Eviction, ...] = ()
    """The evictions, within the last day, of sessions that held the name; see `Session.evict()`."""
    closed: tuple[Closing, ...] = ()
    """What is closed under the name."""


def report(
    record: Record, name: str, sessions: Mapping[str, SessionInfo], evictions: Iterable[Eviction] = ()
) -> Inspection:
    """Report what the record of a name says.

    sessions: those that the engine knows, as `with_processes()` has them. All others are dead.
    evictions: all that the engine has a note of.
    """
    alive = {id: info for id, info in sessions.items() if info.alive}
    held, waiting = [*record.held()], [*record.waiting()]
    gone = dict.fromkeys([*(each.session for each in held), *(run.session for run, _ in waiting)])
    return Inspection(
        name,
        record.kind,
        record.made_by,
        tuple(
            Holding(alive[each.session], each.permits, each.token, _moment(each.since), each.side)
            for each in held
            if each.session in alive
        ),
        tuple(
            _waiting(record, run, condition, alive[run.session]) for run, condition in waiting if run.session in alive
        ),
        # At present, not at the last change: the tokens of a rate limiter come by themselves.
        without_dead(record, record.sessions() - alive.keys()).but(changed=max(record.changed, time.time())).figures(),
        tuple(
            Dead(
                id,
                sessions.get(id),
                sum(each.permits for each in held if each.session == id),
                sum(run.size() for run, _ in waiting if run.session == id),
            )
            for id in gone
            if id not in alive
        ),
        tuple(each for each in evictions if name in each.held),
        tuple(Closing(what or None, closing.reason, _moment(closing.at)) for what, closing in record.closings.items()),
    )


def _waiting(record: Record, run: Run, condition: str | None, session: SessionInfo) -> Waiting:
    side = record.side_of(run)
    return Waiting(session, run.size(), 1 if side else run.asks, condition, _moment(run.since), side)


def without_dead(record: Record, dead: Collection[str]) -> Record:
    """The record as the next session that asks will find it."""
    return burial(record, dead, record.changed).record if dead else record


def with_processes(sessions: Mapping[str, SessionInfo]) -> dict[str, SessionInfo]:
    """The same, with what this machine can tell of the processes of living sessions that run here."""
    host = socket.gethostname()
    return {
        id: replace(info, stopped=_is_stopped(info.pid)) if info.alive and info.host == host else info
        for id, info in sessions.items()
    }


def _is_stopped(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # elsewhere than on Linux, or in another container
        return False
    return state in "Tt"


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
