"""The line of a record, beside a list of its tickets; and since when they wait."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cluster.records import rows
from holdfast.cluster.records.leased import Acquire
from holdfast.cluster.records.line import (
    TOGETHER,
    join,
    join_all,
    join_run,
    leave,
    size,
    stands_in,
    take,
    take_first,
    tickets,
    tickets_of,
)
from holdfast.cluster.records.lock import LockRecord, Release
from holdfast.cluster.records.record import Withdraw
from holdfast.cluster.records.rows import line_in, moved_on, text_of
from holdfast.cluster.records.run import Run
from holdfast.cluster.records.semaphore import SemaphoreRecord
from holdfast.cluster.records.shapes import FEW
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import STEP, decode, encode
from holdfast.cluster.records.watching import watch_more, watches

from .test_lock import connect, run, url
from .worker import until_waiting

__all__ = ["url"]  # the fixture

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from("ab"), st.integers(1, 3), st.sampled_from([0, 0.5, 3])),
        st.tuples(st.just("leave"), st.sampled_from("ab"), st.sets(st.integers(0, 60), max_size=40)),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.just("first")),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=300)
@given(MOVES)
def test_a_line_is_a_list_of_tickets(moves):
    line, model, last, now = (), [], {"a": 0, "b": 0}, 100.0
    for what, *values in moves:
        match what, *values:
            case "join", session, step, later:
                now += later
                last[session] += step
                line = join(line, session, last[session], now)
                model.append((session, last[session]))
            case "leave", session, leaving:
                line, gone = leave(line, session, sorted(leaving))
                assert sorted(gone) == sorted(ticket for who, ticket in model if who == session and ticket in leaving)
                model = [entry for entry in model if not (entry[0] == session and entry[1] in leaving)]
            case "take", n:
                taken, line = take(line, n)
                assert [*tickets(taken)] == model[:n]
                model = model[n:]
            case ("first",) if model:
                session, ticket, count, line = take_first(line)
                assert [(session, ticket + each) for each in range(count)] == model[:count]
                model = model[count:]
        assert [*tickets(line)] == model
        assert size(line) == len(model)
        for run_ in line:
            assert run_.spans
            assert [*run_.spans] == sorted({*run_.spans}), "a hole of nothing"
        for session in "ab":
            assert tickets_of(line, session) == {ticket for who, ticket in model if who == session}
            assert all(stands_in(line, session, ticket) == ((session, ticket) in model) for ticket in range(60))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 9), max_size=6), st.sampled_from([0, 0.5, 3])))
)
def test_those_who_join_together_stand_as_if_they_had_joined_one_by_one(crowds):
    together, one_by_one, now = (), (), 100.0004
    for session, asked, later in crowds:
        now += later
        together = join_all(together, session, asked, now)
        for ticket in asked:
            one_by_one = join(one_by_one, session, ticket, now)
        assert together == one_by_one


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([LockRecord(), SemaphoreRecord(value=2, free=2, bounded=True)]),
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), max_size=4),
)
def test_those_who_ask_in_a_row_get_what_they_would_get_one_by_one(record, crowds):
    by_one = record
    for number, asked in enumerate(crowds, 1):
        operations = (*map(Acquire, asked),)
        done = step(record, Batch("a", number, operations, 100.0 + number))
        outcomes = []
        by_one = by_one.but(changed=100.0 + number)
        for operation in operations:
            by_one, outcome = by_one.apply("a", operation, [])
            outcomes.append(outcome)
        record = done.record
        assert (record.but(answers={}), done.outcomes) == (by_one, (*outcomes,))


def test_who_joins_much_later_is_another_run():
    line = join(join(join((), "a", 1, 100.0), "a", 2, 100 + TOGETHER), "a", 3, 100.001 + TOGETHER)
    assert line == (Run("a", (1, 3), 100.0), Run("a", (3, 4), 100.001 + TOGETHER))


def test_holes_are_stored_in_one_run():
    line = ()
    for ticket in range(1, 10_001):
        line = join(line, "a", ticket, 0)
    line, gone = leave(line, "a", range(1, 10_001, 2))
    assert (len(line), len(gone), size(line)) == (1, 5000, 5000)


def test_since_when_each_one_waits(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            async with one.condition("x") as grant:
                start = datetime.now(UTC)
                waiter = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x", 1)
                [first] = (await one.inspect("x")).waiters
                assert start - timedelta(milliseconds=1) <= first.since <= datetime.now(UTC) + timedelta(milliseconds=1)
                assert first.condition is None
                await asyncio.sleep(0.2)
                later = asyncio.create_task(one.lock("x").acquire())
                await until_waiting(one, "x", 2)
                before, behind = (await one.inspect("x")).waiters
                assert before == first
                assert behind.since - first.since >= timedelta(seconds=0.19)
                grant.check()
            await waiter
            later.cancel()

    run(main)


def test_since_when_somebody_waits_in_a_condition(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            condition = two.condition("room", two.lock("x"))

            async def wait():
                async with condition:
                    await condition.wait()

            start = datetime.now(UTC)
            waiter = asyncio.create_task(wait())
            while not any(waiting.condition for waiting in await waiters(one)):
                await asyncio.sleep(0.01)
            [waiting] = await waiters(one)
            assert waiting.condition == "room"
            assert start - timedelta(milliseconds=1) <= waiting.since <= datetime.now(UTC) + timedelta(milliseconds=1)
            await asyncio.sleep(0.1)
            mine = one.condition("room", one.lock("x"))
            async with mine:
                notified = datetime.now(UTC)
                await mine.notify()
                [waiting] = await waiters(one)
                assert waiting.condition is None
                assert waiting.since >= notified - timedelta(milliseconds=1), "for the lock it waits since then"
            await waiter

    run(main)


async def waiters(session):
    try:
        return (await session.inspect("x")).waiters
    except KeyError:
        return ()


# Its rows

RUNS = st.builds(
    lambda session, spans, since, asks: Run(session, (*sorted(spans),), since, asks),
    st.sampled_from(["a", "b", "a session of 7"]),
    st.sets(st.integers(0, 10**20), min_size=2, max_size=4).map(lambda spans: sorted(spans)[: len(spans) // 2 * 2])
    | st.integers(0, 10**20).map(lambda ticket: [ticket, ticket + 1]),
    st.floats(0, 253402300799, allow_nan=False) | st.integers(0, 10**14).map(lambda millis: millis / 1000),
    st.sampled_from([1, 1, 1, 2]),
)
SHORT_RUNS = st.builds(
    Run,
    st.sampled_from(["a", "b", "a session of 7"]),
    st.sets(st.integers(0, 40), min_size=2, max_size=4).map(lambda spans: (*sorted(spans)[: len(spans) // 2 * 2],)),
    st.sampled_from([0.0, 0.5, 1764605724.125]),
    st.sampled_from([1, 1, 1, 2]),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(RUNS, max_size=FEW + 4))
def test_a_line_is_read_as_it_was_written(runs):
    stored = line_in(text_of((*runs,)), 2)
    assert stored == (*runs,) == (*stored,)
    assert (len(stored), bool(stored), text_of(stored)) == (len(runs), bool(runs), text_of((*runs,)))


@settings(deadline=None, max_examples=300)
@given(st.lists(SHORT_RUNS, max_size=FEW + 4), SHORT_RUNS, st.sets(st.integers(0, 40)), st.data())
def test_a_stored_line_is_as_the_line_of_its_runs(runs, more, leaving, data):
    line = (*runs,)
    stored = line_in(text_of(line), 2)
    assert [stored[at] for at in range(-len(line), len(line))] == [line[at] for at in range(-len(line), len(line))]
    first, end = (data.draw(st.integers(-3, 20)) for _ in range(2))
    assert (stored[first:end], stored[end:], stored[:end]) == (line[first:end], line[end:], line[:end])
    joined = join_run(line, more)
    assert join_run(stored, more) == joined
    assert take(stored, abs(end)) == take(line, abs(end))
    for session in {each.session for each in joined}:
        assert tickets_of(stored, session) == tickets_of(line, session)
        assert stands_in(stored, session, end) == stands_in(line, session, end)
        left = leave(line, session, sorted(leaving))
        assert leave(stored, session, sorted(leaving)) == left
        among = sorted(tickets_of(line, session))[:end]
        assert leave(stored, session, among) == leave(line, session, among)
        assert watches(stored, frozenset("b"), {session}) == watches(line, frozenset("b"), {session})
    if line:
        assert take_first(stored) == take_first(line)
        for later in (joined, line[1:], join_run(line[1:], more), left[0], line[1:-1], line[:-1]):
            stored_later = line_in(text_of(later), 2)
            assert moved_on(stored, stored_later) == moved_on(line, later)
            holders = frozenset("b"), frozenset({line[0].session})
            found = watch_more(stored, holders[0], stored_later, holders[1])
            assert found == watch_more(line, holders[0], later, holders[1])


@pytest.mark.parametrize(
    "row", ["b", "b\t0.50\t1", "b\t0.5\t01", "b\t1e3\t1", "b\t.5\t1", "b\t00.5\t1", "\u00e4\t0.5\t1", "b\t\u0661.5\t1"]
)
@pytest.mark.parametrize("others", [[], ["a\t0.5\t1"], ["a\t0.5\t1\t3"], ["a\t0.5\t1"] * FEW])
def test_a_row_that_was_written_otherwise_is_refused_wherever_it_stands(row, others):
    assert line_in("".join(f"\n{each}" for each in others), 1) is not None
    for wrong in ([row, *others], [*others, row]):
        assert line_in("".join(f"\n{each}" for each in wrong), 1) is None


def test_a_ticket_that_asks_for_more_than_it_may_is_refused_in_a_long_line():
    line = (*(Run("a", (ticket, ticket + 1), 0.5) for ticket in range(20)), Run("b", (1, 2), 0.5, 2))
    assert line_in(text_of(line), 1) is None
    assert line_in(text_of(line), 2) == line


def test_a_change_at_the_ends_of_a_long_line_reads_none_in_between(monkeypatch):
    sessions = [f"s{number}" for number in range(100)]
    record = LockRecord()
    for session in sessions:
        record = step(record, Batch(session, 1, (Acquire(1),))).record
    text = encode(record)
    read, read_row = set(), rows._read
    monkeypatch.setattr(rows, "_read", lambda row: read.add(row.partition("\t")[0]) or read_row(row))
    found = decode(text, "x", LockRecord())
    released = step(found, Batch("s0", 2, (Release(1),))).record
    asked = step(released, Batch("s0", 3, (Acquire(2),))).record
    assert asked.watches({"s0"}) == {"s0": {"s99"}}
    assert encode(asked) != text
    assert read <= {"s0", "s1", "s2", "s99"}
    left = step(asked, Batch("s50", 2, (Withdraw(1),))).record
    encode(left)
    assert read <= {"s0", "s1", "s2", "s99", "s50", "s51"}


def test_a_hand_over_in_a_long_line_seldom_changes_the_length_of_the_text():
    record, lengths = LockRecord(), []
    for session in range(100):
        record = step(record, Batch(f"session {session:3}", 1, (Acquire(1),), 1764605724.125)).record
    for turn in range(2, 12):
        for session in range(100):
            by, holder = f"session {session:3}", record.holder
            assert by == holder.session
            for number, operation in enumerate((Release(holder.token), Acquire(turn)), 2 * turn):
                record = step(record, Batch(by, number, (operation,), 1764605724.125 + turn)).record
                text = encode(record)
                lengths.append(len(text))
        assert decode(text, "x", LockRecord()) == record
    assert {length % STEP for length in lengths} == {0}
    assert sum(one != other for one, other in itertools.pairwise(lengths)) < len(lengths) / 10
