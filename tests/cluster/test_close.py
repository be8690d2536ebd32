"""close() of a session's primitives: nobody waits any more in any session, holders go on, and the errors say why."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, Session
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.records.closing import ITSELF, Close, Reopen
from holdfast.cluster.records.event import EventRecord, Wait
from holdfast.cluster.records.leased import Acquire
from holdfast.cluster.records.lock import LockRecord
from holdfast.cluster.records.semaphore import SemaphoreRecord
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.session_life import old_records
from holdfast.cluster.session_life.known_record import opening

from .blocking import until, waiting
from .engines import Place, die, memory, place, run, settle
from .running import in_child
from .steps import in_line

__all__ = ["memory", "place", "run"]  # the fixtures


async def wait_on(condition: Any) -> None:
    async with condition:
        try:
            await condition.wait()
        except holdfast.Closed:
            assert await condition.locked()
            condition._lock._held[0].check()
            raise


def block_on(condition: Any) -> None:
    with condition as grant:
        try:
            condition.wait()
        except holdfast.Closed:
            grant.check()
            raise


@dataclass(frozen=True)
class Case:
    """A primitive, and how others are made to wait for it: tasks, or with what `.sync` makes threads."""

    make: Callable[[Any], Any]
    wait: Callable[[Any], Any]
    take: Callable[[Any], Any] | None = None
    """Take all of it."""
    give_back: Callable[[Any], Any] | None = None
    block: Callable[[Any], Any] | None = None
    """What threads do in place of wait()."""


CASES = {
    "Lock": Case(lambda session: session.lock("x"), *[lambda lock: lock.acquire()] * 2, lambda lock: lock.release()),
    "Semaphore": Case(
        lambda session: session.semaphore("x", 3),
        lambda semaphore: semaphore.acquire(n=2),
        lambda semaphore: semaphore.acquire(n=3),
        lambda semaphore: semaphore.release(3),
    ),
    "BoundedSemaphore": Case(
        lambda session: session.bounded_semaphore("x", 1),
        *[lambda semaphore: semaphore.acquire()] * 2,
        lambda semaphore: semaphore.release(),
    ),
    "RWLock.reader": Case(
        lambda session: session.rw_lock("x"),
        lambda rw: rw.reader.acquire(),
        lambda rw: rw.writer.acquire(),
        lambda rw: rw.writer.release(),
    ),
    "RWLock.writer": Case(
        lambda session: session.rw_lock("x"),
        lambda rw: rw.writer.acquire(),
        lambda rw: rw.reader.acquire(),
        lambda rw: rw.reader.release(),
    ),
    "Event": Case(lambda session: session.event("x"), lambda event: event.wait()),
    "Condition": Case(lambda session: session.condition("x"), wait_on, block=block_on),
    "Barrier": Case(lambda session: session.barrier("x", 9), lambda barrier: barrier.wait()),
    "RateLimiter": Case(lambda session: session.rate_limiter("x", 1, 3600), *[lambda limiter: limiter.acquire()] * 2),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
HELD = {name: case for name, case in CASES.items() if case.give_back is not None}


def nothing_kept(text: str | None) -> bool:
    """Whether the record keeps nothing of who was turned away."""
    return text is not None and '"away":[]' in text


async def until_nothing_is_kept(session: Session) -> None:
    async with asyncio.timeout(BOUND):
        while not nothing_kept(await session.engine.read("x")):
            await asyncio.sleep(0.005)


@cases
async def test_who_waits_and_who_comes_is_told_why_in_each_session(place: Place, case: Case) -> None:
    async with place.connect() as one, place.connect() as two:
        here, there = case.make(one), case.make(two)
        if case.take is not None:
            await case.take(here)
        waiters = await in_line([one, two], *[case.wait(each) for each in (there, here, there, here)])
        waiters.pop(2).cancel()
        assert not await there.is_closed()
        await here.close("the service ends")
        await there.close("it has ended")
        assert await there.is_closed()
        waiters += [asyncio.create_task(case.wait(each)) for each in (here, there)]
        async with asyncio.timeout(BOUND):
            results = await asyncio.gather(*waiters, return_exceptions=True)
        for error in results:
            assert isinstance(error, holdfast.Closed), error
            assert error.reason == "the service ends"
            assert str(error).endswith("is closed: the service ends")
        assert len({*map(id, results)}) == 5, "tasks must not share an error: each adds to its traceback"
        [closing] = (await two.inspect("x")).closed
        assert (closing.reason, closing.condition) == ("the service ends", "x" if "Condition" in repr(here) else None)
        if case.give_back is not None:
            await case.give_back(here)
        await until_nothing_is_kept(two)
        assert not (await two.inspect("x")).holders


@pytest.mark.parametrize("case", HELD.values(), ids=HELD)
async def test_holders_go_on_and_their_grants_hold(memory: Place, case: Case) -> None:
    async with memory.connect() as one, memory.connect() as two:
        here, there = case.make(one), case.make(two)
        assert case.take is not None
        assert case.give_back is not None
        grant = await case.take(here)
        await there.close()
        for session, primitive in ((one, here), (two, there)):
            with pytest.raises(holdfast.Closed, match=r"is closed$"):
                await case.wait(primitive)
            with pytest.raises(holdfast.Closed, match=r"is closed$"):
                await getattr(primitive, "writer", primitive).try_acquire()
            await settle(session)
        grant.check()
        await case.give_back(here)
        assert not (await two.inspect("x")).holders
        with pytest.raises(holdfast.Closed):
            await case.wait(here)


async def test_a_grant_is_renewed_in_what_is_closed(memory):
    async with memory.connect(ttl=0.5) as one, memory.connect() as two:
        async with one.lock("x") as grant:
            await two.lock("x").close()
            await asyncio.sleep(1)
            grant.check()


async def test_the_lock_of_a_closed_condition_is_open_and_a_closed_lock_goes_back_to_who_was_notified(memory):
    async with memory.connect() as one, memory.connect() as two:
        lock, other = one.lock("x"), two.lock("x")
        here, there = one.condition("c", lock), two.condition("c", other)
        closed = one.condition("d", lock)
        waiters = await in_line([one, two], wait_on(there), wait_on(there), wait_on(there), wait_on(closed))
        async with here:
            await closed.close("no d")  # while the lock is held
            await here.notify(2)
            await lock.close("no lock")  # the notified ones stand in its line, and have held it before
            waiters[0].cancel()
            await settle(one, two)
            assert not any(each.done() for each in waiters), "somebody is in beside the holder"
        async with asyncio.timeout(BOUND):
            results = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:3] == [None, None], "the notification of the cancelled one goes to the third"
        assert isinstance(results[3], holdfast.Closed)
        assert results[3].reason == "no d"
        assert not await lock.locked()
        with pytest.raises(holdfast.Closed, match="no lock"):
            await there.acquire()
        await until_nothing_is_kept(one)


async def test_a_cancelled_waiter_of_a_closed_condition_leaves_with_the_lock(memory):
    async with memory.connect() as one, memory.connect() as two:
        here, there = one.condition("x"), two.condition("x")
        [waiter] = await in_line([one, two], wait_on(there))
        async with here:
            await here.close()
            await settle(one, two)
            waiter.cancel()  # it waits for the lock by now
            await settle(one, two)
            assert not waiter.done()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert not await here.locked()
        await until_nothing_is_kept(one)


async def test_what_has_happened_or_is_true_needs_no_wait(memory):
    async with memory.connect() as session:
        event, condition = session.event("x"), session.condition("c")
        await event.set()
        await event.close()
        assert await event.wait() is True
        await event.clear()
        with pytest.raises(holdfast.Closed):
            await event.wait()
        await condition.close()
        async with condition:
            assert await condition.wait_for(lambda: 5) == 5
            with pytest.raises(holdfast.Closed):
                await condition.wait_for(lambda: None)


@pytest.mark.parametrize("engine", ["memory", "valkey"])
@pytest.mark.parametrize("closer", ["the session of the run", "another session"])
async def test_of_a_run_of_turns_who_is_in_goes_on_and_the_others_are_told(tmp_path, engine, closer):
    """They are told at once, and not when the session next looks for what it may have missed."""
    there = Place(engine, tmp_path)
    async with there.connect(ttl=120.0) as one, there.connect(ttl=120.0) as two:
        here, there = one.lock("x"), two.lock("x")
        await there.acquire()
        waiters = await in_line([one, two], *[here.acquire() for _ in range(4)])
        await there.release()
        await settle(one, two)
        assert [each.done() for each in waiters] == [True, False, False, False], "a run, and the first of it is in"
        await (here if closer.startswith("the") else there).close("over")
        async with asyncio.timeout(20):
            grant, *errors = await asyncio.gather(*waiters, return_exceptions=True)
        grant.check()
        assert [error.reason for error in errors] == ["over"] * 3
        await here.release()
        assert not await there.locked()
        await here.reopen()
        async with there:
            pass


async def test_who_takes_the_lock_back_in_turn_gets_it_though_it_is_closed(memory):
    async with memory.connect() as one, memory.connect() as two:
        here, there = one.condition("x"), two.lock("x")
        may_go = asyncio.Event()

        async def consume() -> bool:
            async with here:
                await here.wait()
                notified = await here.wait()  # with tickets that follow each other
                await may_go.wait()
                return notified

        waiters = await in_line([one, two], consume(), consume(), consume())
        for _ in range(2):
            async with here:
                await here.notify_all()
            await settle(one, two)
        await there.close()  # the three have a run, and the first of them is in
        await settle(one, two)
        may_go.set()
        async with asyncio.timeout(BOUND):
            assert await asyncio.gather(*waiters) == [True] * 3
        assert not await there.locked()


@pytest.mark.parametrize(
    ("record", "ask"),
    [(LockRecord(), Acquire(1)), (SemaphoreRecord(value=1, free=1), Acquire(1)), (EventRecord(), Wait(1))],
)
def test_nothing_is_stored_behind_what_is_closed(record, ask):
    """An addition that its session does not see, or that a version makes which does not know of closing."""
    held = step(record, Batch("a", 1, (ask,)))
    assert opening(held) is not None
    closed = step(held.record, Batch("b", 1, (Close(ITSELF, None),)))
    assert opening(closed) is None
    opened = step(closed.record, Batch("b", 2, (Reopen(ITSELF),)))
    assert opening(opened) is not None


class Unlucky(MemoryEngine):
    """Loses the answers to changes, and the wake-ups of these, as often as it is told."""

    lost = 0

    async def apply(self, *args: Any, notices: Any = None, **options: Any) -> Any:
        is_lost, self.lost = self.lost > 0, self.lost - 1
        result = await super().apply(*args, notices=None if is_lost else notices, **options)
        if is_lost:
            raise EngineError("the answer was lost")
        return result


@cases
async def test_with_answers_and_wake_ups_lost(tmp_path, case):
    async with Session(Unlucky(str(tmp_path)), "one") as one, Session(Unlucky(str(tmp_path)), "two") as two:
        here, there = case.make(one), case.make(two)
        if case.take is not None:
            await case.take(here)
        waiters = await in_line([one, two], case.wait(there), case.wait(here))
        one.engine.lost = 2
        await here.close("over")
        two.engine.lost = 1  # of the answer to the withdrawal
        async with asyncio.timeout(BOUND):
            results = await asyncio.gather(*waiters, return_exceptions=True)
        assert [error.reason for error in results] == ["over"] * 2
        await until_nothing_is_kept(one)


@pytest.mark.parametrize("name", [name for name in CASES if name != "Condition"])  # its task would wait for ever
async def test_a_session_that_dies_leaves_nothing_and_what_it_has_closed_stays_so(memory, name):
    case = CASES[name]
    survivor, closer = await memory.opened(), await memory.opened()
    here, there = case.make(survivor), case.make(closer)
    if case.take is not None:
        await case.take(there)
    [lost] = await in_line([survivor, closer], case.wait(there))
    await here.close("why")
    await there.close("in vain")
    await die(closer)
    lost.cancel()
    with pytest.raises(holdfast.Closed, match="why"):
        await case.wait(here)
    await here.reopen()
    assert not await here.is_closed()
    async with asyncio.timeout(BOUND):
        [waiter] = await in_line([survivor], case.wait(here))
        await here.close("again")
        if not waiter.done() or waiter.exception() is not None:
            with pytest.raises(holdfast.Closed, match="again"):
                await waiter
    await settle(survivor)
    text = await survivor.engine.read("x")
    assert closer.id not in text or case.give_back is None, "the next that asks buries it"
    await survivor.close()


async def test_a_cancelled_call_on_what_is_closed_leaves_nothing(place):
    async with place.connect() as one, place.connect() as two:
        semaphores = one.semaphore("x", 2), two.semaphore("x", 2)
        await semaphores[0].acquire()
        await semaphores[1].close()
        calls = [each.acquire() for each in semaphores] + [each.try_acquire(2) for each in semaphores]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until_nothing_is_kept(one)
        [holder] = (await one.inspect("x")).holders
        assert holder.permits == 1, "who is refused after it has left gives back what others hold"
        await semaphores[0].release()
        await semaphores[0].reopen()
        assert await semaphores[1].acquire(2)


async def test_who_was_turned_away_stays_so_when_it_is_opened_again(tmp_path):
    async with Session(Unlucky(str(tmp_path)), "one") as one, Session(Unlucky(str(tmp_path)), "two") as two:
        here, there = one.semaphore("x"), two.semaphore("x")
        await here.acquire()
        [waiter] = await in_line([one, two], there.acquire())
        one.engine.lost = 1  # and with it the wake-up
        await here.close("first")
        await here.reopen()
        await here.close("second")
        await here.reopen()
        await here.release()
        async with there:  # it looks into the record
            with pytest.raises(holdfast.Closed, match="first"):
                await waiter
        assert await here.try_acquire()


async def test_reasons(memory):
    async with memory.connect() as session:
        lock = session.lock("x")
        for reason, error, match in [
            (ValueError("no"), TypeError, "a text or None"),
            ("x" * 201, ValueError, "200 characters at most, not 201"),
            ("\ud800", ValueError, "encoding in UTF-8"),
        ]:
            with pytest.raises(error, match=match):
                await lock.close(reason)
        assert not await lock.is_closed()
        await lock.close('ein "Grund" \n\t{"closed":{')
        with pytest.raises(holdfast.Closed) as caught:
            await lock.acquire()
        assert caught.value.reason == 'ein "Grund" \n\t{"closed":{'


# How long it stays closed


async def test_it_is_kept_for_a_day_and_as_long_as_who_has_closed_it(place, monkeypatch):
    closer, other = await place.opened(), await place.opened()
    await closer.lock("x").close("stop")
    await other.lock("y").close("stop")
    async with other.lock("z"):
        pass

    async def left(*expected: str) -> None:
        """Which names are left once those are gone that are old."""
        async with asyncio.timeout(BOUND):
            while await closer.names() != [*expected]:
                await closer.tidy(0)
                await asyncio.sleep(0.02)
        await closer.tidy(0)
        assert await closer.names() == [*expected]

    await other.close()
    await left("x", "y")
    monkeypatch.setattr(old_records, "CLOSED", 0.0)
    await left("x")
    assert await closer.lock("x").is_closed(), "who has closed it lives"
    await closer.close()
    async with place.connect() as later:
        closer = later
        await left()
        async with later.lock("x"):
            pass


# Threads and processes


@pytest.fixture(params=["memory", "embedded"])
def near(request: pytest.FixtureRequest, tmp_path: Any) -> Place:
    return Place(request.param, tmp_path)


@cases
def test_threads_are_told(near: Place, case: Case) -> None:
    with near.connect().sync as one, near.connect().sync as two:
        here, there = case.make(one), case.make(two)
        if case.take is not None:
            case.take(here)
        errors: list[BaseException] = []
        wait = case.block or case.wait

        def block(primitive: Any) -> None:
            try:
                wait(primitive)
            except holdfast.Closed as error:
                errors.append(error)

        threads = [threading.Thread(target=block, args=(each,), daemon=True) for each in (here, there)]
        for thread in threads:
            thread.start()
        until(lambda: waiting(one) == 2)
        there.close("no more")
        for thread in threads:
            thread.join(BOUND)
        assert [error.reason for error in errors] == ["no more"] * 2
        assert here.is_closed()
        with pytest.raises(holdfast.Closed):
            wait(here)
        here.reopen()
        assert not there.is_closed()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("engine", ["embedded", "valkey"])
def test_threads_of_another_process_are_told(engine: str, tmp_path: Any) -> None:
    there = Place(engine, tmp_path)
    with there.connect().sync as session:
        lock, event = session.lock("x"), session.event("e")
        lock.acquire()
        errors: list[BaseException] = []

        def block(call: Callable[[], object]) -> None:
            try:
                call()
            except holdfast.Closed as error:
                errors.append(error)

        threads = [threading.Thread(target=block, args=(call,), daemon=True) for call in (lock.acquire, event.wait)]
        for thread in threads:
            thread.start()
        until(lambda: waiting(session) + waiting(session, "e") == 2)

        def child() -> bool:
            signal.alarm(60)
            with there.connect().sync as own:
                own.lock("x").close("from another process")
                own.event("e").close("from another process")
            return True

        assert in_child(child)
        for thread in threads:
            thread.join(BOUND)
        assert [error.reason for error in errors] == ["from another process"] * 2
        lock.release()
        assert lock.is_closed(), "it stays closed when the session has ended that has closed it"
