"""What counts as a failure, without being asked for."""

import asyncio
import contextlib
import random

import pytest
from interpreters import PYPY, closing

import holdfast
from holdfast.testing import ExplorationError, explore


def kind(scenario, **bounds):
    found = explore(scenario, **bounds).counterexample
    return found and found.kind


def test_exception_in_a_spawned_task():
    async def fail():
        raise ValueError("no")

    found = explore(lambda run: run.spawn(fail)).counterexample
    assert found.kind == "exception"
    assert "fail raised ValueError('no')" in found.message
    assert isinstance(found.exception, ValueError)
    assert found.replay == ()


def test_exception_in_the_scenario():
    def scenario(run):
        raise ValueError("no")

    assert kind(scenario) == "exception"


def test_an_exception_only_under_cancellation():
    async def main():
        done = []

        async def child():
            await asyncio.sleep(0)
            done.append(1)

        await asyncio.wait([asyncio.create_task(child())])
        assert done

    found = explore(main).counterexample
    assert found.kind == "exception"
    assert isinstance(found.exception, AssertionError)
    assert kind(main, cancels=0) is None


def test_an_exception_that_another_task_handles_is_none():
    async def main():
        async def fail():
            raise ValueError("no")

        task = asyncio.create_task(fail())
        with pytest.raises((ValueError, asyncio.CancelledError)):
            await task

    assert explore(main).passed


def test_task_exception_never_retrieved():
    async def main():
        async def fail():
            raise ValueError("no")

        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    assert kind(main, cancels=0) == "never retrieved"


def test_future_exception_never_retrieved():
    async def main():
        asyncio.get_running_loop().create_future().set_exception(ValueError("no"))

    assert kind(main) in ("never retrieved", "unhandled")


def test_future_exception_never_retrieved_in_a_cycle():
    async def main():
        future = asyncio.Future()
        future.me = [future]
        future.set_exception(ValueError("no"))

    found = explore(main).counterexample
    assert found.kind == "unhandled"
    assert "never retrieved" in found.message


def test_exception_in_a_callback():
    async def main():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    found = explore(main).counterexample
    assert found.kind == "unhandled"
    assert isinstance(found.exception, ZeroDivisionError)


def test_an_exception_handler_of_the_scenario_is_used():
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        assert len(seen) == 1

    assert explore(main).passed


def test_deadlock():
    def scenario(run):
        first, second = asyncio.Lock(), asyncio.Lock()

        async def user(one, other):
            async with one:
                await asyncio.sleep(0)
                async with other:
                    pass

        run.spawn(user, first, second, name="A")
        run.spawn(user, second, first, name="B")

    found = explore(scenario).counterexample
    assert found.kind == "deadlock"
    assert "A, at test_failures.py:" in found.message
    assert "B, at test_failures.py:" in found.message


def test_livelock():
    async def spin():
        while True:
            await asyncio.sleep(0)

    report = explore(lambda run: run.spawn(spin), max_steps=100)
    assert report.counterexample.kind == "livelock"
    assert "100 steps" in report.counterexample.message


def test_swallowed_cancellation():
    async def deaf():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    def scenario(run):
        run.spawn(deaf)

    assert kind(scenario) == "swallowed"
    assert explore(scenario, swallow_ok=True).passed


def test_cancellation_that_is_handled_as_asyncio_wants_it_is_not_swallowed():
    def scenario(run):
        async def timed():
            try:
                async with asyncio.timeout(1):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                run.log("timeout")

        async def uncancelled():
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()

        run.spawn(timed)
        run.spawn(uncancelled)

    assert explore(scenario, cancels=2).passed


def test_a_task_that_its_program_cancels_may_swallow_it():
    async def main():
        async def deaf():
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                return "heard"

        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "heard"

    assert explore(main, cancels=0).passed


def test_a_cancelled_error_out_of_nothing():
    async def main():
        raise asyncio.CancelledError

    assert kind(main) == "cancelled"


def test_the_cancellation_of_a_child_may_pass_through_the_parent():
    async def main():
        await asyncio.create_task(asyncio.sleep(0))

    report = explore(main)
    assert report.passed
    assert report.schedules > 2


@pytest.mark.parametrize("when", ["invariant", "at_rest", "at_end"])
def test_checks(when):
    def checked(check):
        def scenario(run):
            getattr(run, when)(check)
            run.spawn(asyncio.sleep, 0)

        return scenario

    def fail():
        raise AssertionError("broken")

    expected = when.replace("_", " ")
    assert kind(checked(lambda: False)) == expected
    found = explore(checked(fail)).counterexample
    assert (found.kind, found.message) == (expected, "broken")
    assert kind(checked(lambda: None)) is None


