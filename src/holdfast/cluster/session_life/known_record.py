"""The record of one name, as one session knows it: how it is read, changed, and added to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from holdfast.cluster.engines.contract import Addition, Opening, Stored
from holdfast.cluster.records.additions import added, additions_to, left, takes_additions
from holdfast.cluster.records.record import Record
from holdfast.cluster.records.step import Batch, Step, agreed, moment, step
from holdfast.cluster.records.stored import decode, encode


class KnownRecord:
    """What a session knows of a record from its own changes and from what it has read."""

    def __init__(self, name: str, initial: Record) -> None:
        self.name = name
        self.initial = initial
        """The record before its first change: it has the kind and the value that this session wants."""
        self.made: tuple[str | None, Record] = None, initial
        """The text and the record that the last change has made."""
        self._seen: tuple[str | None, Record] = None, initial  # the last text that came from the engine, and its record
        self.last_token = 0
        """The highest token that was given out, as far as this session knows."""

    def note_token(self, record: Record) -> None:
        """The record is one that was made: it has given out its tokens."""
        last = record.last_token()
        if last > self.last_token:
            self.last_token = last

    def others(self, me: str, which: Callable[[Record], Iterable[str]]) -> frozenset[str]:
        """The sessions that are probably in the record, except this one."""
        return frozenset(which(self.made[1])) - {me}

    def decoded(self, text: str | None) -> Record:
        """The record of a text. It may have another value than `initial`; see agreed()."""
        made, record = self.made
        # Most often something was added behind a text that is known, and then only that has to be read.
        base = self.made if text is not None and made is not None and text.startswith(made) else self._seen
        record = decode(text, self.name, self.initial, record, base)
        self._seen = text, record
        return record

    def agreed(self, record: Record, label: str, dead: Collection[str] = ()) -> Record:
        """The record with the value that this session wants; see `step.agreed()`."""
        return agreed(record, self.initial, self.name, label, dead)

    def serves(self, wanted: Record) -> bool:
        """Whether the record is known to accept both the value of `wanted` and that of `initial`."""
        if type(wanted) is not type(self.initial):
            return False
        # Either may be out of date: `made` after a resize() in another session, `_seen` after a change by this one.
        found = (self.made, self._seen)
        both = wanted, self.initial
        return any(text is not None and all(map(record.accepts, both)) for text, record in found)

    def changed(
        self,
        stored: Stored,
        batch: Batch,
        dead: Collection[str],
        label: str,
        check: Callable[[Record], None] | None = None,
    ) -> tuple[str, Step]:
        """Apply a batch to what is stored; return the new text and the step.

        dead: sessions to bury. label: the name of this session. check: is called with a record that another session
        has changed last, and may raise.
        """
        made, record = self.made
        if stored.text != made:
            record = self.decoded(stored.text)
            if check is not None:
                check(record)
        record = record.as_of(stored.now)
        if batch.operations and not record.accepts(self.initial):
            record = agreed(record, self.initial, self.name, label, dead)
        floor = self.last_token  # somebody may have put an older record in its place
        if stored.floor > floor:
            floor = stored.floor
        if stored.text is None:
            record = record.but(made_by=label)
            floor = max(floor, int(stored.now * 1_000_000))  # a record that was removed may have given out lower tokens
        if record.last_token() < floor:
            record = record.starting_at(floor)
        done = step(record, Batch(batch.session, batch.number, batch.operations, moment(stored.now)), dead)
        text = encode(done.record)
        self.made = text, done.record
        return text, done

    def forget_made(self) -> None:
        """There is an addition of this session behind the record that it has not seen: no change is made without it."""
        self.made = "\0", self.made[1]  # which no record is

    def addition(self, batch: Batch, is_known: bool) -> Addition | None:
        """What may be stored behind the record in place of the change, if anything may.

        is_known: whether the session may go on without seeing the record.
        """
        record = self.made[1]
        return _addition(record, added(record, batch), is_known)

    def farewell(self) -> Addition | None:
        """What may be stored behind the record in place of taking this session out of it, if anything may."""
        record = self.made[1]
        return _addition(record, left(record))


def _addition(record: Record, text: str | None, is_known: bool = False) -> Addition | None:
    """Who only joins knows what comes of it: its tickets wait."""
    joins = record.ONLY_JOINS
    return None if text is None else Addition(additions_to(record), text, joins, joins and is_known)


def opening(done: Step) -> Opening | None:
    """Whether others may add to the record that a step has made, and which session has to know of that."""
    record = done.record
    if not takes_additions(record):
        return None
    return Opening(additions_to(record), record.told(), done.is_alike_at_end)
