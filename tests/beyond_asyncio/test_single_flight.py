"""SingleFlight and Once: one body for all who want its result."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from typing import Any

import pytest

import holdfast

from .turns import turns


class Work:
    """A body that waits until it is told to go on, and counts how often it has begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self.clean_up = asyncio.Event()
        self.clean_up.set()

    async def __call__(self, result: Any = "result") -> Any:
        self.begun += 1
        self.running += 1
        assert self.running == 1, "two bodies at the same time"
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            await self.clean_up.wait()
            raise
        finally:
            self.running -= 1
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture(params=["flight", "once"])
def get(request: pytest.FixtureRequest) -> Callable[[Work], Any]:
    """What calls a body by a SingleFlight, or by a Once."""
    if request.param == "once":
        once: holdfast.Once[Any] = holdfast.Once()
        return lambda work: once.get(work)
    flights = holdfast.SingleFlight()
    return lambda work: flights.run("key", work)


async def test_all_get_the_result_of_one_body(get: Callable[[Work], Any]) -> None:
    work = Work()
    callers = [asyncio.create_task(get(work)) for _ in range(5)]
    await turns()
    assert work.begun == 1
    work.go_on.set()
    assert await asyncio.gather(*callers) == ["result"] * 5


@pytest.mark.parametrize("which", [0, 2])
async def test_cancelling_one_caller_ends_nobody_elses(get: Callable[[Work], Any], which: int) -> None:
    work = Work()
    callers = [asyncio.create_task(get(work)) for _ in range(3)]
    await turns()
    callers[which].cancel()
    await turns()
    assert callers[which].cancelled()
    assert work.cancelled == 0
    work.go_on.set()
    rest = [each for each in callers if not each.cancelled()]
    assert await asyncio.gather(*rest) == ["result"] * 2
    assert work.begun == 1


async def test_when_the_last_has_left_the_body_is_cancelled_and_the_next_starts_anew(
    get: Callable[[Work], Any],
) -> None:
    work = Work()
    callers = [asyncio.create_task(get(work)) for _ in range(2)]
    await turns()
    for each in callers:
        each.cancel()
    await turns()
    assert work.cancelled == 1
    work.go_on.set()
    assert await get(work) == "result"
    assert work.begun == 2


async def test_a_newcomer_while_the_body_is_being_cancelled_gets_a_flight_of_its_own(
    get: Callable[[Work], Any],
) -> None:
    """tailscale #18919: it got the cancellation of the old one."""
    work = Work()
    work.clean_up.clear()
    first = asyncio.create_task(get(work))
    await turns()
    first.cancel()
    await turns()
    newcomers = [asyncio.create_task(get(work)) for _ in range(3)]
    await turns()
    assert work.begun == 1, "the old body has not ended"
    newcomers[0].cancel()
    await turns()
    assert newcomers[0].cancelled()
    work.clean_up.set()
    work.go_on.set()
    assert await asyncio.gather(*newcomers[1:]) == ["result"] * 2
    assert work.begun == 2


async def test_an_exception_is_raised_in_all_and_not_kept() -> None:
    flights, work = holdfast.SingleFlight(), Work()
    callers = [asyncio.create_task(flights.run("key", work, KeyError("no"))) for _ in range(3)]
    await turns()
    work.go_on.set()
    for each in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(each, KeyError)
    assert await flights.run("key", work) == "result"


async def test_once_keeps_the_value_and_no_exception() -> None:
    once: holdfast.Once[int] = holdfast.Once()
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError
        return calls

    assert "not made" in repr(once)
    with pytest.raises(KeyError):
        await once.get(make)
    assert not once.is_made()
    assert [await once.get(make) for _ in range(3)] == [2, 2, 2]
    assert once.is_made()
    assert "[made]" in repr(once)


async def test_keys_do_not_wait_for_each_other_and_nothing_is_left() -> None:
    flights, works = holdfast.SingleFlight(), [Work() for _ in range(3)]
    callers = [asyncio.create_task(flights.run(n, work, n)) for n, work in enumerate(works)]
    await turns()
    assert len(flights) == 3
    assert 2 in flights
    works[1].go_on.set()
    assert await callers[1] == 1
    works[0].go_on.set()
    works[2].go_on.set()
    await asyncio.gather(*callers)
    await turns()
    assert len(flights) == 0


async def test_a_call_after_the_end_is_not_part_of_it() -> None:
    flights, calls = holdfast.SingleFlight(), 0

    async def body() -> int:
        nonlocal calls
        calls += 1
        return calls

    assert [await flights.run("key", body) for _ in range(3)] == [1, 2, 3]


async def test_the_body_runs_with_the_arguments_and_in_the_context_of_the_first_caller() -> None:
    flights, variable = holdfast.SingleFlight(), contextvars.ContextVar("variable", default="nobody's")

    async def body(a: int, *, b: int) -> tuple[int, int, str]:
        return a, b, variable.get()

    variable.set("the caller's")
    assert await flights.run("key", body, 1, b=2) == (1, 2, "the caller's")


def test_a_loop_that_was_left_with_a_body_does_not_hold_up_the_next() -> None:
    flights = holdfast.SingleFlight()

    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def now() -> str:
        return "now"

    async def leave() -> None:
        left.append(asyncio.create_task(flights.run("key", for_ever)))
        await turns()

    left: list[asyncio.Task[None]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    assert asyncio.run(flights.run("key", now)) == "now"


# What breakers have found


async def test_a_value_that_was_made_is_kept_though_all_callers_have_left_in_that_step() -> None:
    once: holdfast.Once[int] = holdfast.Once()
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        caller.cancel()
        return made

    caller = asyncio.create_task(once.get(make))
    await asyncio.wait([caller])
    await turns()
    assert once.is_made()
    assert await once.get(make) == 1


async def test_a_body_that_asks_for_its_own_key_is_told() -> None:
    flights = holdfast.SingleFlight()

    async def body() -> None:
        await flights.run("key", body)

    with pytest.raises(RuntimeError, match="wait for itself"):
        await flights.run("key", body)
    await turns()
    assert len(flights) == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager from 3.12 on")
async def test_eager_tasks_are_one_body_as_well() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    flights, work = holdfast.SingleFlight(), Work()
    others: list[asyncio.Task[Any]] = []

    async def body() -> Any:
        others.append(asyncio.create_task(flights.run("key", work)))
        return await work()

    first = asyncio.create_task(flights.run("key", body))
    await turns()
    work.go_on.set()
    assert await first == await others[0] == "result"
    assert work.begun == 1


@pytest.mark.parametrize("function", [lambda: 5, lambda: asyncio.get_running_loop().create_future()])
async def test_what_is_no_coroutine_function(get: Callable[[Any], Any], function: Any) -> None:
    with pytest.raises(TypeError, match="coroutine function"):
        await get(function)
