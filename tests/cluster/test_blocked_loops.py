"""`loop_may_block`: a session is renewed while its event loop is blocked, as long as its user has allowed."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis.asyncio
from interpreters import BOUND

import holdfast
from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.session_life import keeping

from .blocking import in_thread, until
from .engines import Place
from .engines import memory as memory
from .engines import place as place
from .proxy import Proxy
from .running import in_child
from .servers import Server, shared

TTL = 0.5


def renewing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("holdfast renews")]


def blocked(connect: Callable[[], Any], meanwhile: Callable[[Any], Any]) -> LeaseLost | None:
    """Hold the lock "x" in an event loop, and block that loop while `meanwhile` runs in another thread.

    Return what came out at the end of the body.
    """

    async def main() -> LeaseLost | None:
        async with connect() as session:
            try:
                async with session.lock("x"):
                    in_thread(lambda: meanwhile(session)).result(BOUND)
                    await asyncio.sleep(0)
            except LeaseLost as exc:
                return exc
        return None

    return asyncio.run(main())


def test_a_blocked_loop_keeps_what_it_holds(place: Place) -> None:
    def look(_: Any) -> None:
        with place.connect().sync as other:
            end = time.monotonic() + 4 * TTL
            while time.monotonic() < end:
                assert other.lock("x").acquire(timeout=TTL / 5) is None

    assert blocked(lambda: place.connect(ttl=TTL, loop_may_block=math.inf), look) is None
    until(lambda: not renewing())
    with place.connect().sync as other:
        assert other.lock("x").acquire(timeout=BOUND)


def test_a_loop_that_is_blocked_for_longer_than_it_may_loses_its_lease(place: Place) -> None:
    begun = time.monotonic()

    def wait(_: Any) -> float:
        with place.connect().sync as other, other.lock("x").within(BOUND):
            taken.append(time.monotonic() - begun)

    taken: list[float] = []
    lost = blocked(lambda: place.connect(ttl=TTL, loop_may_block=2.5 * TTL), wait)
    assert lost is not None
    assert "could not be renewed within its ttl" in str(lost)
    assert taken[0] > 2.5 * TTL


def test_without_it_a_blocked_loop_loses_its_lease(place: Place) -> None:
    def wait(_: Any) -> None:
        with place.connect().sync as other, other.lock("x").within(BOUND):
            pass

    assert blocked(lambda: place.connect(ttl=TTL), wait) is not None
    assert not renewing()


def test_a_session_that_is_evicted_while_its_loop_is_blocked_hears_of_it(place: Place) -> None:
    def evict(session: Any) -> None:
        with place.connect().sync as other:
            assert other.evict(session.id, reason="an example")
            assert other.lock("x").acquire(timeout=BOUND)
        until(lambda: not renewing())  # the thread has found out, and has ended

    lost = blocked(lambda: place.connect(ttl=TTL, loop_may_block=math.inf), evict)
    assert "an example" in str(lost)
    until(lambda: not renewing())


class Counting(MemoryEngine):
    """Counts what its keepers do, and what the session does itself."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.by_thread = self.by_loop = 0

    async def renew(self, *args: Any) -> Any:
        self.by_loop += 1
        return await super().renew(*args)

    def keeper(self) -> Any:
        keeper, engine = super().keeper(), self

        class Counted:
            close = keeper.close

            async def renew(self) -> None:
                engine.by_thread += 1
                await keeper.renew()

        return Counted()


def counted(monkeypatch: pytest.MonkeyPatch, engine: type[MemoryEngine]) -> None:
    monkeypatch.setattr("holdfast.cluster.engines.memory.MemoryEngine", engine)


