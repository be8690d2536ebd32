"""The record of an RWLock, and every change of it. Pure.

    free       nobody holds it, and nobody waits for it
    read       any number of tickets hold it as readers; who waits stands behind a writer
    written    one ticket holds it as the writer; others may wait

Readers at the head of the line come in together, up to the first writer. A reader that asks while a writer waits stands
behind that writer. So neither readers nor writers starve.

The record keeps how many readers each session has, and which ticket writes. A writer has a token that no other writer
ever had. A reader has the token of the last writer before it: what it does is older than what the next writer does.

What must hold here, besides what `record.py` names: there is never a writer beside another one or beside readers; and
each writer has a higher token than every writer before it, whatever became of those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, ClassVar, NamedTuple

from . import shapes
from .line import join, leave, take
from .record import Grants, Held, Record, Wake, wakes_for
from .run import Run
from .shapes import Shape

READ, WRITE = 1, 2
"""What a ticket asks for; see `Run.asks`."""
READER, WRITER = "reader", "writer"
"""The sides, as reports call them."""
_MANY = 100_000
"""Tokens; so many are given out from the same `base()`."""


class Read(NamedTuple):
    """Ask to be a reader. Outcome: the token of the last writer, or 0 if the ticket waits now."""

    ticket: int


class TryRead(NamedTuple):
    """Ask to be a reader, without waiting. Outcome: the token of the last writer, or -1."""

    ticket: int


class Write(NamedTuple):
    """Ask to be the writer. Outcome: its token, or 0 if the ticket waits now."""

    ticket: int


class TryWrite(NamedTuple):
    """Ask to be the writer, without waiting. Outcome: its token, or -1."""

    ticket: int


class EndRead(NamedTuple):
    """A reader of the session leaves. Outcome: 1, or 0 if the session has none."""


class EndWrite(NamedTuple):
    """The writer with this token leaves. Outcome: 1, or 0 if it had left before."""

    token: int


class Downgrade(NamedTuple):
    """The writer with this token becomes a reader. Outcome: 1, or 0 if it had left before."""

    token: int


Operation = Read | TryRead | Write | TryWrite | EndRead | EndWrite | Downgrade


class Writer(NamedTuple):
    """The ticket that writes."""

    session: str
    ticket: int
    token: int
    since: float = 0.0
    """As in `Batch.at`."""


@dataclass(frozen=True, kw_only=True)
class RWLockRecord(Record):
    """All that the cluster knows of one RWLock."""

    KIND = "reader-writer lock"
    ADDED: ClassVar[Mapping[str, type]] = {"read": Read, "try read": TryRead}
    """These give out no new token. What does cannot be stored behind a record, as the floor may have risen since."""
    ASKS = frozenset({Read, TryRead, Write, TryWrite})
    MOST_ASKED = WRITE
    SHAPES: ClassVar[Mapping[str, Shape]] = {
        "tokens": shapes.number,
        "writer": shapes.maybe(shapes.row(shapes.session, shapes.number, shapes.number, shapes.maybe(shapes.moment))),
        "readers": shapes.by_session(shapes.some_tickets),
    }

    tokens: int = 1
    """The highest token that was given out. The first one is nobody's: what was there before the first writer."""
    writer: Writer | None = None
    readers: Mapping[str, int] = field(default_factory=dict)
    """How many readers each session has. A session that has none is left out."""

    def apply(self, session: str, operation: Operation, wakes: list[Wake]) -> tuple[RWLockRecord, int]:
        match operation:
            case Read(ticket) | TryRead(ticket):
                if self.writer is None and not self.line:
                    return self._let_read(session), self.tokens
                return self._wait(session, ticket, READ) if isinstance(operation, Read) else (self, -1)
            case Write(ticket) | TryWrite(ticket):
                if self.is_free():
                    return self._let_write(session, ticket), self.tokens + 1
                return self._wait(session, ticket, WRITE) if isinstance(operation, Write) else (self, -1)
            case EndRead():
                return (self._without_readers(session, 1)._serve(wakes), 1) if session in self.readers else (self, 0)
            case EndWrite(token):
                return (self.but(writer=None)._serve(wakes), 1) if self._writes(token) else (self, 0)
            case Downgrade(token):
                if self.writer is None or not self._writes(token):
                    return self, 0
                return self.but(writer=None)._let_read(self.writer.session)._serve(wakes), 1

    def withdraw(self, session: str, leaving: list[int], wakes: list[Wake]) -> tuple[RWLockRecord, Collection[int]]:
        line, waited = leave(self.line, session, leaving)
        record = self.but(line=line)
        others = sorted({*leaving}.difference(waited))  # a ticket that does not wait has been granted
        if self.writer is not None and self.writer.session == session:
            granted = [ticket for ticket in others if ticket == self.writer.ticket]
            record = record.but(writer=None) if granted else record
        else:
            granted = others[: self.readers.get(session, 0)]
            record = record._without_readers(session, len(granted)) if granted else record
        return record._serve(wakes), {*waited, *granted}

    def bury(self, dead: Collection[str], wakes: list[Wake]) -> RWLockRecord:
        writer = None if self.writer is not None and self.writer.session in dead else self.writer
        readers = {session: count for session, count in self.readers.items() if session not in dead}
        return self.without_waiters(dead).but(writer=writer, readers=readers)._serve(wakes)

    def is_free(self) -> bool:
        """Whether a writer can come in at once. Then nobody waits."""
        return self.writer is None and not self.readers

    def is_initial(self) -> bool:
        return self.is_free() and not self.line

    def holding(self) -> frozenset[str]:
        return frozenset(self.readers) if self.writer is None else frozenset({self.writer.session})

    def granted(self, session: str, asked: Collection[int]) -> list[Grants]:
        writer = self.writer
        return [
            Grants(ticket, self.tokens if writer is None or writer[:2] != (session, ticket) else writer.token)
            for ticket, _, _ in Record.granted(self, session, asked)
        ]

    def keeps(self, session: str, tokens: Mapping[int, int]) -> bool:
        held = sum(tokens.values())
        if self.writer is not None and self.writer.session == session:
            return held <= 1 and all(map(self._writes, tokens))
        return held <= self.readers.get(session, 0)

    def last_token(self) -> int:
        return self.tokens

    def starting_at(self, floor: int) -> RWLockRecord:
        return self.but(tokens=floor)

    def waits_for_holders(self, run: Run) -> bool:
        return self.writer is not None or run.asks == WRITE

    def side_of(self, run: Run) -> str | None:
        return WRITER if run.asks == WRITE else READER

    def held(self) -> Iterator[Held]:
        if self.writer is not None:
            yield Held(self.writer.session, 1, self.writer.token, self.writer.since, WRITER)
        for session, readers in self.readers.items():
            yield Held(session, readers, None, None, READER)

    def figures(self) -> dict[str, int | bool]:
        return {"readers": sum(self.readers.values()), "writing": self.writer is not None, "tokens": self.tokens}

    def base(self) -> int:
        return self.tokens // _MANY * _MANY

    def state(self) -> dict[str, Any]:
        """Of the writer: session and ticket; how far its token is behind the highest; and since when it writes, or None
        if that is the last change."""
        writer = self.writer
        if writer is not None:
            since = None if writer.since == self.changed else writer.since
            stored = [writer.session, writer.ticket, self.tokens - writer.token, since]
        return {
            "tokens": self.tokens % _MANY,
            "writer": None if writer is None else stored,
            "readers": self.readers,
        }

    def fields_from(self, document: dict[str, Any]) -> dict[str, Any]:
        tokens, stored = document["from"] + document["tokens"], document["writer"]
        writer = None
        if stored is not None:
            session, ticket, behind, since = stored
            writer = Writer(session, ticket, tokens - behind, document["changed"] if since is None else since)
        return {"tokens": tokens, "writer": writer, "readers": document["readers"]}

    def _writes(self, token: int) -> bool:
        return self.writer is not None and self.writer.token == token

    def _wait(self, session: str, ticket: int, asks: int) -> tuple[RWLockRecord, int]:
        return self.but(line=join(self.line, session, ticket, self.changed, asks)), 0

    def _let_read(self, session: str, readers: int = 1) -> RWLockRecord:
        return self.but(readers={**self.readers, session: self.readers.get(session, 0) + readers})

    def _let_write(self, session: str, ticket: int) -> RWLockRecord:
        return self.but(tokens=self.tokens + 1, writer=Writer(session, ticket, self.tokens + 1, self.changed))

    def _without_readers(self, session: str, readers: int) -> RWLockRecord:
        left = {**self.readers, session: self.readers[session] - readers}
        if not left[session]:
            del left[session]
        return self.but(readers=left)

    def _serve(self, wakes: list[Wake]) -> RWLockRecord:
        """Let the readers at the head of the line in, or the writer, if it is free for them."""
        if self.writer is not None or not self.line:
            return self
        if self.line[0].asks == WRITE:
            if self.readers:
                return self
            (first,), rest = take(self.line, WRITE)
            record = self.but(line=rest)._let_write(first.session, first.spans[0])
            wakes.append(Wake(first.session, first.spans[0], record.tokens))
            return record
        served = (*takewhile(lambda run: run.asks == READ, self.line),)
        wakes += wakes_for(served, self.tokens)
        record = self.but(line=self.line[len(served) :])
        for run in served:
            record = record._let_read(run.session, run.size())
        return record
