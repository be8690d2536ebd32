"""Each kind of intervention reaches what it should, and no more."""

import asyncio
import gc
import sys

import pytest
from interpreters import closing

import holdfast
from holdfast.testing import explore


def outcomes(scenario, **bounds):
    """The logs of all runs, as a set."""
    seen = set()

    def noting(run):
        run.at_end(lambda: seen.add(tuple(run._log)))
        return scenario(run)

    report = explore(noting, **bounds)
    assert report.passed, report.counterexample
    return seen


# Cancellation


def test_a_task_is_cancelled_at_every_step_of_its_life():
    async def worker(run):
        step = "first"
        try:
            for step in ("a", "b"):
                run.log(step)
                await asyncio.sleep(0)
        finally:
            run.log(f"left after {step}")

    seen = outcomes(lambda run: run.spawn(worker, run))
    assert seen == {(), ("a", "left after a"), ("a", "b", "left after b")}


def test_a_task_is_cancelled_again_during_its_clean_up():
    async def worker(run):
        try:
            await asyncio.sleep(0)
        finally:
            run.log("cleaning")
            await asyncio.sleep(0)
            run.log("clean")

    def scenario(run):
        run.spawn(worker, run)

    once, twice = outcomes(scenario), outcomes(scenario, cancels=2)
    assert once == {(), ("cleaning",), ("cleaning", "clean")}
    assert twice == once
    assert explore(scenario, cancels=2).schedules > explore(scenario).schedules


def test_a_task_is_not_cancelled_twice_without_a_step_in_between():
    counts = []

    async def counting():
        try:
            await asyncio.sleep(0)
        finally:
            counts.append(asyncio.current_task().cancelling())

    assert explore(lambda run: run.spawn(counting), cancels=3).passed
    assert max(counts) == 1


def test_the_main_task_is_cancelled_only_on_request():
    def scenario(run):
        async def main():
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                run.log("cancelled")
                raise

        return main()

    assert outcomes(scenario) == {()}
    assert outcomes(scenario, cancel_main=True) == {(), ("cancelled",)}


def test_no_interventions_are_one_schedule():
    report = explore(lambda run: run.spawn(asyncio.sleep, 0), cancels=0)
    assert report.exhausted
    assert report.schedules == 1


# Late tasks


def test_a_late_task_comes_at_any_step():
    async def worker(run):
        for step in "ab":
            run.log(step)
            await asyncio.sleep(0)

    async def late(run):
        run.log("late")

    def scenario(run):
        run.spawn(worker, run)
        run.late(late, run)

    # Queued before "a", between "a" and "b", behind "b".
    assert outcomes(scenario, cancels=0) == {("a", "late", "b"), ("a", "b", "late")}
    assert outcomes(scenario, cancels=0, late=0) == {("a", "b", "late")}


def test_late_tasks_come_in_any_order():
    async def late(run, name):
        run.log(name)

    def scenario(run):
        run.late(late, run, "a")
        run.late(late, run, "b")

    assert outcomes(scenario, cancels=0) == {("a", "b"), ("b", "a")}


def test_a_coroutine_scenario_may_have_late_tasks():
    async def late(run):
        run.log("late")

    def scenario(run):
        async def main():
            run.log("a")
            run.late(late, run)
            for step in "bc":
                await asyncio.sleep(0)
                run.log(step)

        return main()

    assert outcomes(scenario, cancels=0) == {("a", "b", "c", "late"), ("a", "b", "late", "c")}


# Time


def test_sleeping_takes_no_time():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(3600)
        assert loop.time() == 3600
        await asyncio.gather(asyncio.sleep(5), asyncio.sleep(1))
        assert loop.time() == 3605

    report = explore(main, cancels=0, timers=0)
    assert report.passed
    assert report.seconds < 1


def test_timers_fire_in_the_order_of_their_times():
    def scenario(run):
        async def worker(seconds):
            await asyncio.sleep(seconds)
            run.log(seconds)

        for seconds in (3, 1, 2):
            run.spawn(worker, seconds)

    assert outcomes(scenario, cancels=0, timers=0) == {(1, 2, 3)}
    # If time passes before the others have begun to sleep, they wake later.
    assert outcomes(scenario, cancels=0) == {(1, 2, 3), (1, 3, 2), (3, 1, 2)}


