"""SingleFlight and Once: one body for all who want its result, in both tiers; what threads add is at the end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from tests.threads.by_hand import at_line, lines

import holdfast.threads

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
def get(request: pytest.FixtureRequest, library: ModuleType) -> Callable[[Work], Any]:
    """What calls a body by a SingleFlight, or by a Once."""
    if request.param == "once":
        once = library.Once()
        return lambda work: once.get(work)
    flights = library.SingleFlight()
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


async def test_an_exception_is_raised_in_all_and_not_kept(library: ModuleType) -> None:
    flights, work = library.SingleFlight(), Work()
    callers = [asyncio.create_task(flights.run("key", work, KeyError("no"))) for _ in range(3)]
    await turns()
    work.go_on.set()
    for each in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(each, KeyError)
    assert await flights.run("key", work) == "result"


async def test_once_keeps_the_value_and_no_exception(library: ModuleType) -> None:
    once = library.Once()
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


async def test_keys_do_not_wait_for_each_other_and_nothing_is_left(library: ModuleType) -> None:
    flights, works = library.SingleFlight(), [Work() for _ in range(3)]
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


async def test_a_call_after_the_end_is_not_part_of_it(library: ModuleType) -> None:
    flights, calls = library.SingleFlight(), 0

    async def body() -> int:
        nonlocal calls
        calls += 1
        return calls

    assert [await flights.run("key", body) for _ in range(3)] == [1, 2, 3]


async def test_the_body_runs_with_the_arguments_and_in_the_context_of_the_first_caller(library: ModuleType) -> None:
    flights, variable = library.SingleFlight(), contextvars.ContextVar("variable", default="nobody's")

    async def body(a: int, *, b: int) -> tuple[int, int, str]:
        return a, b, variable.get()

    variable.set("the caller's")
    assert await flights.run("key", body, 1, b=2) == (1, 2, "the caller's")


def test_a_loop_that_was_left_with_a_body_does_not_hold_up_the_next(library: ModuleType) -> None:
    flights = library.SingleFlight()

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


async def test_a_value_that_was_made_is_kept_though_all_callers_have_left_in_that_step(library: ModuleType) -> None:
    once = library.Once()
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


async def test_a_body_that_asks_for_its_own_key_is_told(library: ModuleType) -> None:
    flights = library.SingleFlight()

    async def body() -> None:
        await flights.run("key", body)

    with pytest.raises(RuntimeError, match="wait for itself"):
        await flights.run("key", body)
    await turns()
    assert len(flights) == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager from 3.12 on")
async def test_eager_tasks_are_one_body_as_well(library: ModuleType) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    flights, work = library.SingleFlight(), Work()
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


# Threads, and several loops


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run each in a thread; return the results, or the errors, when all have ended."""
    results: list[Any] = [None] * len(functions)

    def run(number: int, function: Callable[[], Any]) -> None:
        try:
            results[number] = function()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


class Callers:
    """Lets a body wait until so many callers are in its flight."""

    def __init__(self, expected: int) -> None:
        self.coming = threading.Semaphore(0)
        self.expected = expected
        self.begun = 0

    def come(self) -> None:
        self.coming.release()

    def body(self) -> str:
        self.begun += 1
        for _ in range(self.expected):
            assert self.coming.acquire(timeout=30)
        return "result"

    async def async_body(self) -> str:
        return await asyncio.to_thread(self.body)


