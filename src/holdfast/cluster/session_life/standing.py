"""Whether a record knows what this session has done there.

Somebody may remove a record or put an older one in its place, and an engine may lose its last writes. A session notices
by two things: the number of its last batch in the record, and the tokens of what it holds. If either does not fit, what
it had there is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from holdfast.cluster.records.answers import batch_of
from holdfast.cluster.records.record import Record

from .identity import Identity
from .outbox import Outbox
from .waiters import Waiters


class Standing:
    """What the record of one name has to know of one session."""

    def __init__(self, session: Identity, name: str, waiters: Waiters, outbox: Outbox) -> None:
        self._session = session
        self._name = name
        self._waiters = waiters
        self._outbox = outbox
        self.is_answered = False
        """Whether the record has an answer for this session."""
        self._batch = 0  # of that answer

    def follow(self, other: Standing) -> None:
        """Begin where another one has ended."""
        self.is_answered, self._batch = other.is_answered, other._batch

    def note(self, record: Record, batch: int) -> None:
        """The record is what this session's batch has made of it."""
        self.is_answered = self._session.id in record.answers
        self._batch = batch if self.is_answered else 0

    def note_unseen(self, batch: int) -> None:
        """The record has this session's batch, and the session has not seen it."""
        self.is_answered, self._batch = True, batch

    def tokens(self) -> dict[int, int]:
        """The tokens of what is held here, and how many permits are held under each."""
        return self._session.leases.tokens(self._name)

    def asked(self) -> Collection[int]:
        """The tickets that wait, and whose requests were sent."""
        return self._outbox.without_pending(self._waiters.futures.keys())

    def is_known_to(self, record: Record, before: Mapping[int, int] | None = None) -> bool:
        """Whether the record has what it must have of this session.

        before: what counts, as tokens() has told it; by default all that is held.
        """
        if not self.is_at_stake():
            return True
        tokens = self.tokens()
        if before is not None:
            tokens = {token: min(permits, before[token]) for token, permits in tokens.items() if token in before}
        return self.has_last_batch(record) and record.keeps(self._session.id, tokens)

    def is_at_stake(self) -> bool:
        """Whether this session holds something here, or waits."""
        return bool(self.tokens()) or not {*self.asked()} <= self._outbox.sent_tickets()

    def has_last_batch(self, record: Record) -> bool:
        """Whether this session's last batch in the record is the last one answered, or the one on its way."""
        batch = batch_of(record.answers.get(self._session.id))
        sent = self._outbox.sent
        return batch == self._batch or (sent is not None and batch == sent[0].number)
