"""A Barrier trips when all have come and a session says which of them were alive: by example; and a session that dies
when it was about to say so."""

from __future__ import annotations

import asyncio

import pytest
from interpreters import BOUND

from holdfast.cluster import SessionLost
from holdfast.cluster.records.barrier import BROKEN, Arrive, BarrierRecord, GiveUp, Place, Reset, Trip
from holdfast.cluster.records.line import tickets
from holdfast.cluster.records.record import Wake
from holdfast.cluster.records.step import Batch, step

from .test_lock import connect, opened, run, url
from .worker import until_waiting

__all__ = ["url"]  # the fixture


def after(*arrivals, parties=3, dead=()):
    record, numbers = BarrierRecord(parties=parties), dict.fromkeys(arrivals, 0)
    for session in arrivals:
        numbers[session] += 1
        record, outcomes, *_ = step(record, Batch(session, numbers[session], (Arrive(numbers[session]),)))
        assert outcomes == (0,) or not record.line
    return step(record, Batch("else", 1, (Trip(()),)), dead).record


@pytest.mark.parametrize("arrivals", ["abc", "aba", "abb", "aab"])
def test_it_does_not_trip_before_somebody_has_looked_who_is_alive(arrivals):
    record = after(*arrivals)
    assert (record.arrived(), record.places) == (3, ())
    assert record.due() == (arrivals[2], Trip((*dict.fromkeys(arrivals),)))


def test_nobody_need_be_looked_for_among_the_tickets_of_one_session():
    record = after(*"aaa")
    assert (record.arrived(), record.due()) == (0, None)
    assert record.places == (Place("a", 1, 1), Place("a", 2, 2), Place("a", 3, 3))


@pytest.mark.parametrize(("alive", "through"), [("abc", 3), ("ab", 0), ("", 0), ("abcd", 3), ("bcd", 0)])
def test_all_must_be_known_to_be_alive_who_are_needed(alive, through):
    record, outcomes, wakes, _ = step(after(*"abcd"), Batch("c", 2, (Trip((*alive,)),)))
    assert outcomes == (through,)
    assert [*tickets(record.line)] == ([("d", 1)] if through else [(session, 1) for session in "abcd"])
    assert {wake for wake in wakes if wake.tickets} == (
        {Wake("a", 1, 1), Wake("b", 1, 2), Wake("c", 1, 3)} if through else set()
    )


def test_who_gives_up_breaks_the_round_that_it_waits_in_and_no_other():
    waiting = step(after(*"ab"), Batch("a", 2, (GiveUp(1),)))
    assert waiting.outcomes == (BROKEN,)
    assert (waiting.record.broken, waiting.record.line) == (True, ())
    assert Wake("b", 1, BROKEN) in waiting.wakes

    through = step(after(*"abc"), Batch("c", 2, (Trip((*"abc",)),))).record
    later = step(through, Batch("b", 2, (Arrive(2),))).record
    given_up = step(later, Batch("a", 2, (GiveUp(1),)))
    assert given_up.outcomes == (1,)
    assert not given_up.record.broken
    assert [*tickets(given_up.record.line)] == [("b", 2)]
    assert given_up.record.places == (Place("b", 1, 2), Place("c", 1, 3))

    broken = step(after(*"ab"), Batch("b", 2, (Reset(),))).record
    assert step(broken, Batch("a", 2, (GiveUp(1),))).outcomes == (BROKEN,)
    assert not step(broken, Batch("a", 2, (GiveUp(1),))).record.broken


def test_several_rounds_at_once():
    record, outcomes, *_ = step(after(*"abcde", parties=2), Batch("b", 2, (Trip((*"abcd",)),)))
    assert outcomes == (4,)
    assert [place.place for place in record.places] == [1, 2, 1, 2]
    assert record.due() is None


def test_the_dead_are_buried_first():
    done = step(after(*"abc"), Batch("c", 2, (Trip((*"abc",)),)), {"b"})
    assert (done.outcomes, done.record.arrived()) == ((0,), 2)


def test_another_session_is_told_that_it_is_to_look():
    done = step(after(*"abcd"), Batch("d", 2, ()), {"b"})
    assert done.record.due() == ("d", Trip((*"acd",)))
    done = step(after(*"abcd"), Batch("a", 2, ()), {"b"})
    assert Wake("d", 0, 0, 0) in done.wakes


def test_who_would_say_so_dies(url):
    """Its arrival does not count, and the next one takes its place."""

    async def main():
        async with connect(url) as one, connect(url) as two:
            dying = await opened(url)
            first = asyncio.create_task(one.barrier("b", 2).wait())
            await until_waiting(two, "b", 1)
            register = dying.barrier("b", 2)._register
            register._do_what_is_due = lambda record: None  # it is killed at this moment
            gone = asyncio.create_task(dying.barrier("b", 2).wait())
            await until_waiting(two, "b", 2)
            await dying.engine.close()
            await asyncio.sleep(0.1)
            assert not first.done()
            async with asyncio.timeout(BOUND):
                assert await two.barrier("b", 2).wait() == 1
                assert await first == 0
            gone.cancel()
            with pytest.raises((SessionLost, asyncio.CancelledError)):
                await gone

    run(main)
