"""The cluster tier for the suite: one session, or several that take turns, in this process or in two processes."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from tests.cluster.counting import Requests
from tests.cluster.engines import SERVERS, url_of

import holdfast
from holdfast.cluster.records.barrier import BarrierRecord
from holdfast.cluster.records.event import EventRecord
from holdfast.cluster.records.lock import LockRecord
from holdfast.cluster.records.rate_limiter import RateLimiterRecord
from holdfast.cluster.records.record import Record
from holdfast.cluster.records.rw_lock import RWLockRecord
from holdfast.cluster.records.semaphore import SemaphoreRecord
from holdfast.cluster.records.stored import decode
from holdfast.cluster.session_life.exchange import GATHERING

from .adapter import RWLock, Tier
from .elsewhere import SessionElsewhere

MORE_THAN_ENOUGH = 100
"""How many iterations of the loop settle() waits. An engine without a server answers in the iteration of a request."""

WITHOUT = {
    "test_wait_for_calls_the_predicate_with_the_lock": "locked() is a coroutine here, and a predicate cannot await",
}
WITHOUT_IN_TWO = {
    "test_wakes_in_order": "each session is told by itself that the event is set, the one that sets it first",
}

WITHOUT_ON_A_SERVER_IN_TWO = {
    "test_several_releases_at_once_with_late_comers": "whose request arrives first, of two at once, is for the network",
}
WITHOUT_IN_PROCESSES = {
    "test_first_come_first_served": "tasks that are granted together run in parallel; test_crowd.py judges the order",
    "test_several_releases_at_once_with_late_comers": "as above",
    "test_cancelled_and_filled_at_the_same_time": "whether a cancellation there or an arrival here is first, is open",
    **dict.fromkeys(
        [
            "test_wait_for_returns_the_value_of_the_predicate",
            "test_wait_for_what_is_true_already_does_not_wait",
            "test_wait_for_without_the_lock_is_an_error",
            "test_predicate_that_raises_leaves_the_lock_held",
            "test_wait_for_cancelled",
            "test_wait_for_takes_the_last_items_of_which_nobody_was_notified",
        ],
        "a predicate cannot be sent to another process",
    ),
}


class ByTurns:
    """One primitive in several sessions. Each call goes to the object of the next session."""

    def __init__(self, objects: list[Any]) -> None:
        self.objects = objects
        self.turns = itertools.cycle(range(len(objects)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects[next(self.turns)], name)

    async def __aenter__(self) -> Any:
        return await self.objects[next(self.turns)].__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        """Do nothing: only a Barrier comes here."""


class LeasedByTurns(ByTurns):
    """A Lock or a Semaphore. It is released by the object that has acquired it."""

    def __init__(self, objects: list[Any]) -> None:
        super().__init__(objects)
        self.acquired: list[int] = []
        """The objects that have acquired it by acquire() or try_acquire(), the oldest first."""
        self.entered: dict[asyncio.Task[Any] | None, list[int]] = {}
        self.inside: list[int] = []
        """The objects by which tasks are in `async with` blocks, without those that are in a condition's wait()."""

    def holder(self) -> int:
        """Return the object by which the running task holds it, or else another task; any object if no task does."""
        entered = self.entered.get(asyncio.current_task())
        return entered[-1] if entered else [*self.acquired[:1], *self.inside[-1:], 0][0]

    async def acquire(self, **options: int) -> Any:
        turn = next(self.turns)
        grant = await self.objects[turn].acquire(**options)
        self.acquired.append(turn)
        return grant

    async def try_acquire(self, **options: int) -> Any:
        turn = next(self.turns)
        grant = await self.objects[turn].try_acquire(**options)
        self.acquired += [turn] * bool(grant)
        return grant

    def release(self, **options: int) -> Any:
        return self.objects[self.acquired.pop(0) if self.acquired else 0].release(**options)

    async def __aenter__(self) -> Any:
        turn = next(self.turns)
        grant = await self.objects[turn].__aenter__()
        self.entered.setdefault(asyncio.current_task(), []).append(turn)
        self.inside.append(turn)
        return grant

    async def __aexit__(self, *exc: object) -> None:
        turn = self.entered[asyncio.current_task()].pop()
        self.inside.remove(turn)
        await self.objects[turn].__aexit__(*exc)


class WriterByTurns(LeasedByTurns):
    """The writers' side of an RWLock. What is held is downgraded, and then given back, by the object that has it."""

    def downgrade(self) -> Any:
        return self.objects[self.acquired[0]].downgrade()


