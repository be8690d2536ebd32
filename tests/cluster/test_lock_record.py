"""The protocol of the Lock without a session or an engine, by example; test_records.py has the rest."""

from __future__ import annotations

import json

import pytest

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
    assert record.watches() == {"b": {"a"}, "c": {"b"}}


@pytest.mark.parametrize("change", [{"format": 2}, {"kind": "ladder"}])
def test_a_record_that_this_version_does_not_know_is_refused(change):
    document = json.loads(encode(LockRecord())) | change
    with pytest.raises(FormatError, match=r"Upgrade holdfast here; nothing was changed"):
        decode(json.dumps(document), "deploy", LockRecord())
