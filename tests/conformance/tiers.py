"""The tiers that the suite runs over. A new tier is added here, and nowhere else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest

import holdfast
import holdfast.threads

from .adapter import RWLock, Tier
from .cluster_tier import ClusterTier
from .synchronous_tier import SynchronousTier
from .thread_tier import HERE, LOOP, THREAD, ThreadTier

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

MORE_THAN_ENOUGH = 100
"""How many iterations of the loop settle() waits. No test of the suite needs a third of them."""

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
OriginalLock = asyncio.Lock


class TaskTier(Tier):
    def __init__(
        self,
        name: str,
        classes: ModuleType = holdfast,
        new_loop: LoopFactory | None = asyncio.new_event_loop,
        new_lock_for_condition: Callable[[], OriginalLock] | None = None,
        unavailable: str = "",
    ) -> None:
        self.name = name
        self.is_asyncio = classes is asyncio
        self._new_loop = new_loop
        self._new_lock_for_condition = new_lock_for_condition
        self._unavailable = unavailable
        self._classes = classes

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._new_loop is None:
            pytest.skip(self._unavailable)
        loop = self._new_loop()
        try:
            loop.run_until_complete(test())
            left_behind = asyncio.all_tasks(loop)
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(self.settle())
            loop.close()
        assert not left_behind

    async def settle(self) -> None:
        for _ in range(MORE_THAN_ENOUGH):
            await asyncio.sleep(0)

    def lock(self) -> Any:
        return self._classes.Lock()

    def event(self) -> Any:
        return self._classes.Event()

    def condition(self, lock: Any = None) -> Any:
        if lock is None and self._new_lock_for_condition is not None:
            lock = self._new_lock_for_condition()
        return self._classes.Condition(lock)

    def semaphore(self, value: int = 1) -> Any:
        return self._classes.Semaphore(value)

    def bounded_semaphore(self, value: int = 1) -> Any:
        return self._classes.BoundedSemaphore(value)

    def barrier(self, parties: int) -> Any:
        return self._classes.Barrier(parties)

    def rw_lock(self) -> RWLock:
        made = self._classes.RWLock()
        return RWLock(made.reader, made.writer)

    def rate_limiter(self, rate: float, per: float, burst: int) -> Any:
        return self._classes.RateLimiter(rate, per, burst=burst)


class LockWithOwnAcquire(holdfast.Lock):
    """A subclass as users write it. A Condition has to go through these methods."""

    async def acquire(self) -> bool:
        return await super().acquire()

    def release(self) -> None:
        super().release()


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


TIERS: list[Tier] = [
    TaskTier("task"),
    TaskTier(
        "task-uvloop",
        new_loop=uvloop and uvloop.new_event_loop,
        unavailable="needs uvloop, which the extra 'test' brings where it exists",
    ),
    TaskTier(
        "task-eager",
        new_loop=_eager_loop if sys.version_info >= (3, 12) else None,
        unavailable="eager tasks are new in Python 3.12",
    ),
    TaskTier("asyncio", classes=asyncio),
    TaskTier("threads, one loop", classes=holdfast.threads),
    ThreadTier("threads, two loops", [HERE, LOOP]),
    ThreadTier("threads, two loops and threads", [THREAD, HERE, LOOP]),
    ClusterTier("memory", sessions=1),
    ClusterTier("memory, two sessions", sessions=2),
    ClusterTier("embedded", sessions=1),
    ClusterTier("embedded, two sessions", sessions=2),
    ClusterTier("embedded, two processes", sessions=2, processes=2),
    ClusterTier("valkey", sessions=1),
    ClusterTier("valkey, two sessions", sessions=2),
    ClusterTier("postgres", sessions=1),
    ClusterTier("postgres, two sessions", sessions=2),
    ClusterTier("etcd", sessions=1),
    ClusterTier("etcd, two sessions", sessions=2),
    SynchronousTier("memory"),
    SynchronousTier("embedded"),
    SynchronousTier("valkey"),
    SynchronousTier("postgres"),
    SynchronousTier("etcd"),
]

CONDITION_TIERS: list[Tier] = [
    *TIERS,
    TaskTier("task-over-asyncio-lock", new_lock_for_condition=OriginalLock),
    TaskTier("task-over-lock-subclass", new_lock_for_condition=LockWithOwnAcquire),
]
