"""The record of a Lock, and every change of it. Pure: no I/O, no clock, no session's own state.

    free     nobody holds it, nobody is queued
    held     one ticket of one session holds it, with a token that no other grant ever had; others may be queued

A session numbers its tickets 1, 2, ...; a ticket asks for the lock once, and is in the record while it is queued or
holds. The queue is a list of runs of tickets, so it grows with the sessions that wait and not with their tasks.

What must hold, and who broke it elsewhere:

 1. First come, first served, in the order in which the batches are applied (redis-py: whoever polls next).
 2. Each grant has a higher token than every grant before it, whatever became of that (Redisson's fenced lock).
 3. A batch is applied once, however often it is sent: a session has one answer here, that of its last batch.
 4. A release names the grant that it ends, and ends no other (redis-py: another task's).
 5. A ticket that is withdrawn leaves nothing behind, queued or granted (redis-py: locked for ever).
 6. A dead session leaves nothing behind. Death is final, so whoever learns of it may bury it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .errors import FormatError

FORMAT = 1
KIND = "lock"


class Run(NamedTuple):
    """The tickets `first` ... `end - 1` of one session in the queue."""

    session: str
    first: int
    end: int

    def __contains__(self, ticket: object) -> bool:
        return ticket in range(self.first, self.end)


class Holder(NamedTuple):
    session: str
    ticket: int
    token: int


class Answer(NamedTuple):
    """What a session's last batch came to; see `Step.outcomes`."""

    batch: int
    outcomes: tuple[int, ...]


class Acquire(NamedTuple):
    """Ask for the lock. Outcome: the token, or 0 if the ticket is queued now."""

    ticket: int


class Release(NamedTuple):
    """End the grant with this token. Outcome: 1, or 0 if it had ended before."""

    token: int


class Withdraw(NamedTuple):
    """Give up the ticket, be it queued or granted. Outcome: 1, or 0 if it was neither."""

    ticket: int


Operation = Acquire | Release | Withdraw


class Batch(NamedTuple):
    """Operations of one session, applied together or not at all. A number is never used for another batch."""

    session: str
    number: int
    operations: tuple[Operation, ...]


class Wake(NamedTuple):
    """A session must be told that one of its tickets has been granted."""

    session: str
    ticket: int
    token: int


@dataclass(frozen=True, slots=True)
class LockRecord:
    """All that the cluster knows of one Lock."""

    tokens: int = 0
    """The last token that was given out."""
    holder: Holder | None = None
    queue: tuple[Run, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By session."""

    def sessions(self) -> set[str]:
        """Every session that is named here."""
        return {run.session for run in self.queue} | ({self.holder.session} if self.holder else set()) | {*self.answers}

    def predecessor(self, session: str) -> str | None:
        """Whom the session waits for directly: the holder, or who is queued before its first ticket."""
        before = self.holder.session if self.holder else None
        for run in self.queue:
            if run.session == session:
                return before
            before = run.session
        return None


class Step(NamedTuple):
    record: LockRecord
    outcomes: tuple[int, ...]
    """One number for each operation of the batch, in order."""
    wakes: tuple[Wake, ...]


def step(record: LockRecord, batch: Batch, dead: Iterable[str] = ()) -> Step:
    """Bury the dead, then apply the batch; return the new record, what came out, and who is to be woken."""
    wakes: list[Wake] = []
    record = _bury(record, frozenset(dead), wakes)
    answer = record.answers.get(batch.session)
    if answer is not None and answer.batch == batch.number:
        return Step(record, answer.outcomes, tuple(wakes))
    outcomes = []
    for operation in batch.operations:
        match operation:
            case Acquire(ticket):
                record, token = _acquire(record, batch.session, ticket)
                outcomes.append(token)
            case Release(token):
                ends = record.holder is not None and record.holder.token == token
                outcomes.append(int(ends))
                if ends:
                    record = _hand_over(record, wakes)
            case Withdraw(ticket):
                outcomes.append(int(_has(record, batch.session, ticket)))
                record = _withdraw(record, batch.session, ticket, wakes)
    if batch.operations:
        answers = {**record.answers, batch.session: Answer(batch.number, tuple(outcomes))}
        record = replace(record, answers=answers)
    return Step(record, tuple(outcomes), tuple(wakes))


def _bury(record: LockRecord, dead: frozenset[str], wakes: list[Wake]) -> LockRecord:
    if not dead & record.sessions():
        return record
    record = replace(
        record,
        queue=tuple(run for run in record.queue if run.session not in dead),
        answers={session: answer for session, answer in record.answers.items() if session not in dead},
    )
    if record.holder is not None and record.holder.session in dead:
        record = _hand_over(record, wakes)
    return record


def _acquire(record: LockRecord, session: str, ticket: int) -> tuple[LockRecord, int]:
    if record.holder is None:  # then nobody is queued
        token = record.tokens + 1
        return replace(record, tokens=token, holder=Holder(session, ticket, token)), token
    queue = record.queue
    last = queue[-1] if queue else None
    if last is not None and last.session == session and last.end == ticket:
        return replace(record, queue=(*queue[:-1], Run(session, last.first, ticket + 1))), 0
    return replace(record, queue=(*queue, Run(session, ticket, ticket + 1))), 0


def _hand_over(record: LockRecord, wakes: list[Wake]) -> LockRecord:
    """Grant the first ticket of the queue what the holder has had."""
    if not record.queue:
        return replace(record, holder=None)
    (session, ticket, end), *rest = record.queue
    queue = (Run(session, ticket + 1, end), *rest) if ticket + 1 < end else tuple(rest)
    token = record.tokens + 1
    wakes.append(Wake(session, ticket, token))
    return replace(record, tokens=token, holder=Holder(session, ticket, token), queue=queue)


def _has(record: LockRecord, session: str, ticket: int) -> bool:
    return (record.holder is not None and record.holder[:2] == (session, ticket)) or any(
        run.session == session and ticket in run for run in record.queue
    )


def _withdraw(record: LockRecord, session: str, ticket: int, wakes: list[Wake]) -> LockRecord:
    if record.holder is not None and record.holder[:2] == (session, ticket):
        return _hand_over(record, wakes)
    queue: list[Run] = []
    for run in record.queue:
        if run.session == session and ticket in run:
            parts = Run(session, run.first, ticket), Run(session, ticket + 1, run.end)
            queue += [part for part in parts if part.first < part.end]
        else:
            queue.append(run)
    return replace(record, queue=tuple(queue))


def encode(record: LockRecord) -> str:
    """The record as it is stored."""
    document = {
        "format": FORMAT,
        "kind": KIND,
        "tokens": record.tokens,
        "holder": record.holder,
        "queue": record.queue,
        "answers": record.answers,
    }
    return json.dumps(document, separators=(",", ":"))


def decode(text: str | None, name: str) -> LockRecord:
    """A record as it was stored; None stands for one that does not exist yet.

    Raises FormatError if a newer version wrote it.
    """
    if text is None:
        return LockRecord()
    document: dict[str, Any] = json.loads(text)
    if document.get("format") != FORMAT or document.get("kind") != KIND:
        raise FormatError(
            f"the record of {name!r} has the format {document.get('format')!r} and the kind {document.get('kind')!r}; "
            f"this version of holdfast knows format {FORMAT} of a {KIND}. Upgrade holdfast here; nothing was changed"
        )
    holder = document["holder"]
    return LockRecord(
        document["tokens"],
        None if holder is None else Holder(*holder),
        tuple(Run(*run) for run in document["queue"]),
        {session: Answer(number, tuple(outcomes)) for session, (number, outcomes) in document["answers"].items()},
    )
