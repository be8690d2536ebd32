"""RateLimiter: in a loop whose time passes only when nothing else can happen, so each time is exact."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import holdfast
from holdfast.testing import Run, explore

from .turns import turns

Scenario = Callable[[], Coroutine[Any, Any, None]]


def in_exact_time(scenario: Scenario) -> None:
    """Run a scenario once, without interventions."""

    async def once(run: Run) -> None:
        await scenario()

    explore(once, cancels=0, timers=0).check()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_burst_and_then_evenly() -> None:
    async def scenario() -> None:
        limiter, times = holdfast.RateLimiter(2, burst=3), []
        for _ in range(7):
            await limiter.acquire()
            times.append(now())
        assert times == [0, 0, 0, 0.5, 1, 1.5, 2]

    in_exact_time(scenario)


def test_the_whole_burst_is_there_at_one_moment() -> None:
    """No rounding keeps the last one back where the clock stands still, as uvloop's does for a millisecond."""

    async def scenario() -> None:
        chosen = random.Random(7)
        for _ in range(300):
            await asyncio.sleep(chosen.uniform(0, 1e4))
            burst = chosen.randrange(2, 20)
            limiter = holdfast.RateLimiter(chosen.choice([0.7, 3, 7, 10]), per=chosen.choice([0.3, 1, 60]), burst=burst)
            assert [limiter.try_acquire() for _ in range(burst + 1)] == [*[True] * burst, False]
            async with limiter:
                assert not limiter.try_acquire()

    in_exact_time(scenario)


def test_the_burst_is_the_rate_by_default() -> None:
    assert holdfast.RateLimiter(10, per=60).burst == 10
    assert holdfast.RateLimiter(0.5).burst == 1
    assert holdfast.RateLimiter(2.5).burst == 3


