"""A semaphore or a barrier that gets another value: while nobody uses it by its new user, and in use by resize()."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from interpreters import BOUND, RARELY

from holdfast.cluster import NameConflict
from holdfast.cluster.records.semaphore import MOST_VALUES
from holdfast.cluster.session_life import renewal

from . import test_lock
from .engines import ENGINES, url_of
from .test_lock import connect, opened, run
from .worker import until_waiting


@pytest.fixture(params=ENGINES)
def url(request, tmp_path):
    return f"memory:{tmp_path}" if request.param == "memory" else url_of(request.param, tmp_path)


@pytest.fixture(autouse=True)
def namespace(url, tmp_path, monkeypatch):
    """Of each test, as a server has nothing else to tell them apart. Nobody looks: who waits is told, or not at all."""
    make = test_lock.holdfast.connect
    own = {"namespace": str(tmp_path)}
    monkeypatch.setattr(test_lock.holdfast, "connect", lambda url, **options: make(url, **rare | options | own))
    rare = {}
    if url.startswith("redis:"):
        rare["ttl"] = RARELY
    else:
        monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)


async def dead(url, use):
    """A session that has ended without a word, after it has used something."""
    session = await opened(url)
    waiting = await use(session)
    await session.engine.close()
    return session, waiting


async def bury(session, waiting):
    if waiting is not None:
        waiting.cancel()
    await session.close()


@pytest.mark.parametrize("is_open", [False, True])
def test_a_value_may_change_when_nobody_holds_it(url, is_open):
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            old, new = [await opened(url, name=name) for name in ("old", "new")]
            stack.push_async_callback(new.close)
            async with old.semaphore("api", 10), old.bounded_semaphore("bounded", 2):
                pass
            meeting = old.barrier("meeting", 2)
            await asyncio.gather(meeting.wait(), meeting.wait())
            if is_open:
                stack.push_async_callback(old.close)
            else:
                await old.close()
            async with new.semaphore("api", 20), new.bounded_semaphore("bounded", 1):
                assert (await new.inspect("api")).kind == "semaphore of 20"
                assert (await new.inspect("api")).made_by == "new"
                assert (await new.inspect("api")).state["free"] == 19
                assert await new.bounded_semaphore("bounded", 1).locked()
            async with new.bounded_semaphore("api", 3):
                assert (await new.inspect("api")).kind == "bounded semaphore of 3"
            assert not await new.semaphore("api", 7).locked(), "to read it is enough"
            meeting = new.barrier("meeting", 3)
            assert await meeting.n_waiting == 0
            assert sorted(await asyncio.gather(*(meeting.wait() for _ in range(3)))) == [0, 1, 2]

    run(main)


@pytest.mark.parametrize("call", ["acquire", "try_acquire", "locked", "release"])
def test_while_it_is_held_or_waited_for_another_value_is_refused(url, call):
    async def main():
        async with connect(url, name="the old one") as old, connect(url) as new:
            holder = old.semaphore("api", 0)
            waiter = asyncio.create_task(holder.acquire())
            await until_waiting(new, "api", 1)
            for _ in range(2):
                with pytest.raises(NameConflict, match=r"'api' is a semaphore of 0, made by the old one, .*resize\(\)"):
                    await getattr(new.semaphore("api", 20), call)()
                await holder.release()
                await waiter
            await holder.release()
            await getattr(new.semaphore("api", 20), call)()
            with pytest.raises(NameConflict, match="an event"):
                await new.event("api").set()

    run(main)


def test_while_somebody_waits_or_it_is_broken_a_barrier_keeps_its_parties(url):
    async def main():
        async with connect(url) as old, connect(url) as new:
            arrived = asyncio.create_task(old.barrier("b", 2).wait())
            await until_waiting(new, "b", 1)
            with pytest.raises(NameConflict, match=r"barrier of 2, made by .* barrier of 3. Wait until"):
                await new.barrier("b", 3).wait()
            await old.barrier("b", 2).abort()
            with pytest.raises(asyncio.BrokenBarrierError):
                await arrived
            with pytest.raises(NameConflict):
                await new.barrier("b", 3).wait()
            await old.barrier("b", 2).reset()
            assert await new.barrier("b", 1).wait() == 0

    run(main)


@pytest.mark.parametrize("call", ["acquire", "try_acquire", "locked", "resize"])
@pytest.mark.parametrize("use", ["hold", "wait"])
def test_the_dead_are_no_use(url, use, call):
    async def hold(session):
        await session.semaphore("api", 1).acquire()

    async def wait(session):
        waiter = asyncio.create_task(session.semaphore("api", 0).acquire())
        await until_waiting(session, "api", 1)
        return waiter

    async def main():
        async with connect(url) as new:
            gone = await dead(url, {"hold": hold, "wait": wait}[use])
            async with asyncio.timeout(BOUND):
                semaphore = new.semaphore("api", 2)
                arguments = (3,) if call == "resize" else ()
                assert bool(await getattr(semaphore, call)(*arguments)) is (call in ("acquire", "try_acquire"))
                assert await semaphore.try_acquire()
            await bury(*gone)

    run(main)


def test_in_one_session(url):
    async def main():
        async with connect(url) as session:
            old = session.semaphore("api", 1)
            async with old:
                with pytest.raises(NameConflict, match="is used as a semaphore of 1"):
                    session.semaphore("api", 2)
            new = session.semaphore("api", 2)
            async with new, new:
                pass
            with pytest.raises(NameConflict, match="make it anew"):
                await old.acquire()

    run(main)


# In use


def test_growing_wakes_who_waits(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            semaphore = one.semaphore("api", 1)
            await semaphore.acquire()
            waiters = []
            for number in range(4):
                waiters.append(asyncio.create_task((one, two)[number % 2].semaphore("api", 1).acquire()))
                await until_waiting(one, "api", number + 1)
            await two.semaphore("api", 1).resize(3)
            async with asyncio.timeout(BOUND):
                await asyncio.gather(*waiters[:2])
            assert [waiter.done() for waiter in waiters] == [True, True, False, False]
            assert await semaphore.locked()
            await semaphore.release()
            async with asyncio.timeout(BOUND):
                await waiters[2]
            assert (await one.inspect("api")).kind == "semaphore of 3"
            waiters[3].cancel()

    run(main)


def test_shrinking_lets_those_finish_who_hold_it(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            semaphore = one.semaphore("api", 3)
            for _ in range(3):
                await semaphore.acquire()
            await semaphore.resize(1)
            waiter = asyncio.create_task(two.semaphore("api", 3).acquire())
            await until_waiting(one, "api", 1)
            for free in (-2, -1):
                assert (await two.inspect("api")).state["free"] == free
                assert await two.semaphore("api", 3).locked()
                assert await two.semaphore("api", 3).try_acquire() is None
                await semaphore.release()
                assert not waiter.done()
            await semaphore.release()
            async with asyncio.timeout(BOUND):
                await waiter
            assert await two.semaphore("api", 3).locked()

    run(main)


def test_who_dies_gives_back_what_there_is_too_much_of(url):
    async def hold(session):
        for _ in range(3):
            await session.semaphore("api", 4).acquire()

    async def main():
        async with connect(url) as living:
            gone = await dead(url, hold)
            await living.semaphore("api", 4).acquire()
            await living.semaphore("api", 4).resize(2)
            assert await living.semaphore("api", 2).acquire()
            assert (await living.inspect("api")).state == {"value": 2, "free": 0, "bounded": False}
            await bury(*gone)

    run(main)


def test_objects_made_with_either_value_go_on_and_others_do_not(url):
    async def main():
        async with connect(url) as one, connect(url) as two, connect(url) as three:
            old = one.semaphore("api", 10)
            async with old:
                await old.resize(20)
                async with old, one.semaphore("api", 20), two.semaphore("api", 10), three.semaphore("api", 20):
                    assert (await one.inspect("api")).state["free"] == 15
                with pytest.raises(NameConflict, match=r"semaphore of 20.* used as a semaphore of 30"):
                    await two.semaphore("api", 30).acquire()
            async with three.semaphore("api", 10), two.semaphore("api", 10):
                assert (await one.inspect("api")).kind == "semaphore of 20", "as it was resized"
            async with two.semaphore("api", 30):
                with pytest.raises(NameConflict, match="semaphore of 30"):
                    await three.semaphore("api", 10).acquire()

    run(main)


def test_a_session_that_holds_it_learns_of_another_ones_resize(url):
    """With its next look at what it holds, and no later than by its own next change."""

    async def main():
        async with connect(url, ttl=5) as session, connect(url) as operator:
            old = session.semaphore("api", 10)
            await old.acquire()
            await operator.semaphore("api", 10).resize(20)
            async with asyncio.timeout(BOUND):
                while True:
                    try:
                        new = session.semaphore("api", 20)
                        break
                    except NameConflict:
                        await asyncio.sleep(0.02)
            async with new:
                assert (await session.inspect("api")).state["free"] == 18
            with pytest.raises(NameConflict):
                session.semaphore("api", 30)
            await old.release()

    run(main)


def test_a_bounded_semaphore_keeps_its_bound(url):
    async def main():
        async with connect(url) as session:
            semaphore = session.bounded_semaphore("api", 3)
            await semaphore.acquire()
            await semaphore.acquire()
            await semaphore.resize(1)
            await semaphore.release()
            await semaphore.release()
            with pytest.raises(ValueError, match="released too many times"):
                await semaphore.release()
            async with semaphore:
                assert await semaphore.locked()
            await semaphore.resize(2)
            async with semaphore:
                assert not await semaphore.locked()

    run(main)


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), ("2", TypeError), (True, TypeError), (1.5, TypeError)])
def test_resize_refuses_what_the_constructor_refuses(url, value, error):
    async def main():
        async with connect(url) as session:
            with pytest.raises(error, match="a semaphore needs"):
                session.semaphore("api", value)
            with pytest.raises(error, match="a semaphore needs"):
                await session.semaphore("api", 1).resize(value)

    run(main)


def test_a_semaphore_that_is_resized_all_the_time_does_not_grow(url):
    async def main():
        async with connect(url) as session:
            semaphore = session.semaphore("api", 1)
            async with semaphore:
                for value in range(2, 3 * MOST_VALUES):
                    await semaphore.resize(value)
                assert len(await session.engine.read("api") or "") < 1000
                async with connect(url) as other, other.semaphore("api", 1):
                    pass

    run(main)