class ConditionByTurns:
    """A Condition. A task that holds the lock by an object of one session waits and notifies in that session."""

    def __init__(self, lock: LeasedByTurns, conditions: list[Any]) -> None:
        self._lock = lock
        self._conditions = conditions
        self.acquire, self.release, self.locked = lock.acquire, lock.release, lock.locked
        self.close, self.is_closed = conditions[0].close, conditions[-1].is_closed

    async def __aenter__(self) -> Any:
        return await self._lock.__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await self._lock.__aexit__(*exc)

    async def wait(self) -> Any:
        return await self._waiting(lambda condition: condition.wait())

    async def wait_for(self, predicate: Callable[[], Any]) -> Any:
        return await self._waiting(lambda condition: condition.wait_for(predicate))

    async def _waiting(self, wait: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        turn = self._lock.holder()
        holding = self._lock.acquired if turn in self._lock.acquired else self._lock.inside
        if turn in holding:
            holding.remove(turn)
            try:
                return await wait(self._conditions[turn])
            finally:
                holding.append(turn)
        return await wait(self._conditions[turn])

    def notify(self, *n: int) -> Any:
        return self._conditions[self._lock.holder()].notify(*n)

    def notify_all(self) -> Any:
        return self._conditions[self._lock.holder()].notify_all()


class ClusterTier(Tier):
    """A primitive has the same name in all sessions. At the end of a test, no record may name any session."""

    def __init__(self, name: str, sessions: int, processes: int = 1) -> None:
        self.name = name
        self.without = WITHOUT | (WITHOUT_IN_TWO if sessions > 1 else {})
        self._engine = name.partition(",")[0]
        self.is_server = self._engine in SERVERS
        if self.is_server and sessions > 1:
            self.without |= WITHOUT_ON_A_SERVER_IN_TWO
        if processes > 1:
            self.without |= WITHOUT_IN_PROCESSES
        self._count = sessions
        self._processes = processes
        self._sessions: list[Any] = []
        self._made: dict[str, Record] = {}
        self._names = (f"{name} {number}" for number in itertools.count())

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            left_behind = asyncio.run(self._main(test, directory))
        assert not left_behind

    async def _main(self, test: Callable[[], Coroutine[Any, Any, None]], directory: str) -> set[asyncio.Task[Any]]:
        url = url_of(self._engine, directory)
        self._made = {}
        self._requests = Requests()
        async with holdfast.connect(url, namespace=directory) as observer:
            async with AsyncExitStack() as stack:
                elsewhere = self._processes - 1
                connect: list[Any] = [
                    holdfast.connect(url, namespace=directory) for _ in range(self._count - elsewhere)
                ]
                connect += [SessionElsewhere(url, namespace=directory) for _ in range(elsewhere)]
                self._sessions = [await stack.enter_async_context(session) for session in connect]
                if self.is_server or elsewhere:
                    for session in self._sessions[: self._count - elsewhere]:
                        self._requests.count(session.engine)
                await test()
                await self.settle()
            self._sessions = []
            await self.settle()
            for name, initial in self._made.items():
                record = decode(await observer.engine.read(name), name, initial)
                assert not record.sessions(), f"left behind: {record}"
            left = asyncio.all_tasks() - {asyncio.current_task()}
            return {task for task in left if not task.get_name().startswith("holdfast")}  # tasks of the observer

    async def settle(self) -> None:
        # Between two turns of the loop, the machine may stand still for longer than requests gather. So a timer is set
        # only when every task has asked: those of the requests that gather come before it.
        for seconds in (0, 2 * GATHERING):
            await asyncio.sleep(seconds)
            for _ in range(MORE_THAN_ENOUGH):
                await asyncio.sleep(0)
        if self.is_server:
            await self._requests.over([session.engine for session in self._sessions], MORE_THAN_ENOUGH)
        elsewhere = [session for session in self._sessions if isinstance(session, SessionElsewhere)]
        before: object = None
        while elsewhere and before != (before := await self._look_around(elsewhere)):
            pass

    async def _look_around(self, elsewhere: list[SessionElsewhere]) -> object:
        """Return a value that is the same twice only if meanwhile no request has begun or ended, here or there."""
        there = [await session.pass_by(MORE_THAN_ENOUGH) for session in elsewhere]
        for _ in range(MORE_THAN_ENOUGH):
            await asyncio.sleep(0)
        under_way = self._requests.under_way + sum(under_way for _, under_way in there)
        tasks = [session.worker.under_way for session in elsewhere]
        return object() if under_way else (self._requests.made, [made for made, _ in there], tasks)

    def _make(self, initial: Record, make: Callable[[Any, str], Any], by_turns: type = ByTurns) -> Any:
        name = next(self._names)
        self._made[name] = initial
        objects = [make(session, name) for session in self._sessions]
        return objects[0] if self._count == 1 else by_turns(objects)

    def lock(self) -> Any:
        return self._make(LockRecord(), lambda session, name: session.lock(name), LeasedByTurns)

    def event(self) -> Any:
        return self._make(EventRecord(), lambda session, name: session.event(name))

    def condition(self, lock: Any = None) -> Any:
        lock = lock or self.lock()
        name = next(self._names)
        if self._count == 1:
            return self._sessions[0].condition(name, lock)
        pairs = zip(self._sessions, lock.objects, strict=True)
        return ConditionByTurns(lock, [session.condition(name, each) for session, each in pairs])

    def semaphore(self, value: int = 1) -> Any:
        initial = SemaphoreRecord(value=value, free=value)
        return self._make(initial, lambda session, name: session.semaphore(name, value), LeasedByTurns)

    def bounded_semaphore(self, value: int = 1) -> Any:
        initial = SemaphoreRecord(value=value, bounded=True, free=value)
        return self._make(initial, lambda session, name: session.bounded_semaphore(name, value), LeasedByTurns)

    def barrier(self, parties: int) -> Any:
        return self._make(BarrierRecord(parties=parties), lambda session, name: session.barrier(name, parties))

    def rw_lock(self) -> RWLock:
        name = next(self._names)
        self._made[name] = RWLockRecord()
        objects = [session.rw_lock(name) for session in self._sessions]
        if self._count == 1:
            return RWLock(objects[0].reader, objects[0].writer)
        return RWLock(
            LeasedByTurns([each.reader for each in objects]), WriterByTurns([each.writer for each in objects])
        )

    def rate_limiter(self, rate: float, per: float, burst: int) -> Any:
        initial = RateLimiterRecord(rate=float(rate), per=float(per), burst=burst)
        return self._make(initial, lambda session, name: session.rate_limiter(name, rate, per, burst=burst))
