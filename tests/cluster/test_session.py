"""A session's life by the clock, what it tells about names, and records that are removed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import pytest
from interpreters import BOUND, RARELY, collect

import holdfast
from holdfast.cluster import EngineError, FormatError, LeaseLost, NameConflict, SessionLost
from holdfast.cluster.records.answers import batch_of
from holdfast.cluster.records.any_kind import decode_any
from holdfast.cluster.records.stored import encode
from holdfast.cluster.session_life import housekeeping, renewal
from holdfast.cluster.session_life.register import Register

from .test_lock import connect, opened, run, settle, url
from .worker import until_waiting

__all__ = ["url"]  # the fixture


TTL = 1.0
"""Seconds."""


def with_ttl(url, **options):
    return connect(url, ttl=TTL, **options)


@pytest.mark.parametrize("ttl", [0, -1, 0.01, float("inf"), float("nan"), 1.1e9, 10**400, "10"])
def test_a_ttl_is_a_number_of_seconds(ttl):
    with pytest.raises(ValueError, match=r"ttl must be a number of seconds, 0\.1 to 1e\+09, or None"):
        holdfast.connect("memory:", ttl=ttl)


def test_a_session_is_renewed_while_its_loop_runs(url):
    async def main():
        async with connect(url, ttl=4) as one, connect(url) as two:
            async with one.lock("l") as grant:
                waiter = asyncio.create_task(two.lock("l").acquire())
                await asyncio.sleep(5)
                assert not waiter.done()
                grant.check()
            await waiter

    run(main)


def test_whoever_blocks_its_loop_for_longer_than_its_ttl_has_lost_its_lease(url):
    async def main():
        async with with_ttl(url) as one, connect(url) as two:
            with pytest.raises(LeaseLost):  # noqa: PT012
                async with one.lock("l") as grant:
                    waiter = asyncio.create_task(two.lock("l").acquire())
                    await settle()
                    time.sleep(1.2 * TTL)  # the loop is blocked
                    with pytest.raises(LeaseLost, match=r"could not be renewed within its ttl of 1\.0 s"):
                        grant.check()
                    assert grant.lost.is_set()
                    await asyncio.sleep(10)
            assert (await waiter).token > grant.token
            with pytest.raises(SessionLost):
                await one.lock("other").acquire()

    run(main)


def test_nobody_takes_over_before_the_holder_has_given_up(url):
    async def main():
        gave_up = taken = None

        async def hold(session):
            nonlocal gave_up
            try:
                async with session.lock("l"):
                    session.engine.renew = failing
                    await asyncio.sleep(10)
            except LeaseLost:
                gave_up = time.monotonic()

        async def failing(*args):
            raise EngineError("no answer")

        async with with_ttl(url) as one, connect(url) as two:
            holder = asyncio.create_task(hold(one))
            await settle()
            await two.lock("l").acquire()
            taken = time.monotonic()
            await holder
            assert gave_up <= taken

    run(main)


def test_a_session_that_has_expired_is_not_renewed_any_more(url):
    async def main():
        async with connect(url) as two:
            one = await opened(url, ttl=TTL)
            await one.lock("l").acquire()
            time.sleep(1.2 * TTL)
            assert await two.engine.dead([one.id]) == {one.id}
            with pytest.raises(SessionLost):
                await one.engine.renew()
            with pytest.raises(SessionLost):
                await one.engine.apply("l", lambda stored: (stored.text, None))
            await one.close()

    run(main)


def test_expired_and_not_yet_evicted_is_dead_all_the_same(url):
    async def main():
        one = await opened(url, ttl=0.6)
        time.sleep(0.8)
        with pytest.raises(SessionLost):
            await one.engine.apply("l", lambda stored: ("", None))
        assert await one.engine.read("l") is None
        await one.close()

    run(main)


def test_inspect_tells_who_holds_and_who_waits(url):
    async def main():
        async with connect(url, name="the holder") as one, connect(url, name="the others") as two:
            grant = await one.lock("l").acquire()
            waiting = [asyncio.create_task(two.lock("l").acquire()) for _ in range(3)]
            await settle()
            found = await two.inspect("l")
            assert (found.name, found.kind, found.made_by) == ("l", "lock", "the holder")
            (holding,) = found.holders
            assert (holding.session.name, holding.session.pid, holding.token) == (
                "the holder",
                os.getpid(),
                grant.token,
            )
            assert abs(holding.since - datetime.now(UTC)) < timedelta(minutes=5)
            assert holding.session.since <= holding.since + timedelta(milliseconds=1)  # which is kept in milliseconds
            (waiter,) = found.waiters
            assert (waiter.session.name, waiter.tasks, waiter.condition) == ("the others", 3, None)
            with pytest.raises(AttributeError):
                found.name = "x"
            for task in waiting:
                task.cancel()

    run(main)


def test_inspect_knows_every_kind(url):
    async def main():
        async with connect(url, name="me") as me:
            await me.semaphore("s", 3).acquire()
            await me.bounded_semaphore("b", 2).try_acquire()
            await me.event("e").set()
            condition = me.condition("c", me.lock("l"))

            async def wait():
                async with condition:
                    await condition.wait()

            tasks = [asyncio.create_task(wait()), asyncio.create_task(me.barrier("bar", 2).wait())]
            await settle()
            s = await me.inspect("s")
            assert (s.kind, s.state["free"], s.holders[0].permits, s.holders[0].token) == ("semaphore of 3", 2, 1, None)
            assert (await me.inspect("b")).kind == "bounded semaphore of 2"
            assert (await me.inspect("e")).state == {"is_set": True}
            (waiting,) = (await me.inspect("l")).waiters
            assert (waiting.condition, waiting.tasks) == ("c", 1)
            assert (await me.inspect("bar")).state == {"parties": 2, "arrived": 1, "broken": False}
            assert await me.names() == ["b", "bar", "e", "l", "s"]
            for task in tasks:
                task.cancel()

    run(main)


def test_inspect_of_a_name_that_nobody_has_used(url):
    async def main():
        async with connect(url) as me:
            with pytest.raises(KeyError):
                await me.inspect("nothing")
            with pytest.raises(ValueError, match="1 to 200"):
                await me.inspect("")

    run(main)


def test_namespaces_have_their_own_names(url):
    async def main():
        apart = [connect(url, namespace=url + suffix) for suffix in "ab"]
        async with apart[0] as one, apart[1] as two:
            await one.event("e").set()
            assert await two.names() == []

    run(main)


def test_an_idle_record_is_removed_and_tokens_go_on_rising(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            for _ in range(3):
                async with one.lock("l") as grant:
                    pass
            assert await two.tidy(0) == 0  # `one` might still ask what became of its last request
            await asyncio.sleep(0.01)
            assert await one.tidy(0) == 1
            assert await one.names() == []
            async with two.lock("l") as later:
                assert later.token > grant.token

    run(main)


def test_what_is_in_use_is_not_removed(url):
    async def main():
        async with connect(url) as me:
            await me.lock("l").acquire()
            await me.semaphore("s", 3).acquire()
            await me.event("e").set()
            waiting = asyncio.create_task(me.barrier("b", 2).wait())
            await settle()
            await asyncio.sleep(0.01)
            assert await me.tidy(0) == 0
            assert await me.names() == ["b", "e", "l", "s"]
            waiting.cancel()

    run(main)


def test_what_was_used_lately_is_not_removed(url):
    async def main():
        async with connect(url) as me:
            async with me.lock("l"):
                pass
            assert await me.tidy(60) == 0
            assert await me.names() == ["l"]

    run(main)


def test_another_value_may_be_used_once_the_record_is_gone(url):
    async def main():
        async with connect(url) as one:
            async with one.semaphore("api", 10):
                pass
            await asyncio.sleep(0.01)
            await one.tidy(0)
            async with connect(url) as two, two.semaphore("api", 20):
                assert (await two.inspect("api")).kind == "semaphore of 20"

    run(main)


@pytest.mark.parametrize("text", ["not ours", "", b"\xff", None])
def test_an_unreadable_record_is_refused_and_left_alone(tmp_path, text):
    url = f"sqlite://{tmp_path}/d"

    async def main():
        async with connect(url) as me:
            await me.event("e").set()
            with contextlib.closing(sqlite3.connect(tmp_path / "d" / "state.db")) as database, database:
                database.execute("UPDATE texts SET text = ?", (text,))
            with pytest.raises(FormatError, match="is not one of holdfast's"):
                await me.event("e").set()
            with pytest.raises(FormatError):
                await me.inspect("e")
            assert await me.tidy(0) == 0
            with contextlib.closing(sqlite3.connect(tmp_path / "d" / "state.db")) as database:
                assert database.execute("SELECT text FROM texts").fetchone() == (text,)

    run(main)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory that belongs to somebody else")
def test_a_directory_of_another_user_is_refused(tmp_path):
    (tmp_path / "d").mkdir()
    os.chown(tmp_path / "d", 12345, 12345)

    async def main():
        with pytest.raises(EngineError, match=f"belongs to user 12345, not to {os.geteuid()}"):
            await connect(f"sqlite://{tmp_path}/d").__aenter__()
        assert os.listdir(tmp_path / "d") == []

    run(main)


@pytest.mark.parametrize("removed", ["state.db", "s", ""])
def test_a_holder_is_told_that_the_directory_was_removed(tmp_path, removed):
    """Also without a ttl, and though it asks nothing of the engine meanwhile: others would begin with a new one."""

    async def main():
        async with holdfast.connect(f"sqlite://{tmp_path}/locks") as session:
            with pytest.raises(LeaseLost, match="has been removed"):  # noqa: PT012
                async with session.lock("l"):
                    target = tmp_path / "locks" / removed
                    target.unlink() if target.is_file() else shutil.rmtree(target)
                    await asyncio.sleep(10)

    run(main)


def test_tokens_go_on_rising_though_the_last_grants_were_lost_with_the_power(tmp_path):
    async def grant_once():
        async with holdfast.connect(f"sqlite://{tmp_path}/locks") as session, session.lock("l") as grant:
            return grant.token

    async def main():
        path = tmp_path / "locks" / "state.db"
        first = await grant_once()
        kept = path.with_name("kept.db")
        with contextlib.closing(sqlite3.connect(path)) as database, contextlib.closing(sqlite3.connect(kept)) as copy:
            database.backup(copy)
        tokens = [first, *[await grant_once() for _ in range(5)]]
        for file in path.parent.glob("state.db*"):
            file.unlink()
        kept.rename(path)  # as after a power failure
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("UPDATE boots SET boot = 'the one before'")
        tokens += [await grant_once() for _ in range(3)]
        assert tokens == sorted({*tokens})

    run(main)


@pytest.fixture
def only_new_objects():
    """The collector looks at what a test makes, alone: all that a busy process has collected so far takes seconds."""
    if not hasattr(gc, "freeze"):  # PyPy
        yield
        return
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def registers(session):
    """How many there are of the session. Those of sessions of other tests may go at any moment, with their threads."""
    collect()
    return sum(type(each) is Register and each._session is session._life for each in gc.get_objects())


async def use(session, name):
    async with session.lock(name):
        pass
    await session.event(f"{name} has been used").set()
    async with session.semaphore(f"{name}'s permits", 2):
        pass


def test_a_session_keeps_nothing_of_the_many_names_it_has_used(url):
    async def main():
        async with connect(url) as session:
            before = registers(session)
            for number in range(200):
                await use(session, str(number))
            assert registers(session) == before + 600
            await settle()
            await session.tidy(0)
            assert registers(session) == before
            assert await session.event("7 has been used").is_set()

    run(main)


def test_names_that_were_only_looked_at_are_not_kept_at_all(url):
    async def main():
        async with connect(url) as session:
            before = registers(session)
            for number in range(50):
                assert not await session.lock(str(number)).locked()
            assert registers(session) == before

    run(main)


def test_a_name_that_could_not_be_used_is_not_kept_either(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            await one.event("x").set()
            before = registers(two)
            with pytest.raises(NameConflict):
                await two.lock("x").acquire()
            await settle()  # for its last change to have ended
            await two.tidy(0)
            assert registers(two) == before

    run(main)


def test_a_name_that_cannot_be_used_any_more_is_not_kept_either(url):
    async def main():
        async with connect(url) as session:
            before = registers(session)
            async with session.lock("x"):
                pass
            await session.engine.apply("x", lambda stored: ("not JSON", None))
            with pytest.raises(FormatError):
                await session.lock("x").acquire()
            await settle()
            await session.tidy(0)
            assert registers(session) == before

    run(main)


@pytest.mark.usefixtures("only_new_objects")
def test_many_names_are_let_go_without_being_asked(url, monkeypatch):
    monkeypatch.setattr(housekeeping, "MANY", 20)
    monkeypatch.setattr(housekeeping, "IDLE", 0)

    async def main():
        async with connect(url) as session:
            before, most = registers(session), 0
            for number in range(300):
                async with session.lock(str(number)):
                    pass
                if number % 30 == 0:
                    most = max(most, registers(session) - before)
                await asyncio.sleep(0)
            assert most < 150

    run(main)


def test_what_is_held_or_waited_for_outlives_tidying(url, monkeypatch):
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)  # who waits is told in the end, or waits for ever

    async def main():
        async with connect(url) as one, connect(url) as two:
            grant = await one.lock("l").acquire()
            waiter = asyncio.create_task(two.lock("l").acquire())
            await settle()
            for session in (one, two, one):
                assert await session.tidy(0) == 0
            gc.collect()
            grant.check()
            found = await one.inspect("l")
            assert (len(found.holders), len(found.waiters)) == (1, 1)
            assert not waiter.done()
            await one.close()
            assert (await waiter).token > grant.token

    run(main)


def test_an_object_that_outlives_tidying_has_the_one_register_of_its_name(url):
    async def main():
        async with connect(url) as session:
            lock = session.lock("l")
            async with lock:
                pass
            await session.tidy(0)
            before = registers(session)
            other = session.lock("l")
            assert registers(session) == before
            async with asyncio.timeout(BOUND):
                first, second = await asyncio.gather(pass_through(lock), pass_through(other))
            assert first != second

    run(main)


async def pass_through(lock):
    async with lock as grant:
        return grant.token


def test_a_name_that_is_used_again_goes_on_with_its_numbers(url):
    """A batch that has the number of an earlier one would be taken for that: its answer would be another's."""

    async def main():
        async with connect(url) as session:

            async def number():
                await session.event("e").set()
                return batch_of(decode_any(await session.engine.read("e"), "e").answers.get(session.id))

            numbers = []
            for _ in range(3):
                numbers += [await number(), await number()]
                await settle()  # for its last change to have ended
                before = registers(session)
                await session.tidy(0)
                assert registers(session) == before - 1
            assert numbers == sorted({*numbers})

    run(main)