def test_a_timer_may_fire_while_something_is_ready():
    def scenario(run):
        async def main():
            try:
                async with asyncio.timeout(1):
                    for _ in range(3):
                        await asyncio.sleep(0)
                run.log("done")
            except TimeoutError:
                run.log("timeout")

        return main()

    assert outcomes(scenario) == {("done",), ("timeout",)}
    assert outcomes(scenario, timers=0) == {("done",)}


def test_wait_for_a_lock_of_ours_loses_nothing():
    def scenario(run):
        lock = holdfast.Lock()

        async def holder():
            async with lock:
                await asyncio.sleep(0.5)

        async def waiter():
            try:
                await asyncio.wait_for(lock.acquire(), 1)
            except TimeoutError:
                run.log("timeout")
            else:
                run.log("acquired")
                lock.release()

        run.spawn(holder)
        run.spawn(waiter)
        run.at_end(lambda: not lock.locked())

    # Before 3.12 wait_for() itself loses what it waited for, and swallows cancellations (gh-86296 and kin).
    sound = sys.version_info >= (3, 12)
    assert outcomes(scenario, cancels=0, timers=1 if sound else 0) >= {("acquired",)}
    assert explore(scenario).passed == sound


def test_a_timer_that_is_due_at_once_fires_though_others_are_ready():
    def scenario(run):
        async def main():
            asyncio.get_running_loop().call_later(0, run.log, "timer")
            asyncio.get_running_loop().call_later(-1, run.log, "past")
            await asyncio.sleep(0)
            run.log("main")

        return main()

    assert outcomes(scenario) == {("timer", "past", "main")}


def test_a_cancelled_timer_does_not_fire():
    async def main():
        handle = asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        handle.cancel()
        await asyncio.sleep(2)

    assert explore(main).passed


# Threads


def test_a_call_from_another_thread_arrives_at_any_step():
    def scenario(run):
        async def main():
            asyncio.get_running_loop().call_soon_threadsafe(run.log, "arrived")
            for step in "abc":
                run.log(step)
                await asyncio.sleep(0)

        return main()

    late = ("a", "b", "c", "arrived")
    assert outcomes(scenario, deliveries=0) == {late}
    assert outcomes(scenario) == {late, ("a", "b", "arrived", "c")}


def test_what_runs_in_a_thread_gives_its_result_or_exception():
    async def main():
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    assert explore(main).passed


# Reordering


def test_ready_handles_may_be_reordered():
    def scenario(run):
        async def worker(name):
            run.log(name)

        for name in "abc":
            run.spawn(worker, name)

    orders = {"".join(log) for log in outcomes(scenario, cancels=0)}
    assert orders == {"abc"}
    orders = {"".join(log) for log in outcomes(scenario, cancels=0, reorders=1)}
    assert orders == {"abc", "bac", "cab", "acb"}
    orders = {"".join(log) for log in outcomes(scenario, cancels=0, reorders=2)}
    assert len(orders) == 6


def test_handles_that_were_cancelled_are_not_reordered():
    """They are dropped as soon as they come first, so those behind them move up."""

    def scenario(run):
        async def canceller():
            loop = asyncio.get_running_loop()
            dropped = [loop.call_soon(run.log, "dropped") for _ in range(2)]
            for name in "ab":
                loop.call_soon(run.log, name)
            for handle in dropped:
                handle.cancel()

        async def worker():
            await asyncio.sleep(0)
            run.log("c")

        run.spawn(canceller)
        run.spawn(worker)

    orders = {"".join(log) for log in outcomes(scenario, cancels=0, reorders=2)}
    assert orders == {"abc", "acb", "bac", "bca", "cab", "cba"}


# Killing


def test_a_killed_task_is_closed_and_never_runs_again():
    def scenario(run):
        async def worker():
            try:
                run.log("a")
                await asyncio.sleep(0)
                run.log("b")
                await asyncio.sleep(0)
                run.log("c")
            except GeneratorExit:
                run.log("closed")
                raise

        run.spawn(worker)

    assert outcomes(scenario, cancels=0, kills=1) == {("a", "b", "c"), ("a", "closed"), ("a", "b", "closed")}


