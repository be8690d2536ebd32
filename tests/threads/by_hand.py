"""Event loops that run only when told to, and calls that are interrupted: so a test decides what comes first."""

import asyncio
import contextlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from holdfast import threads

MUTEXES: dict[str, Callable[[], Any]] = {
    "Lock": threads.Lock,
    "Semaphore": threads.Semaphore,
    "BoundedSemaphore": threads.BoundedSemaphore,
    "Condition": threads.Condition,
}
each_mutex = pytest.mark.parametrize("make", MUTEXES.values(), ids=MUTEXES)
"""Whatever lets one in at a time."""


class HandLoop(asyncio.SelectorEventLoop):
    """Counts what is sent to it from elsewhere."""

    def __init__(self):
        super().__init__()
        self.sent = 0

    def call_soon_threadsafe(self, *args, **kwargs):
        self.sent += 1
        return super().call_soon_threadsafe(*args, **kwargs)

    def turn(self, times: int = 3) -> None:
        """Run what is ready, and what that makes ready."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def once(self, call: Callable[[], Any]) -> None:
        """Call it in the loop, and stop before anything runs that this makes ready."""
        self.call_soon(call)
        self.call_soon(self.stop)
        self.run_forever()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that has gone as far as it gets."""
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
    """Cancel what is left, and close them."""
    for loop in loops:
        if not loop.is_closed():
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.turn()
            loop.close()


@contextlib.contextmanager
def interrupted_in(function: types.FunctionType) -> Iterator[None]:
    """A SIGINT comes when this thread blocks in that function, and KeyboardInterrupt out of it.

    One that comes just before the thread blocks does not wake it. So while it is still there, another one is sent.
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
    """Taken and given back, it has kept nothing."""
    if not mutex.sync.acquire(False):
        return False
    mutex.release()
    return not mutex.locked()


def contended(make: Callable[[], Any], loops: tuple[HandLoop, ...]) -> tuple[Any, ...]:
    """A mutex that is held, and a task of each loop that waits for it, the first loop's first."""
    mutex = make()
    assert mutex.sync.acquire()
    return mutex, *(loop.start(mutex.acquire()) for loop in loops)


def at_line(number: int, act: Callable[[], object], call: Callable[[], object]) -> bool:
    """Call `call()`, and `act()` before the line of that number in it, as a signal handler would be; was there one?"""
    left = [number]

    def trace(frame: types.FrameType, event: str, arg: object) -> Any:
        if "holdfast" not in frame.f_code.co_filename:
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
    """Run the scenario with an interruption before each line in turn; it returns whether there was that line."""
    number = 0
    while scenario(number):
        number += 1
    assert number > 2