def test_closing_leaves_all_names_also_if_one_has_been_overwritten(url, monkeypatch):
    """Else the others of the same process would wait until they look for themselves."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)

    async def main():
        one = await opened(url)
        for name in ("x", "a"):
            await one.lock(name).acquire()
        async with connect(url) as two:
            await two.engine.apply("x", lambda stored: ("not JSON", None))
            waiter = asyncio.create_task(two.lock("a").acquire())
            await until_waiting(one, "a")
            await one.close()
            await waiter

    run(main)


@pytest.mark.parametrize("make", [lambda session: session.lock("x"), lambda session: session.semaphore("x", 2)])
def test_what_comes_out_of_a_body_passes_also_if_its_record_has_been_overwritten(url, make):
    async def main():
        async def overwrite(and_run_out_of_time):
            async with asyncio.timeout(None) as clock, leased:
                await session.engine.apply("x", lambda stored: ("not JSON", None))
                if and_run_out_of_time:
                    clock.reschedule(0)
                    await asyncio.sleep(60)

        async with connect(url) as session:
            leased = make(session)
            with pytest.raises(TimeoutError):
                await overwrite(and_run_out_of_time=True)
            await session.engine.apply("x", lambda stored: (encode(leased._register.initial), None))
            with pytest.raises(FormatError):
                await overwrite(and_run_out_of_time=False)

    run(main)
