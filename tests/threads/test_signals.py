"""A signal handler in the main thread wakes the loop that sleeps there.

The handler runs in the middle of the loop's select(), which then sleeps on. A callback that the handler only added to
the loop's ready queue would wait until something else wakes the loop.
"""

import asyncio
import os
import selectors
import signal
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast import threads

try:
    import uvloop
except ImportError:  # installed by the extra 'test' on the platforms that have it
    uvloop = None

LOOPS = {"asyncio": asyncio.new_event_loop} | ({} if uvloop is None else {"uvloop": uvloop.new_event_loop})
PATIENCE = 60  # seconds after which the loop wakes up by itself, and the test fails


@dataclass(frozen=True)
class Kind:
    make: Callable[[], Any]
    """Make a primitive for which a task has to wait."""
    wait: Callable[[Any], Coroutine[Any, Any, Any]]
    wake: Callable[[Any], Any]


def held(mutex: Any) -> Any:
    assert mutex.try_acquire()
    return mutex


def held_condition() -> Any:
    condition = threads.Condition()
    assert condition.sync.acquire()
    return condition


async def wait_for_notification(condition: threads.Condition) -> None:
    async with condition:
        await condition.wait()


def notify(condition: threads.Condition) -> None:
    with condition.sync:
        condition.notify()


async def meet(barrier: threads.Barrier) -> None:
    with pytest.raises(threads.BrokenBarrierError):
        await barrier.wait()


KINDS = {
    "Lock": Kind(lambda: held(threads.Lock()), threads.Lock.acquire, threads.Lock.release),
    "Semaphore": Kind(lambda: threads.Semaphore(0), threads.Semaphore.acquire, threads.Semaphore.release),
    "BoundedSemaphore": Kind(
        lambda: held(threads.BoundedSemaphore(1)), threads.BoundedSemaphore.acquire, threads.BoundedSemaphore.release
    ),
    "Event": Kind(threads.Event, threads.Event.wait, threads.Event.set),
    "Condition": Kind(threads.Condition, wait_for_notification, notify),
    "Condition's lock": Kind(held_condition, threads.Condition.acquire, threads.Condition.release),
    "Barrier": Kind(lambda: threads.Barrier(2), meet, lambda barrier: barrier.sync.abort()),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


class Interrupted(selectors.DefaultSelector):
    """A selector that calls `handler` once when it is about to sleep, as a signal would."""

    handler: Callable[[], Any] | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self.handler is not None and timeout != 0:
            handler, self.handler = self.handler, None
            handler()
        return super().select(timeout)


def test_it_wakes_the_loop_whose_select_it_interrupts(kind):
    async def main() -> None:
        primitive = kind.make()
        loop = asyncio.get_running_loop()
        in_vain: list[bool] = []
        loop.call_later(PATIENCE, in_vain.append, True)
        selector.handler = lambda: kind.wake(primitive)
        await kind.wait(primitive)
        assert not in_vain

    selector = Interrupted()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 here")
@pytest.mark.parametrize("make_loop", LOOPS.values(), ids=LOOPS)
def test_a_real_signal_wakes_the_loop(kind, make_loop):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread runs signal handlers")

    async def main() -> None:
        primitive = kind.make()
        loop = asyncio.get_running_loop()
        before = signal.signal(signal.SIGUSR1, lambda *_: kind.wake(primitive))
        in_vain: list[bool] = []
        loop.call_later(PATIENCE, in_vain.append, True)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        try:
            await kind.wait(primitive)
            assert not in_vain
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@pytest.mark.usefixtures("woken_by_calls")
def test_what_a_callback_wakes_shares_one_call(monkeypatch):
    """A callback of the loop looks like a signal handler. The loop gets one call for all the tasks that it wakes."""
    calls = []

    async def main() -> None:
        semaphore, event = threads.Semaphore(0), threads.Event()
        loop = asyncio.get_running_loop()
        waiters = [asyncio.create_task(wait) for wait in (semaphore.acquire(), semaphore.acquire(), event.wait())]
        await asyncio.sleep(0)
        call_soon_threadsafe = loop.call_soon_threadsafe
        monkeypatch.setattr(
            loop, "call_soon_threadsafe", lambda *args: calls.append(args) or call_soon_threadsafe(*args)
        )
        loop.call_soon(semaphore.sync.release, 2)
        loop.call_soon(event.set)
        await asyncio.gather(*waiters)
        await asyncio.create_task(wake_from_a_task())

    async def wake_from_a_task() -> None:
        event = threads.Event()
        waiter = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        event.set()
        await waiter

    asyncio.run(main())
    assert len(calls) == 1
