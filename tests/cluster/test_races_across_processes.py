"""One test for each race across processes that a well-known library shipped: its schedule, and what must come of it.

The list is RACES.md, "Across processes"; each test says who got it wrong. On real processes where the row speaks of one
that crashes, stops or contends; else in two sessions of this process, on both engines.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError, Fence, LeaseLost, SessionLost, StaleToken
from holdfast.cluster.engines import clock, memory
from holdfast.cluster.engines.embedded import engine as embedded_engine
from holdfast.cluster.engines.embedded import tables
from holdfast.cluster.session_life import expiry, life, renewal

from .history import Turn, violations
from .test_faults import TAKE_TURNS, run, turns_of
from .test_lock import connect, opened, settle, url
from .worker import NOBODY_LOOKS, Worker, WorkerError, holders, until_waiting

__all__ = ["run", "url"]  # the fixtures

TTL = 2.0
"""Seconds."""
HOLD = "await session.lock('x').acquire()"


@pytest.fixture
def directory(tmp_path):
    return f"sqlite://{tmp_path}/processes"


@pytest.fixture
def nobody_looks(monkeypatch):
    """For itself: a task that waits in this process is told, or waits for ever."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)


async def never_renewed(*args):
    raise EngineError("no answer")


@pytest.mark.parametrize("iterations", range(8))
async def test_acquire_is_cancelled_in_flight(url, iterations):
    """redis-py's asyncio Lock: the key stays, for ever."""
    async with connect(url) as one, connect(url) as two:
        apply = one.engine.apply

        async def distant(*args, **options):
            await asyncio.sleep(0)
            result = await apply(*args, **options)
            await asyncio.sleep(0)
            return result

        one.engine.apply = distant
        task = asyncio.create_task(one.lock("x").acquire())
        for _ in range(iterations):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
            await settle()
            assert await two.lock("x").try_acquire()


async def test_a_release_after_the_lease_has_expired(url):
    """redis-py's asyncio Lock: it deletes the lock of the next holder."""
    one = await opened(url, ttl=TTL)
    async with connect(url) as two:
        lock = one.lock("x")
        await lock.acquire()
        one.engine.renew = never_renewed
        grant = await two.lock("x").acquire()
        with pytest.raises(LeaseLost):
            await lock.release()
        grant.check()
        assert await two.lock("x").locked()


async def test_two_tasks_share_one_lock_object(url):
    """redis-py's asyncio Lock: each exit ends what this entry was granted, and nothing else."""
    async with connect(url) as session:
        lock = session.lock("x")
        async with lock as first:
            second = asyncio.create_task(lock.acquire())
            await settle()
            assert not second.done()
        assert (await second).token == first.token + 1
        assert await lock.locked()


async def test_contention_of_processes(directory):
    """redis-py, coredis, filelock: polling; the same owner again in up to 98 % of the grants."""
    async with Worker(directory) as one, Worker(directory) as two, Worker(directory) as three:
        workers = [one, two, three]
        await asyncio.gather(*[worker.do(TAKE_TURNS.format(turns=12, hold=0.02)) for worker in workers])
        turns = sorted(turns_of(*workers), key=lambda turn: turn.began)
        assert not violations(turns)
        who = [turn.who for turn in turns]
        all_there = max(map(who.index, who)), len(who) - max(map(who[::-1].index, who))
        contended = turns[slice(*all_there)]  # from the first turn of the last one to the last turn of the first one
        assert not [later.who for earlier, later in pairwise(contended) if earlier.who == later.who]


async def test_waiters_that_time_out_or_die(directory, nobody_looks):
    """Redisson's fair lock (#1104, #2099, #2883, #3004): deadlock, living waiters purged, a delay for each dead one."""
    async with Worker(directory) as dying, Worker(directory) as living, holdfast.connect(directory) as session:
        lock = session.lock("x")
        await lock.acquire()
        await living.do(NOBODY_LOOKS)
        dying.begin(HOLD)
        await until_waiting(session, "x", 1)
        timed_out = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(session, "x", 2)
        served = living.begin(HOLD)
        await until_waiting(session, "x", 3)
        await dying.kill()
        timed_out.cancel()
        await until_waiting(session, "x", 1)
        await lock.release()
        async with asyncio.timeout(BOUND):
            await served


