"""What holdfast.threads.RateLimiter adds: threads and several loops in one line, by one clock.

Its time is that of the machine. So the tests look at the order, and at what must not be too early, never at what might
be late.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest

import holdfast.threads

from .turns import turns


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


def waiting(limiter: holdfast.threads.RateLimiter) -> int:
    return limiter.statistics().tasks_waiting


def test_tasks_of_two_loops_and_threads_stand_in_one_line() -> None:
    limiter = holdfast.threads.RateLimiter(20, burst=5)
    order: list[str] = []
    began = time.monotonic()
    assert limiter.try_acquire(5)

    def as_thread(name: str, n: int) -> None:
        assert limiter.sync.acquire(n=n)
        order.append(name)

    def as_task(name: str, n: int) -> None:
        async def main() -> None:
            await limiter.acquire(n)
            order.append(name)

        asyncio.run(main())

    threads = []
    for number, (function, name, n) in enumerate(
        [(as_thread, "five", 5), (as_task, "one", 1), (as_task, "three", 3), (as_thread, "two", 2)]
    ):
        threads.append(threading.Thread(target=function, args=(name, n), daemon=True))
        threads[-1].start()
        wait_until(lambda number=number: waiting(limiter) == number + 1 or len(order) > 0)  # type: ignore[misc]
    for thread in threads:
        thread.join(30)
    assert order == ["five", "one", "three", "two"]
    assert time.monotonic() - began >= 11 / 20 - 1e-6, "eleven tokens have had to come"


def test_never_more_than_promised_in_any_time() -> None:
    limiter = holdfast.threads.RateLimiter(200, burst=4)
    taken: list[float] = []

    def work() -> None:
        for _ in range(15):
            with limiter.sync:
                taken.append(time.monotonic())

    async def task() -> None:
        for _ in range(15):
            async with limiter:
                taken.append(time.monotonic())

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def main() -> None:
        await asyncio.gather(task(), task())

    asyncio.run(main())
    for thread in threads:
        thread.join(30)
    taken.sort()
    assert len(taken) == 60
    assert taken[-1] - taken[0] >= (60 - 4 - 1) / 200, (
        "four are there at once, and one while the first looks at the clock"
    )


async def test_a_task_that_is_cancelled_has_taken_nothing_and_lets_the_next_in() -> None:
    limiter = holdfast.threads.RateLimiter(20, burst=100)
    assert limiter.try_acquire(100)
    large = asyncio.create_task(limiter.acquire(100))  # five seconds
    small = asyncio.create_task(limiter.acquire())
    await turns()
    large.cancel()
    before = limiter.statistics().tokens
    assert await asyncio.wait_for(small, 30)
    assert before < 20, "the large one has not waited for all of them"


def test_a_thread_gives_up_and_has_taken_nothing() -> None:
    limiter = holdfast.threads.RateLimiter(1, per=3600, burst=3)
    assert limiter.sync.acquire(n=2)
    assert limiter.sync.acquire(timeout=0.02, n=2) is False
    assert limiter.sync.acquire(blocking=False, n=2) is False
    assert limiter.sync.acquire(blocking=False) is True
    assert waiting(limiter) == 0


def test_who_waits_behind_one_that_gives_up() -> None:
    limiter = holdfast.threads.RateLimiter(1, per=3600, burst=100)
    assert limiter.try_acquire(99)
    results: list[bool] = []
    large = threading.Thread(target=lambda: results.append(limiter.sync.acquire(timeout=0.1, n=100)), daemon=True)
    large.start()
    wait_until(lambda: waiting(limiter) == 1)
    assert limiter.sync.acquire() is True, "the token that is there is for it, when the first has left"
    large.join(30)
    assert results == [False]


async def test_acquire_all_takes_limiters_of_both_tiers() -> None:
    for_tasks, for_all = holdfast.RateLimiter(1, per=3600, burst=3), holdfast.threads.RateLimiter(1, per=3600, burst=2)
    await holdfast.acquire_all((for_tasks, 2), (for_all, 1))
    task = asyncio.create_task(holdfast.acquire_all((for_tasks, 1), (for_all, 2)))
    await turns()
    task.cancel()
    await turns()
    assert for_tasks.try_acquire(), "what was taken is given back"
    assert for_all.try_acquire()


def test_misuse() -> None:
    limiter = holdfast.threads.RateLimiter(1, burst=2)
    for n in (0, 3):
        with pytest.raises(ValueError, match="n"):
            limiter.sync.acquire(n=n)

    async def block() -> None:
        limiter.try_acquire(2)
        with pytest.raises(RuntimeError, match="async with limiter"):
            limiter.sync.acquire()

    asyncio.run(block())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_forked_child_keeps_time_as_well() -> None:
    limiter = holdfast.threads.RateLimiter(100, burst=1)
    for _ in range(2):
        limiter.sync.acquire()  # so the clock's thread runs in the parent
    child = os.fork()
    if child == 0:
        status = 1
        try:
            mine = holdfast.threads.RateLimiter(100, burst=1)
            if all(mine.sync.acquire(timeout=20) for _ in range(3)):
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert limiter.sync.acquire(timeout=20)


def test_many_that_give_up_leave_no_alarms() -> None:
    """Each head of the line sets an alarm an hour ahead. Those that were called off are swept out."""
    limiter = holdfast.threads.RateLimiter(1, per=3600)
    assert limiter.try_acquire()
    for _ in range(500):
        assert not limiter.sync.acquire(timeout=1e-5)
    quick = holdfast.threads.RateLimiter(100, burst=1)
    assert quick.try_acquire()
    assert quick.sync.acquire(timeout=20), "the thread still keeps time"


@pytest.mark.parametrize("late", [False, True], ids=["before its time", "after its time"])
def test_who_stands_behind_a_task_whose_loop_was_closed_is_served_at_its_own_time(late: bool) -> None:
    limiter = holdfast.threads.RateLimiter(20, burst=20_000)  # a token each 50 ms
    assert limiter.try_acquire(20_000)
    loop = asyncio.new_event_loop()
    first = loop.create_task(limiter.acquire(20_000))  # in 1,000 s
    loop.run_until_complete(turns())
    served = threading.Event()

    def wait_for_one() -> None:
        if limiter.sync.acquire():
            served.set()

    thread = threading.Thread(target=wait_for_one, daemon=True)
    thread.start()
    wait_until(lambda: waiting(limiter) == 2)
    if late:
        assert not served.wait(0.1), "nobody overtakes one that still waits"
    first._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    assert served.wait(30)
    thread.join()
    assert waiting(limiter) == 0


def test_a_thread_gets_threadings_results() -> None:
    limiter = holdfast.threads.RateLimiter(1000, burst=2)
    assert repr(limiter.sync) == f"<sync of {limiter!r}>"
    assert limiter.sync.acquire(n=2) is True
    assert limiter.sync.acquire(blocking=False, n=2) is False
    assert limiter.sync.acquire(timeout=10, n=2) is True  # it waits for them


def test_acquire_all_gives_back_to_a_limiter_of_both_tiers() -> None:
    first, second = holdfast.threads.RateLimiter(1e-3, burst=2), holdfast.threads.RateLimiter(1e-3, burst=1)
    assert second.try_acquire()

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await holdfast.acquire_all((first, 2), (second, 1))

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert first.statistics().tokens > 1.9


async def test_who_needs_many_is_not_overtaken() -> None:
    limiter = holdfast.threads.RateLimiter(1e-3, burst=2)
    assert limiter.try_acquire()
    first = asyncio.create_task(limiter.acquire(2))
    await turns()
    assert limiter.statistics().tokens >= 1
    assert not limiter.try_acquire()
    first.cancel()
    await asyncio.wait([first])
    assert limiter.try_acquire()


async def test_who_was_granted_its_tokens_and_has_not_run_is_not_overtaken() -> None:
    limiter = holdfast.threads.RateLimiter(1e-3, burst=3)
    assert limiter.try_acquire(3)
    first = asyncio.create_task(limiter.acquire())
    await turns()
    limiter._full_since -= 3e3  # three tokens have come
    limiter._section.run(limiter._settle)
    assert limiter.statistics().tokens >= 2
    assert not limiter.try_acquire()
    await first
    assert limiter.try_acquire()