def test_while_the_loop_runs_the_thread_does_nothing(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with memory.connect(ttl=TTL, loop_may_block=math.inf) as session:
            engine = session.engine
            while engine.by_loop < 6:
                await asyncio.sleep(0.005)
            assert not engine.by_thread
            time.sleep(2 * TTL)
            assert engine.by_thread

    # A loop of a busy machine may stand still for a while: only a loop that is blocked for longer counts here.
    counted(monkeypatch, Counting)
    monkeypatch.setattr(keeping, "OVERDUE", 0.9)
    asyncio.run(main())


class Failing(MemoryEngine):
    """Its keepers fail twice, as when a server is away for a moment; then as nobody has foreseen."""

    error: Exception = holdfast.EngineError("away")

    def keeper(self) -> Any:
        keeper, engine, failures = super().keeper(), self, [1, 2]

        class Fails:
            close = keeper.close

            async def renew(self) -> None:
                if failures:
                    failures.pop()
                    raise engine.error
                await keeper.renew()

        return Fails()


def test_a_renewal_that_fails_is_tried_again(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, Failing)
    # The ttl has to be long beside a pause on a busy machine: two failures take up a fifth of a second of the rest.
    assert blocked(lambda: memory.connect(ttl=2.0, loop_may_block=9.0), lambda _: time.sleep(3.0)) is None


def test_a_failure_that_nobody_has_foreseen_ends_the_session(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "error", ZeroDivisionError("a bug"))
    counted(monkeypatch, Failing)
    lost = blocked(lambda: memory.connect(ttl=2.0, loop_may_block=9.0), lambda _: time.sleep(1.5))
    assert "ZeroDivisionError('a bug')" in str(lost)


def test_the_connection_of_the_thread_is_made_again(tmp_path: Any) -> None:
    """The session's connections to a server break again and again while its loop is blocked."""
    namespace, ttl = Place("valkey", tmp_path).namespace, 2.0

    async def main() -> None:
        def cut(_: Any) -> None:
            for _ in range(5):
                time.sleep(ttl / 3)
                loop.call_soon_threadsafe(proxy.cut)

        loop = asyncio.get_running_loop()
        async with Proxy(shared().port) as proxy:
            connect = partial(holdfast.connect, proxy.url, namespace=namespace, ttl=ttl, loop_may_block=math.inf)
            assert await asyncio.to_thread(blocked, connect, cut) is None

    asyncio.run(main())


def test_what_was_asked_before_the_loop_was_blocked_is_done_once() -> None:
    """The answer comes while the loop is blocked, and the time for it is over when the loop runs again."""
    paused = 0.3

    async def main() -> None:
        async with (
            holdfast.connect(server.url, ttl=1.0, loop_may_block=math.inf) as session,
            redis.asyncio.Redis.from_url(server.url) as client,
        ):
            await session.lock("other").try_acquire()
            await client.execute_command("CLIENT", "PAUSE", int(paused * 1000), "WRITE")
            asking = asyncio.create_task(session.lock("x").try_acquire())
            await asyncio.sleep(paused / 2)
            time.sleep(1.5)
            grant = await asking
            assert grant is not None
            [holder] = (await session.inspect("x")).holders
            assert (holder.session.id, holder.token) == (session.id, grant.token)

    with Server() as server:
        asyncio.run(main())


def test_a_session_that_opens_again_is_renewed_as_well(memory: Place) -> None:
    async def main() -> None:
        async with memory.connect(ttl=TTL, loop_may_block=math.inf, reopen=True) as session:
            first = session.id
            async with memory.connect() as other:
                assert await other.evict(first)
            while session.over is None:
                await asyncio.sleep(0.001)
            await session.names()
            assert session.id != first
            async with session.lock("x") as grant:
                time.sleep(3 * TTL)
                grant.check()

    asyncio.run(main())
    until(lambda: not renewing())


def test_a_loop_that_is_closed_ends_the_thread(memory: Place) -> None:
    """A program that closes its loop without closing the session leaves no thread behind that renews it."""
    loop = asyncio.new_event_loop()
    session = memory.connect(ttl=TTL, loop_may_block=math.inf)
    loop.run_until_complete(session.__aenter__())
    loop.run_until_complete(session.lock("x").acquire())
    assert renewing()
    loop.close()
    until(lambda: not renewing() or not renewing()[0].is_alive())
    with memory.connect().sync as other:
        assert other.lock("x").acquire(timeout=BOUND)
    session._life.end_in_child()  # nothing is left to close


def test_a_forked_child_renews_nothing(place: Place) -> None:
    async def main() -> bool:
        async with place.connect(ttl=TTL, loop_may_block=math.inf) as session, session.lock("x") as grant:
            time.sleep(2 * TTL)  # the thread has its connection by now
            alone = in_child(lambda: not renewing() and session.over is not None)
            time.sleep(2 * TTL)
            grant.check()
            return alone

    if hasattr(os, "fork"):
        assert asyncio.run(main())


def test_it_may_be_given_where_there_is_nothing_to_renew(memory: Place) -> None:
    async def main() -> None:
        async with memory.connect(loop_may_block=1) as session, session.lock("x"):
            assert not renewing()

    asyncio.run(main())
    with memory.connect(ttl=TTL, loop_may_block=1).sync as session, session.lock("x") as grant:
        time.sleep(2 * TTL)
        grant.check()


@pytest.mark.parametrize("wrong", [0, -1, True, "60", math.nan])
def test_wrong_values_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="loop_may_block must be a number of seconds above 0"):
        holdfast.connect("memory:", loop_may_block=wrong)