def killed_users(lock_class):
    def scenario(run):
        lock = lock_class()

        async def user():
            async with lock:
                await asyncio.sleep(0)

        for name in "ABC":
            run.spawn(user, name=name)
        run.at_end(lambda: not lock.locked())

    return scenario


def test_killing_a_granted_waiter_loses_the_grant_of_asyncios_lock_and_not_of_ours():
    found = explore(killed_users(asyncio.Lock), kills=1, cancels=0).counterexample
    assert found.kind == "deadlock"
    assert len(found.replay) == 2
    assert explore(killed_users(holdfast.Lock), kills=2).passed


def test_who_waits_for_a_killed_task_is_not_stuck_by_a_fault_of_its_own():
    async def main():
        await asyncio.create_task(asyncio.sleep(0))

    assert explore(main, kills=1).passed


def test_a_killed_task_is_not_woken_by_what_it_waited_for():
    async def parent():
        await asyncio.create_task(asyncio.sleep(1))

    assert explore(lambda run: run.spawn(parent), kills=2).passed


def test_an_error_on_closing_is_a_failure():
    async def stubborn():
        try:
            await asyncio.sleep(0)
        except GeneratorExit:
            raise ValueError("no") from None

    found = explore(lambda run: run.spawn(stubborn), kills=1, cancels=0).counterexample
    assert found.kind == "closing"
    assert isinstance(found.exception, ValueError)


# The end of the loop


def ended(make, use):
    def scenario(run):
        primitive = make()

        async def user():
            await use(primitive)

        for name in "ABC":
            run.spawn(user, name=name)
        run.afterwards(user)

    return scenario


async def hold(lock):
    async with lock:
        await asyncio.sleep(0)


@closing
def test_our_lock_is_free_in_a_new_loop():
    report = explore(ended(holdfast.Lock, hold), ends=1)
    assert report.passed, report.counterexample
    assert report.schedules > 20


@closing
def test_asyncios_lock_is_not():
    report = explore(ended(asyncio.Lock, hold), ends=1, cancels=0)
    assert "bound to a different event loop" in report.counterexample.message


def test_a_lock_that_its_dead_holder_keeps_is_found():
    async def hold_badly(lock):
        await lock.acquire()
        await asyncio.sleep(0)
        lock.release()

    found = explore(ended(holdfast.Lock, hold_badly), ends=1, cancels=0).counterexample
    assert found.kind == "deadlock"
    assert "afterwards" in found.message
    assert len(found.replay) == 2


@closing
def test_at_the_end_coroutines_are_collected_outside_of_any_loop():
    seen = []

    async def worker():
        try:
            await asyncio.sleep(0)
        finally:
            seen.append(asyncio._get_running_loop())

    assert explore(lambda run: run.spawn(worker), cancels=0, ends=1).passed
    assert None in seen


def test_the_collector_is_left_as_it_was():
    assert gc.isenabled()
    explore(lambda run: run.spawn(asyncio.sleep, 0))
    assert gc.isenabled()
    gc.disable()
    try:
        explore(lambda run: run.spawn(asyncio.sleep, 0))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_tasks_that_tasks_create_may_be_spared():
    async def scenario(run):
        async def background():
            await asyncio.sleep(0)

        async def user():
            task = asyncio.create_task(background())
            await asyncio.wait([task])
            assert not task.cancelled()

        run.spawn(user)

    for options in {"cancels": 1}, {"cancels": 0, "kills": 1}:
        explore(scenario, cancel_created=False, **options).check()
    assert explore(scenario).counterexample is not None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager since 3.12")
def test_a_task_that_an_eager_task_creates_at_its_start_is_its_own():
    """It is made while the scenario still starts the other one."""

    def scenario(run):
        async def background():
            await asyncio.sleep(0)
            raise ValueError("it is for the task that awaits it")

        async def user():
            task = asyncio.create_task(background())
            task.add_done_callback(lambda task: task.exception())
            await asyncio.wait([task])

        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        run.spawn(user)

    for options in {"cancels": 1}, {"cancels": 0, "kills": 1}:
        explore(scenario, cancel_created=False, **options).check()
