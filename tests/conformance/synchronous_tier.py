"""The cluster tier for the suite, through `connect().sync`: each call is made in a thread that blocks."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.cluster.engines import url_of

import holdfast
from holdfast.cluster import SyncSession
from holdfast.cluster.loop_in_thread.call import Call
from holdfast.cluster.records.stored import decode
from holdfast.cluster.session_life.exchange import GATHERING

from .adapter import RWLock, Tier
from .thread_tier import WITHOUT_IN_SEVERAL, WithoutCancelling

PROPERTIES = {"n_waiting", "broken"}
NEVER_AT_REST = 90.0
"""Seconds after which a test that does not come to rest fails."""
TURNS = 60
"""How many iterations of the session's loop nothing may happen in."""
QUIET = 3
"""How often it must be found at rest in a row."""

WITHOUT = {
    **WITHOUT_IN_SEVERAL,
    "test_wait_for_calls_the_predicate_with_the_lock": "locked() is awaited in this suite, which a predicate cannot do",
}


class InThreads:
    """One primitive. Each call is made in a thread."""

    def __init__(self, tier: SynchronousTier, primitive: Any) -> None:
        self.primitive = primitive
        self._tier = tier

    def __getattr__(self, name: str) -> Any:
        if name in PROPERTIES:
            return self._tier.call(getattr, self.primitive, name)
        if name == "try_acquire":
            return lambda **options: self._tier.call(self.primitive.acquire, False, **options)
        attribute = getattr(self.primitive, name)
        return functools.partial(self._tier.call, attribute) if callable(attribute) else attribute

    async def __aenter__(self) -> Any:
        enter = getattr(self.primitive, "__enter__", None) or self.primitive.wait  # threading.Barrier has no `with`
        return await self._tier.call(enter)

    async def __aexit__(self, *exc: object) -> None:
        if hasattr(self.primitive, "__exit__"):
            await self._tier.call(self.primitive.__exit__, *exc)


class SynchronousTier(Tier):
    """A SyncSession of an engine."""

    def __init__(self, engine: str) -> None:
        self.name = f"{engine}, from threads"
        self.without = WithoutCancelling(WITHOUT)
        self._engine = engine
        self._names = (f"{self.name} {number}" for number in itertools.count())
        self._made: dict[str, Any] = {}
        self._session: SyncSession
        self._pool: ThreadPoolExecutor
        self._calls = 0
        self._busy: set[int] = set()

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._made, self._calls, self._busy = {}, 0, set()
        with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(64) as self._pool:
            url = url_of(self._engine, directory)
            with holdfast.connect(url, namespace=directory).sync as self._session:
                left_behind = asyncio.run(self._main(test))
            asyncio.run(self._look(url, directory))
        assert not left_behind

    async def _main(self, test: Callable[[], Coroutine[Any, Any, None]]) -> set[asyncio.Task[Any]]:
        await test()
        await self.settle()
        assert not self._busy
        return asyncio.all_tasks() - {asyncio.current_task()}

    async def _look(self, url: str, namespace: str) -> None:
        """No record names a session any more."""
        async with holdfast.connect(url, namespace=namespace) as observer:
            for name, initial in self._made.items():
                record = decode(await observer.engine.read(name), name, initial)
                assert not record.sessions(), f"left behind: {record}"

    async def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call it in a thread."""
        self._calls += 1
        function = functools.partial(function, **options)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._in_thread, function, *args)
        finally:
            self._calls -= 1

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        me = threading.get_ident()
        self._busy.add(me)
        try:
            return function(*args)
        finally:
            self._busy.remove(me)

    async def settle(self) -> None:
        deadline = asyncio.get_running_loop().time() + NEVER_AT_REST
        loop = self._session._thread._loop
        assert loop is not None
        quiet = 0
        while quiet < QUIET:
            before = {*self._session._thread._calls}
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._pass_by(), loop))
            # A thread whose call is answered looks blocked until it runs.
            is_answered = any(call._is_answered for call in before)
            is_at_rest = before == self._session._thread._calls and not is_answered and self._threads_are_blocked()
            quiet = quiet + 1 if is_at_rest else 0
            assert asyncio.get_running_loop().time() < deadline

    async def _pass_by(self) -> None:
        """In the session's loop: what is under way ends."""
        for seconds in (0, 2 * GATHERING):  # as in `cluster_tier.settle()`
            await asyncio.sleep(seconds)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        registers = self._session._session._life.registers
        while any(register.at_rest is None for register in registers.in_use.values()):
            await asyncio.sleep(0.001)

    def _threads_are_blocked(self) -> bool:
        """Whether all calls made in threads are blocked; see `ThreadTier`."""
        busy, frames = tuple(self._busy), sys._current_frames()
        return len(busy) == self._calls and all(
            thread in frames and frames[thread].f_code is Call.wait.__code__ for thread in busy
        )

    def _make(self, make: Callable[[str], Any], inner: str) -> Any:
        name = next(self._names)
        primitive = make(name)
        self._made[name] = getattr(primitive, inner)._initial
        return InThreads(self, primitive)

    def lock(self) -> Any:
        return self._make(lambda name: self._session.lock(name), "_leased")

    def event(self) -> Any:
        return self._make(lambda name: self._session.event(name), "_event")

    def condition(self, lock: Any = None) -> Any:
        lock = lock or self.lock()
        return InThreads(self, self._session.condition(next(self._names), lock.primitive))

    def semaphore(self, value: int = 1) -> Any:
        return self._make(lambda name: self._session.semaphore(name, value), "_leased")

    def bounded_semaphore(self, value: int = 1) -> Any:
        return self._make(lambda name: self._session.bounded_semaphore(name, value), "_leased")

    def barrier(self, parties: int) -> Any:
        return self._make(lambda name: self._session.barrier(name, parties), "_barrier")

    def rw_lock(self) -> RWLock:
        name = next(self._names)
        made = self._session.rw_lock(name)
        self._made[name] = made._rw_lock.writer._initial
        return RWLock(InThreads(self, made.reader), InThreads(self, made.writer))

    def rate_limiter(self, rate: float, per: float, burst: int) -> Any:
        return self._make(lambda name: self._session.rate_limiter(name, rate, per, burst=burst), "_limiter")
