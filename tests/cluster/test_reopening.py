"""connect(reopen=True): what was held is lost and told once, and the session goes on under another identity."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, LeaseLost, SessionLost

from .running import in_child
from .servers import Server
from .test_lock import connect, lose, opened, run, settle, url

__all__ = ["url"]  # the fixture

TTL = 1.0
"""Seconds."""


@pytest.mark.parametrize("reopen", [False, True])
def test_the_loop_was_blocked_for_longer_than_the_ttl_while_nothing_was_held(url, reopen):
    async def main():
        async with connect(url, ttl=TTL, reopen=reopen) as session:
            lock, before = session.lock("x"), session.id
            async with lock:
                pass
            time.sleep(1.2 * TTL)
            if reopen:
                async with lock as grant:
                    grant.check()
                assert session.id != before
                assert session.over is None
            else:
                for _ in range(2):
                    with pytest.raises(SessionLost, match=r"within its ttl.*; connect\(\) anew, or with reopen=True"):
                        await lock.acquire()
                assert session.id == before

    run(main)


def test_what_was_held_is_lost_and_told_once(url):
    async def main():
        async with connect(url, ttl=TTL, reopen=True) as session, connect(url) as other:
            lock = session.lock("x")
            with pytest.raises(LeaseLost, match="could not be renewed"):  # noqa: PT012
                async with lock as grant:
                    time.sleep(1.2 * TTL)
                    await asyncio.sleep(10)
            async with asyncio.timeout(BOUND), other.lock("x") as later:
                assert later.token > grant.token
            async with lock as again:
                assert again.token > later.token
                with pytest.raises(LeaseLost):
                    grant.check()
                again.check()

    run(main)


def test_all_that_was_made_before_goes_on_working(url):
    async def main():
        async with connect(url, reopen=True) as session, connect(url) as other:
            lock, semaphore, event = session.lock("l"), session.semaphore("s", 2), session.event("e")
            condition, barrier = session.condition("c", session.lock("cl")), session.barrier("b", 2)

            async def use():
                async with lock, semaphore as permit:
                    permit.check()
                await event.set()
                assert await event.is_set()
                assert await event.wait()
                await event.clear()

                async def wait():
                    async with condition:
                        assert await condition.wait()

                waiting = asyncio.create_task(wait())
                await settle()
                async with condition:
                    await condition.notify()
                await waiting
                assert {*await asyncio.gather(barrier.wait(), other.barrier("b", 2).wait())} == {0, 1}
                assert await session.names()
                assert (await session.inspect("l")).kind == "lock"
                await session.tidy()

            await use()
            ids = {session.id}
            for _ in range(2):
                lose(session)
                await use()
                ids.add(session.id)
            assert len(ids) == 3

    run(main)


@pytest.mark.parametrize(
    "first", ["names", "inspect", "locked", "try_acquire", "is_set", "n_waiting", "set", "release"]
)
def test_whatever_is_used_first_opens_it(url, first):
    async def main():
        async with connect(url, reopen=True) as session:
            await session.event("e").set()
            lose(session)
            if first == "names":
                assert await session.names() == ["e"]
            elif first == "inspect":
                assert (await session.inspect("e")).kind == "event"
            elif first == "locked":
                assert not await session.lock("l").locked()
            elif first == "try_acquire":
                assert await session.lock("l").try_acquire()
            elif first == "n_waiting":
                assert await session.barrier("b", 2).n_waiting == 0
            elif first == "release":
                await session.semaphore("s", 0).release()
            else:
                event = session.event("e")
                await event.set() if first == "set" else await event.is_set()
            assert session.over is None

    run(main)


def test_who_waits_gets_session_lost_and_may_ask_again(url):
    async def main():
        async with connect(url, reopen=True) as session, connect(url) as other:
            await other.lock("x").acquire()
            lock = session.lock("x")
            waiting = [asyncio.create_task(lock.acquire()) for _ in range(3)]
            await settle()
            lose(session)
            for task in waiting:
                with pytest.raises(SessionLost, match="evicted, for the test") as caught:
                    await task
                assert caught.type is SessionLost
            again = asyncio.create_task(lock.acquire())
            await settle()
            await other.close()
            (await again).check()

    run(main)


def test_many_tasks_open_it_once(url):
    async def main():
        async with connect(url, reopen=True) as session:
            lose(session)
            made = []
            anew = session._anew

            def counted():
                made.append(True)
                return anew()

            session._anew = counted
            locks = [session.lock(str(number)) for number in range(20)]
            await asyncio.gather(*(lock.acquire() for lock in locks))
            assert made == [True]

    run(main)


def test_who_opens_it_may_be_cancelled(url):
    """The others, and sessions that come later, have it open all the same."""

    async def main():
        async with connect(url, reopen=True) as session:
            lose(session)
            anew, go_on = session._anew, asyncio.Event()

            def slow():
                engine = anew()
                really = engine.open

                async def open(*args):
                    await go_on.wait()
                    return await really(*args)

                engine.open = open
                return engine

            session._anew = slow
            tasks = [asyncio.create_task(session.lock(name).acquire()) for name in "abc"]
            await settle()
            tasks[0].cancel()
            await asyncio.wait([tasks[0]])
            assert tasks[0].cancelled()
            assert not tasks[1].done()
            go_on.set()
            await asyncio.gather(*tasks[1:])
            assert session.over is None

    run(main)


def test_a_program_that_cancels_all_tasks_while_it_is_opened(url):
    async def main():
        async with connect(url, reopen=True) as session:
            lose(session)
            task = asyncio.create_task(session.lock("x").acquire())
            await asyncio.sleep(0)
            for each in asyncio.all_tasks() - {asyncio.current_task(), task}:
                each.cancel()
            (await task).check()

    run(main)


def test_it_is_closed_while_it_is_opened(url):
    async def main():
        async with connect(url, reopen=True) as session:
            lose(session)
            anew = session._anew

            def stuck():
                engine = anew()

                async def open(*args):
                    await asyncio.sleep(60)

                engine.open = open
                return engine

            session._anew = stuck
            task = asyncio.create_task(session.lock("x").acquire())
            await settle()
            await session.close()
            with pytest.raises(SessionLost):
                await task
            with pytest.raises(SessionLost):
                await session.names()

    run(main)


def test_what_the_user_has_closed_is_not_opened_again(url):
    async def main():
        async with connect(url, reopen=True) as session:
            lock = session.lock("x")
        with pytest.raises(SessionLost, match=r"was closed; connect\(\) for another one"):
            await lock.acquire()

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_child_does_not_open_it(url):
    async def main():
        async with connect(url, reopen=True) as session:
            lock = session.lock("x")

            def is_refused():
                with pytest.raises(SessionLost, match="after a fork"):
                    lock.acquire().send(None)
                return True

            assert in_child(is_refused)

    run(main)


def test_a_task_that_goes_on_releases_its_own_and_not_what_another_one_has_got_since(url):
    """Both use one Lock object, by acquire() and release(); the first was lost in between."""

    async def main():
        async with connect(url, reopen=True) as session:
            lock = session.lock("x")
            go_on = asyncio.Event()

            async def first():
                await lock.acquire()
                await go_on.wait()
                with pytest.raises(LeaseLost, match="evicted, for the test"):
                    await lock.release()

            task = asyncio.create_task(first())
            await settle()
            lose(session)
            grant = await lock.acquire()
            go_on.set()
            await task
            grant.check()
            await lock.release()
            assert not await lock.locked()

    run(main)


def test_a_task_that_has_not_released_what_it_lost_acquires_and_releases_again(url):
    async def main():
        async with connect(url, reopen=True) as session:
            lock = session.lock("x")
            for _ in range(3):
                await lock.acquire()
                lose(session)
            await lock.acquire()
            await lock.release()
            assert not await lock.locked()

    run(main)


def test_a_grant_of_the_life_before_is_none_of_the_next(url):
    """It came to the task, the session was lost, and another task has opened it again before the first one ran."""

    async def main():
        async with connect(url) as other, other.lock("x"), connect(url, reopen=True) as session:
            lock = session.lock("x")
            register = session._life.register("x", lock._initial)
            task = asyncio.create_task(lock.acquire())
            while not register._waiters.futures:
                await asyncio.sleep(0)
            [ticket] = register._waiters.futures
            register._waiters.grant(ticket, 7)
            lose(session)
            await session._reopen()
            with pytest.raises(SessionLost):
                await task
            assert not lock._held

    run(main)


def test_numbers_go_on(url):
    async def main():
        async with connect(url, reopen=True) as session:
            for _ in range(5):
                async with session.lock("x"):
                    pass
            before = session._life.registers.numbers()
            lose(session)
            async with session.lock("x"):
                assert session._life.register("x", session.lock("x")._initial).numbers > before

    run(main)


def test_the_directory_was_removed(tmp_path):
    async def main():
        async with holdfast.connect(f"sqlite://{tmp_path}/locks", reopen=True) as session:
            lock = session.lock("x")
            with pytest.raises(LeaseLost, match="removed"):  # noqa: PT012
                async with lock:
                    shutil.rmtree(tmp_path / "locks")
                    await asyncio.sleep(10)
            async with lock as grant:
                grant.check()
                assert (tmp_path / "locks" / "state.db").exists()

    run(main)


async def test_the_server_was_restarted():
    with Server() as server:
        async with holdfast.connect(server.url, ttl=2, reopen=True) as session:
            lock, before = session.lock("x"), session.id
            with pytest.raises(LeaseLost):  # noqa: PT012
                async with lock as first:
                    server.kill(signal.SIGKILL)
                    await asyncio.sleep(10)
            with pytest.raises(EngineError):
                await lock.acquire()  # it is still away
            server.start()
            async with lock as grant:
                grant.check()
                assert grant.token > first.token
            assert session.id != before


def test_the_engine_is_still_away(tmp_path):
    """EngineError, and the use after that tries again."""

    async def main():
        session = await opened(f"sqlite://{tmp_path}/locks", reopen=True)
        lose(session)
        await settle()
        shutil.rmtree(tmp_path / "locks")
        (tmp_path / "locks").write_text("in its place")
        for _ in range(2):
            with pytest.raises(EngineError):
                await session.lock("x").acquire()
        (tmp_path / "locks").unlink()
        async with session.lock("x"):
            pass
        await session.close()

    run(main)


@pytest.mark.parametrize("how", ["evicted", "its record of being alive is gone"])
@pytest.mark.parametrize("use", ["acquire", "try_acquire", "set", "names"])
def test_one_that_was_lost_while_it_was_idle_has_nothing_to_tell(url, how, use):
    """Without a ttl nothing looks after a session that holds nothing and waits for nothing."""

    async def main():
        async with connect(url, reopen=True) as session, connect(url) as other:
            before = session.id
            await session.event("e").set()
            if how == "evicted":
                assert await other.evict(before)
            elif url.startswith("memory:"):
                session.engine._end()
            else:
                os.unlink(session.engine._files.path / f"{before}.lock")
            uses = {
                "acquire": session.lock("x").acquire,
                "try_acquire": session.lock("x").try_acquire,
                "set": session.event("f").set,
                "names": session.names,
            }
            await uses[use]()
            assert session.over is None
            if use != "names":
                assert session.id != before

    run(main)
