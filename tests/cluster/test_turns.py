"""What several tasks of one session have in turn: a run, which the record grants to all of them at once."""

from __future__ import annotations

import asyncio
import sys

import pytest
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.records.record import Wake
from holdfast.cluster.session import Session
from holdfast.cluster.session_life import exchange

from .test_lock import connect, opened, run, url

__all__ = ["url"]  # the fixture

TASKS = 50


class Counting(MemoryEngine):
    """It counts the changes that it is asked for."""

    changes = 0

    async def apply(self, *args, **options):
        self.changes += 1
        return await super().apply(*args, **options)


async def hold(lock, order, who, held=0.0):
    async with lock as grant:
        order.append((who, grant.token))
        await asyncio.sleep(held)


async def standing_in_line(session, lock, tasks, order, held=0.0):
    """Tasks that wait behind the holder, once the record has all of them."""
    started = [asyncio.create_task(hold(lock, order, who, held)) for who in tasks]
    while sum(each.tasks for each in (await session.inspect("x")).waiters) < len(started):
        await asyncio.sleep(0.001)
    return started


@pytest.fixture
def believed_for_long(monkeypatch):
    """What the engine has said counts for as long as a test lasts, however busy the machine is."""
    monkeypatch.setattr(exchange, "CONFIRMED", RARELY)


def test_tasks_of_one_session_hand_the_lock_on_without_a_change_of_the_record(believed_for_long):
    async def main():
        engine, order = Counting("turns"), []
        async with Session(engine, "one") as session:
            lock = session.lock("x")
            grant = await lock.acquire()
            tasks = await standing_in_line(session, lock, range(TASKS), order)
            before = engine.changes
            await lock.release()
            await asyncio.gather(*tasks)
            assert engine.changes == before + 2, "one that grants the run, and one that gives it back"
            first = grant.token + 1
            assert order == [(who, first + who) for who in range(TASKS)]

    run(main)


@pytest.fixture
def gathering_for_long(monkeypatch):
    """Requests that only join the line gather until the run ends, however busy the machine is."""
    monkeypatch.setattr(exchange, "GATHERING", RARELY)


def test_a_release_has_been_made_when_it_returns_though_requests_gather(believed_for_long, gathering_for_long):
    """The loop may be blocked right after it, or the process may end: then another session has the lock."""

    async def main():
        engine = Counting("turns")
        async with Session(engine, "one") as session:
            lock = session.lock("x")
            await lock.acquire()
            asking = asyncio.create_task(session.lock("x").acquire())
            await asyncio.sleep(0)
            before = engine.changes
            release = lock.release().__await__()
            with pytest.raises(StopIteration):  # without a turn of the loop
                next(release)
            assert engine.changes == before + 1
            await asking

    run(main)


