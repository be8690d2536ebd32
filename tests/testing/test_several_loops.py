"""Event loops that run by turns: which goes first, when something arrives from another, which one ends."""

import asyncio
import weakref

import pytest

from holdfast.testing import explore


def outcomes(scenario, **bounds):
    """The logs of all runs, as a set of strings."""
    seen = set()

    def noting(run):
        run.at_end(lambda: seen.add(" ".join(run._log)))
        return scenario(run)

    report = explore(noting, **{"cancels": 0, "timers": 0, "deliveries": 0, **bounds})
    assert report.passed, report.counterexample
    return seen


def two_steppers(run):
    async def steps(name):
        for number in (1, 2):
            run.log(f"{name}{number}")
            await asyncio.sleep(0)

    run.spawn(steps, "a")
    run.spawn(steps, "b", loop=run.another_loop())


def test_loops_take_turns_unless_one_goes_first():
    assert outcomes(two_steppers) == {"a1 b1 a2 b2"}
    assert outcomes(two_steppers, switches=1) == {"a1 b1 a2 b2", "b1 a1 b2 a2", "a1 a2 b1 b2", "a1 b1 b2 a2"}
    assert outcomes(two_steppers, switches=4) == {
        *("a1 a2 b1 b2", "a1 b1 a2 b2", "a1 b1 b2 a2", "b1 a1 a2 b2", "b1 a1 b2 a2", "b1 b2 a1 a2")
    }


def test_the_order_within_a_loop_stays():
    def scenario(run):
        async def step(name):
            run.log(name)

        loop = run.another_loop()
        for name in ("a", "b"):
            run.spawn(step, name)
            run.spawn(step, name.upper(), loop=loop)

    for seen in outcomes(scenario, switches=3):
        assert seen.index("a") < seen.index("b")
        assert seen.index("A") < seen.index("B")


def test_each_task_runs_in_its_loop():
    def scenario(run):
        other = run.another_loop()

        async def here():
            assert asyncio.get_running_loop() is not other
            assert other.is_running()
            await asyncio.sleep(1)
            run.log("here")

        async def there():
            assert asyncio.get_running_loop() is other
            await asyncio.sleep(0.5)
            assert asyncio.current_task().get_name() == "there"
            assert other.time() == 0.5
            run.log("there")

        run.spawn(here)
        run.spawn(there, loop=other)

    assert outcomes(scenario, switches=1) == {"there here"}


def test_a_late_task_comes_in_its_loop():
    def scenario(run):
        other = run.another_loop()

        async def late():
            run.log(str(asyncio.get_running_loop() is other))

        run.late(late, loop=other)
        run.late(late)

    assert outcomes(scenario) == {"True False", "False True"}


def two_letters(run):
    """Something is sent to each loop while a third task has steps to go."""
    other = run.another_loop()
    first = []

    async def start():
        first.append(asyncio.get_running_loop())
        first[0].call_soon_threadsafe(run.log, "here")
        other.call_soon_threadsafe(run.log, "there")
        run.log("sent")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        run.log("done")

    run.spawn(start)


def test_what_is_sent_to_another_loop_arrives_at_any_moment():
    assert outcomes(two_letters) == {"sent done here there"}
    assert outcomes(two_letters, deliveries=1) == {
        *("sent done here there", "sent done there here", "sent there done here", "sent here done there")
    }


def test_what_is_sent_to_one_loop_keeps_its_order():
    def scenario(run):
        other = run.another_loop()

        async def send():
            for number in range(3):
                other.call_soon_threadsafe(run.log, str(number))
            await asyncio.sleep(0)

        run.spawn(send)

    assert outcomes(scenario, deliveries=3, switches=3) == {"0 1 2"}


def test_a_plain_call_of_another_loop_is_found():
    """asyncio's own primitives call the other loop, which may be asleep and would not notice."""

    def scenario(run):
        event = asyncio.Event()

        async def wait():
            await event.wait()

        async def tell():
            await asyncio.sleep(0)
            event.set()

        run.spawn(wait, loop=run.another_loop())
        run.spawn(tell)

    found = explore(scenario, cancels=0).counterexample
    assert found.kind == "exception"
    assert "call_soon_threadsafe" in found.message


def test_a_timer_for_another_loop_is_found():
    def scenario(run):
        other = run.another_loop()

        async def tell():
            other.call_later(1, run.log, "never")

        run.spawn(tell)

    assert "call_soon_threadsafe" in explore(scenario, cancels=0).counterexample.message