def test_who_asks_for_many_is_not_overtaken() -> None:
    """aiolimiter 1.3.0 serves an acquire(8) that came first after 60 later acquire(1)."""

    async def scenario() -> None:
        limiter, order = holdfast.RateLimiter(10, burst=10), []

        async def take(n: int, name: str) -> None:
            await limiter.acquire(n)
            order.append((name, round(now(), 6)))

        await limiter.acquire(10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(take(8, "eight"))
            await asyncio.sleep(0.3)
            for n in range(3):
                tasks.create_task(take(1, f"one {n}"))
            await asyncio.sleep(0)
            assert not limiter.try_acquire(), "it would overtake"
        assert order == [("eight", 0.8), ("one 0", 0.9), ("one 1", 1.0), ("one 2", 1.1)]

    in_exact_time(scenario)


def test_who_is_cancelled_has_taken_nothing() -> None:
    async def scenario() -> None:
        limiter = holdfast.RateLimiter(1, burst=4)
        await limiter.acquire(4)
        large = asyncio.create_task(limiter.acquire(4))
        small = asyncio.create_task(limiter.acquire(2))
        await asyncio.sleep(2.5)
        assert not small.done()
        large.cancel()
        await turns()
        assert small.done(), "what the large one has waited for is there"
        assert limiter.statistics().tokens == 0.5

    in_exact_time(scenario)


def test_who_is_cancelled_with_the_tokens_gives_them_back() -> None:
    async def scenario() -> None:
        limiter = holdfast.RateLimiter(1, burst=4)
        await limiter.acquire(4)
        first, second = (asyncio.create_task(limiter.acquire(n)) for n in (2, 1))

        def cancel_when_granted() -> None:
            if limiter.statistics().tasks_waiting == 1:
                first.cancel()
            else:
                asyncio.get_running_loop().call_later(0.5, cancel_when_granted)

        await turns()
        asyncio.get_running_loop().call_later(2, cancel_when_granted)  # right behind the limiter's own timer
        await second
        assert now() == 2
        assert first.cancelled()
        assert limiter.statistics().tokens == 1

    in_exact_time(scenario)


def test_never_more_than_promised_in_any_time() -> None:
    async def scenario() -> None:
        limiter, taken = holdfast.RateLimiter(7, per=3, burst=5), []

        async def user(pause: float, n: int) -> None:
            for _ in range(6):
                await asyncio.sleep(pause)
                await limiter.acquire(n)
                taken.append((now(), n))

        await asyncio.gather(*(user(pause, n) for pause, n in ((0.1, 1), (0.7, 3), (1.9, 5), (0, 2))))
        for index, (start, _) in enumerate(taken):
            total = 0
            for time, n in taken[index:]:
                total += n
                assert total <= 5 + (time - start) * 7 / 3 + 1e-6

    in_exact_time(scenario)


def test_async_with() -> None:
    async def scenario() -> None:
        limiter = holdfast.RateLimiter(1)
        for second in range(3):
            async with limiter as nothing:
                assert nothing is None
                assert now() == second

    in_exact_time(scenario)


def test_no_timer_is_left_and_none_is_there_while_nobody_waits() -> None:
    async def scenario() -> None:
        limiter = holdfast.RateLimiter(1, burst=1)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await turns()
        waiting.cancel()
        await turns()
        assert "waiters" not in repr(limiter)
        before = now()
        await asyncio.sleep(100)
        assert now() == before + 100
        assert limiter.try_acquire()

    in_exact_time(scenario)


def test_several_limiters_or_none() -> None:
    async def scenario() -> None:
        fast, slow = holdfast.RateLimiter(1, burst=2), holdfast.RateLimiter(0.1, burst=1)
        assert await holdfast.acquire_all((fast, 2), (slow, 1)) is True
        waiting = asyncio.create_task(holdfast.acquire_all((slow, 1), (fast, 2)))
        await asyncio.sleep(3)
        assert fast.statistics().tokens == 1, "the first in the order is taken first"
        waiting.cancel()
        await turns()
        assert fast.statistics().tokens == 2
        with pytest.raises(ValueError, match="at most 1"):
            await holdfast.acquire_all((fast, 1), (slow, 2))
        assert fast.statistics().tokens == 2

    in_exact_time(scenario)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"rate": 0}, ValueError),
        ({"rate": -1}, ValueError),
        ({"rate": math.inf}, ValueError),
        ({"rate": math.nan}, ValueError),
        ({"rate": "5"}, TypeError),
        ({"rate": 5, "per": 0}, ValueError),
        ({"rate": 5, "burst": 0}, ValueError),
        ({"rate": 5, "burst": 1.5}, TypeError),
    ],
)
def test_what_is_no_rate(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        holdfast.RateLimiter(**arguments)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (6, ValueError), ("1", TypeError)])
async def test_what_is_no_number_of_tokens(n: Any, error: type[Exception]) -> None:
    limiter = holdfast.RateLimiter(5)
    with pytest.raises(error):
        await limiter.acquire(n)
    with pytest.raises(error):
        limiter.try_acquire(n)
    assert limiter.statistics().tokens == 5


def test_the_next_loop_goes_on_with_what_is_there() -> None:
    limiter = holdfast.RateLimiter(1, per=3600, burst=3)

    async def leave_a_waiter() -> None:
        await limiter.acquire(2)
        waiting.append(asyncio.create_task(limiter.acquire(3)))
        await turns()

    waiting: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_a_waiter())
    loop.close()
    assert asyncio.run(limiter.acquire(1))
    assert not limiter.try_acquire()


async def test_many_high_rates_in_real_time() -> None:
    for rate in (1e3, 1e6, 1e9):
        limiter = holdfast.RateLimiter(rate, burst=1)
        async with asyncio.timeout(60):
            for _ in range(50):
                await limiter.acquire()


# What breakers have found


def test_the_timer_goes_with_the_last_who_waits() -> None:
    async def scenario() -> None:
        limiter = holdfast.RateLimiter(10, burst=20)
        assert limiter.try_acquire(20)
        large = asyncio.create_task(limiter.acquire(20))
        await turns()
        large.cancel()
        await turns()
        await limiter.acquire(1)
        assert now() == pytest.approx(0.1)

    in_exact_time(scenario)