@pytest.mark.parametrize("begins", ["thread", "task"])
def test_threads_and_tasks_of_several_loops_share_one_body(begins: str) -> None:
    flights, callers = holdfast.threads.SingleFlight(), Callers(5)

    def as_thread() -> Any:
        callers.come()
        return flights.sync.run("key", callers.body)

    async def as_task() -> Any:
        callers.come()
        return await flights.run("key", callers.async_body)

    def as_tasks() -> Any:
        async def main() -> Any:
            return await asyncio.gather(as_task(), as_task())

        return asyncio.run(main())

    def late(function: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            wait_until(lambda: callers.begun > 0)
            return function()

        return run

    first, others = (as_thread, [as_thread, as_tasks]) if begins == "thread" else (as_tasks, [as_thread, as_thread])
    callers.expected = 4
    results = in_threads(first, *map(late, others))
    assert [each if isinstance(each, str) else {*each} for each in results] == [
        {"result"} if each is as_tasks else "result" for each in (first, *others)
    ]
    assert callers.begun == 1
    assert len(flights) == 0


def test_the_last_to_leave_cancels_a_body_in_another_loop() -> None:
    flights = holdfast.threads.SingleFlight()
    begun, cancelled, second, first_left = (threading.Event() for _ in range(4))
    kept: list[asyncio.Event] = []

    async def body() -> None:
        kept.append(asyncio.Event())  # else the collector takes a body that nothing can wake
        begun.set()
        try:
            await kept[-1].wait()
        finally:
            cancelled.set()

    def first_loop() -> str:
        async def main() -> str:
            caller = asyncio.create_task(flights.run("key", body))
            await asyncio.to_thread(second.wait, 30)
            caller.cancel()
            await asyncio.wait([caller])
            assert not cancelled.is_set(), "a caller in the other loop waits"
            first_left.set()
            await asyncio.to_thread(cancelled.wait, 30)
            return "first"

        return asyncio.run(main())

    def second_loop() -> str:
        async def main() -> str:
            caller = asyncio.create_task(flights.run("key", body))
            await turns()
            second.set()
            await asyncio.to_thread(first_left.wait, 30)
            caller.cancel()
            await asyncio.wait([caller])
            await asyncio.to_thread(cancelled.wait, 30)
            return "second"

        assert begun.wait(30)
        return asyncio.run(main())

    assert in_threads(first_loop, second_loop) == ["first", "second"]
    assert len(flights) == 0


def test_a_body_whose_loop_ends_is_begun_anew_by_another_caller() -> None:
    flights = holdfast.threads.SingleFlight()
    begun, joined = threading.Event(), threading.Event()

    async def body() -> None:
        begun.set()
        await asyncio.Event().wait()

    def loop_that_ends() -> None:
        async def main() -> None:
            caller = asyncio.create_task(flights.run("key", body))
            await asyncio.to_thread(joined.wait, 30)
            del caller  # asyncio.run() cancels it, and the body

        asyncio.run(main())

    def other() -> str:
        assert begun.wait(30)
        threading.Timer(0.05, joined.set).start()
        return flights.sync.run("key", lambda: "anew")

    assert in_threads(loop_that_ends, other) == [None, "anew"]


def test_a_thread_that_is_interrupted_in_the_body_does_not_interrupt_the_others() -> None:
    flights = holdfast.threads.SingleFlight()
    begun, waiting = threading.Event(), threading.Event()

    def interrupted() -> None:
        begun.set()
        assert waiting.wait(30)
        raise KeyboardInterrupt

    def other() -> str:
        assert begun.wait(30)
        threading.Timer(0.05, waiting.set).start()
        return flights.sync.run("key", lambda: "anew")

    first, second = in_threads(lambda: flights.sync.run("key", interrupted), other)
    assert isinstance(first, KeyboardInterrupt)
    assert second == "anew"


async def test_a_body_that_is_cancelled_before_it_has_begun_is_over(library: ModuleType) -> None:
    flights, work = library.SingleFlight(), Work()
    work.go_on.set()
    caller = asyncio.create_task(flights.run("key", work))
    await asyncio.sleep(0)  # its body is a task that has not run
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # as at the end of asyncio.run()
    await turns()
    assert caller.cancelled()
    assert await flights.run("key", work) == "result"
    assert work.begun == 1
    assert len(flights) == 0


def test_an_error_of_a_thread_is_everybodys_and_not_kept() -> None:
    flights = holdfast.threads.SingleFlight()

    def fail() -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        flights.sync.run("key", fail)
    assert flights.sync.run("key", int, "7") == 7


async def test_a_thread_must_not_block_a_loop() -> None:
    with pytest.raises(RuntimeError, match=r"await flights\.run"):
        holdfast.threads.SingleFlight().sync.run("key", int)
    with pytest.raises(RuntimeError, match=r"await once\.get"):
        holdfast.threads.Once[int]().sync.get(int)


def test_a_body_in_a_thread_that_asks_for_its_own_key_is_told() -> None:
    flights = holdfast.threads.SingleFlight()
    with pytest.raises(RuntimeError, match="wait for itself"):
        flights.sync.run("key", lambda: flights.sync.run("key", int))
    assert "key" not in flights


def test_once_is_one_value_for_tasks_and_threads() -> None:
    once: holdfast.threads.Once[str] = holdfast.threads.Once()
    made = []

    def make() -> str:
        made.append(1)
        threading.Event().wait(0.02)
        return "value"

    async def make_as_task() -> str:
        return make()

    results = in_threads(
        lambda: once.sync.get(make), lambda: asyncio.run(once.get(make_as_task)), lambda: once.sync.get(make)
    )
    assert results == ["value"] * 3
    assert len(made) == 1
    assert once.sync.is_made()
    assert once.sync.get(make) == "value"
    assert "made" in repr(once.sync)


# What a breaker has found in them


async def test_a_body_that_ends_well_though_it_was_given_up_has_made_the_value(library: ModuleType) -> None:
    once, made = library.Once(), []

    async def make() -> object:
        made.append(object())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await turns()  # it finishes its last step
        return made[-1]

    first = asyncio.create_task(once.get(make))
    await turns()
    first.cancel()
    others = [asyncio.create_task(once.get(make)) for _ in range(2)]
    assert {*await asyncio.gather(*others)} == {*made}
    assert len(made) == 1


def test_a_value_that_another_thread_makes_meanwhile_is_the_one() -> None:
    def scenario(number: int) -> bool:
        once: holdfast.threads.Once[object] = holdfast.threads.Once()
        got: list[object] = []

        def get() -> None:
            got.append(once.sync.get(object))

        other = threading.Thread(target=get, daemon=True)

        def meanwhile() -> None:
            other.start()
            other.join(0.1)  # if it waits for the body of this thread, it gets its value later

        there = at_line(number, meanwhile, get)
        if there:
            other.join(30)
        assert len({*map(id, got)}) == 1
        assert len(got) == 1 + there
        return there

    lines(scenario)


@pytest.mark.parametrize("name", ["key", "flight", "function", "self"])
async def test_the_arguments_of_a_body_may_have_any_name(library: ModuleType, name: str) -> None:
    async def body(**named: int) -> dict[str, int]:
        return named

    flights = library.SingleFlight()
    assert await flights.run("key", body, **{name: 3}) == {name: 3}
    if library is holdfast.threads:
        assert await asyncio.to_thread(lambda: flights.sync.run("key", dict, **{name: 3})) == {name: 3}


def test_a_thread_that_is_interrupted_anywhere_leaves_nothing_behind() -> None:
    """A signal handler raises before each line in turn.

    In the leaving, it would be too much. So it would between the lines of a section that call nothing; but there no
    handler runs.
    """

    def scenario(number: int) -> bool:
        flights = holdfast.threads.SingleFlight()

        def interrupt() -> None:
            raise KeyboardInterrupt

        [outcome] = in_threads(lambda: at_line(number, interrupt, lambda: flights.sync.run("key", int)))
        if not isinstance(outcome, KeyboardInterrupt):
            assert outcome is False
            return False
        where = [frame.name for frame in traceback.extract_tb(outcome.__traceback__)]
        in_section = where[-3:] == ["run", "trace", "interrupt"]  # the last two are those of the test
        if "_leave" not in where and not in_section:
            assert in_threads(lambda: flights.sync.run("key", lambda: "anew")) == ["anew"]
        return True

    lines(scenario)


async def test_a_body_that_waited_for_something_that_was_cancelled_is_not_begun_anew(library: ModuleType) -> None:
    flights, begun = library.SingleFlight(), []

    async def body() -> None:
        begun.append(1)
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    with pytest.raises(asyncio.CancelledError):
        await flights.run("key", body)
    assert begun == [1]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
def test_a_loop_that_is_closed_with_a_body_lets_another_thread_begin_anew(begun: bool) -> None:
    """As soon as the collector has found the body. The explorer found that one which had not begun said nothing."""
    flights = holdfast.threads.SingleFlight()
    loop = asyncio.new_event_loop()

    async def body() -> None:
        await asyncio.sleep(3600)

    async def leave() -> None:
        asyncio.ensure_future(flights.run("key", body))  # noqa: RUF006  # nobody keeps it
        await (turns() if begun else asyncio.sleep(0))
        loop.stop()  # after this turn; the body would begin in the next one

    leaving = loop.create_task(leave())
    loop.run_forever()
    del leaving
    waiting = threading.Event()

    def wait() -> str:
        waiting.set()
        return flights.sync.run("key", lambda: "anew")

    def close() -> None:
        assert waiting.wait(30)
        threading.Event().wait(0.05)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # "Task was destroyed but it is pending!"
        loop.close()
        gc.collect()
        logging.getLogger("asyncio").setLevel(logging.NOTSET)

    assert in_threads(wait, close) == ["anew", None]


def test_a_thread_is_told_that_it_passed_a_coroutine_function() -> None:
    async def body() -> None: ...

    once: holdfast.threads.Once[Any] = holdfast.threads.Once()
    for call in (lambda: holdfast.threads.SingleFlight().sync.run("key", body), lambda: once.sync.get(body)):
        with pytest.raises(TypeError, match="must be a plain function"):
            call()
    assert once.sync.get(lambda: "value") == "value"


async def test_the_repr_says_for_how_many_keys_a_body_runs(library: ModuleType) -> None:
    flights, once, go_on = library.SingleFlight(), library.Once(), asyncio.Event()
    start = f"<{type(flights).__module__}.SingleFlight object at {id(flights):#x}"
    assert repr(flights) == f"{start} [keys:0]>"
    assert repr(once).endswith(" [not made]>")
    calls = [asyncio.create_task(flights.run("key", go_on.wait)), asyncio.create_task(once.get(go_on.wait))]
    await turns()
    assert repr(flights) == f"{start} [keys:1]>"
    assert repr(once).endswith(" [being made]>")
    go_on.set()
    await asyncio.gather(*calls)
    assert repr(once).endswith(" [made]>")


async def test_a_body_that_is_given_up_cleans_up_undisturbed_and_its_result_is_nobodys(library: ModuleType) -> None:
    flights, cleaned_up = library.SingleFlight(), asyncio.Event()
    begun = cancelled = 0

    async def body() -> int:
        nonlocal begun, cancelled
        begun += 1
        number = begun
        try:
            await asyncio.sleep(3600 if number == 1 else 0)
        except asyncio.CancelledError:
            cancelled += 1
            await cleaned_up.wait()
        return number

    first = asyncio.create_task(flights.run("key", body))
    await turns()
    first.cancel()
    await turns()
    newcomers = [asyncio.create_task(flights.run("key", body)) for _ in range(2)]
    await turns()
    for newcomer in newcomers:
        newcomer.cancel()
    await turns()
    assert (begun, cancelled) == (1, 1)
    assert "key" in flights
    last = asyncio.create_task(flights.run("key", body))
    await turns()
    cleaned_up.set()
    assert await last == 2


def test_the_views_for_threads_say_whose_they_are() -> None:
    flights = holdfast.threads.SingleFlight()
    assert repr(flights.sync) == f"<sync of {flights!r}>"
