"""A RateLimiter of sessions: who is served when, and what becomes of who leaves.

The time is the engine's. So the tests look at the order, and at what must not be too early, never at what might be
late.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import subprocess
import sys
import time
from itertools import count

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import NameConflict, SessionLost
from holdfast.cluster.engines import memory as memory_engine
from holdfast.cluster.primitives.rate_limiter import RateLimiter
from holdfast.cluster.session_life import renewal

from .blocking import in_thread, until, waiting
from .engines import die, memory, place, run, settle
from .steps import close, in_line, make_distant, start

__all__ = ["memory", "place", "run"]  # the fixtures

NEVER = 1e-6
"""A rate at which no token comes while a test runs."""
EARLY = 0.05
"""Seconds by which a session's idea of a server's clock may differ from another's."""


async def pair(place, rate, burst):
    """A limiter in two sessions."""
    sessions = [await place.opened(), await place.opened()]
    return sessions, [session.rate_limiter("r", rate, burst=burst) for session in sessions]


async def tokens(session):
    return (await session.inspect("r")).state["tokens"]


async def test_tokens_are_had_in_the_order_of_asking_whatever_is_asked_for(place):
    """aiolimiter 1.3.0: an acquire(8) that came first was served after 60 later acquire(1)."""
    sessions, limiters = await pair(place, 20, 5)
    order = []

    async def take(who, limiter, n):
        assert await limiter.acquire(n) is True
        order.append((who, time.monotonic()))

    began = time.monotonic()
    assert await limiters[0].try_acquire(5)
    wishes = [5, 1, 2, 1, 1]
    turns = itertools.cycle(limiters)
    tasks = [start(take(who, next(turns), n)) for who, n in enumerate(wishes[:1])]
    await settle(*sessions)
    assert await limiters[1].try_acquire() is False, "it would overtake"
    for who, n in enumerate(wishes[1:], start=1):
        tasks += await in_line(sessions, take(who, next(turns), n))
    await asyncio.gather(*tasks)
    assert [who for who, _ in order] == [*range(len(wishes))]
    for (_, at), taken in zip(order, itertools.accumulate(wishes), strict=True):
        assert at - began >= taken / 20 - EARLY, "it was too early"
    await close(sessions)