def test_an_invariant_is_checked_in_the_middle_of_a_run():
    def scenario(run):
        values = [0]

        async def wobble():
            values[0] += 1
            await asyncio.sleep(0)
            values[0] -= 1

        run.spawn(wobble)
        run.at_end(lambda: values == [0])
        run.invariant(lambda: values == [0])

    assert kind(scenario, cancels=0) == "invariant"


def test_at_rest_is_before_time_passes_and_before_others_come():
    def scenario(run):
        state = ["initial"]

        async def early():
            await asyncio.sleep(1)
            state[0] = "later"

        async def late():
            run.log("late")

        def look():
            run.log(f"rest, {state[0]}")

        run.spawn(early)
        run.late(late)
        run.at_rest(look)
        run.at_end(lambda: run._log == ["rest, initial", "late", "rest, initial", "rest, later"])

    assert explore(scenario, late=0, timers=0, cancels=0).passed


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(lambda state: random.random() < 0.5, id="random"),
        pytest.param(lambda state: state.append(0) or len(state) < 250, id="state kept between runs"),
    ],
)
def test_nondeterminism_is_reported_as_such(choice):
    state = []

    async def main():
        async def worker():
            for _ in range(100):
                if choice(state):
                    await asyncio.sleep(0)

        await asyncio.create_task(worker())

    found = explore(main).counterexample
    assert found.kind == "not deterministic"
    assert "state that is kept between runs" in found.message


def test_nondeterminism_of_the_log_is_noticed():
    def scenario(run):
        run.log(random.random())

    assert kind(scenario) == "not deterministic"


def test_addresses_in_the_log_do_not_matter():
    def scenario(run):
        run.log(object())
        run.spawn(asyncio.sleep, 0)

    assert explore(scenario).passed


class Outcome(BaseException):
    """Like pytest.skip.Exception and pytest.fail.Exception."""


def test_what_is_no_exception_passes_through_when_nothing_intervened():
    async def main():
        raise Outcome

    with pytest.raises(Outcome):
        explore(main)


def test_what_is_no_exception_is_a_failure_under_an_intervention():
    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        await asyncio.wait([task])
        if task.cancelled():
            raise Outcome

    found = explore(main).counterexample
    assert found.kind == "exception"
    assert isinstance(found.exception, Outcome)


def test_keyboard_interrupt_passes_through():
    async def main():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(main)
    assert asyncio._get_running_loop() is None


def test_the_end_of_the_process_under_an_intervention_is_a_failure():
    """As of code that calls sys.exit() when it is cancelled: it must not end the search without a word."""

    async def leave():
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise SystemExit(0) from None

    def scenario(run):
        run.spawn(leave)

    found = explore(scenario).counterexample
    assert found.kind == "exception"
    assert isinstance(found.exception, SystemExit)
    assert "leave goes on, raises SystemExit(0)" in "\n".join(found.story)

    async def main():
        raise SystemExit

    with pytest.raises(SystemExit):
        explore(main)


def generator(run):
    run.spawn(asyncio.sleep, 0)
    yield


async def asynchronous_generator(run):
    run.spawn(asyncio.sleep, 0)
    yield


@pytest.mark.parametrize("scenario", [generator, asynchronous_generator])
def test_a_scenario_of_which_nothing_would_run_has_not_passed(scenario):
    with pytest.raises(TypeError, match="has no yield"):
        explore(scenario)


def test_a_coroutine_of_any_type_is_the_main_task():
    """Lock.acquire() returns one that is not the interpreter's own, where it is compiled."""

    def scenario():
        lock = holdfast.Lock()
        assert lock.try_acquire()
        return lock.acquire()

    assert explore(scenario).counterexample.kind == "deadlock"


@pytest.mark.parametrize("when", ["invariant", "at_rest", "at_end"])
def test_a_check_that_is_a_coroutine_function_has_not_passed(when):
    """It would never be run."""

    async def check():
        return False

    def scenario(run):
        run.spawn(asyncio.sleep, 0)
        getattr(run, when)(check)

    assert "check checks nothing: a check is a plain function" in explore(scenario).counterexample.message


