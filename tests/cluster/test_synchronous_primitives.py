"""Semaphores, events, conditions and barriers of a SyncSession. The locks are in test_synchronous.py."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from interpreters import BOUND

from holdfast.cluster import LeaseLost, SessionLost

from .blocking import Interruptions, in_loop, in_thread, until, waiting
from .blocking import interruptions as interruptions
from .engines import Place
from .engines import memory as memory
from .engines import place as place

# Semaphores


def test_a_semaphore(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        semaphore, other = one.semaphore("x", 2), two.semaphore("x", 2)
        with semaphore as grant:
            grant.check()
            assert not semaphore.locked()
            assert other.acquire()
            assert semaphore.locked()
            assert semaphore.acquire(blocking=False) is None
            assert semaphore.acquire(timeout=0.01) is None
            assert semaphore.acquire(timeout=-5) is None  # taken as 0, as in threading
            other.resize(3)
            assert semaphore.acquire(timeout=BOUND)
            semaphore.release()
            grant.check()  # the permit of the body was not meant
        semaphore.release(2)  # which adds two, as this session holds none
        assert one.inspect("x").state["free"] == 4
        with pytest.raises(ValueError, match="n must be one or more"):
            semaphore.release(0)


def test_a_bounded_semaphore(place: Place) -> None:
    with place.connect().sync as session:
        semaphore = session.bounded_semaphore("x", 1)
        with semaphore:
            pass
        with pytest.raises(ValueError, match="released too many times"):
            semaphore.release()
        assert repr(semaphore).startswith("<holdfast.cluster.SyncBoundedSemaphore 'x' of ")


def test_several_permits_at_once(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        semaphore, other = one.bounded_semaphore("x", 4), two.bounded_semaphore("x", 4)
        with semaphore.permits(3) as grant:
            assert grant.permits == 3
            large = in_thread(lambda: other.acquire(n=2))
            until(lambda: bool(one.inspect("x").waiters))
            assert semaphore.acquire(blocking=False) is None, "it has overtaken"
            assert semaphore.acquire(timeout=0.01, n=4) is None
            semaphore.release(1)
            assert grant.permits == 2
            assert large.result(BOUND).permits == 2
        assert grant.released
        other.release(2)
        with other.within(BOUND, n=4) as all_of_them:
            assert all_of_them.permits == 4
        with pytest.raises(TimeoutError), semaphore.permits(1), other.within(0.01, n=4):
            pass
        with pytest.raises(ValueError, match="n must be at most 4"):
            semaphore.acquire(False, n=5)
        with pytest.raises(ValueError, match="n, a number of permits, must be one or more"):
            semaphore.permits(0)
        first, second = semaphore.acquire(n=2), semaphore.acquire()
        with pytest.raises(ValueError, match="it holds 3 permits here, not 4; none was given back"):
            semaphore.release(4)
        semaphore.release(3)
        assert (first.released, second.released) == (True, True)
        assert other.acquire(False, n=4)


def test_several_permits_that_were_held_for_too_long_go_to_the_next(memory: Place) -> None:
    lost = threading.Event()
    with memory.connect().sync as one, memory.connect().sync as two:
        semaphore = one.semaphore("x", 3, on_lost=lambda grant: lost.set(), hold_at_most=0.05)
        kept = one.semaphore("x", 3).acquire(n=1)
        held = semaphore.acquire(n=2)
        assert two.semaphore("x", 3).acquire(timeout=BOUND, n=2)
        assert lost.wait(BOUND)
        with pytest.raises(LeaseLost, match="for longer than its hold_at_most"):
            held.check()
        kept.check()


def test_each_thread_gives_back_its_own_permit(place: Place) -> None:
    entered = threading.Barrier(3)

    def work() -> None:
        with semaphore as grant:
            entered.wait(BOUND)
            grant.check()
        assert grant.released

    with place.connect().sync as session:
        semaphore = session.semaphore("x", 3)
        for end in [in_thread(work) for _ in range(3)]:
            end.result(BOUND)
        assert session.inspect("x").state["free"] == 3


def test_permits_are_lost_one_by_one(memory: Place) -> None:
    with memory.connect().sync as session:
        semaphore = session.semaphore("x", 2, hold_at_most=0.01)
        first, second = semaphore.acquire(), semaphore.acquire()
        assert first
        assert second
        assert first.lost.wait(BOUND)
        assert second.lost.wait(BOUND)
        for _ in range(2):
            with pytest.raises(LeaseLost, match="hold_at_most"):
                semaphore.release()
        assert session.inspect("x").state["free"] == 2


# RWLocks


def test_readers_and_writers(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        mine, other = one.rw_lock("x"), two.rw_lock("x")
        with mine.reader as first, other.reader:
            assert mine.writer.acquire(blocking=False) is None
            assert mine.writer.locked()
            assert not mine.reader.locked()
            writing = in_thread(lambda: other.writer.acquire())
            until(lambda: waiting(one))
            assert mine.reader.acquire(timeout=0.01) is None, "it has overtaken"
        grant = writing.result(BOUND)
        assert grant.token > first.token
        reading = in_thread(lambda: mine.reader.acquire())
        until(lambda: waiting(one))
        other.writer.downgrade()
        assert reading.result(BOUND).token == grant.token
        grant.check()
        with pytest.raises(TimeoutError), mine.writer.within(0.01):
            pass
        other.reader.release()  # of the writer that became a reader
        assert grant.released
        for side in (other.reader, other.writer):
            with pytest.raises(RuntimeError, match="is not acquired"):
                side.release()
        with pytest.raises(RuntimeError, match="is not acquired, so it cannot become a reader"):
            other.writer.downgrade()
        mine.reader.release()
        with other.writer:
            other.writer.downgrade()
            assert mine.reader.acquire(False)
        mine.reader.release()
        assert not other.writer.locked()
        assert repr(mine).startswith("<holdfast.cluster.SyncRWLock 'x' of ")
        assert repr(mine.reader).startswith("<holdfast.cluster.SyncReader 'x' of ")


# Events


def test_an_event(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        event, other = one.event("x"), two.event("x")
        assert not event.is_set()
        assert event.wait(0) is False
        assert event.wait(0.01) is False
        assert event.wait(-1) is False
        ends = [in_thread(event.wait), in_thread(lambda: event.wait(BOUND))]
        until(lambda: waiting(two) == 2)
        other.set()
        assert [end.result(BOUND) for end in ends] == [True, True]
        assert event.is_set()
        assert event.wait() is True
        other.clear()
        assert not event.is_set()
        with pytest.raises(OverflowError):
            event.wait(threading.TIMEOUT_MAX * 2)
        assert repr(event).startswith("<holdfast.cluster.SyncEvent 'x' of ")


def test_an_event_that_is_set_as_the_time_is_up(place: Place) -> None:
    with place.connect().sync as session:
        for turns in range(8):
            event = session.event(f"x{turns}")
            end = in_thread(lambda event=event: event.wait(BOUND))
            until(lambda turns=turns: waiting(session, f"x{turns}") == 1)
            [call] = [each for each in session._thread._calls if each._seconds >= 0]

            async def at_that_moment(event: Any = event, turns: int = turns, call: Any = call) -> None:
                setting = asyncio.ensure_future(event._event.set())
                for _ in range(turns):
                    await asyncio.sleep(0)
                call._time_is_up()
                await setting

            in_loop(session, at_that_moment)
            assert end.result(BOUND) in (True, False)
            until(lambda turns=turns: waiting(session, f"x{turns}") == 0)


# Conditions


def test_a_condition(place: Place) -> None:
    items: list[int] = []
    got: list[int] = []

    def consume() -> None:
        with condition as grant:
            assert condition.wait_for(lambda: items, BOUND)
            grant.check()
            got.append(items.pop(0))

    with place.connect().sync as one, place.connect().sync as two:
        condition, other = one.condition("x"), two.condition("x")
        ends = [in_thread(consume) for _ in range(3)]
        until(lambda: waiting(two) == 3)
        with other:
            items.extend([1, 2, 3])
            other.notify(2)
            other.notify()
            assert condition.locked()
        for end in ends:
            end.result(BOUND)
        assert sorted(got) == [1, 2, 3]
        with condition:
            other_end = in_thread(lambda: _with(other, other.wait))
            until(lambda: waiting(one) == 1)
        until(lambda: sum(each.condition is not None for each in one.inspect("x").waiters) == 1)
        assert condition.acquire()
        condition.notify_all()
        condition.release()
        assert other_end.result(BOUND) is True
        assert repr(condition).startswith("<holdfast.cluster.SyncCondition 'x' of ")


def _with(condition: Any, call: Any) -> Any:
    with condition:
        return call()


def test_the_time_of_a_condition(place: Place) -> None:
    with place.connect().sync as session:
        lock = session.lock("x")
        condition = session.condition("c", lock)
        with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
            condition.wait(0)
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify()
        with lock as grant:
            token = grant.token
            for seconds in (-1, 0, 0.01):
                assert condition.wait(seconds) is False
                grant.check()
            assert grant.token > token
            assert condition.wait_for(lambda: False, 0.01) is False
            assert condition.wait_for(lambda: "yes", 0) == "yes"
        until(lambda: not lock.locked())
        with session.lock("y"), pytest.raises(TypeError, match="a condition needs a lock that"):
            session.condition("c", object())  # type: ignore[arg-type]
        with place.connect().sync as other, pytest.raises(TypeError, match="a condition needs a lock that"):
            session.condition("c", other.lock("x"))


@pytest.mark.parametrize("turns", range(10))
def test_a_notification_as_the_time_is_up_reaches_somebody(place: Place, turns: int) -> None:
    with place.connect().sync as session:
        first, second, third = (session.condition("x") for _ in range(3))
        ends = [in_thread(lambda: _with(first, lambda: first.wait(BOUND)))]
        until(lambda: waiting(session) == 1)
        [call] = [each for each in session._thread._calls if each._seconds >= 0]
        ends.append(in_thread(lambda: _with(second, second.wait)))
        until(lambda: waiting(session) == 2)
        with third:

            async def at_that_moment() -> None:
                notifying = asyncio.ensure_future(third._condition.notify())
                for _ in range(turns):
                    await asyncio.sleep(0)
                call._time_is_up()
                await notifying

            in_loop(session, at_that_moment)
        if ends[0].result(BOUND):
            with third:
                third.notify()  # the first one had it, so the second one is still there
        assert ends[1].result(BOUND) is True
        until(lambda: not third.locked())


def test_ctrl_c_in_wait_comes_out_with_the_lock(place: Place, interruptions: Interruptions) -> None:
    with place.connect().sync as session:
        condition = session.condition("x")
        condition.acquire()
        interruptions.when_done()
        with pytest.raises(KeyboardInterrupt):
            condition.wait(0.01)
        condition.notify()  # which needs the lock
        condition.release()
        assert not condition.locked()


@pytest.mark.parametrize("shared", [False, True], ids=["another object", "the same object"])
def test_a_second_ctrl_c_comes_out_without_the_lock(place: Place, interruptions: Interruptions, shared: bool) -> None:
    with place.connect().sync as session:
        condition = session.condition("x")
        other: Any = condition if shared else session.lock("x")
        taken = threading.Event()

        def take() -> None:
            other.acquire()
            taken.set()

        def body() -> None:
            with condition:
                in_thread(take)
                until(lambda: waiting(session) == 1)
                interruptions.when(lambda: taken.wait(BOUND), lambda: None)
                condition.wait()

        with pytest.raises(KeyboardInterrupt):
            body()  # although the other one has the lock, and keeps it
        until(lambda: waiting(session) == 1)
        other.release()
        assert other.acquire(timeout=BOUND)


def test_a_session_that_ends_in_wait(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        condition = one.condition("x")
        end = in_thread(lambda: _with(condition, lambda: condition.wait(BOUND)))
        until(lambda: waiting(two) == 1)
        two.evict(one.id)
        with pytest.raises(LeaseLost):
            end.result(BOUND)


def test_waiting_is_no_holding(memory: Place) -> None:
    with memory.connect().sync as session:
        lock = session.lock("x", hold_at_most=BOUND)
        condition = session.condition("x", lock)
        end = in_thread(lambda: _with(condition, condition.wait))
        until(lambda: waiting(session) == 1)
        [held] = lock._held
        assert held._clock is None
        other = session.condition("x")
        with other:
            other.notify()
        assert end.result(BOUND) is True


# Barriers


def test_a_barrier(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        barrier, other = one.barrier("x", 3), two.barrier("x", 3)
        assert barrier.parties == 3
        ends = [in_thread(barrier.wait), in_thread(lambda: barrier.wait(BOUND))]
        until(lambda: other.n_waiting == 2)
        places = [other.wait(), *(end.result(BOUND) for end in ends)]
        assert sorted(places) == [0, 1, 2]
        assert not barrier.broken
        end = in_thread(barrier.wait)
        until(lambda: other.n_waiting == 1)
        other.abort()
        with pytest.raises(threading.BrokenBarrierError):
            end.result(BOUND)
        assert barrier.broken
        with pytest.raises(asyncio.BrokenBarrierError):
            other.wait()
        barrier.reset()
        assert not other.broken
        assert repr(barrier).startswith("<holdfast.cluster.SyncBarrier 'x' of ")


def test_who_waits_too_long_breaks_the_barrier(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        barrier, other = one.barrier("x", 3), two.barrier("x", 3)
        end = in_thread(other.wait)
        until(lambda: barrier.n_waiting == 1)
        with pytest.raises(threading.BrokenBarrierError, match="has waited longer than its timeout"):
            barrier.wait(0.01)
        with pytest.raises(threading.BrokenBarrierError):
            end.result(BOUND)
        assert one.barrier("x", 3).broken


def test_a_time_that_is_up_when_all_have_come_breaks_nothing(place: Place) -> None:
    """The loop of one stands still from before the last arrival until the time is up, and hears of both together."""
    seconds = 0.3

    def arrive() -> None:
        with place.connect().sync as two:
            ends.append(in_thread(two.barrier("x", 2).wait))
            until(lambda: not two.barrier("x", 2).n_waiting)
            until(lambda: time.monotonic() > begun + 2 * seconds)
            ends[-1].result(BOUND)

    async def stand_still() -> None:
        in_thread(arrive).result(BOUND)

    with place.connect().sync as one, place.connect().sync as watch:
        barrier, begun = one.barrier("x", 2), time.monotonic()
        ends = [in_thread(lambda: barrier.wait(seconds))]
        until(lambda: watch.barrier("x", 2).n_waiting)
        if time.monotonic() > begun + seconds:
            pytest.skip("this machine is too busy")
        in_loop(one, stand_still)
        assert sorted(end.result(BOUND) for end in ends) == [0, 1]
        assert not barrier.broken


def test_all_are_told_when_the_session_is_closed(place: Place) -> None:
    with place.connect().sync as session, place.connect().sync as other:
        other.lock("lock").acquire()
        waits = [
            session.lock("lock").acquire,
            session.semaphore("semaphore", 0).acquire,
            session.event("event").wait,
            session.barrier("barrier", 2).wait,
        ]
        ends = [in_thread(wait) for wait in waits]
        for name in ("lock", "semaphore", "event", "barrier"):
            until(lambda name=name: name in other.names() and waiting(other, name) == 1)
        session.close()
        for end in ends:
            with pytest.raises(SessionLost, match="was closed"):
                end.result(BOUND)