async def test_a_holder_of_permits_crashes(directory):
    """Redisson's RSemaphore: they are lost for ever."""
    async with Worker(directory) as worker, holdfast.connect(directory) as session:
        await worker.do("s = session.semaphore('s', 2); await s.acquire(); await s.acquire()")
        semaphore = session.semaphore("s", 2)
        assert not await semaphore.try_acquire()
        await worker.kill()
        async with asyncio.timeout(BOUND):
            await semaphore.acquire()
            await semaphore.acquire()


async def test_the_holder_is_told_that_its_lease_is_lost(directory):
    """Redisson #4698, open since 2022: it is not."""
    async with Worker(directory, ttl=TTL) as stopped, holdfast.connect(directory) as session:
        body = stopped.begin("async with session.lock('x'): report('in'); await asyncio.sleep(60)")
        await stopped.event()
        stopped.stop()
        await session.lock("x").acquire()
        stopped.go_on()
        with pytest.raises(WorkerError, match="LeaseLost"):
            await body


async def test_the_wake_up_is_lost(url):
    """Redisson (#2267, #3739, #6026 ...), at a reconnection or failover: the waiter sleeps."""
    async with connect(url) as one, connect(url) as two:
        one.engine.wake = lambda *message: None
        async with one.lock("x"):
            waiter = asyncio.create_task(two.lock("x").acquire())
            await settle()
        async with asyncio.timeout(BOUND):
            await waiter


async def test_one_holding_has_one_token(url):
    """Redisson's fenced lock: to acquire it again makes a new token for the same holding. Here the second one waits."""
    async with connect(url) as session:
        lock = session.lock("x")
        async with lock as grant:
            token = grant.token
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await lock.acquire()
            assert grant.token == token
            assert (await session.inspect("x")).holders[0].token == token


async def test_the_own_lease_expires_while_waiting(url, nobody_looks):
    """etcd before #11456: the lock is granted to a dead session."""
    async with connect(url) as holder, connect(url) as other:
        waiting = await opened(url, ttl=TTL)
        async with holder.lock("x"):
            waiter = asyncio.create_task(waiting.lock("x").acquire())
            await settle()
            waiting.engine.renew = never_renewed
            with pytest.raises(SessionLost):
                await waiter
        async with asyncio.timeout(BOUND):
            await other.lock("x").acquire()


def test_the_lease_is_lost_while_cmd_runs(tmp_path):
    """etcdctl lock NAME CMD: CMD keeps running."""
    cmd = [sys.executable, "-u", "-c", "print('in'); import time; time.sleep(60)"]
    command = [sys.executable, "-m", "holdfast", "lock", "x", "--url", f"sqlite://{tmp_path}/l", "--", *cmd]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"in\n"
        (lock,) = (tmp_path / "l" / "s").glob("*.lock")
        lock.unlink()
        assert process.wait(BOUND) == 123


async def test_two_lock_objects_of_one_session(url):
    """etcd's concurrency package: both hold it."""
    async with connect(url) as session:
        await session.lock("x").acquire()
        assert not await session.lock("x").try_acquire()


async def test_an_error_on_entering_a_barrier(url):
    """kazoo's DoubleBarrier: it is swallowed, and the task enters without the others."""
    async with connect(url) as session:
        apply = session.engine.apply

        async def failing(*args, **options):
            raise EngineError("no answer")

        session.engine.apply = failing
        with pytest.raises(EngineError, match="no answer"):
            await session.barrier("b", 2).wait()
        session.engine.apply = apply
        await settle()
        assert await session.barrier("b", 2).n_waiting == 0


async def test_a_spurious_wake_up_at_a_barrier(url):
    """Curator's double barrier, GH-1290: it passes before all have arrived."""
    async with connect(url) as one, connect(url) as two:
        waiter = asyncio.create_task(one.barrier("b", 2).wait())
        await settle()
        two.engine.wake(one.id, "b", "0 0 0")
        await settle()
        assert not waiter.done()
        assert await two.barrier("b", 2).wait() == 1
        assert await waiter == 0


async def test_permits_for_several_waiters_at_once(url, nobody_looks):
    """Curator's first semaphore: each waits for all in front, also those that could go later."""
    async with connect(url) as one, connect(url) as two:
        semaphore = one.semaphore("s", 2)
        await semaphore.acquire()
        await semaphore.acquire()
        waiters = []
        for session in (one, two, one):
            waiters.append(asyncio.create_task(session.semaphore("s", 2).acquire()))
            await settle()
        await semaphore.release()
        await semaphore.release()
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*waiters[:2])
        assert not waiters[2].done()
        waiters[2].cancel()


