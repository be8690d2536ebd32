"""The thread tier for the suite, used from several places: this loop, a loop in another thread, threads that block."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from holdfast import threads
from holdfast.threads.thread_waiter import ThreadWaiter

from .adapter import RWLock, Tier

HERE, LOOP, THREAD = "here", "another loop", "a thread"
READING = {"locked", "is_set", "try_acquire", "n_waiting", "parties", "broken", "statistics"}
HOPS = 25
"""How often the loops must be found at rest in a row. A wake-up may go from one to the other once for each waiter."""
NEVER_AT_REST = 90.0
"""Seconds after which a test that does not come to rest fails."""

CANNOT_BE_CANCELLED = "a blocked thread cannot be cancelled; tests/threads has its timeouts and signals"
AT_ONCE = (
    "tasks that are granted together run in parallel here; tests/threads/test_order.py has the order of the grants"
)
WITHOUT_IN_SEVERAL = dict.fromkeys(
    [
        "test_wakes_in_order",
        "test_first_come_first_served",
        "test_several_releases_at_once_with_late_comers",
        "test_notify_wakes_at_most_n_in_order",
        "test_notify_all_wakes_all_in_order",
    ],
    AT_ONCE,
)
WITHOUT_IN_THREADS = {
    **WITHOUT_IN_SEVERAL,
    "test_async_with_gives_the_index": "threading.Barrier has no `with`",
    "test_given_lock_is_the_one_used": "the lock and the condition would take turns independently",
}


class ByTurns:
    """One primitive. Each call is made in the next place."""

    def __init__(self, tier: ThreadTier, primitive: Any) -> None:
        self.primitive = primitive
        self._tier = tier

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.primitive, name)
        if name in READING or not callable(attribute):
            return attribute
        return lambda *args, **options: self._tier.call(self.primitive, name, *args, **options)

    async def __aenter__(self) -> Any:
        if isinstance(self.primitive, threads.Barrier):
            return await self._tier.call(self.primitive, "wait")
        await self._tier.call(self.primitive, "acquire")
        return None

    async def __aexit__(self, *exc: object) -> None:
        if not isinstance(self.primitive, threads.Barrier):
            self.primitive.release()


class ThreadTier(Tier):
    def __init__(self, name: str, places: list[str]) -> None:
        self.name = name
        self._places = places
        self._turns = itertools.cycle(places)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._calls_in_threads = 0
        self._busy: set[int] = set()
        self.without = WITHOUT_IN_SEVERAL
        if THREAD in places:
            self.without = WithoutCancelling(WITHOUT_IN_THREADS)

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._turns = itertools.cycle(self._places)
        self._calls_in_threads = 0
        self._busy = set()
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            with ThreadPoolExecutor(64) as self._pool:
                left_behind = asyncio.run(self._main(test))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            there = asyncio.all_tasks(self._loop)
            self._loop.close()
        assert not left_behind
        assert not there

    async def _main(self, test: Callable[[], Coroutine[Any, Any, None]]) -> set[asyncio.Task[Any]]:
        await test()
        await self.settle()
        assert not self._busy
        return asyncio.all_tasks() - {asyncio.current_task()}

    async def call(self, primitive: Any, name: str, *args: Any, **options: Any) -> Any:
        """Call a method in the next place, and return its result."""
        place = next(self._turns)
        if place == LOOP:
            return await self._in_loop(primitive, name, *args, **options)
        if place == THREAD:
            assert self._pool is not None
            call = functools.partial(getattr(primitive.sync, name), **options)
            self._calls_in_threads += 1
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._in_thread, call, *args)
            finally:
                self._calls_in_threads -= 1
        result = getattr(primitive, name)(*args, **options)
        return await result if asyncio.iscoroutine(result) else result

    async def _in_loop(self, primitive: Any, name: str, *args: Any, **options: Any) -> Any:
        """Make the call in the second loop. If cancelled, cancel the task there; return or raise what that does."""

        async def call() -> Any:
            result = getattr(primitive, name)(*args, **options)
            return await result if asyncio.iscoroutine(result) else result

        loop, here = self._loop, asyncio.get_running_loop()
        assert loop is not None
        done = asyncio.Event()
        started: list[asyncio.Task[Any]] = []

        def start() -> None:
            task = loop.create_task(call())
            task.add_done_callback(lambda _: here.call_soon_threadsafe(done.set))
            started.append(task)

        loop.call_soon_threadsafe(start)
        cancelled: asyncio.CancelledError | None = None
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError as exc:
                cancelled = exc
                loop.call_soon_threadsafe(lambda args: started[0].cancel(*args), exc.args)
        [task] = started
        if cancelled is not None and task.cancelled():
            raise cancelled
        return task.result()

    def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        me = threading.get_ident()
        self._busy.add(me)
        try:
            return call(*args)
        finally:
            self._busy.remove(me)

    async def settle(self) -> None:
        assert self._loop is not None
        deadline = asyncio.get_running_loop().time() + NEVER_AT_REST
        quiet = 0
        while quiet < HOPS:
            for _ in range(20):
                await asyncio.sleep(0)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_pass_by(), self._loop))
            quiet = quiet + 1 if self._threads_are_blocked() else 0
            assert asyncio.get_running_loop().time() < deadline

    def _threads_are_blocked(self) -> bool:
        """Whether all calls made in threads are blocked.

        A call that its thread has not begun, or whose result has not arrived here, is not in `_busy`.
        """
        busy = tuple(self._busy)
        return len(busy) == self._calls_in_threads and all(map(_is_blocked, busy))

    def lock(self) -> Any:
        return ByTurns(self, threads.Lock())

    def event(self) -> Any:
        return ByTurns(self, threads.Event())

    def condition(self, lock: Any = None) -> Any:
        return ByTurns(self, threads.Condition(lock and lock.primitive))

    def semaphore(self, value: int = 1) -> Any:
        return ByTurns(self, threads.Semaphore(value))

    def bounded_semaphore(self, value: int = 1) -> Any:
        return ByTurns(self, threads.BoundedSemaphore(value))

    def barrier(self, parties: int) -> Any:
        return ByTurns(self, threads.Barrier(parties))

    def rw_lock(self) -> RWLock:
        made = threads.RWLock()
        return RWLock(ByTurns(self, made.reader), ByTurns(self, made.writer))

    def rate_limiter(self, rate: float, per: float, burst: int) -> Any:
        return ByTurns(self, threads.RateLimiter(rate, per, burst=burst))


class WithoutCancelling(dict[str, str]):
    """The tests that do not apply where threads wait."""

    def get(self, name: str, default: Any = None) -> Any:
        if "cancel" in name or "runs_out_of_time" in name:
            return CANNOT_BE_CANCELLED
        return super().get(name, default)


async def _pass_by() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def _is_blocked(thread: int) -> bool:
    """Whether the thread waits, and has not been granted."""
    frame = sys._current_frames().get(thread)
    if frame is None or frame.f_code is not ThreadWaiter.wait.__code__:
        return False
    # The gate does not tell: a woken thread has taken it again already when it still waits for the GIL.
    with contextlib.suppress(KeyError):
        return not frame.f_locals["self"].granted
    return False
