"""What the dead have held and waited for where nobody waits: a try gets it, and a look does not see it.

As long as nobody waits, nobody has a reason to watch them; so a session that tries looks after them when it is refused.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from .counting import Requests
from .engines import Place, die, run, settle
from .engines import place as place
from .worker import Worker, until_waiting

__all__ = ["run"]  # the fixture

LEASED = {
    "lock": lambda session: session.lock("x"),
    "condition": lambda session: session.condition("a condition", session.lock("x")),
    "semaphore": lambda session: session.semaphore("x", 1),
    "bounded semaphore": lambda session: session.bounded_semaphore("x", 1),
}


@pytest.fixture(params=["embedded", "valkey", "etcd"])
def far(request, tmp_path):
    """For processes."""
    return Place(request.param, tmp_path)


leased = pytest.mark.parametrize("make", LEASED.values(), ids=LEASED.keys())


@leased
async def test_who_tries_gets_what_a_dead_session_held(place, make):
    async with place.connect() as session:
        dead = await place.opened()
        await make(dead).acquire()
        assert await make(session).try_acquire() is None
        assert await make(session).locked()
        await die(dead)
        assert not await make(session).locked()
        assert await make(session).try_acquire()
        assert await make(session).locked()


@leased
async def test_many_have_died_one_after_the_other(place, make):
    async with place.connect() as session:
        dead = [await place.opened() for _ in range(4)]
        await make(dead[0]).acquire()
        waiting = [asyncio.create_task(make(each).acquire()) for each in dead[1:]]
        await until_waiting(session, "x", 3)
        for each in [*dead[1:], dead[0]]:
            await die(each)
        assert not await make(session).locked()
        assert await make(session).try_acquire()
        for task in waiting:
            task.cancel()


async def test_all_permits_of_the_dead_are_free_again(place):
    async with place.connect() as session:
        dead = [await place.opened() for _ in range(2)]
        for each in dead:
            await each.semaphore("x", 3).acquire()
        await session.semaphore("x", 3).acquire()
        for each in dead:
            await die(each)
        assert not await session.semaphore("x", 3).locked()
        assert (await session.inspect("x")).state["free"] == 2
        assert await session.semaphore("x", 3).try_acquire()
        assert await session.semaphore("x", 3).try_acquire()
        assert await session.semaphore("x", 3).try_acquire() is None


@leased
async def test_a_living_waiter_behind_dead_ones_is_not_overtaken(place, make):
    """A session that tries buries the dead for it, and is refused."""
    async with place.connect() as session, place.connect() as living:
        holder, before = await place.opened(), await place.opened()
        await make(holder).acquire()
        lost = asyncio.create_task(make(before).acquire())
        await until_waiting(session, "x", 1)
        living.engine.watch = lambda *args: lambda: None
        waiter = asyncio.create_task(make(living).acquire())
        await until_waiting(session, "x", 2)
        await die(before)
        await die(holder)
        assert await make(session).locked(), "it is on its way to the one that lives"
        assert await make(session).try_acquire() is None
        assert await waiter
        lost.cancel()


@leased
async def test_a_try_costs_what_it_did_and_a_refused_one_one_look_more(place, make):
    async with place.connect() as one, place.connect() as two:
        requests = Requests()
        requests.count(two.engine)
        primitive = make(two)
        assert await primitive.try_acquire()
        assert requests.made == 1
        assert await make(two).try_acquire() is None
        assert requests.made == 2, "there is nobody else who could be dead"
        await primitive.release()
        await make(one).acquire()
        requests.made = 0
        assert await primitive.try_acquire() is None
        assert requests.made <= 2


async def test_to_look_costs_one_request_more_at_most(tmp_path):
    place = Place("valkey", tmp_path)
    async with place.connect() as one, place.connect() as two:
        requests = Requests()
        requests.count(two.engine)
        assert not await two.lock("x").locked()
        assert requests.made == 1
        await one.lock("x").acquire()
        assert await two.lock("x").locked()
        assert requests.made == 3


async def test_arrivals_of_the_dead_are_not_counted(place):
    async with place.connect() as session:
        dead = [await place.opened() for _ in range(2)]
        arrived = [asyncio.create_task(each.barrier("x", 4).wait()) for each in dead]
        arrived.append(asyncio.create_task(session.barrier("x", 4).wait()))
        await until_waiting(session, "x", 3)
        assert await session.barrier("x", 4).n_waiting == 3
        for each in dead:
            await die(each)
        assert await session.barrier("x", 4).n_waiting == 1
        assert (await session.inspect("x")).state["arrived"] == 1
        for task in arrived:
            task.cancel()


async def test_inspect_does_not_tell_of_the_dead(place):
    async with place.connect() as session:
        dead = await place.opened()
        await dead.lock("x").acquire()
        await dead.event("e").clear()
        waiting = asyncio.create_task(dead.event("e").wait())
        await until_waiting(session, "e")
        await die(dead)
        found = await session.inspect("x")
        assert (found.holders, found.waiters, found.state["locked"]) == ((), (), False)
        assert (await session.inspect("e")).waiters == ()
        waiting.cancel()


async def test_a_dead_session_that_releases_to_another_meanwhile_is_never_seen_as_free(place):
    """Between the two looks at the record and at the dead, it is handed over: it was never free."""
    async with place.connect() as session, place.connect() as living:
        dead = await place.opened()
        await dead.lock("x").acquire()
        look, looks = session.engine.look, []

        async def slow(names, sessions):
            seen = await look(names, sessions)
            looks.append(seen)
            if len(looks) == 1:  # the record has been read
                waiter.append(asyncio.create_task(living.lock("x").acquire()))
                await until_waiting(living, "x")
                await die(dead)
                await waiter[0]
            return seen

        waiter = []
        session.engine.look = slow
        assert await session.lock("x").locked()


async def test_a_try_that_is_cancelled_while_it_looks_for_the_dead_has_taken_nothing(place):
    async with place.connect() as session:
        dead = await place.opened()
        await dead.lock("x").acquire()
        await die(dead)
        for iterations in range(12):
            attempt = asyncio.create_task(session.lock("x").try_acquire())
            for _ in range(iterations):
                await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.wait([attempt])
            if not attempt.cancelled():
                break
            await settle(session)
            assert not await session.lock("x").locked()
        assert await session.lock("x").try_acquire() if attempt.cancelled() else attempt.result()


HOLDING = """
import asyncio, os, signal, sys, holdfast