def test_the_timer_of_a_loop_that_was_closed_holds_up_nobody() -> None:
    limiter = holdfast.RateLimiter(1000, burst=1)

    async def give_up() -> None:
        await limiter.acquire()
        async with asyncio.timeout(0):
            await limiter.acquire()

    async def wait() -> None:
        async with asyncio.timeout(60):
            await limiter.acquire()

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    asyncio.run(wait())


@pytest.mark.parametrize("others", [0, 10])
def test_what_has_come_back_meanwhile_is_not_given_back(others: int) -> None:
    async def scenario() -> None:
        often, seldom = holdfast.RateLimiter(10, burst=10), holdfast.RateLimiter(0.001, burst=1)
        assert seldom.try_acquire()
        waiting = [asyncio.create_task(holdfast.acquire_all((often, 1), (seldom, 1))) for _ in range(10)]
        await asyncio.sleep(0.5 if others else 2)
        taken = 0
        for each in waiting:
            each.cancel()
            await turns()
            taken += often.try_acquire()
        while often.try_acquire():
            taken += 1
        assert taken <= 10, "more than the burst at one moment"

    in_exact_time(scenario)


def test_who_has_tokens_and_has_not_run_is_not_overtaken() -> None:
    async def scenario() -> None:
        limiter, order = holdfast.RateLimiter(1, burst=10), []
        assert limiter.try_acquire(10)

        async def take(n: int, name: str) -> None:
            await limiter.acquire(n)
            order.append(name)

        first = asyncio.create_task(take(2, "first"))
        await turns()

        def late() -> None:  # in the turn in which the first one was granted: all others are there by then
            limiter._taken -= 8
            tasks.append(asyncio.create_task(take(1, "late")))
            assert not limiter.try_acquire()

        tasks = [first]
        asyncio.get_running_loop().call_later(2, late)
        await asyncio.sleep(3)
        await asyncio.gather(*tasks)
        assert order == ["first", "late"]

    in_exact_time(scenario)


@pytest.mark.parametrize(
    ("rate", "per", "burst"),
    [(10**400, 1, None), (5, 1, 10**400), (1e300, 1e-300, None), (1e-308, 1e308, None), (1e12, 1, 1)],
)
def test_what_no_clock_can_tell(rate: float, per: float, burst: int | None) -> None:
    with pytest.raises(ValueError, match=r"cannot be timed|finite"):
        holdfast.RateLimiter(rate, per, burst=burst)


def test_who_asks_after_another_was_granted_its_tokens_goes_on_after_it() -> None:
    """There are tokens for both. In the step in which the one comes, the other has not run yet."""

    async def scenario() -> None:
        limiter, order = holdfast.RateLimiter(1, burst=2), []
        assert limiter.try_acquire(2)

        async def take(name: str) -> None:
            await limiter.acquire()
            order.append(name)

        first = asyncio.create_task(take("first"))
        await turns()
        limiter._full_since -= 2
        limiter._settle()  # as the timer does
        assert limiter.statistics().tasks_waiting == 0  # the first one is granted
        await take("second")
        await first
        assert order == ["first", "second"]

    in_exact_time(scenario)


@pytest.mark.parametrize("look", [lambda limiter: limiter.statistics().tokens, repr])
def test_the_first_look_after_a_loop_was_closed_tells_what_is_there(
    look: Callable[[holdfast.RateLimiter], Any],
) -> None:
    limiter = holdfast.RateLimiter(1e-6, burst=1)
    loop = asyncio.new_event_loop()
    limiter.try_acquire()
    task = loop.create_task(limiter.acquire())
    loop.run_until_complete(turns())
    limiter._full_since -= 1e6  # a token has come
    limiter._settle()
    task._log_destroy_pending = False
    loop.close()
    first = look(limiter)
    assert first == look(limiter)
    assert limiter.try_acquire()