async def connect_to_database() -> Any:
    raise NotImplementedError


@pytest.mark.parametrize("way", [redis.asyncio.Redis(), connect_to_database])
def test_what_belongs_to_the_event_loop_is_refused(way: Any) -> None:
    with pytest.raises(ValueError, match=r"loop_may_block needs a URL.* a function that connects is called only there"):
        holdfast.connect(way, loop_may_block=60)


def test_the_limit_counts_from_when_the_loop_has_run_and_not_from_connect(place: Place) -> None:
    async def main() -> None:
        session = place.connect(ttl=TTL, loop_may_block=3 * TTL)
        await asyncio.sleep(4 * TTL)
        async with session, session.lock("x") as grant:
            for _ in range(4):
                time.sleep(2 * TTL)
                await asyncio.sleep(0)  # one step of the loop is a sign of life
            grant.check()

    asyncio.run(main())


def test_the_thread_renews_no_session_that_is_over(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes while a renewal is under way, as if the process had been stopped in it."""

    class Late(Counting):
        def keeper(self) -> Any:
            keeper = super().keeper()
            renew = keeper.renew

            async def late() -> None:
                await renew()
                time.sleep(TTL)

            keeper.renew = late
            return keeper

    def watch(session: Any) -> None:
        until(lambda: not renewing())
        renewals.append(session.engine.by_thread)

    renewals: list[int] = []
    counted(monkeypatch, Late)
    lost = blocked(lambda: memory.connect(ttl=TTL, loop_may_block=math.inf), watch)
    assert "could not be renewed" in str(lost)
    assert renewals == [1]
    until(lambda: not renewing())


def test_whoever_looks_first_hears_why_the_session_is_over(place: Place) -> None:
    """Before the loop has had a step, and after the ttl."""

    def evict(session: Any) -> None:
        with place.connect().sync as other:
            assert other.evict(session.id, reason="an example", by="somebody")
        until(lambda: not renewing())
        time.sleep(TTL)

    async def main() -> None:
        async with place.connect(ttl=TTL, loop_may_block=math.inf) as session:
            grant = await session.lock("x").acquire()
            in_thread(lambda: evict(session)).result(BOUND)
            with pytest.raises(LeaseLost, match=r"evicted by somebody.*an example"):
                grant.check()

    asyncio.run(main())


def test_a_session_whose_thread_cannot_be_started_is_not_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        session = place.connect(ttl=TTL, loop_may_block=1)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start"):
                await session.__aenter__()
        assert "could not be opened" in str(session.over)
        async with place.connect() as other:
            assert await other.engine.dead([session.id]) == {session.id}

    asyncio.run(main())


def test_a_session_that_is_closed_takes_its_thread_along(place: Place) -> None:
    async def main() -> None:
        session = await place.opened(ttl=TTL, loop_may_block=math.inf)
        assert renewing()
        await session.close()
        with pytest.raises(SessionLost):
            await session.names()

    asyncio.run(main())
    until(lambda: not renewing())