def ending(run, log_ends=True):
    """A task of each loop that says how it left."""

    async def work(name):
        try:
            await asyncio.sleep(0)
        except BaseException as exc:
            run.log(f"{name}:{type(exc).__name__}")
            raise
        run.log(f"{name}:finished")

    run.spawn(work, "a")
    run.spawn(work, "b", loop=run.another_loop())


def test_one_loop_ends_and_the_others_go_on():
    seen = outcomes(ending, ends=1)
    assert seen == {"a:finished b:finished", "b:GeneratorExit a:finished", "a:finished b:GeneratorExit", "a:finished"}


def test_what_was_to_happen_in_a_loop_that_ends_is_lost():
    def scenario(run):
        other = run.another_loop()

        class Letter:
            def __call__(self):
                run.log("arrived")

        async def send():
            letter = Letter()
            weakref.finalize(letter, run.log, "dropped")
            try:
                other.call_soon_threadsafe(letter)
            except RuntimeError:
                run.log("closed")
            del letter
            await asyncio.sleep(0)
            run.log("done")

        run.spawn(send)

    assert outcomes(scenario, ends=1) == {
        "done arrived dropped",
        "closed dropped done",  # before it was sent
        "dropped done",  # on its way
        "done dropped",  # the same, later, or as it was about to run
    }


def test_all_loops_end():
    """And what comes afterwards runs in a new one."""
    ended = []

    def scenario(run):
        other = run.another_loop()
        first = []

        async def work():
            first.append(asyncio.get_running_loop())
            await asyncio.sleep(0)

        async def afterwards():
            assert asyncio.get_running_loop() not in (*first, other)
            ended.append(all(loop.is_closed() for loop in (*first, other)))

        run.spawn(work)
        run.spawn(work, loop=other)
        run.afterwards(afterwards)

    explore(scenario, ends=1, cancels=0).check()
    assert ended
    assert all(ended)


def test_a_task_that_is_left_behind_by_the_end_of_its_loop_is_found():
    """The others go on, and a task waits for what only the ended loop could do."""

    def scenario(run):
        here = asyncio.get_running_loop()
        future = here.create_future()

        async def wait():
            await future

        async def tell():
            await asyncio.sleep(0)
            here.call_soon_threadsafe(future.set_result, None)

        run.spawn(wait)
        run.spawn(tell, loop=run.another_loop())

    assert explore(scenario, cancels=0).passed
    found = explore(scenario, cancels=0, ends=1).counterexample
    assert found.kind == "deadlock"
    assert any("event loop 1 ends" in line for line in found.story)


def test_cancelled_and_closed_in_its_own_loop():
    def scenario(run):
        other = run.another_loop()

        async def work():
            try:
                await asyncio.sleep(1)
            finally:
                assert asyncio.get_running_loop() is other
                asyncio.get_running_loop().call_soon(run.log, "told")

        run.spawn(work, loop=other)

    assert "told" in outcomes(scenario, cancels=1)
    assert "told" in outcomes(scenario, kills=1)


def test_who_is_left_is_cancelled_in_the_end():
    def scenario(run):
        async def wait():
            await asyncio.get_running_loop().create_future()

        run.spawn(wait, loop=run.another_loop(), must_finish=False)

    explore(scenario).check()


def test_the_story_tells_the_loops():
    def scenario(run):
        other = run.another_loop()
        log = []

        async def there():
            log.append("there")

        async def here():
            log.append("here")
            other.call_soon_threadsafe(log.append, "letter")
            await asyncio.sleep(0)
            assert log != ["there", "here", "letter"]

        run.spawn(here, name="H")
        run.spawn(there, name="T", loop=other)

    assert explore(scenario, cancels=0).passed
    found = explore(scenario, cancels=0, switches=2).counterexample
    told = "\n".join(found.story)
    assert "event loop 1 goes first: T" in told
    assert "arrives from call_soon_threadsafe() in event loop 1" in told
    assert explore(scenario, replay=found.replay).counterexample.story == found.story


def test_a_loop_of_nobody_is_refused():
    def scenario(run):
        async def work(): ...

        loop = asyncio.new_event_loop()
        try:
            with pytest.raises(ValueError, match="another_loop"):
                run.spawn(work, loop=loop)
            with pytest.raises(ValueError, match="another_loop"):
                run.late(work, loop=loop)
        finally:
            loop.close()

    explore(scenario).check()
