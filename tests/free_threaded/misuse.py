"""Threads, each with an event loop, use the same primitives of the task tier; not allowed, but it harms no memory.

    python -m tests.free_threaded.misuse [--seconds 10] [--threads 4]

Without the GIL they are in the same fields at the same time, also in the middle of the compiled twin's shortest ways.
Each does what a program can do with a primitive: it takes and gives back, waits and is cancelled, sets and clears,
looks at it and replaces it under the others. Errors of misuse are expected, and lost wake-ups too, so each wait has an
end, and a task that is lost is left behind. Several threads also drive one coroutine, and close it while it runs.

What is checked is that the process lives, in whatever way it was compiled: with ThreadSanitizer, which reports two
threads that touch the same word, or with AddressSanitizer. And, for the compiled twin, what holds all the same: of
several threads that take a lock or a permit without waiting, no more have it than may.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import random
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import holdfast

EXPECTED = (
    *(RuntimeError, ValueError, AttributeError, LookupError, TimeoutError),
    *(asyncio.BrokenBarrierError, asyncio.InvalidStateError, asyncio.CancelledError),
)
"""What misuse may raise: used in another loop than the waiters', released once too often, gone from the line."""
PATIENCE = 0.005
"""Seconds until a wait is given up."""

LEFT_BEHIND = 2.0
"""Seconds after the end in which a task may still end by itself."""


class Shared:
    """What they all use; whoever likes puts new ones in their place."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = holdfast.Lock()
        self.semaphore = holdfast.Semaphore(2)
        self.event = holdfast.Event()
        self.condition = holdfast.Condition()
        self.barrier = holdfast.Barrier(2)


class Steps:
    """One of them is chosen at random, again and again."""

    def __init__(self, shared: Shared, rng: random.Random) -> None:
        self.shared = shared
        self.rng = rng
        self.steps: list[Callable[[], Coroutine[Any, Any, object]]] = [
            partial(self.take, "lock"),
            partial(self.take, "semaphore"),
            self.event,
            self.condition,
            self.barrier,
            self.look,
            self.one_coroutine,
        ]

    async def run(self, end: float) -> int:
        steps = 0
        while time.monotonic() < end:
            with contextlib.suppress(*EXPECTED):
                async with asyncio.timeout(PATIENCE * self.rng.random()):
                    await self.rng.choice(self.steps)()
            steps += 1
            if not steps % 97:
                self.shared.renew()
        return steps

    async def take(self, which: str) -> None:
        primitive: holdfast.Lock | holdfast.Semaphore = getattr(self.shared, which)
        async with primitive:
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)
        if primitive.try_acquire():
            primitive.release()
        await primitive.acquire()
        primitive.release()

    async def event(self) -> None:
        event = self.shared.event
        event.set() if self.rng.random() < 0.5 else event.clear()
        await event.wait()

    async def condition(self) -> None:
        condition = self.shared.condition
        async with condition:
            condition.notify_all() if self.rng.random() < 0.5 else condition.notify()
            await condition.wait()

    async def barrier(self) -> None:
        barrier = self.shared.barrier
        choice = self.rng.randrange(10)
        if choice == 0:
            await barrier.abort()
        elif choice == 1:
            await barrier.reset()
        else:
            await barrier.wait()

    async def look(self) -> None:
        shared = self.shared
        for primitive in (shared.lock, shared.semaphore, shared.event, shared.condition, shared.barrier):
            repr(primitive)
            primitive.statistics()
            primitive.__dict__["note"] = self.rng

    async def one_coroutine(self) -> None:
        """Two threads send, close and look."""
        coroutine = self.shared.event.wait()
        helpers = [threading.Thread(target=self.drive, args=[coroutine]) for _ in range(2)]
        for helper in helpers:
            helper.start()
        self.drive(coroutine)
        for helper in helpers:
            helper.join()
        coroutine.close()

    def drive(self, coroutine: Any) -> None:
        for call in (lambda: coroutine.send(None), lambda: inspect.getcoroutinestate(coroutine), coroutine.close):
            with contextlib.suppress(*EXPECTED, StopIteration):
                call()
                str(coroutine.cr_await), coroutine.cr_frame, coroutine.cr_suspended


def misuse(threads: int, seconds: float, seed: int) -> int:
    """Let them; return how many steps they took."""
    shared = Shared()
    end = time.monotonic() + seconds
    taken: list[int] = []

    def run(number: int) -> None:
        steps = Steps(shared, random.Random(f"{seed} {number}"))

        async def main() -> int:
            tasks = [asyncio.create_task(steps.run(end)) for _ in range(3)]
            # One that takes the lock of a condition again waits for it whatever comes, and misuse may have lost it.
            done, left = await asyncio.wait(tasks, timeout=seconds + LEFT_BEHIND)
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            return sum(task.result() for task in done)

        with contextlib.closing(asyncio.new_event_loop()) as loop:
            loop.set_exception_handler(lambda loop, context: None)  # of errands and tasks that misuse has spoilt
            taken.append(loop.run_until_complete(main()))

    together(threads, run)
    assert len(taken) == threads, "a thread has failed"
    return sum(taken)


def exclusion(threads: int, seconds: float) -> int:
    """Take without waiting, by whatever way: never more at a time than may. Return how often it was had."""
    lock, semaphore = holdfast.Lock(), holdfast.Semaphore(2)
    end = time.monotonic() + seconds
    inside: dict[str, list[int]] = {"lock": [], "semaphore": []}
    had: list[int] = []
    ways: list[Callable[[Any], bool]] = [lambda mutex: mutex.try_acquire(), at_once, enters]

    def run(number: int) -> None:
        times = 0
        while time.monotonic() < end:
            for name, mutex, most in (("lock", lock, 1), ("semaphore", semaphore, 2)):
                if ways[times % len(ways)](mutex):
                    inside[name].append(number)
                    assert len(inside[name]) <= most, f"{len(inside[name])} have the {name}"
                    inside[name].remove(number)
                    mutex.release()
            times += 1
        had.append(times)

    together(threads, run)
    assert len(had) == threads, "a thread has failed"
    assert not lock.locked()
    assert semaphore.statistics().value == 2
    return sum(had)


def at_once(mutex: Any) -> bool:
    """acquire(), if it need not wait. Out of a loop, what would have to wait raises."""
    try:
        mutex.acquire().send(None)
    except StopIteration:
        return True
    except RuntimeError:
        return False
    raise AssertionError("it waits without a loop")


def enters(mutex: Any) -> bool:
    """The same by `async with`."""
    try:
        mutex.__aenter__().send(None)
    except StopIteration:
        return True
    except RuntimeError:
        return False
    raise AssertionError("it waits without a loop")


def together(threads: int, run: Callable[[int], None]) -> None:
    started = [threading.Thread(target=run, args=[number]) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    twin = "compiled" if holdfast.accelerated else "pure"
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(
        f"misuse: seed {options.seed}, {twin} twin, GIL {'on' if gil else 'off'}, {sys.version.split()[0]}", flush=True
    )
    if holdfast.accelerated:
        print(f"{exclusion(options.threads, options.seconds / 4)} times taken", flush=True)
    print(f"{misuse(options.threads, options.seconds, options.seed)} steps of misuse")
    return 0


if __name__ == "__main__":
    sys.exit(main())
