"""Event loops that a test runs step by step, and calls that it interrupts: so the test decides what comes first."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.test_loops import PATIENCE

import holdfast
from holdfast import threads
from holdfast.threads.critical_section import Section

PACKAGE = os.path.dirname(holdfast.__file__) + os.sep
"""The folder of the code that is interrupted."""
MUTEXES: dict[str, Callable[[], Any]] = {
    "Lock": threads.Lock,
    "Semaphore": threads.Semaphore,
    "BoundedSemaphore": threads.BoundedSemaphore,
    "Condition": threads.Condition,
}
each_mutex = pytest.mark.parametrize("make", MUTEXES.values(), ids=MUTEXES)
"""Runs a test with each primitive that one task or thread can hold at a time."""


class HandLoop(asyncio.SelectorEventLoop):
    """A loop that a test runs step by step, and that counts the calls sent to it from elsewhere."""

    def __init__(self):
        super().__init__()
        self.sent = 0

    def call_soon_threadsafe(self, *args, **kwargs):
        self.sent += 1
        return super().call_soon_threadsafe(*args, **kwargs)

    def turn(self, times: int = 3) -> None:
        """Run what is ready, and what becomes ready by that."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def once(self, call: Callable[[], Any]) -> None:
        """Make the call in the loop, and stop before anything runs that becomes ready by it."""
        self.call_soon(call)
        self.call_soon(self.stop)
        self.run_forever()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task, and return it when it waits or has ended."""
        task = self.create_task(coroutine)
        self.turn()
        return task


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not have to wait."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


async def wait_once(condition: Any) -> None:
    async with condition:
        await condition.wait()


def finish(*loops: HandLoop) -> None:
    """Cancel the tasks that are left, and close the loops."""
    for loop in loops:
        if not loop.is_closed():
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.turn()
            loop.close()


@contextlib.contextmanager
def interrupted_in(function: types.FunctionType) -> Iterator[None]:
    """Send a SIGINT when this thread blocks in `function`, and expect KeyboardInterrupt.

    A signal that comes just before the thread blocks does not wake it. So another one follows while it is still there.
    """
    main, out = threading.get_ident(), threading.Event()

    def interrupt() -> None:
        while not out.is_set():
            there = sys._current_frames()[main].f_code is function.__code__
            if there:
                signal.pthread_kill(main, signal.SIGINT)
            out.wait(1 if there else 0.001)

    thread = threading.Thread(target=interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        out.set()
        signal.signal(signal.SIGINT, handler)
        thread.join()


def is_free(mutex: Any) -> bool:
    """Whether the mutex can be taken, and is unlocked after it was released."""
    if not mutex.sync.acquire(False):
        return False
    mutex.release()
    return not mutex.locked()


def contended(make: Callable[[], Any], loops: tuple[HandLoop, ...]) -> tuple[Any, ...]:
    """Return a mutex that is held, and one task of each loop that waits for it, in the order of the loops."""
    mutex = make()
    assert mutex.sync.acquire()
    return mutex, *(loop.start(mutex.acquire()) for loop in loops)


class Door(Section):
    """A section that tells when a thread has to wait for it."""

    __slots__ = ("waits",)

    def __init__(self) -> None:
        self.waits: Callable[[], object] = lambda: None

    def acquire(self, *args: Any) -> bool:
        if super().acquire(False):
            return True
        self.waits()
        return super().acquire(*args)


class OtherThreads:
    """Other threads that each run until they end or wait for the section of the primitive."""

    def __init__(self, shared: Any) -> None:
        self._door = shared._section = Door()
        self._started: list[threading.Thread] = []

    def do(self, call: Callable[[], object]) -> None:
        """Make the call in another thread; return as soon as that has ended or waits for the section."""
        paused = threading.Event()

        def run() -> None:
            try:
                call()
            finally:
                paused.set()

        self._door.waits = paused.set
        thread = threading.Thread(target=run)
        self._started.append(thread)
        thread.start()
        assert paused.wait(PATIENCE)

    def finish(self) -> None:
        """Wait until all of them have ended."""
        for thread in self._started:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def at_line(number: int, act: Callable[[], object], call: Callable[[], object]) -> bool:
    """Call `call()`, and `act()` before its line of this number, as a signal handler would; return whether it came."""
    left = [number]

    def trace(frame: types.FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line" and left[0] >= 0:
            left[0] -= 1
            if left[0] < 0:
                sys.settrace(None)
                act()
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return left[0] < 0


def lines(scenario: Callable[[int], bool]) -> None:
    """Run the scenario with an interruption before each line in turn, until it returns that there is no such line."""
    number = 0
    while scenario(number):
        number += 1
    assert number > 2