@pytest.mark.parametrize("start", ["spawn", "late"])
def test_a_task_of_a_function_that_is_none_is_refused(start):
    def plain():
        return 5

    def scenario(run):
        getattr(run, start)(plain)

    try:
        message = explore(scenario).counterexample.message
    except TypeError as exc:  # when it comes, the scenario has ended
        message = str(exc)
    assert "'plain' is no coroutine function: it returned 5" in message


class MuteError(Exception):
    """As one whose __init__() was not called has it, which its __repr__() relies on."""

    def __repr__(self):
        raise AttributeError("no repr")

    __str__ = __repr__


def raises_in_a_task(run):
    async def fail():
        raise MuteError

    run.spawn(fail)


def raises_itself(run):
    raise MuteError


async def raises_in_a_callback():
    def fail():
        raise MuteError

    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)


async def raises_in_a_task_that_nobody_looks_at():
    async def fail():
        raise MuteError

    task = asyncio.create_task(fail())
    await asyncio.wait([task])


async def raises_in_a_task_that_is_forgotten():
    async def fail():
        raise MuteError

    asyncio.create_task(fail())  # noqa: RUF006
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def gives_it_to_a_future():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(MuteError())
    await asyncio.sleep(0)


def raises_in_a_check(run):
    def check():
        raise MuteError

    run.at_end(check)
    run.spawn(asyncio.sleep, 0)


async def raises_when_it_is_closed():
    try:
        await asyncio.sleep(1)
    except GeneratorExit:
        raise MuteError from None


@pytest.mark.parametrize(
    ("scenario", "bounds"),
    [
        (raises_in_a_task, {}),
        (raises_itself, {}),
        (raises_in_a_callback, {}),
        (raises_in_a_task_that_nobody_looks_at, {}),
        (raises_in_a_task_that_is_forgotten, {}),
        (gives_it_to_a_future, {}),
        (raises_in_a_check, {}),
        pytest.param(raises_when_it_is_closed, {"ends": 1, "cancels": 0, "timers": 0}, marks=closing),
    ],
)
def test_an_exception_that_cannot_be_shown_is_told_like_any_other(scenario, bounds):
    report = explore(scenario, **bounds)
    found = report.counterexample
    assert isinstance(found.exception, MuteError)
    assert "<MuteError, whose repr() raises AttributeError>" in str(found)
    assert explore(scenario, **bounds, replay=found.replay).counterexample.kind == found.kind
    with pytest.raises(ExplorationError, match="whose repr"):
        report.check()


def test_what_is_logged_and_cannot_be_shown():
    async def main(run):
        run.log(MuteError())
        raise ValueError("no")

    found = explore(main).counterexample
    assert found.kind == "exception"
    assert any("log: <MuteError, whose repr()" in line for line in found.story)


def raises_at_once():
    raise ValueError("no")


def starts_it_late(run):
    run.late(raises_at_once)


def starts_it_afterwards(run):
    run.spawn(asyncio.sleep, 0)
    run.afterwards(raises_at_once)


def starts_late_what_is_no_coroutine(run):
    run.late(dict)


@pytest.mark.parametrize(
    ("scenario", "bounds", "says"),
    [
        (starts_it_late, {}, "raises_at_once could not be started: ValueError('no')"),
        (starts_it_afterwards, {"ends": 1, "cancels": 0}, "afterwards could not be started: ValueError('no')"),
        (starts_late_what_is_no_coroutine, {}, "dict could not be started: TypeError"),
    ],
)
def test_what_cannot_be_started(scenario, bounds, says):
    found = explore(scenario, **bounds).counterexample
    assert found.kind == "exception"
    assert found.message.startswith(says)


@pytest.mark.skipif(PYPY, reason="holders are found as CPython has them")
def test_a_deadlock_is_told_as_in_a_dump():
    async def both(first, second):
        async with first:
            await asyncio.sleep(0)
            async with second:
                pass

    def scenario(run):
        a, b = holdfast.Lock(), holdfast.Lock()
        run.spawn(both, a, b, name="A")
        run.spawn(both, b, a, name="B")

    found = explore(scenario).counterexample
    assert found.kind == "deadlock"
    assert "nothing is left that would wake A, at test_failures.py:" in found.message
    _, _, circle = found.message.partition(". There is a ")
    assert circle.startswith("deadlock: task 'A' (test_failures.py:")
    assert "waits for <holdfast.Lock [locked, waiters:1]>, which task 'B' holds (test_failures.py:" in circle
    assert "0x" not in found.message