async def main():
    session = await holdfast.connect({url!r}, **{options!r}).__aenter__()
    await session.lock("lock").acquire()
    await session.semaphore("semaphore").acquire()
    await session.bounded_semaphore("bounded").acquire()
    arrived = asyncio.create_task(session.barrier("barrier", 2).wait())
    waiting = asyncio.create_task(session.event("event").wait())
    for name in ("barrier", "event"):
        while not await is_waited_for(session, name):
            await asyncio.sleep(0.005)
    {end}

async def is_waited_for(session, name):
    try:
        return (await session.inspect(name)).waiters
    except KeyError:
        return False

asyncio.run(main())
"""
ENDS = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "exit": "os._exit(0)",
    "end of main()": "",
    "sys.exit": "sys.exit()",
}


async def until_its_lease_is_over(place):
    """A server that is busy may do what the process has sent last, and so renew it, when that has long ended."""
    if place.is_server:
        async with place.connect() as session:
            while (await session.inspect("lock")).holders:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_a_process_that_has_ended_without_closing(far, end):
    code = HOLDING.format(url=far.url, options=far.options(), end=end)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=subprocess.DEVNULL)
    await process.wait()
    await until_its_lease_is_over(far)
    async with far.connect() as session:
        assert not await session.lock("lock").locked()
        assert await session.barrier("barrier", 2).n_waiting == 0
        assert (await session.inspect("event")).waiters == ()
        assert not await session.event("event").is_set()
        assert await session.lock("lock").try_acquire()
        assert await session.semaphore("semaphore").try_acquire()
        assert await session.bounded_semaphore("bounded").try_acquire()


async def test_the_command_line_gets_what_a_killed_process_held(far):
    async with Worker(far.url, **far.options()) as victim:
        await victim.do("await session.lock('lock').acquire(); await session.semaphore('semaphore').acquire()")
        await victim.do("asyncio.create_task(session.barrier('barrier', 2).wait()); await asyncio.sleep(0.1)")
        await victim.kill()
    await until_its_lease_is_over(far)
    options = ["--url", far.url, "--namespace", far.namespace, "--timeout", "0"]

    async def execute(*arguments):
        command = [sys.executable, "-m", "holdfast", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return await process.wait()

    assert await execute("barrier", *options, "barrier", "2") == 124
    assert await execute("lock", *options, "lock", "--", "true") == 0
    assert await execute("semaphore", *options, "semaphore", "1", "--", "true") == 0


async def test_a_stopped_process_keeps_what_it_holds(tmp_path):
    place = Place("embedded", tmp_path)
    async with Worker(place.url, **place.options()) as stopped, place.connect() as session:
        await stopped.do("await session.lock('x').acquire()")
        stopped.stop()
        assert await session.lock("x").try_acquire() is None
        assert await session.lock("x").locked()
        os.kill(stopped.pid, signal.SIGCONT)
