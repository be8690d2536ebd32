# ruff: noqa: T201
"""The first screen: each primitive is put to work on real tasks, checked, and timed beside asyncio's.

Each part is a program that takes its primitives from a module, holdfast or asyncio. It returns what it has seen, or
raises CheckFailedError.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import platform
import random
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import holdfast
from holdfast.tasks.twins import why_pure

from .colour import BOLD, GREEN, RED, paint

TIME_LIMIT = 20  # seconds; in a program that takes longer, a task waits for ever
WIDTH = 80


class CheckFailedError(Exception):
    """A primitive did not do what it must."""


def check(condition: bool, otherwise: str) -> None:
    """Raise CheckFailedError with that text unless the condition is true."""
    if not condition:
        raise CheckFailedError(otherwise)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def lock(kit: ModuleType) -> str:
    """There are never two tasks inside, and they take turns in the order of asking."""
    mutex: asyncio.Lock = kit.Lock()
    asked: list[int] = []
    got: list[int] = []
    inside = peak = 0

    async def worker(name: int) -> None:
        nonlocal inside, peak
        for _ in range(20):
            asked.append(name)
            async with mutex:
                got.append(name)
                inside += 1
                peak = max(peak, inside)
                await asyncio.sleep(0)
                inside -= 1

    await asyncio.gather(*map(worker, range(100)))
    check(peak == 1, f"{peak} tasks were inside at once")
    check(len(got) == 2000 and got == asked, "the order was not that of asking")
    return f"{peak} at a time, {len(got):,} turns in the order of asking"


async def semaphore(kit: ModuleType) -> str:
    """All permits are used, and never more."""
    permits: asyncio.Semaphore = kit.Semaphore(10)
    inside = peak = done = 0

    async def worker() -> None:
        nonlocal inside, peak, done
        async with permits:
            inside += 1
            peak = max(peak, inside)
            for _ in range(3):
                await asyncio.sleep(0)
            inside -= 1
        done += 1

    await asyncio.gather(*(worker() for _ in range(1000)))
    check(peak == 10, f"at most {peak} tasks were inside at once")
    check(done == 1000, f"{done:,} tasks had their turn")
    return f"peak concurrency exactly {peak}, all {done:,} done"


async def bounded_semaphore(kit: ModuleType) -> str:
    """One release too many is refused, and adds no permit."""
    permits: asyncio.BoundedSemaphore = kit.BoundedSemaphore(10)

    async def worker() -> None:
        async with permits:
            await asyncio.sleep(0)

    await asyncio.gather(*(worker() for _ in range(1000)))
    try:
        permits.release()
    except ValueError:
        pass
    else:
        raise CheckFailedError("one release too many was accepted")
    free = 0
    while not permits.locked():
        await permits.acquire()
        free += 1
    check(free == 10, f"{free} permits are free afterwards")
    return f"refused with ValueError, {free} permits as before"


async def event(kit: ModuleType) -> str:
    """The tasks that wait when set() is called wake up although clear() follows; a later task waits."""
    flag: asyncio.Event = kit.Event()
    woken = 0

    async def waiter() -> None:
        nonlocal woken
        await flag.wait()
        woken += 1

    waiting = [asyncio.create_task(waiter()) for _ in range(10_000)]
    await settle()
    flag.set()
    flag.clear()
    late = asyncio.create_task(waiter())
    await settle()
    check(woken == len(waiting), f"{woken:,} tasks woke up")
    check(not late.done(), "a task that came after clear() did not wait")
    late.cancel()
    return f"all {woken:,} woke up, a later one still waits"


async def condition(kit: ModuleType) -> str:
    """In a bounded buffer, to cancel consumers wakes no others, and each item goes to the next in line."""
    buffer: deque[int] = deque()
    mutex = kit.Lock()
    filled: asyncio.Condition = kit.Condition(mutex)
    emptied: asyncio.Condition = kit.Condition(mutex)
    wake_ups = 0
    served: list[tuple[int, int]] = []

    async def consumer(name: int) -> None:
        nonlocal wake_ups
        async with filled:
            while not buffer:
                await filled.wait()
                wake_ups += 1
            served.append((name, buffer.popleft()))
            emptied.notify()

    consumers = [asyncio.create_task(consumer(name)) for name in range(1000)]
    await settle()
    cancelled = set(random.Random(1).sample(range(1000), 500))
    for name in cancelled:
        consumers[name].cancel()
    await asyncio.wait([consumers[name] for name in cancelled])
    await settle()
    spurious = wake_ups
    for item in range(500):
        async with filled:
            await emptied.wait_for(lambda: len(buffer) < 10)
            buffer.append(item)
            filled.notify()
    await asyncio.wait(consumers)
    check(spurious == 0, f"{spurious} tasks were woken for nothing")
    left = [name for name in range(1000) if name not in cancelled]
    check(served == [(name, item) for item, name in enumerate(left)], "items were lost, or the order was")
    return f"{spurious} woken for nothing, {len(served)} items to {len(left)}, in order"


async def barrier(kit: ModuleType) -> str:
    """The tasks of each round get different indices, also if one left before the round was complete."""
    meeting: asyncio.Barrier = kit.Barrier(20)
    rng = random.Random(1)
    for round_number in range(1, 101):
        parties = [asyncio.create_task(meeting.wait()) for _ in range(19)]
        await asyncio.sleep(0)
        leaver = parties.pop(rng.randrange(19))
        leaver.cancel()
        await asyncio.wait([leaver])
        parties += [asyncio.create_task(meeting.wait()) for _ in range(2)]
        indices = sorted(await asyncio.gather(*parties))
        twice = [index for index, next_one in itertools.pairwise(indices) if index == next_one]
        check(not twice, f"in round {round_number}, two tasks got the index {', '.join(map(str, twice))}")
        check(indices == list(range(20)), f"in round {round_number}, the indices were {indices}")
    check(meeting.n_waiting == 0 and not meeting.broken, "the barrier is not as it was")
    return "in every round the indices 0 to 19, each once"


async def cancellation(kit: ModuleType) -> str:
    """The tasks that are not cancelled get the lock, in order."""
    mutex: asyncio.Lock = kit.Lock()
    got: list[int] = []

    async def worker(name: int) -> None:
        async with mutex:
            got.append(name)

    await mutex.acquire()
    workers = [asyncio.create_task(worker(name)) for name in range(10_000)]
    await settle()
    cancelled = set(random.Random(1).sample(range(10_000), 3_333))
    for name in sorted(cancelled, reverse=True):  # newest first: the hardest order for a queue that is searched
        workers[name].cancel()
    await settle()
    mutex.release()
    await asyncio.wait(workers)
    left = [name for name in range(10_000) if name not in cancelled]
    check(len(got) == len(left), f"{len(got):,} of {len(left):,} got the lock")
    check(got == left, "the order was not that of asking")
    check(all(workers[name].cancelled() for name in cancelled), "a cancelled task went on")
    check(not mutex.locked(), "the lock is still locked")
    return f"the other {len(got):,} got it, in order, none was lost"


Program = Callable[[ModuleType], Coroutine[Any, Any, str]]


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the demo."""

    name: str
    does: str
    program: Program


