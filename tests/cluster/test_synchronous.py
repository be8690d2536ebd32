"""`connect().sync`: sessions and their locks for threads, without an event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from interpreters import BOUND, drop

import holdfast
from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.loop_in_thread.call import Call

from .blocking import Interruptions, in_loop, in_thread, until, waiting
from .blocking import interruptions as interruptions
from .engines import Place
from .engines import memory as memory
from .engines import place as place

# What it does


def test_a_lock_is_taken_and_given_back(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        lock, other = one.lock("x"), two.lock("x")
        with lock as grant:
            grant.check()
            assert grant.name == "x"
            assert lock.locked()
            assert other.locked()
            assert other.acquire(blocking=False) is None
            assert other.acquire(timeout=0) is None
            assert other.acquire(timeout=0.01) is None
        until(lambda: not other.locked())  # the withdrawal is on its way
        assert grant.released
        with pytest.raises(LeaseLost, match="was released"):
            grant.check()
        later = other.acquire(timeout=BOUND)
        assert later
        assert later.token > grant.token
        other.release()
        assert one.names() == ["x"]
        assert not one.inspect("x").holders


def test_threads_tasks_and_sessions_stand_in_one_line(place: Place) -> None:
    order: list[str] = []

    async def as_task() -> None:
        async with place.connect() as session, session.lock("x"):
            order.append("task")

    with place.connect().sync as one, place.connect().sync as two:
        holder = one.lock("x")
        holder.acquire()

        def as_thread(session: Any, name: str) -> None:
            with session.lock("x"):
                order.append(name)

        ends: list[Future[Any]] = []
        for work in [
            lambda: as_thread(one, "thread"),
            lambda: asyncio.run(as_task()),
            lambda: as_thread(two, "thread of another session"),
        ]:
            ends.append(in_thread(work))
            until(lambda: waiting(two) == len(ends))
        holder.release()
        for end in ends:
            end.result(BOUND)
    assert order == ["thread", "task", "thread of another session"]


def test_many_threads_share_an_object(place: Place) -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(5):
            with lock as grant:
                inside.append(1)
                assert len(inside) == 1
                grant.check()
                inside.pop()

    with place.connect().sync as session:
        lock = session.lock("x")
        for end in [in_thread(work) for _ in range(6)]:
            end.result(BOUND)
        assert not lock.locked()


def test_any_thread_may_release(memory: Place) -> None:
    with memory.connect().sync as session:
        lock = session.lock("x")
        lock.acquire()
        in_thread(lock.release).result(BOUND)
        assert not lock.locked()
        with pytest.raises(RuntimeError, match="is not acquired"):
            lock.release()


def test_views_of_a_session_are_equal(memory: Place) -> None:
    session = memory.connect()
    assert session.sync == session.sync
    assert hash(session.sync) == hash(session.sync)
    assert session.sync != memory.connect().sync
    session.sync.open()
    assert session.sync.names() == []
    assert repr(session.sync).startswith("<holdfast.cluster.SyncSession ")
    assert repr(session.sync.lock("x")).startswith("<holdfast.cluster.SyncLock 'x' of ")
    session.sync.close()
    session.sync.close()  # does nothing


def test_a_body_that_blocks_for_several_ttls_keeps_what_it_holds(place: Place) -> None:
    with place.connect(ttl=0.5).sync as session:
        with session.lock("x") as grant:
            deadline = session._session._life.expiry.deadline
            until(lambda: session._session._life.expiry.deadline > deadline + 3 * 0.5)  # it was renewed, more than once
            grant.check()
            assert not grant.lost.is_set()


# Times


def test_wrong_timeouts_are_those_of_threading(memory: Place) -> None:
    with memory.connect().sync as session:
        lock, theirs = session.lock("x"), threading.Lock()
        for arguments in [
            {"blocking": False, "timeout": 1},
            {"timeout": -2},
            {"timeout": float("nan")},
            {"timeout": threading.TIMEOUT_MAX * 2},
        ]:
            with pytest.raises((ValueError, OverflowError)) as expected:
                theirs.acquire(**arguments)
            with pytest.raises(expected.type):
                lock.acquire(**arguments)
        assert lock.acquire(timeout=threading.TIMEOUT_MAX)


def test_within(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:
        lock, other = one.lock("x"), two.lock("x")
        with lock.within(BOUND) as grant:
            grant.check()
            for seconds in (0, 0.01):
                with pytest.raises(TimeoutError, match="was not free within"), other.within(seconds):
                    pass
        until(lambda: not lock.locked())
        with other.within(0) as grant:
            grant.check()
        until(lambda: not lock.locked())
        for wrong in (-1, -2):
            with pytest.raises(ValueError, match="must be a non-negative number"), lock.within(wrong):
                pass


@pytest.mark.parametrize("turns", range(12))
def test_a_timeout_at_the_moment_of_the_grant(place: Place, turns: int) -> None:
    """After so many turns of the loop since the release began, the time is up."""
    with place.connect().sync as session:
        holder, waiter, third = (session.lock("x") for _ in range(3))
        holder.acquire()
        ours = threading.get_ident()
        end = in_thread(lambda: (waiter.acquire(timeout=BOUND), threading.get_ident()))
        until(lambda: waiting(session) == 1)
        [call] = [each for each in session._thread._calls if each._seconds >= 0]

        async def at_that_moment() -> None:
            releasing = asyncio.ensure_future(holder._release(ours))
            for _ in range(turns):
                await asyncio.sleep(0)
            call._time_is_up()
            await releasing

        in_loop(session, at_that_moment)
        grant, _ = end.result(BOUND)
        if grant:
            grant.check()
            assert third.acquire(blocking=False) is None
            waiter.release()
        assert third.acquire(timeout=BOUND)  # it was given back, or never had
        until(lambda: waiting(session) == 0)


# A thread that is interrupted


def test_ctrl_c_at_the_moment_of_the_grant_gives_it_back(place: Place, interruptions: Interruptions) -> None:
    with place.connect().sync as session:
        lock, other = session.lock("x"), session.lock("x")
        for take in [lock.acquire, lambda: lock.acquire(blocking=False), lock.__enter__]:
            interruptions.when_done()
            with pytest.raises(KeyboardInterrupt):
                take()
            assert other.acquire(blocking=False)
            other.release()
        with pytest.raises(RuntimeError, match="is not acquired"):
            lock.release()


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go to the main thread")
def test_ctrl_c_while_it_waits_takes_it_out_of_the_line(place: Place) -> None:
    with place.connect().sync as session, place.connect().sync as other:
        holder, lock = other.lock("x"), session.lock("x")
        holder.acquire()

        def interrupt() -> None:
            until(lambda: waiting(other) == 1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

        for take in [lock.acquire, lambda: lock.acquire(timeout=BOUND), lock.__enter__]:
            end = in_thread(interrupt)
            with pytest.raises(KeyboardInterrupt):
                take()
            end.result(BOUND)
            until(lambda: waiting(other) == 0)
        holder.release()
        assert lock.acquire(timeout=BOUND)


def _raise(exc: BaseException) -> None:
    raise exc


def test_ctrl_c_in_a_release_gives_it_back_all_the_same(place: Place, interruptions: Interruptions) -> None:
    with place.connect().sync as session:
        lock = session.lock("x")
        lock.acquire()
        interruptions.when_done()
        with pytest.raises(KeyboardInterrupt):
            lock.release()
        assert not lock.locked()


def test_a_finalizer_in_the_thread_of_the_session_does_not_wait_for_itself(place: Place) -> None:
    def body() -> Any:
        with lock:
            yield

    with place.connect().sync as session:
        lock = session.lock("x")
        bodies = [body()]
        next(bodies[0])

        async def collect() -> None:
            drop(bodies)

        in_loop(session, collect)
        assert session.lock("x").acquire(timeout=BOUND)
        with pytest.raises(RuntimeError, match="would block the event loop"):
            in_loop(session, _calling(session.names))


def _calling(function: Any) -> Any:
    async def call() -> Any:
        return function()

    return call


# Misuse


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_thread_is_answered_in_the_step_that_has_what_it_asked_for(at_once: bool) -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[int] = loop.create_future()
    answered: asyncio.Future[bool] = loop.create_future()

    async def ask() -> int:
        result = await came
        loop.call_soon(lambda: answered.set_result(call._is_answered))
        return result

    call = Call(loop, ask, -1, None, False, lambda: at_once)
    call.begin()
    came.set_result(1)
    assert await answered
    assert call.wait() == 1


def test_one_that_is_not_open_or_over_says_so(memory: Place) -> None:
    session = memory.connect().sync
    lock = session.lock("x")
    with pytest.raises(RuntimeError, match=r"is not open; write 'with holdfast.connect\(\).sync as session:'"):
        lock.acquire()
    with session:
        with pytest.raises(RuntimeError, match="has been opened before"):
            session.open()
    with pytest.raises(SessionLost, match=r"was closed; connect\(\) for another one"):
        lock.acquire()
    with pytest.raises(SessionLost, match="was closed"):
        session.names()
    with pytest.raises(RuntimeError, match="has been opened before"):
        session.open()


async def test_in_an_event_loop_it_is_refused(memory: Place) -> None:
    session = memory.connect()
    with pytest.raises(RuntimeError, match=r"would block the event loop.*'async with holdfast.connect\(\)"):
        session.sync.open()
    async with session:
        with pytest.raises(RuntimeError, match="would block the event loop"):
            session.sync.names()
        for use in [session.sync.open, session.sync.names, session.sync.lock("x").acquire, session.sync.close]:
            with pytest.raises(RuntimeError, match="is open in an event loop, and belongs to it"):
                await asyncio.to_thread(use)
    threaded = memory.connect()
    await asyncio.to_thread(threaded.sync.open)
    with pytest.raises(RuntimeError, match="has been opened before"):
        async with threaded:
            pass
    with pytest.raises(RuntimeError, match="belongs to the event loop"):
        await threaded.lock("x").acquire()
    await asyncio.to_thread(threaded.sync.close)


async def test_in_an_event_loop_it_is_given_back(memory: Place) -> None:
    session = memory.connect().sync
    await asyncio.to_thread(session.open)
    lock = session.lock("x")
    await asyncio.to_thread(lock.acquire)
    lock.release()  # rather block for a moment than keep it
    session.close()


def test_an_open_that_fails_may_be_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    session = place.connect().sync
    engine = session.engine
    opening = engine.open

    async def failing(*arguments: Any) -> str:
        raise holdfast.EngineError("not now")

    monkeypatch.setattr(engine, "open", failing)
    with pytest.raises(holdfast.EngineError, match="not now"):
        session.open()
    assert not session._thread.is_running
    monkeypatch.setattr(engine, "open", opening)
    with session:
        assert session.names() == []


def test_wrong_options(memory: Place) -> None:
    session = memory.connect().sync
    for wrong in [0, -1, float("nan"), float("inf"), "1", True]:
        with pytest.raises(ValueError, match="hold_at_most must be a number of seconds above 0"):
            session.lock("x", hold_at_most=wrong)
    with pytest.raises(TypeError, match="on_lost must be something to call"):
        session.lock("x", on_lost=1)
    with pytest.raises(TypeError, match="there is no timeout="):
        session.lock("x", timeout=1)
    with pytest.raises(ValueError, match="1 to 200 characters"):
        session.lock("")


# Losing it


def test_a_loss_is_told(place: Place) -> None:
    told: Future[Any] = Future()
    with place.connect().sync as one, place.connect().sync as two:
        lock = one.lock("x", on_lost=told.set_result)

        def body() -> None:
            with lock as grant:
                assert not grant.lost.is_set()
                two.evict(one.id, reason="a test")
                assert grant.lost.wait(BOUND)
                with pytest.raises(LeaseLost, match="a test"):
                    grant.check()
                assert told.result(BOUND) is grant
                with two.lock("x") as later:  # this thread runs on, and the next one has the lock
                    assert later.token > grant.token

        with pytest.raises(LeaseLost, match="evicted"):
            body()
        with pytest.raises(SessionLost, match="connect"):
            lock.acquire()


def test_what_the_body_raises_comes_out(place: Place) -> None:
    with place.connect().sync as one, place.connect().sync as two:

        def body() -> None:
            with one.lock("x") as grant:
                two.evict(one.id)
                assert grant.lost.wait(BOUND)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            body()


def test_a_session_that_may_opens_again(place: Place) -> None:
    with place.connect(reopen=True).sync as one, place.connect().sync as two:
        lock = one.lock("x")
        lost = lock.acquire()
        assert lost
        two.evict(one.id)
        assert lost.lost.wait(BOUND)
        with lock as grant:
            assert grant.token > lost.token
            grant.check()
        assert not lock.locked()


def test_the_clock_is_looked_at_without_the_loop(memory: Place) -> None:
    with memory.connect(ttl=1000).sync as session:
        grant = session.lock("x").acquire()
        assert grant
        session._session._life.expiry.deadline = 0.0
        with pytest.raises(LeaseLost, match="could not be renewed within its ttl"):
            grant.check()
        until(grant.lost.is_set)  # and the loop was told to look


def test_closing_the_session_in_the_body(place: Place) -> None:
    with place.connect().sync as session, place.connect().sync as other:
        with pytest.raises(LeaseLost, match="was closed"):
            with session.lock("x"):
                session.close()
        assert other.lock("x").acquire(blocking=False)


def test_hold_at_most(place: Place) -> None:
    told: Future[Any] = Future()
    with place.connect().sync as one, place.connect().sync as two:
        lock = one.lock("x", hold_at_most=0.05, on_lost=told.set_result)

        def body() -> None:
            with lock as grant:
                assert two.lock("x").acquire(timeout=BOUND)  # although the holder hangs
                assert grant.lost.is_set()
                assert told.result(BOUND) is grant

        with pytest.raises(LeaseLost, match=r"held for longer than its hold_at_most of 0\.05 s"):
            body()
        assert one.over is None  # nothing else is lost
        assert not one.lock("y").locked()


def test_hold_at_most_of_what_was_given_back_in_time(memory: Place) -> None:
    told: list[Any] = []
    with memory.connect().sync as session:
        lock = session.lock("x", hold_at_most=BOUND, on_lost=told.append)
        with lock as grant:
            pass
        assert grant._clock is None
        with lock as later:
            lock._overdue(grant)  # as if its timer had rung just now
            later.check()
    assert told == []


# Its ends


def test_threads_that_wait_are_told_when_it_is_closed(place: Place) -> None:
    with place.connect().sync as holder, place.connect().sync as session:
        holder.lock("x").acquire()
        end = in_thread(session.lock("x").acquire)
        until(lambda: waiting(holder) == 1)
        session.close()
        with pytest.raises(SessionLost, match="was closed"):
            end.result(BOUND)


def test_a_session_that_is_dropped_is_closed(place: Place) -> None:
    sessions: list[object] = [session := place.connect().sync.open()]
    session.lock("x").acquire()
    thread = session._thread._thread
    del session
    with pytest.warns(ResourceWarning, match="was dropped without close"):
        drop(sessions)
    assert thread is not None
    thread.join(BOUND)
    assert not thread.is_alive()
    with place.connect().sync as other:
        assert other.lock("x").acquire(timeout=BOUND)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning", "ignore::ResourceWarning")
def test_a_loop_that_dies_is_told(memory: Place) -> None:
    with memory.connect().sync as holder:
        holder.lock("x").acquire()
        session = memory.connect().sync.open()
        end = in_thread(session.lock("x").acquire)
        until(lambda: waiting(holder) == 1)
        session._thread.soon(lambda: _raise(SystemExit(7)))
        with pytest.raises(SessionLost):
            end.result(BOUND)
        session._thread.join()
        with pytest.raises(SessionLost) as told:
            session.names()
        assert isinstance(session._thread.failure, SystemExit)
        assert told
        session.close()


def test_a_release_is_waited_for_by_whoever_asks_next(place: Place) -> None:
    """What with threading.Lock goes without saying."""
    with place.connect().sync as session:
        lock = session.lock("x")
        for _ in range(10):
            assert lock.acquire(blocking=False)
            lock.release()


def test_one_that_may_reopen_opens_when_it_is_first_used(place: Place) -> None:
    session = place.connect(reopen=True).sync
    assert not session.id
    lock = session.lock("x")
    ends = [in_thread(lambda: session.names() and None) for _ in range(3)]
    with lock as grant:
        grant.check()
    for end in ends:
        end.result(BOUND)
    session.close()
    with pytest.raises(SessionLost, match="was closed"):
        lock.acquire()


def test_a_signal_before_the_loop_is_asked_does_not_keep_what_is_released(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory.connect().sync as session, memory.connect().sync as other:
        lock = session.lock("x")
        for interrupt in (Call._ask, Call.__init__):
            entered = lock.acquire(timeout=BOUND)
            assert entered
            with monkeypatch.context() as patched:
                once = [interrupt]

                def first(self: Any, *args: Any, made: Any = interrupt, once: Any = once) -> None:
                    if once:
                        once.pop()
                        raise KeyboardInterrupt
                    made(self, *args)

                patched.setattr(Call, interrupt.__name__, first)
                with pytest.raises(KeyboardInterrupt):
                    lock.release()
            with other.lock("x").within(BOUND):
                assert entered.released


def test_what_is_not_open_says_so(memory: Place) -> None:
    lock = memory.connect().sync.lock("x")
    for call in (lock.acquire, lock.release, lock.locked):
        with pytest.raises(RuntimeError, match="is not open; write 'with"):
            call()


def test_arguments_of_other_libraries_are_told_what_to_write_in_threads(memory: Place) -> None:
    session: Any = memory.connect().sync
    for argument, instead in {
        "timeout": r"within\(SECONDS\)",
        "blocking_timeout": r"acquire\(timeout=SECONDS\)",
        "blocking": r"acquire\(blocking=False\)",
        "expire": r"connect\(..., ttl=SECONDS\)",
    }.items():
        with pytest.raises(TypeError, match=instead):
            session.lock("x", **{argument: 3})
