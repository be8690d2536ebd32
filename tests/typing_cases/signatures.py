"""What a type checker makes of the public names. Checked by mypy, never run.

A line with `type: ignore` must be an error: with `warn_unused_ignores` (part of `strict`) mypy says if it is not.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Literal, assert_type

import holdfast
import holdfast.threads
from holdfast.cluster import Grant, SyncGrant, SyncSession
from holdfast.cluster import Session as ClusterSession
from holdfast.tasks.barrier import BarrierStatistics
from holdfast.tasks.event import EventStatistics
from holdfast.tasks.lock import LockStatistics
from holdfast.tasks.semaphore import SemaphoreStatistics

# What is annotated with asyncio's classes takes holdfast's.
a: asyncio.Lock = holdfast.Lock()
b: asyncio.Event = holdfast.Event()
c: asyncio.Condition = holdfast.Condition()
d: asyncio.Semaphore = holdfast.Semaphore()
e: asyncio.BoundedSemaphore = holdfast.BoundedSemaphore()
f: asyncio.Barrier = holdfast.Barrier(2)
g: holdfast.Semaphore = holdfast.BoundedSemaphore()
h: type[asyncio.BrokenBarrierError] = holdfast.BrokenBarrierError

# And not the other way round.
holdfast_lock: holdfast.Lock = asyncio.Lock()  # type: ignore[assignment]


def construction(loop: asyncio.AbstractEventLoop) -> None:
    holdfast.Lock(loop=loop)
    holdfast.Event(loop=loop)
    holdfast.Condition(loop=loop)
    holdfast.Condition(holdfast.Lock(), loop=loop)
    holdfast.Condition(lock=asyncio.Lock(), loop=None)
    holdfast.Semaphore(3, loop=loop)
    holdfast.BoundedSemaphore(value=3, loop=loop)
    holdfast.Barrier(parties=3)
    holdfast.Lock(loop)  # type: ignore[call-arg]
    holdfast.Condition(holdfast.Semaphore())  # type: ignore[arg-type]
    holdfast.Semaphore(1.5)  # type: ignore[arg-type]
    holdfast.Barrier()  # type: ignore[call-arg]
    assert_type(holdfast.install(), None)
    assert_type(holdfast.uninstall(), None)


async def lock(lock: holdfast.Lock) -> None:
    assert_type(await lock.acquire(), Literal[True])
    assert_type(lock.try_acquire(), bool)
    assert_type(lock.locked(), bool)
    assert_type(lock.statistics(), LockStatistics)
    assert_type(lock.release(), None)
    async with lock as value:
        assert_type(value, None)
    coroutine: Coroutine[Any, Any, bool] = lock.acquire()
    assert_type(await asyncio.create_task(lock.acquire()), Literal[True])
    assert_type(await asyncio.wait_for(coroutine, 1), bool)


async def event(event: holdfast.Event) -> None:
    assert_type(await event.wait(), Literal[True])
    assert_type(event.set(), None)
    assert_type(event.clear(), None)
    assert_type(event.is_set(), bool)
    assert_type(event.statistics(), EventStatistics)
    async with event:  # type: ignore[attr-defined]
        pass


async def condition(condition: holdfast.Condition, items: list[str]) -> None:
    async with condition as value:
        assert_type(value, None)
        assert_type(await condition.wait(), Literal[True])
        assert_type(await condition.wait_for(lambda: len(items)), int)
        assert_type(await condition.wait_for(items.copy), list[str])
        assert_type(condition.notify(), None)
        assert_type(condition.notify(2), None)
        assert_type(condition.notify_all(), None)
    assert_type(await condition.acquire(), Literal[True])
    assert_type(condition.locked(), bool)
    assert_type(condition.release(), None)
    assert_type(condition.statistics(), LockStatistics)


async def semaphore(semaphore: holdfast.Semaphore, bounded: holdfast.BoundedSemaphore) -> None:
    assert_type(await semaphore.acquire(), Literal[True])
    assert_type(semaphore.try_acquire(), bool)
    assert_type(semaphore.locked(), bool)
    assert_type(semaphore.release(), None)
    assert_type(semaphore.statistics(), SemaphoreStatistics)
    async with semaphore as value, bounded as other:
        assert_type(value, None)
        assert_type(other, None)
    assert_type(await bounded.acquire(), Literal[True])
    assert_type(bounded.release(), None)


async def barrier(barrier: holdfast.Barrier) -> None:
    assert_type(await barrier.wait(), int)
    async with barrier as index:
        assert_type(index, int)
    assert_type(await barrier.reset(), None)
    assert_type(await barrier.abort(), None)
    assert_type(barrier.parties, int)
    assert_type(barrier.n_waiting, int)
    assert_type(barrier.broken, bool)
    assert_type(barrier.statistics(), BarrierStatistics)


async def cluster(session: ClusterSession) -> None:
    """What is refused with a sentence at run time is refused here as well."""
    lock = session.lock("x")
    assert_type(await lock.acquire(), Grant)
    assert_type(await lock.try_acquire(), Grant | None)
    limiter = session.rate_limiter("r", 10, 60, burst=2)
    assert_type(await limiter.acquire(2), Literal[True])
    assert_type(await limiter.try_acquire(), bool)
    async with limiter as nothing:
        assert_type(nothing, None)
    session.rate_limiter("r", 10, 60, 2)  # type: ignore[call-arg]
    rw = session.rw_lock("rw")
    assert_type(await rw.reader.acquire(), Grant)
    assert_type(await rw.writer.try_acquire(), Grant | None)
    async with rw.reader as reading, rw.writer as writing:
        assert_type(reading, Grant)
        assert_type(writing, Grant)
    assert_type(await rw.writer.downgrade(), None)
    await rw.reader.downgrade()  # type: ignore[attr-defined]
    semaphore = session.bounded_semaphore("s", 4)
    assert_type(await semaphore.acquire(2), Grant)
    assert_type(await semaphore.try_acquire(n=2), Grant | None)
    assert_type(await semaphore.release(2), None)
    async with semaphore.permits(3) as grant:
        assert_type(grant, Grant)
        assert_type(grant.permits, int)
    await lock.acquire(2)  # type: ignore[call-arg]
    assert_type(holdfast.connect(reopen=True), ClusterSession)
    assert_type(holdfast.connect(loop_may_block=60), ClusterSession)
    holdfast.connect(timeout=1)  # type: ignore[call-arg]
    session.lock("x", timeout=1)  # type: ignore[call-arg]
    await lock.acquire(timeout=1)  # type: ignore[call-arg]
    await session.event("e").wait(timeout=1)  # type: ignore[call-arg]
    with lock:  # type: ignore[attr-defined]
        pass
    with session:  # type: ignore[attr-defined]
        pass
    await session  # type: ignore[misc]
    await lock  # type: ignore[misc]
    lost: type[RuntimeError] = holdfast.LeaseLost
    assert_type(lost, type[RuntimeError])


def synchronous(session: SyncSession) -> None:
    lock = session.lock("x", on_lost=lambda grant: assert_type(grant, SyncGrant), hold_at_most=60)
    assert_type(holdfast.connect().sync, SyncSession)
    assert_type(lock.acquire(timeout=1), SyncGrant | None)
    assert_type(session.rate_limiter("r", 10).acquire(timeout=1, n=2), bool)
    with session.rw_lock("rw").reader as reading, session.rw_lock("rw").writer.within(5) as writing:
        assert_type(reading, SyncGrant)
        assert_type(writing, SyncGrant)
    assert_type(session.semaphore("s", 2).acquire(False), SyncGrant | None)
    assert_type(session.semaphore("s", 2).acquire(n=2), SyncGrant | None)
    assert_type(session.semaphore("s", 2).release(2), None)
    with session.semaphore("s", 2).permits(2) as both, session.semaphore("s", 4).within(5, n=2) as two:
        assert_type(both, SyncGrant)
        assert_type(two.permits, int)
    with session as opened, lock as grant, lock.within(5) as other:
        assert_type(opened, SyncSession)
        assert_type(grant, SyncGrant)
        assert_type(other, SyncGrant)
        assert_type(grant.lost, threading.Event)
    assert_type(session.event("e").wait(1), bool)
    assert_type(session.condition("c", lock).wait_for(lambda: "text", 1), str)
    assert_type(session.barrier("b", 2).wait(), int)
    session.lock("x", timeout=1)  # type: ignore[call-arg]


@holdfast.locked("nightly")
def work(what: str, *, times: int = 1) -> int:
    return len(what) * times


@holdfast.locked("nightly", skip=True, timeout=0)
def skipped(what: str) -> int:
    return len(what)


@holdfast.locked("nightly", skip=True, timeout=0)
async def skipped_in_loop(what: str) -> int:
    return len(what)


async def locked() -> None:
    assert_type(work("x", times=2), int)
    assert_type(skipped("x"), int | None)
    assert_type(await skipped_in_loop("x"), int | None)
    work(1)  # type: ignore[arg-type]


async def beyond_asyncio(session: ClusterSession, threads: SyncSession) -> None:
    semaphore, bounded = holdfast.Semaphore(3), holdfast.BoundedSemaphore(3)
    assert_type(await semaphore.acquire(2), Literal[True])
    assert_type(semaphore.try_acquire(n=2), bool)
    semaphore.release(2)
    bounded.resize(5)
    async with semaphore.permits(2) as nothing:
        assert_type(nothing, None)
    semaphore.resize(5)  # type: ignore[attr-defined]
    shared = holdfast.threads.Semaphore(3)
    assert_type(shared.sync.acquire(timeout=1, n=2), bool)
    with shared.sync.permits(2):
        pass

    rw, of_threads = holdfast.RWLock(), holdfast.threads.RWLock()
    async with rw.reader, of_threads.writer:
        of_threads.writer.sync.downgrade()
    assert_type(rw.statistics().readers, int)
    rw.reader.downgrade()  # type: ignore[attr-defined]
    with rw.reader:  # type: ignore[attr-defined]
        pass

    locks: holdfast.KeyedLock[str] = holdfast.KeyedLock()
    async with locks["a"], locks.all("b", "c"):
        assert_type(next(iter(locks)), str)
    locks[1]  # type: ignore[index]
    locks.all("b", 1)  # type: ignore[arg-type]
    keys: holdfast.threads.KeyedLock[int] = holdfast.threads.KeyedLock()
    with keys[1].sync, keys.all(2, 3).sync as taken:
        assert_type(taken, bool)

    limiter = holdfast.RateLimiter(10, per=60, burst=5)
    async with limiter:
        assert_type(await holdfast.acquire_all((limiter, 2)), Literal[True])

    async def size(text: str, *, times: int = 1) -> int:
        return len(text) * times

    async def term_of(term: Grant) -> int:
        return term.token

    assert_type(await holdfast.SingleFlight().run("key", size, "text", times=2), int)
    await holdfast.SingleFlight().run("key", size, 1)  # type: ignore[arg-type]
    once: holdfast.Once[int] = holdfast.Once()
    assert_type(await once.get(lambda: size("text")), int)

    assert_type(await session.leader("job").run(term_of), int)
    async with session.leader("job") as term, session.locks("a", "b") as grants:
        assert_type(term, Grant)
        assert_type(grants, dict[str, Grant])
    with threads.locks("a", "b") as held:
        assert_type(held, dict[str, SyncGrant])