async def test_looks_at_the_record_do_not_begin_the_time_of_a_waiter_anew(place, monkeypatch):
    """A session looks at what it waits for now and then, here more often than a token comes: it learns nothing new."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", 0.2)
    async with place.connect(**({"ttl": 2.0} if place.is_server else {})) as session:
        limiter = session.rate_limiter("r", 0.5, burst=2)
        assert await limiter.try_acquire(2)
        began = time.monotonic()
        async with asyncio.timeout(BOUND):
            await asyncio.gather(limiter.acquire(), limiter.acquire())
        assert time.monotonic() - began >= 4 - EARLY


async def test_tokens_that_are_there_are_taken_in_one_change(memory):
    async with memory.connect() as session:
        limiter = session.rate_limiter("r", NEVER, burst=3)
        changes = []
        apply = session.engine.apply

        async def counted(*args, **options):
            changes.append(args[0])
            return await apply(*args, **options)

        session.engine.apply = counted
        async with limiter as nothing:
            assert nothing is None
        assert len(changes) == 1
        await limiter.acquire(2)
        assert len(changes) == 2
        assert not await limiter.try_acquire()


async def test_when_the_head_is_cancelled_the_next_is_served_and_nothing_was_taken(place):
    sessions, (one, two) = await pair(place, NEVER, 4)
    await one.acquire(2)
    large, small = await in_line(sessions, two.acquire(4), one.acquire(2))
    assert not small.done()
    large.cancel()
    async with asyncio.timeout(BOUND):
        assert await small
    assert await tokens(sessions[0]) == 0
    await close(sessions)


@pytest.mark.parametrize("how", ["is closed", "dies"])
async def test_when_the_session_of_the_head_ends_the_next_is_served_and_nothing_was_taken(memory, how):
    sessions, (one, two) = await pair(memory, NEVER, 4)
    await one.acquire(2)
    large, small = await in_line(sessions, two.acquire(4), one.acquire(2))
    assert not small.done()
    if how == "is closed":
        await sessions[1].close()
        with pytest.raises(SessionLost):
            await large
    else:
        await die(sessions[1])
        large.cancel()
    async with asyncio.timeout(BOUND):
        assert await small
    assert await tokens(sessions[0]) == 0
    await close(sessions)


@pytest.mark.parametrize("iterations", range(10))
async def test_a_cancelled_acquire_has_taken_nothing(memory, iterations):
    """It is cancelled at each moment on the way: before the request, while it is under way, after it."""
    sessions, (one, two) = await pair(memory, NEVER, 3)
    make_distant(sessions[0])
    task = start(one.acquire(3))
    for _ in range(iterations):
        await asyncio.sleep(0)
    was_cancelled = task.cancel()
    if was_cancelled:
        with pytest.raises(asyncio.CancelledError):
            await task
    await settle(*sessions)
    assert await two.try_acquire(3) is was_cancelled
    await close(sessions)


async def test_a_task_that_is_cancelled_as_it_claims_its_tokens_has_taken_none(memory):
    sessions, (one, two) = await pair(memory, 20, 2)
    await one.acquire(2)
    apply, claims, changes = sessions[1].engine.apply, asyncio.Event(), count(1)

    async def slow(*args, **options):
        result = await apply(*args, **options)
        if next(changes) == 2:  # behind the one that joins the line
            claims.set()
            await asyncio.sleep(0)
        return result

    sessions[1].engine.apply = slow
    waiter = start(two.acquire(2))
    async with asyncio.timeout(BOUND):
        await claims.wait()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await settle(*sessions)
    async with asyncio.timeout(BOUND):
        assert await one.acquire(2)
    assert not (await sessions[0].inspect("r")).waiters
    await close(sessions)


async def test_who_stands_at_the_head_is_told_when_its_session_is_lost(memory):
    sessions, (one, two) = await pair(memory, NEVER, 1)
    await one.acquire()
    [waiter] = await in_line(sessions, two.acquire())
    await sessions[0].evict(sessions[1].id)
    async with asyncio.timeout(BOUND):
        with pytest.raises(SessionLost, match="was evicted"):
            await waiter
    await close(sessions)


async def test_who_stands_at_the_head_is_told_when_the_record_was_replaced(memory):
    sessions, (one, _) = await pair(memory, 1, 1)
    await one.acquire()
    [waiter] = await in_line(sessions, one.acquire())
    await memory.by_hand(lambda text: None, "r")
    async with asyncio.timeout(BOUND):
        with pytest.raises(SessionLost, match="was removed or replaced"):
            await waiter
    async with asyncio.timeout(BOUND):
        assert await one.acquire()
    await close(sessions)


async def test_a_claim_that_comes_too_early_waits_on(memory, monkeypatch):
    """The engine's clock stands still for a while."""
    sessions, (one, two) = await pair(memory, 50, 1)
    await one.acquire()
    now = time.time()
    monkeypatch.setattr(memory_engine.time, "time", lambda: now)
    [waiter] = await in_line(sessions, two.acquire())
    await asyncio.sleep(0.1)
    assert not waiter.done(), "it has taken a token that is not there"
    monkeypatch.undo()
    async with asyncio.timeout(BOUND):
        assert await waiter
    await close(sessions)