def test_nobody_of_another_session_is_overtaken(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            order = []
            await one.lock("x").acquire()
            mine = one.lock("x")
            tasks = await standing_in_line(one, mine, ["a", "b"], order)
            tasks += [asyncio.create_task(hold(two.lock("x"), order, "c"))]
            while len((await one.inspect("x")).waiters) < 2:
                await asyncio.sleep(0.001)
            tasks += [asyncio.create_task(hold(mine, order, "d"))]
            while sum(each.tasks for each in (await one.inspect("x")).waiters) < 4:
                await asyncio.sleep(0.001)
            await one.lock("x")._register.end((await one.inspect("x")).holders[0].token)
            await asyncio.gather(*tasks)
            assert [who for who, _ in order] == ["a", "b", "c", "d"]
            assert [token for _, token in order] == sorted(token for _, token in order)

    run(main)


@pytest.mark.parametrize("leaving", [[0], [1], [TASKS - 1], [0, 1, 2], [*range(TASKS)], [*range(1, TASKS)]])
def test_who_leaves_out_of_a_run_is_passed_over(url, leaving):
    async def main():
        async with connect(url) as one, connect(url) as two:
            order = []
            lock = one.lock("x")
            async with two.lock("x"):
                tasks = await standing_in_line(two, lock, range(TASKS), order)
                last = asyncio.create_task(hold(two.lock("x"), order, "other"))
                while len((await two.inspect("x")).waiters) < 2:
                    await asyncio.sleep(0.001)
            # The run is granted now, and its first task has yet to learn it.
            for who in leaving:
                tasks[who].cancel()
            await asyncio.gather(*tasks, last, return_exceptions=True)
            stayed = [who for who in range(TASKS) if who not in leaving]
            assert [who for who, _ in order] == [*stayed, "other"]
            assert not await one.lock("x").locked()

    run(main)


def test_a_condition_ends_a_turn_and_the_next_one_may_notify(url):
    async def main():
        async with connect(url) as session:
            condition = session.condition("c", session.lock("x"))
            order = []

            async def wait(who):
                async with condition:
                    await condition.wait()
                    order.append(who)

            async def notify():
                async with condition:
                    await condition.notify_all()
                    order.append("notified")

            lock = session.lock("x")
            await lock.acquire()
            tasks = [asyncio.create_task(each) for each in (wait("a"), wait("b"), notify())]
            while sum(each.tasks for each in (await session.inspect("x")).waiters) < 3:
                await asyncio.sleep(0.001)
            await lock.release()
            await asyncio.gather(*tasks)
            assert order == ["notified", "a", "b"]

    run(main)


def test_a_session_that_dies_in_a_run_leaves_nothing(url):
    async def main():
        async with connect(url) as two:
            one, order = await opened(url), []
            lock = one.lock("x")
            async with two.lock("x"):
                tasks = await standing_in_line(two, lock, range(3), order, held=60)
            while not order:
                await asyncio.sleep(0.001)
            other = asyncio.create_task(hold(two.lock("x"), order, "other"))
            await two.evict(one.id)
            await other
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in done] == [LeaseLost, SessionLost, SessionLost]
            assert [who for who, _ in order] == [0, "other"]
            assert order[1][1] > order[0][1] + 2, "tokens of the run are not given out again"

    run(main)


def test_inspect_shows_who_is_in_and_who_is_still_to_be_let_in(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            order = []
            async with two.lock("x"):
                tasks = await standing_in_line(two, one.lock("x"), range(3), order, held=0.2)
            while not order:
                await asyncio.sleep(0.001)
            found = await two.inspect("x")
            assert [(each.session.id, each.token) for each in found.holders] == [(one.id, order[0][1])]
            assert [(each.session.id, each.tasks) for each in found.waiters] == [(one.id, 2)]
            await asyncio.gather(*tasks)

    run(main)


def test_a_task_that_never_pauses_lets_the_loop_go_on(url):
    """Acquiring and releasing may be done in one step; a loop of nothing else must still let other tasks run."""

    async def main():
        async with connect(url) as session:
            lock, turns, done = session.lock("x"), [], asyncio.Event()

            async def busy():
                while not done.is_set():
                    async with lock:
                        pass

            async def other():
                for _ in range(5):
                    await asyncio.sleep(0)
                    turns.append(1)
                done.set()

            async with asyncio.timeout(BOUND):
                await asyncio.gather(busy(), other())
            assert len(turns) == 5

    run(main)


# Others may have ended the session


def test_the_engine_is_asked_again_before_somebody_is_let_in_if_it_has_said_nothing_for_a_while(url, monkeypatch):
    """An evicted session that has missed the news lets nobody in."""
    monkeypatch.setattr(exchange, "CONFIRMED", 0)

    async def main():
        async with connect(url) as two:
            one, order = await opened(url), []
            lock = one.lock("x")
            monkeypatch.setattr(two.engine, "wake", keeping_evictions_quiet(two.engine.wake))
            async with two.lock("x"):
                tasks = await standing_in_line(two, lock, range(5), order, held=0.05)
            while not order:
                await asyncio.sleep(0.001)
            await two.evict(one.id)
            assert await two.lock("x").try_acquire()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(each) for each in done} <= {LeaseLost, SessionLost}
            assert [who for who, _ in order] == [0], "somebody was let in who had lost the lock"

    run(main)


