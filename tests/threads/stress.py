"""A stress test: threads with event loops and threads that block contend for everything, and stop waiting at random.

    python -m tests.threads.stress [--minutes 1] [--seed N]

Each loop has ten tasks. Tasks are cancelled, blocking calls run out of time, and the interpreter switches between
threads every microsecond. All the time, a lock must have at most one holder, and no more permits may be taken than
there are. In the end, everything must be free again, and no queue may be left. The seed repeats what each thread
chooses, but not how the interpreter switches between them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import threading
import time

from holdfast import threads

THREADS = 4
TASKS = 10
PERMITS = 3
PATIENCE = 0.002
"""The timeout in seconds of the calls that have one."""
DRAIN = 60.0
"""All tasks and threads must have ended after so many seconds."""


class Stress:
    """The primitives, and what must hold for them."""

    def __init__(self) -> None:
        self.lock = threads.Lock()
        self.semaphore = threads.BoundedSemaphore(PERMITS)
        self.condition = threads.Condition()
        self.event = threads.Event()
        self.inside: list[object] = []
        self.permits: list[object] = []
        self.items = 0
        self.turns = 0
        self.errors: list[str] = []

    def check(self, good: bool, message: str) -> None:
        if not good:
            self.errors.append(message)

    def enter(self, crowd: list[object], most: int) -> object:
        me = object()
        crowd.append(me)
        self.check(len(crowd) <= most, f"{len(crowd)} where at most {most} may be")
        return me

    def visit(self, crowd: list[object], most: int) -> None:
        me = self.enter(crowd, most)
        crowd.remove(me)
        self.turns += 1  # printed, not checked

    async def task(self, rng: random.Random, end: float) -> None:
        while time.monotonic() < end:
            choice = rng.randrange(6)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rng.choice([PATIENCE * rng.random(), 10])):
                    if choice < 2:
                        async with self.lock:
                            me = self.enter(self.inside, 1)
                            try:
                                await asyncio.sleep(0)
                            finally:
                                self.inside.remove(me)
                    elif choice == 2:
                        async with self.semaphore:
                            me = self.enter(self.permits, PERMITS)
                            try:
                                await asyncio.sleep(0)
                            finally:
                                self.permits.remove(me)
                    elif choice == 3:
                        async with self.condition:
                            self.items += 1
                            self.condition.notify()
                    elif choice == 4:
                        async with asyncio.timeout(PATIENCE), self.condition:
                            await self.condition.wait_for(lambda: self.items)
                            self.items -= 1
                    else:
                        self.event.set() if rng.random() < 0.5 else self.event.clear()
                        async with asyncio.timeout(PATIENCE):
                            await self.event.wait()
            await asyncio.sleep(0)

    async def canceller(self, rng: random.Random, tasks: list[asyncio.Task[None]], end: float) -> None:
        """Cancel a task, and start another one in its place."""
        while time.monotonic() < end:
            await asyncio.sleep(PATIENCE * rng.random())
            number = rng.randrange(len(tasks))
            tasks[number].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks[number]
            tasks[number] = asyncio.create_task(self.task(rng, end))

    async def main(self, rng: random.Random, end: float) -> None:
        tasks = [asyncio.create_task(self.task(rng, end)) for _ in range(TASKS)]
        await self.canceller(rng, tasks, end)
        await asyncio.gather(*tasks)

    def block(self, rng: random.Random, end: float) -> None:
        """The work of a thread without a loop."""
        while time.monotonic() < end:
            timeout = PATIENCE * rng.random()
            choice = rng.randrange(4)
            if choice == 0 and self.lock.sync.acquire(timeout=timeout):
                self.visit(self.inside, 1)
                self.lock.release()
            elif choice == 1 and self.semaphore.sync.acquire(timeout=timeout):
                self.visit(self.permits, PERMITS)
                self.semaphore.release()
            elif choice == 2:
                with self.condition.sync:
                    if self.condition.sync.wait_for(lambda: self.items, timeout):
                        self.items -= 1
            else:
                self.event.sync.wait(timeout)

    def guarded(self, run: object, *args: object) -> None:
        try:
            run(*args)  # type: ignore[operator]
        except BaseException as exc:
            self.errors.append(repr(exc))
            raise

    def finish(self) -> None:
        self.check(not self.lock.locked(), "the lock is locked")
        self.check(not self.condition.locked(), "the condition's lock is locked")
        self.check(self.semaphore.statistics().value == PERMITS, f"permits are lost: {self.semaphore!r}")
        for shared in (self.lock, self.semaphore, self.condition, self.event):
            statistics = shared.statistics()
            self.check(statistics.tasks_waiting == 0, f"somebody waits: {shared!r}")


def stress(seconds: float, seed: int) -> Stress:
    """Run it; raise RuntimeError if it does not end."""
    contest = Stress()
    end = time.monotonic() + seconds
    started = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(THREADS):
            with_loop = random.Random(f"{seed} {number} loop")
            run = lambda rng=with_loop: asyncio.run(contest.main(rng, end))  # noqa: E731
            started.append(threading.Thread(target=contest.guarded, args=(run,), daemon=True))
            blocking = random.Random(f"{seed} {number} blocking")
            started.append(threading.Thread(target=contest.guarded, args=(contest.block, blocking, end), daemon=True))
        for thread in started:
            thread.start()
        for thread in started:
            thread.join(max(0.0, end + DRAIN - time.monotonic()))
            if thread.is_alive():
                raise RuntimeError(f"a thread is stuck: {contest.lock!r}, {contest.semaphore!r}, {contest.condition!r}")
    finally:
        sys.setswitchinterval(interval)
    contest.finish()
    return contest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"threads: seed {options.seed}, {options.minutes:g} minutes, {sys.version.split()[0]}", flush=True)
    contest = stress(options.minutes * 60, options.seed)
    for error in contest.errors:
        print(error)
    print(f"{contest.turns} turns of blocking threads, {len(contest.errors)} errors")
    return bool(contest.errors)


if __name__ == "__main__":
    sys.exit(main())
