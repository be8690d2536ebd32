"""The line of a record, beside a list of its tickets; and since when they wait."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cluster.records import rows
from holdfast.cluster.records.leased import Acquire
from holdfast.cluster.records.line import (
    TOGETHER,
    Run,
    join,
    join_all,
    leave,
    size,
    stands_in,
    take,
    take_first,
    tickets,
    tickets_of,
)
from holdfast.cluster.records.lock import LockRecord
from holdfast.cluster.records.rows import LineRows, of_run, run_in
from holdfast.cluster.records.semaphore import SemaphoreRecord
from holdfast.cluster.records.step import Batch, step

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


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(RUNS, max_size=4), max_size=8), st.data())
def test_the_rows_of_a_line_do_not_depend_on_the_line_before(added, data):
    writer, reader, line = LineRows(), LineRows(), ()
    for runs in added:
        line = (*line, *runs)
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.sampled_from([0, 0, 0, *range(len(line))]))
            line = line[:at] + line[at + 1 :]
        written = [*map(of_run, line)]
        assert [*writer.of(line)] == written
        assert reader.read(written) == line == tuple(map(run_in, written))


@pytest.mark.parametrize(
    "row", ["b", "b\t0.50\t1", "b\t0.5\t01", "b\t1e3\t1", "b\t.5\t1", "b\t00.5\t1", "\u00e4\t0.5\t1", "b\t\u0661.5\t1"]
)
@pytest.mark.parametrize("others", [[], ["a\t0.5\t1"], ["a\t0.5\t1\t3"]])
def test_a_row_that_was_written_otherwise_is_refused_wherever_it_stands(row, others):
    known = LineRows()
    assert known.read(others) is not None
    for wrong in ([row, *others], [*others, row]):
        assert known.read(wrong) is None
        assert LineRows().read(wrong) is None


def test_a_change_at_the_ends_of_a_line_reads_and_writes_only_what_is_new(monkeypatch):
    line = tuple(Run("abc"[ticket % 3], (ticket, ticket + 1), 0.5) for ticket in range(100))
    known = LineRows()
    known.of(line)
    new = []
    monkeypatch.setattr(rows, "_rows_of", lambda line: new.extend(line) or [*map(of_run, line)])
    monkeypatch.setattr(rows, "_runs_in", lambda rows: new.extend(rows) or [*map(run_in, rows)])
    last = Run("d", (7, 8), 0.5)
    shorter = (*line[1:], last)
    written = known.of(shorter)
    assert new == [last]
    assert known.read([*written[2:], "e\t1.5\t8"])[-1] == Run("e", (8, 9), 1.5)
    assert new == [last, "e\t1.5\t8"]
    known.of(line[:50] + line[51:])
    assert new == [last, "e\t1.5\t8", *line[:3]]  # in the middle as well