def test_a_process_that_is_killed_while_it_waits_takes_nothing(tmp_path):
    url = f"sqlite://{tmp_path}/locks"
    code = (
        "import asyncio, holdfast\n"
        "async def main():\n"
        f"    async with holdfast.connect({url!r}) as session:\n"
        f"        await session.rate_limiter('r', {NEVER}, burst=4).acquire(4)\n"
        "asyncio.run(main())\n"
    )
    with holdfast.connect(url).sync as session:
        limiter = session.rate_limiter("r", NEVER, burst=4)
        assert limiter.acquire(n=2)
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            until(lambda: waiting(session, "r"))
            small = in_thread(lambda: limiter.acquire(n=2))
            until(lambda: waiting(session, "r") == 2)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(BOUND)
        assert small.result(BOUND) is True
        assert session.inspect("r").state["tokens"] == 0


async def test_two_rates_are_a_conflict_while_tokens_are_missing(memory):
    async with memory.connect() as one, memory.connect() as two:
        slow = two.rate_limiter("r", 20, burst=1)
        await one.rate_limiter("r", 10, burst=1).acquire()
        with pytest.raises(
            NameConflict,
            match=r"'r' is a rate limiter of 10 per 1 s, 1 at most, made by .* and in use.*"
            r" Wait until all its tokens are there again and nobody waits for any, or use the same value; nothing",
        ):
            await slow.try_acquire()
        await asyncio.sleep(0.11)  # all are there again
        assert await slow.try_acquire()


async def test_it_leaves_no_record_behind_once_all_tokens_are_there(memory):
    async with memory.connect() as observer:
        async with memory.connect() as session:
            assert await session.rate_limiter("r", 10, burst=1).try_acquire()
        assert await observer.tidy(0) == 0
        await asyncio.sleep(0.12)
        assert await observer.tidy(0.11) == 1
        assert await observer.names() == []


async def test_inspect_says_who_waits_for_how_many(memory):
    sessions, (one, two) = await pair(memory, NEVER, 5)
    await one.acquire(3)
    tasks = await in_line(sessions, two.acquire(4), one.acquire(), one.acquire())
    found = await sessions[0].inspect("r")
    assert found.kind == f"rate limiter of {NEVER} per 1 s, 5 at most"
    assert not found.holders
    assert [(each.tasks, each.permits) for each in found.waiters] == [(1, 4), (2, 1)]
    assert found.state == {"tokens": 2}
    for task in tasks:
        task.cancel()
    await close(sessions)


async def test_misuse(memory):
    async with memory.connect() as session:
        limiter = session.rate_limiter("r", 10, burst=3)
        assert (limiter.rate, limiter.per, limiter.burst) == (10, 1, 3)
        assert session.rate_limiter("other", 2.5).burst == 3
        assert repr(limiter).startswith("<holdfast.cluster.RateLimiter 'r' of ")
        for call in (limiter.acquire, limiter.try_acquire):
            with pytest.raises(ValueError, match="n must be at most 3, as more tokens are never there at once, not 4"):
                await call(4)
            with pytest.raises(ValueError, match="must be one or more, not 0"):
                await call(0)
        with pytest.raises(TypeError, match="is entered with 'async with', not with 'with'"), limiter:
            pass
        with pytest.raises(TypeError, match="there is no timeout="):
            await limiter.acquire(timeout=1)
        with pytest.raises(ValueError, match="rate must be more than 0, and finite"):
            session.rate_limiter("r", 0)
        with pytest.raises(ValueError, match="a token must take at least a microsecond to come"):
            session.rate_limiter("r", 5e6)
        with pytest.raises(ValueError, match="a name is a text"):
            session.rate_limiter("", 1)
        assert isinstance(limiter, RateLimiter)
        assert await limiter.try_acquire(3), "something was taken"