PARTS = [
    Part("Lock", "100 tasks take it 20 times each", lock),
    Part("Semaphore", "1,000 tasks share 10 permits", semaphore),
    Part("BoundedSemaphore", "the same, and then one release too many", bounded_semaphore),
    Part("Event", "10,000 tasks wait for set(), clear() follows at once", event),
    Part("Condition", "1,000 tasks wait for an item, 500 of them are cancelled", condition),
    Part("Barrier", "100 rounds of 20, one of which is cancelled and replaced", barrier),
    Part("Cancellation", "10,000 tasks wait for a Lock, a random third is cancelled", cancellation),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program: whether the checks held, what was seen, and how long it took."""

    ok: bool
    seen: str
    seconds: float


def run(program: Program, kit: ModuleType) -> Run:
    """Run a program once, in a new event loop."""
    gc.collect()  # or this run would pay for the garbage of the one before
    return asyncio.run(_run(program, kit))


async def _run(program: Program, kit: ModuleType) -> Run:
    ok = False
    start = time.perf_counter()
    try:
        async with asyncio.timeout(TIME_LIMIT):
            seen = await program(kit)
        ok = True
    except CheckFailedError as failure:
        seen = str(failure)
    except TimeoutError:
        seen = f"still waiting after {TIME_LIMIT} s"
    except Exception as error:
        seen = f"{type(error).__name__}: {error}"
    return Run(ok, seen, time.perf_counter() - start)


def demo() -> int:
    """Run all parts, and print what they did; return 1 if a check failed."""
    start = time.perf_counter()
    if why_pure:
        text = f"This is holdfast in pure Python, which is slower: {why_pure}. See docs/building.md."
        print(textwrap.fill(text, WIDTH))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{f'holdfast {holdfast.__version__} at work, on {python}':55}{'holdfast':>9}{'asyncio':>9}{'faster':>7}")
    failed = []
    remarks = []
    for part in PARTS:
        ours, theirs = _compare(part)
        print(f"{paint(BOLD, f'{part.name:16}')} {part.does}")
        mark = paint(GREEN, "  ok:") if ours.ok else paint(RED, "  FAILED:")
        seen = f"{ours.seen:{WIDTH}}"[: 54 - len("  ok:" if ours.ok else "  FAILED:")]
        print(f"{mark} {seen}{_milliseconds(ours)}", end="")
        if theirs.ok:
            print(f"{_milliseconds(theirs)}{theirs.seconds / ours.seconds:6.2f}x" if ours.ok else _milliseconds(theirs))
        else:
            print(f"{'fails *':>9}")
            remarks.append(f"* asyncio, {part.name}: {theirs.seen}"[:WIDTH])
        sys.stdout.flush()
        if not ours.ok:
            failed.append(part.name)
    print("Both ran the same program several times, by turns: the times are medians, and")
    print("'faster' is asyncio's over holdfast's; small differences are noise. They are of")
    print("whole programs with their loops; docs/speed.md has the cost of each operation.")
    print(*remarks, sep="\n", end="\n" if remarks else "")
    if failed:
        print(paint(RED, f"{len(failed)} of {len(PARTS)} checks FAILED: {', '.join(failed)}"))
        return 1
    print(paint(GREEN, f"All {len(PARTS)} checks passed"), f"in {time.perf_counter() - start:.1f} s.")
    return 0


def _compare(part: Part) -> tuple[Run, Run]:
    """Run a part with holdfast and with asyncio by turns, so that both meet the same noise; return the median of each.

    A slow part gets fewer rounds. After a run that fails there are no more of its kind.
    """
    start = time.perf_counter()
    ours: list[Run] = []
    theirs: list[Run] = []
    for rounds in range(9):
        if rounds >= 3 and time.perf_counter() - start > 1:
            break
        for runs, kit in (ours, holdfast), (theirs, asyncio):
            if not runs or runs[-1].ok:
                runs.append(run(part.program, kit))
    return _median(ours), _median(theirs)


def _median(runs: list[Run]) -> Run:
    if not runs[-1].ok:
        return runs[-1]
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _milliseconds(run: Run) -> str:
    return f"{run.seconds * 1000:6.0f} ms"
