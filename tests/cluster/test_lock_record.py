"""The protocol of the Lock without a session or an engine: every change, in any order, with repeats and deaths."""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.cluster import FormatError
from holdfast.cluster.lock_record import Acquire, Holder, LockRecord, Operation, Release
from holdfast.cluster.record import Batch, Run, Wake, Withdraw, decode, encode, step


def apply(record: LockRecord, session: str, number: int, *operations: Operation, dead: tuple[str, ...] = ()):
    return step(record, Batch(session, number, operations), dead)


def test_a_release_names_the_next_owner_in_the_same_change():
    held = apply(LockRecord(), "a", 1, Acquire(1)).record
    queued = apply(held, "b", 1, Acquire(1), Acquire(2)).record
    assert queued.line == (Run("b", 1, 3),)
    record, outcomes, wakes = apply(queued, "a", 2, Release(1))
    assert record.holder == Holder("b", 1, 2)
    assert outcomes == (1,)
    assert wakes == (Wake("b", 1, 2),)


def test_a_ticket_in_the_middle_of_a_run_is_withdrawn():
    record = apply(LockRecord(), "a", 1, *map(Acquire, range(1, 6))).record
    assert apply(record, "a", 2, Withdraw(3)).record.line == (Run("a", 2, 3), Run("a", 4, 6))


def test_a_batch_that_is_sent_again_counts_once_and_is_answered_the_same():
    first = apply(LockRecord(), "a", 1, Acquire(1), Release(1), Acquire(2))
    again = apply(first.record, "a", 1, Acquire(1), Release(1), Acquire(2))
    assert again.outcomes == first.outcomes
    assert again.record == first.record


def test_a_release_that_comes_late_ends_no_other_grant():
    record = apply(LockRecord(), "a", 1, Acquire(1)).record
    record = apply(record, "b", 1, Acquire(1), dead=("a",)).record
    assert record.holder == Holder("b", 1, 2)
    record, outcomes, _ = apply(record, "a", 2, Release(1))
    assert outcomes == (0,)
    assert record.holder == Holder("b", 1, 2)


def test_who_waits_for_whom():
    record = apply(LockRecord(), "a", 1, Acquire(1)).record
    record = apply(record, "b", 1, Acquire(1)).record
    record = apply(record, "c", 1, Acquire(1)).record
    assert [record.watched_by(session) for session in "abc"] == [frozenset(), {"a"}, {"b"}]


@pytest.mark.parametrize("change", [{"format": 2}, {"kind": "ladder"}])
def test_a_record_that_this_version_does_not_know_is_refused(change):
    document = json.loads(encode(LockRecord())) | change
    with pytest.raises(FormatError, match=r"Upgrade holdfast here; nothing was changed"):
        decode(json.dumps(document), "deploy", LockRecord())


SESSIONS = st.sampled_from("abc")


class LockMachine(RuleBasedStateMachine):
    """The record beside the simplest model: a line of (session, ticket), whose first one holds the lock."""

    def __init__(self) -> None:
        super().__init__()
        self.record = LockRecord()
        self.line: deque[tuple[str, int]] = deque()
        self.batches = dict.fromkeys("abc", 0)
        self.tickets = dict.fromkeys("abc", 0)
        self.tokens: list[int] = []
        self.names = {letter: letter for letter in "abc"}

    def change(self, session: str, operations: tuple[Operation, ...], repeats: int, dead: frozenset[str]) -> None:
        self.batches[session] += 1
        batch = Batch(session, self.batches[session], operations)
        answers = []
        for _ in range(repeats):
            self.record, outcomes, _ = step(decode(encode(self.record), "x", LockRecord()), batch, dead)
            answers.append(outcomes)
            self.note()
        assert len(set(answers)) == 1
        for operation, outcome in zip(operations, answers[0], strict=True):
            if isinstance(operation, Acquire) and outcome:
                self.note_grant(outcome)

    def note(self) -> None:
        if self.record.holder is not None:
            self.note_grant(self.record.holder.token)

    def note_grant(self, token: int) -> None:
        if not self.tokens or self.tokens[-1] != token:
            self.tokens.append(token)

    @rule(letter=SESSIONS, repeats=st.integers(1, 3))
    def acquire(self, letter: str, repeats: int) -> None:
        session = self.names[letter]
        self.tickets[session] += 1
        self.line.append((session, self.tickets[session]))
        self.change(session, (Acquire(self.tickets[session]),), repeats, frozenset())

    @precondition(lambda self: self.line)
    @rule(repeats=st.integers(1, 3))
    def release(self, repeats: int) -> None:
        session, _ = self.line.popleft()
        assert self.record.holder is not None
        self.change(session, (Release(self.record.holder.token),), repeats, frozenset())

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 9), repeats=st.integers(1, 3))
    def withdraw(self, which: int, repeats: int) -> None:
        session, ticket = self.line[which % len(self.line)]
        self.line.remove((session, ticket))
        self.change(session, (Withdraw(ticket),), repeats, frozenset())

    @precondition(lambda self: self.line)
    @rule(other=SESSIONS)
    def die(self, other: str) -> None:
        """The session of the holder dies; somebody else, or its own successor, buries it."""
        dead = self.line[0][0]
        letter = next(letter for letter, name in self.names.items() if name == dead)
        self.names[letter] = f"{dead}'"
        self.batches[self.names[letter]] = self.tickets[self.names[letter]] = 0
        self.line = deque(entry for entry in self.line if entry[0] != dead)
        self.change(self.names[other], (), 1, frozenset({dead}))

    @invariant()
    def same(self) -> None:
        holder = None if self.record.holder is None else self.record.holder[:2]
        queued = [(run.session, ticket) for run in self.record.line for ticket in range(run.first, run.end)]
        assert [holder, *queued] == (list(self.line) or [None])
        assert self.tokens == sorted(set(self.tokens)), "a token went back"


TestLockMachine = LockMachine.TestCase
TestLockMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