def test_threads(place):
    with place.connect().sync as one, place.connect().sync as two:
        mine, others = one.rate_limiter("r", 20, burst=2), two.rate_limiter("r", 20, burst=2)
        began = time.monotonic()
        with mine as taken:
            assert taken is True
        assert mine.acquire()
        assert others.acquire(timeout=BOUND, n=2) is True
        assert time.monotonic() - began >= 2 / 20 - EARLY
        with pytest.raises(ValueError, match="n must be at most 2"):
            mine.acquire(False, n=3)
        slow = one.rate_limiter("slow", NEVER, burst=1)
        assert slow.acquire(blocking=False) is True
        assert two.rate_limiter("slow", NEVER, burst=1).acquire(blocking=False) is False
        assert two.rate_limiter("slow", NEVER, burst=1).acquire(timeout=0.01) is False
        assert repr(mine).startswith("<holdfast.cluster.SyncRateLimiter 'r' of ")


def test_a_thread_that_gives_up_has_taken_nothing(memory):
    with memory.connect().sync as one, memory.connect().sync as two:
        mine, others = one.rate_limiter("r", NEVER, burst=3), two.rate_limiter("r", NEVER, burst=3)
        assert mine.acquire(n=1)
        waits = in_thread(lambda: others.acquire(timeout=0.2, n=3))
        until(lambda: waiting(one, "r"))
        assert mine.acquire(timeout=BOUND, n=2), "what waits in front of it has left"
        assert waits.result(BOUND) is False


async def test_inspect_tells_how_many_tokens_are_there_by_now(memory):
    async with memory.connect() as session:
        limiter = session.rate_limiter("r", 20, burst=2)
        assert await limiter.try_acquire(2)
        assert (await session.inspect("r")).state["tokens"] < 2
        async with asyncio.timeout(BOUND):
            while (await session.inspect("r")).state["tokens"] < 2:  # though nobody changes the record
                await asyncio.sleep(0.01)
        assert await limiter.try_acquire(2)


async def test_a_cancelled_wait_in_a_session_that_is_closed_says_nothing_to_the_loop(memory):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    async with memory.connect() as session:
        limiter = session.rate_limiter("r", NEVER, burst=1)
        await limiter.acquire()
        [waiter] = await in_line([session], limiter.acquire())
        waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    del waiter
    gc.collect()
    await asyncio.sleep(0)
    assert not told


async def test_acquire_all_takes_from_limiters_of_sessions_and_of_the_process(place):
    async with place.connect() as one, place.connect() as two:
        here = holdfast.RateLimiter(NEVER, burst=5)
        often, seldom = one.rate_limiter("r", NEVER, burst=5), two.rate_limiter("s", NEVER, burst=1)
        assert await holdfast.acquire_all((seldom, 1), (often, 2), (here, 1)) is True
        assert (await tokens(one), int(here.statistics().tokens)) == (3, 4)
        waiting = start(holdfast.acquire_all((seldom, 1), (here, 2), (often, 3)))
        await settle(one, two)
        assert (await tokens(one), int(here.statistics().tokens)) == (0, 2), "they are taken before those of `s`"
        waiting.cancel()
        await settle(one, two)
        assert waiting.cancelled()
        assert (await tokens(one), int(here.statistics().tokens)) == (3, 4)
        with pytest.raises(ValueError, match="at most 1"):
            await holdfast.acquire_all((often, 1), (seldom, 2))
        assert await tokens(one) == 3
        with pytest.raises(TypeError, match=r"each with a number of tokens, not <holdfast\.cluster\.Lock"):
            await holdfast.acquire_all((often, 1), (one.lock("l"), 1))
        await seldom.close("over")
        with pytest.raises(holdfast.Closed):
            await holdfast.acquire_all((often, 1), (seldom, 1))
        await settle(one, two)
        assert await tokens(one) == 3


async def test_acquire_all_of_a_session_that_ends_meanwhile(memory):
    async with memory.connect() as one:
        two = await memory.opened()
        lost, seldom = two.rate_limiter("r", NEVER, burst=5), one.rate_limiter("s", NEVER, burst=1)
        assert await seldom.try_acquire()
        waiting = start(holdfast.acquire_all((seldom, 1), (lost, 3)))
        await settle(one, two)
        await two.close()
        waiting.cancel()
        await settle(one)
        assert waiting.cancelled()