async def test_many_names(url):
    """tooz on PostgreSQL: 300 of them hash to 16 bits, and unrelated ones block each other."""
    async with connect(url) as one, connect(url) as two:
        for number in range(1_000):
            assert await (one, two)[number % 2].lock(f"name {number}").try_acquire()
        assert len(await one.names()) == 1_000


async def test_a_session_that_was_cut_off_does_not_come_back(url):
    """portalocker's RedisLock #137: the client reconnects by itself, and there are two holders."""
    one = await opened(url)
    async with connect(url) as two:
        lock = one.lock("x")
        grant = await lock.acquire()
        await one.engine.close()
        async with asyncio.timeout(BOUND):
            await two.lock("x").acquire()
        with pytest.raises(LeaseLost):
            await lock.release()
        assert grant.lost.is_set()
        with pytest.raises(SessionLost):
            await one.lock("x").acquire()
        assert await two.lock("x").locked()


async def test_the_holder_is_killed(directory):
    """multiprocessing.Lock, posix_ipc: deadlock for ever."""
    async with Worker(directory) as worker, holdfast.connect(directory) as session:
        await worker.do(HOLD)
        waiter = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(session, "x")
        await worker.kill()
        async with asyncio.timeout(BOUND):
            await waiter


async def test_a_session_ends_and_the_process_goes_on(url):
    """PostgreSQL's session locks behind a pooler: the connection lives on, and the lock with it."""
    async with connect(url) as one:
        await one.lock("x").acquire()
    async with connect(url) as two:
        assert await two.lock("x").try_acquire()


async def test_a_session_that_has_expired_and_was_not_evicted(url):
    """etcd-like leases: it swaps itself into a grant, or a renewal re-creates it: two holders."""
    one = await opened(url, ttl=TTL)
    renew, one.engine.renew = one.engine.renew, never_renewed
    await asyncio.sleep(TTL * 1.2)
    with pytest.raises(SessionLost):
        await one.lock("x").acquire()
    for call in (renew(), one.engine.apply("x", lambda stored: ("swapped", None))):
        with pytest.raises(SessionLost):
            await call
    async with connect(url) as two:
        assert await two.lock("x").try_acquire()
        assert [holder.id for holder in await holders(two, "x")] == [two.id]


async def test_a_record_is_removed_and_made_again(url):
    """Counters that restart: the token goes back, and the resource refuses the valid writer."""
    fence = Fence()
    for _ in range(3):
        async with connect(url) as session, session.lock("x") as grant:
            fence.check(grant.token)
        async with connect(url) as session:
            assert await session.tidy(0) == 1
            assert await session.names() == []


async def test_the_machine_sleeps(url, monkeypatch):
    """Monotonic clocks that stand still then: the holder still believes in its lease."""
    real, slept = clock.monotonic, 0.0
    assert abs(real() - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))) < 1
    for module in (memory, embedded_engine, tables, expiry, renewal, life):
        monkeypatch.setattr(module, "monotonic", lambda: real() + slept)
    one = await opened(url, ttl=60)
    grant = await one.lock("x").acquire()
    grant.check()
    slept = 3600.0
    with pytest.raises(LeaseLost):
        grant.check()
    assert grant.lost.is_set()
    async with connect(url) as two, asyncio.timeout(BOUND):
        await two.lock("x").acquire()


async def test_a_holder_is_paused_for_longer_than_its_ttl(directory):
    """Any lease: two holders at once; only a fence at the resource helps (test_faults.py has it with a database)."""
    fence = Fence()
    async with Worker(directory, ttl=TTL) as paused, Worker(directory) as other:
        body = paused.begin("""
            import time
            async with session.lock("x") as grant:
                began = time.monotonic()
                os.kill(os.getpid(), signal.SIGSTOP)
                report(grant.token, began, time.monotonic())
        """)
        await paused.until_stopped()
        token, began = await other.do("""
            import time
            grant = await session.lock("x").acquire()
            return grant.token, time.monotonic()
        """)
        fence.check(token)
        paused.go_on()
        with pytest.raises(WorkerError, match="LeaseLost"):
            await body
        late, late_began, late_ended = await paused.event()
        with pytest.raises(StaleToken):
            fence.check(late)
        assert violations([Turn("paused", late_began, late_ended), Turn("other", began, float("inf"))])