def keeping_evictions_quiet(wake):
    return lambda session, name, message: wake(session, name, message) if name else None


def test_with_each_end_asked_for_the_order_stays(url, monkeypatch):
    monkeypatch.setattr(exchange, "CONFIRMED", 0)

    async def main():
        async with connect(url) as one, connect(url) as two:
            order = []
            async with two.lock("x"):
                tasks = await standing_in_line(two, one.lock("x"), range(5), order)
                tasks[2].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [who for who, _ in order] == [0, 1, 3, 4]
            assert not await two.lock("x").locked()

    run(main)


def test_who_was_let_in_and_has_yet_to_run_loses_it_with_the_record(url, believed_for_long):
    async def main():
        async with connect(url) as one, connect(url) as two:
            lock, go, inside = one.lock("x"), asyncio.Event(), []

            async def first():
                async with lock:
                    inside.append("first")
                    await go.wait()
                assert await lock.try_acquire()  # in the step in which it has let the next one in

            async def second():
                async with lock:
                    inside.append("second")

            async with two.lock("x"):
                tasks = [asyncio.create_task(each()) for each in (first, second)]
                while sum(each.tasks for each in (await two.inspect("x")).waiters) < 2:
                    await asyncio.sleep(0.001)
            while not inside:
                await asyncio.sleep(0.001)
            await one.engine.remove("x", await one.engine.read("x"), 0)
            go.set()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(done[1], SessionLost)
            assert inside == ["first"]

    run(main)


# In the step of the task that asks


class Interrupted(MemoryEngine):
    """A signal handler raises KeyboardInterrupt before or after the next change."""

    when = ""

    async def apply(self, *args, **options):
        when, self.when = self.when, ""
        if when == "before":
            raise KeyboardInterrupt
        result = await super().apply(*args, **options)
        if when == "after":
            raise KeyboardInterrupt
        return result


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["acquire", "release"])
def test_an_interrupt_in_the_middle_of_a_request_leaves_nothing_behind(when, what):
    namespace = f"interrupted {when} {what}"
    engine = Interrupted(namespace)
    one, two = Session(engine, "one"), Session(MemoryEngine(namespace), "two")

    async def use():
        if what == "acquire":
            engine.when = when
        async with one.lock("x"):
            engine.when = when

    async def other():
        async with asyncio.timeout(BOUND), two.lock("x"):
            pass
        await one.close()
        await two.close()

    with asyncio.Runner() as runner:
        runner.run(one.__aenter__())
        runner.run(two.__aenter__())
        with pytest.raises(KeyboardInterrupt):
            runner.run(use())
        runner.run(other())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_eager_tasks_begin_no_request_within_another_and_let_the_loop_go_on():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        async with (
            holdfast.connect("memory:", namespace="eager") as one,
            holdfast.connect("memory:", namespace="eager") as two,
        ):
            held, order, stop = two.lock("x"), [], asyncio.Event()
            await held.acquire()
            leaving = [asyncio.create_task(one.lock("x").acquire()) for _ in range(2)]
            await asyncio.sleep(0.01)
            staying = [asyncio.create_task(hold(each.lock("x"), order, each.label, 0.1)) for each in (two, one)]
            await asyncio.sleep(0.01)
            for _ in range(40):  # more than is done at once
                async with one.lock("other"):
                    pass
            await held.release()
            for task in leaving:
                task.cancel()

            async def busy():
                while not stop.is_set():
                    async with one.lock("busy"):
                        pass

            task = asyncio.create_task(busy())
            await asyncio.gather(*staying)
            stop.set()
            await task
            assert len(order) == 2

    asyncio.run(asyncio.wait_for(main(), BOUND))


# What others may write or send


def test_a_wake_up_may_not_name_any_number_of_tickets():
    assert Wake.read("1 9 3") == (1, 9, 3)
    assert Wake.read(f"1 9 {10**9}") is None
