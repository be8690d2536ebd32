"""The protocol of the Lock without a session or an engine, by example; test_records.py has the rest."""

from __future__ import annotations

import json

import pytest

from holdfast.cluster import FormatError
from holdfast.cluster.records.additions import added
from holdfast.cluster.records.answers import answer_to
from holdfast.cluster.records.json_text import FORMAT
from holdfast.cluster.records.lock import Acquire, Holder, LockRecord, Notify, Operation, Release, TryAcquire, Wait
from holdfast.cluster.records.record import Wake, Withdraw
from holdfast.cluster.records.run import Run
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import decode, encode


def apply(record: LockRecord, session: str, number: int, *operations: Operation, dead: tuple[str, ...] = ()):
    return step(record, Batch(session, number, operations), dead)


def test_a_release_names_the_next_owner_in_the_same_change():
    held = apply(LockRecord(), "a", 1, Acquire(1)).record
    queued = apply(held, "b", 1, Acquire(1), Acquire(2)).record
    assert queued.line == (Run("b", (1, 3)),)
    record, outcomes, wakes, _ = apply(queued, "a", 2, Release(1))
    assert record.holder == Holder("b", 1, 2, tickets=2)
    assert outcomes == (1,)
    assert wakes == (Wake("b", 1, 2, 2),)


def test_a_ticket_in_the_middle_of_a_run_is_withdrawn():
    record = apply(LockRecord(), "a", 1, *map(Acquire, range(1, 6))).record
    assert apply(record, "a", 2, Withdraw(3)).record.line == (Run("a", (2, 3, 4, 6)),)


def test_a_batch_that_is_sent_again_counts_once_and_is_answered_the_same():
    first = apply(LockRecord(), "a", 1, Acquire(1), Release(1), Acquire(2))
    again = apply(first.record, "a", 1, Acquire(1), Release(1), Acquire(2))
    assert again.outcomes == first.outcomes
    assert again.record == first.record


def test_a_release_that_comes_late_ends_no_other_grant():
    record = apply(LockRecord(), "a", 1, Acquire(1)).record
    record = apply(record, "b", 1, Acquire(1), dead=("a",)).record
    assert record.holder == Holder("b", 1, 2)
    record, outcomes, *_ = apply(record, "a", 2, Release(1))
    assert outcomes == (0,)
    assert record.holder == Holder("b", 1, 2)


def test_who_waits_for_whom():
    record = apply(LockRecord(), "a", 1, Acquire(1)).record
    record = apply(record, "b", 1, Acquire(1)).record
    record = apply(record, "c", 1, Acquire(1)).record
    assert record.watches() == {"b": {"a"}, "c": {"b"}}


# Joining without a change

NOW = 1764118000_000000


def stored(record: LockRecord, *batches: Batch) -> LockRecord:
    """The record with these behind it, read again."""
    text = "\n".join([encode(record), *(f"{NOW} {batch.session}{added(record, batch)}" for batch in batches)])
    return decode(text, "x", LockRecord())


HELD = apply(LockRecord(), "a", 1, Acquire(1)).record
B, C = Batch("b", 1, (Acquire(1), Acquire(2))), Batch("c", 1, (Acquire(1),))


def test_a_batch_that_is_stored_behind_the_record_is_as_good_as_applied():
    now = NOW / 1_000_000
    assert stored(HELD, B, C) == step(step(HELD, B._replace(at=now)).record, C._replace(at=now)).record
    assert step(stored(HELD, B, C), C)[:2] == (stored(HELD, B, C), (0,))


def test_a_batch_that_is_stored_twice_counts_once():
    assert stored(HELD, B, B, C, B) == stored(HELD, B, C)
    assert stored(step(HELD, B).record, B) == step(HELD, B).record


def test_the_tickets_of_two_batches_are_one_run():
    more = Batch("b", 2, (Acquire(3),))
    assert stored(HELD, B, more).line == (Run("b", (1, 4), NOW / 1_000_000),)
    assert stored(HELD, B, more).answers["b"] == answer_to(2, [0])


@pytest.mark.parametrize(
    "operations", [(), (TryAcquire(1),), (Acquire(1), Withdraw(1)), (Release(1), Acquire(2)), (Wait(2, "c", 1),)]
)
def test_only_what_does_nothing_but_join_is_stored_behind_the_record(operations):
    assert added(HELD, Batch("b", 1, operations)) is None


def test_nobody_joins_a_free_lock_without_a_change():
    assert LockRecord().ahead() is None
    assert HELD.ahead() == ("a", 1)
    assert step(HELD, B).record.ahead() == ("b", 2)


NOTIFYING = apply(step(HELD, Batch("c", 1, (Acquire(1),))).record, "a", 2, Wait(2, "room", 1), Acquire(3)).record
"""`c` holds it, `a` stands in line, and waits in a condition."""


@pytest.mark.parametrize(
    ("record", "session", "operations", "is_alike"),
    [
        (step(HELD, B).record, "a", (Release(1),), True),
        (step(step(HELD, B).record, C).record, "b", (Withdraw(2),), True),
        (step(HELD, B).record, "b", (Withdraw(2),), False),
        (HELD, "a", (Release(1),), False),
        (HELD, "a", (Release(1), Acquire(2)), False),
        (step(HELD, B).record, "a", (Release(1), Acquire(2)), False),
        (step(HELD, B).record, "c", (Acquire(1),), False),
        (NOTIFYING, "c", (Release(2),), True),
        (NOTIFYING, "c", (Notify("room", 1, 2),), False),
        (NOTIFYING, "c", (Wait(2, "room", 2),), True),
    ],
)
def test_what_may_be_changed_without_knowing_of_all_who_have_joined(record, session, operations, is_alike):
    """If they stand behind the same ticket as before."""
    assert apply(record, session, 9, *operations).is_alike_at_end is is_alike


def test_the_holder_is_told_of_who_joins_if_it_knows_of_nobody_to_hand_over_to_or_may_notify():
    assert LockRecord().told() is None
    assert HELD.told() == "a"
    assert step(HELD, B).record.told() is None
    assert NOTIFYING.told() == "c"


def test_who_buries_the_dead_must_know_of_all_who_have_joined():
    assert not apply(step(HELD, B).record, "c", 9, dead=("a",)).is_alike_at_end


@pytest.mark.parametrize("line", ["", "b", "\t2", "b\tx\ta:1", "b\t2\tb:1", "b\t2\t:1", "b\t2\ta", '{"b":1}'])
def test_what_is_no_batch_is_refused_behind_a_record(line):
    for row in (line, f"{NOW} {line}"):
        with pytest.raises(FormatError, match="othing was changed"):
            decode(f"{encode(step(HELD, B).record)}\n{row}", "x", LockRecord())


EARLIER = "of an earlier version of holdfast.*End the programs with that version.*nothing was changed"
LATER = "Upgrade holdfast here; nothing was changed"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        *(({"format": earlier}, EARLIER) for earlier in range(1, FORMAT)),
        ({"format": FORMAT + 1}, LATER),
        ({"kind": "ladder"}, LATER),
    ],
)
def test_a_record_that_this_version_does_not_know_is_refused(change, told):
    head, *rows = encode(LockRecord()).split("\n")
    with pytest.raises(FormatError, match=told):
        decode("\n".join([json.dumps(json.loads(head) | change), *rows]), "deploy", LockRecord())