@pytest.mark.parametrize(("rate", "per"), [(True, 1), ("1", 1), (1, None), (1, False), (1j, 1)])
def test_what_is_no_number(rate: Any, per: Any) -> None:
    with pytest.raises(TypeError, match="must be a number, not "):
        holdfast.RateLimiter(rate, per, burst=1)


def test_a_number_of_tokens_is_called_so() -> None:
    with pytest.raises(TypeError, match=r"^burst, a number of tokens, must be an integer, not 1\.5$"):
        holdfast.RateLimiter(10, burst=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^n, a number of tokens, must be one or more, not 0$"):
        holdfast.RateLimiter(10).try_acquire(0)


async def test_acquire_all_takes_rate_limiters() -> None:
    with pytest.raises(TypeError, match=r"acquire_all\(\) takes RateLimiters, each with a number .*not <object"):
        await holdfast.acquire_all((object(), 1))  # type: ignore[arg-type]


def test_tokens_are_there_at_the_moment_at_which_they_come() -> None:
    async def scenario() -> None:
        limiter = holdfast.RateLimiter(1, burst=1)
        assert await limiter.acquire() is True
        await asyncio.sleep(1)
        assert limiter.try_acquire()
        assert await limiter.acquire() is True  # after a wait
        assert now() == 2
        assert "waiters" not in repr(limiter)
        assert limiter._queue is None

    in_exact_time(scenario)


def test_who_was_cancelled_and_needed_more_leaves_its_tokens_to_others() -> None:
    """Its tokens have come before its task has run, and so do not go to it."""

    async def scenario() -> None:
        limiter = holdfast.RateLimiter(1, burst=3)
        assert limiter.try_acquire(3)
        first, second = asyncio.create_task(limiter.acquire(3)), asyncio.create_task(limiter.acquire())
        await turns()
        limiter._full_since -= 3  # three tokens have come
        first.cancel()
        limiter._settle()
        await second
        assert first.cancelled()
        assert limiter.statistics().tokens == 2

    in_exact_time(scenario)


def test_what_waiters_of_a_closed_loop_had_taken_stays_taken() -> None:
    """The one that has gone on with its three tokens does not count among those that were granted theirs."""
    limiter = holdfast.RateLimiter(1e-6, burst=3)
    assert limiter.try_acquire(3)
    loop = asyncio.new_event_loop()
    first, second = loop.create_task(limiter.acquire(3)), loop.create_task(limiter.acquire())
    loop.run_until_complete(turns())
    limiter._full_since -= 3e6  # three tokens have come
    loop.call_soon(limiter._settle)
    assert loop.run_until_complete(first) is True
    second._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    assert limiter.statistics().tasks_waiting == 0
    assert limiter.statistics().tokens < 1


def test_what_a_cancelled_waiter_has_given_back_is_not_given_back_again_when_its_loop_is_closed() -> None:
    limiter = holdfast.RateLimiter(1e-6, burst=3)
    assert limiter.try_acquire(3)
    loop = asyncio.new_event_loop()
    first, second, third = (loop.create_task(limiter.acquire(n)) for n in (2, 1, 3))
    loop.run_until_complete(turns())
    limiter._full_since -= 2e6  # two tokens have come

    def grant_and_cancel() -> None:
        limiter._settle()
        first.cancel()

    loop.call_soon(grant_and_cancel)
    assert loop.run_until_complete(second) is True
    assert first.cancelled()
    third._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    assert limiter.statistics().tasks_waiting == 0
    assert limiter.statistics().tokens < 1.1


async def test_while_tasks_of_another_loop_wait_nobody_waits_here() -> None:
    limiter = holdfast.RateLimiter(1e-6, burst=1)
    loop = asyncio.new_event_loop()
    assert limiter.try_acquire()

    def begin() -> asyncio.Task[Any]:
        task = loop.create_task(limiter.acquire())
        loop.run_until_complete(turns())
        return task

    waiting = await asyncio.to_thread(begin)
    with pytest.raises(RuntimeError, match="has waiting tasks in a different event loop"):
        await limiter.acquire()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
