"""The schedules in which other libraries lose a grant: a waiter stops waiting, in any way, just as it is granted."""

import asyncio
import contextlib
import dis
import gc
import linecache
import sys
import threading

import pytest
from interpreters import collect_in_pypy
from tests.test_idle import kept_by

from holdfast import threads
from holdfast.tasks.gil import ONE_AT_A_TIME
from holdfast.threads import wake_up_by_call
from holdfast.threads.critical_section import ReentryError, Section, this_thread
from holdfast.threads.thread_waiter import ThreadWaiter

from .by_hand import (
    HandLoop,
    at_line,
    at_once,
    contended,
    each_mutex,
    finish,
    interrupted_in,
    is_free,
    lines,
    wait_once,
)


@each_mutex
def test_thread_whose_time_is_up_is_granted_at_the_same_moment(make, loops, instead_of_waiting):
    """The thread keeps the grant."""
    mutex = make()
    assert mutex.sync.acquire()
    instead_of_waiting(mutex.release)
    assert mutex.sync.acquire(timeout=1)
    behind = loops[0].start(mutex.acquire())
    assert not behind.done()
    mutex.release()
    loops[0].turn()
    assert behind.result()
    mutex.release()
    assert is_free(mutex)


@each_mutex
def test_thread_whose_time_is_up_before_the_grant(make, loops, instead_of_waiting):
    mutex = make()
    assert mutex.sync.acquire()
    instead_of_waiting(lambda: None)
    assert not mutex.sync.acquire(timeout=1)
    behind = loops[0].start(mutex.acquire())
    mutex.release()
    loops[0].turn()
    assert behind.result()
    mutex.release()
    assert is_free(mutex)


@each_mutex
def test_thread_is_interrupted_when_it_has_been_granted(make, loops, instead_of_waiting):
    mutex = make()
    assert mutex.sync.acquire()
    behind = []

    def interrupt():
        behind.append(loops[0].start(mutex.acquire()))
        mutex.release()
        assert mutex.locked()
        raise KeyboardInterrupt

    instead_of_waiting(interrupt)
    with pytest.raises(KeyboardInterrupt):
        mutex.sync.acquire()
    loops[0].turn()
    assert behind[0].result()
    mutex.release()
    assert is_free(mutex)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to threads")
@each_mutex
def test_signal_interrupts_a_blocked_thread(make):
    mutex = make()
    assert mutex.sync.acquire()
    with interrupted_in(ThreadWaiter.wait):
        mutex.sync.acquire()
    assert mutex.locked()
    mutex.release()
    assert is_free(mutex)


@pytest.mark.parametrize("moment", ["cancelled first", "granted first", "told first"])
@each_mutex
def test_task_is_cancelled_when_another_thread_grants_it(make, moment, loops):
    """asyncio's bpo-27585 and gh-90155, anyio's #1145 and #1170, between two loops. The next waiter gets the grant."""
    here, there = loops
    mutex, first, second = contended(make, loops)
    if moment == "cancelled first":
        first.cancel()
    if moment == "told first":
        here.once(mutex.release)
    else:
        mutex.release()
    if moment != "cancelled first":
        first.cancel()
    here.turn()
    there.turn()
    assert first.cancelled()
    assert second.result()
    mutex.release()
    assert is_free(mutex)


@each_mutex
def test_loop_closes_while_its_task_waits(make, loops):
    here, there = loops
    mutex, first, second = contended(make, loops)
    first._log_destroy_pending = False
    here.close()
    mutex.release()
    there.turn()
    assert second.result()
    mutex.release()
    assert is_free(mutex)
    first.get_coro().close()
    assert is_free(mutex)


@each_mutex
def test_loop_closes_with_the_grant_on_its_way(make, loops):
    """The closed loop drops the wake-up that was sent, and that alone gives the grant to the next waiter."""
    here, there = loops
    mutex, first, second = contended(make, loops)
    first._log_destroy_pending = False
    mutex.release()
    here.close()
    collect_in_pypy()
    there.turn()
    assert second.result()
    first.get_coro().close()
    assert mutex.locked()
    mutex.release()
    assert is_free(mutex)


def test_loop_closes_after_it_was_told_and_somebody_looks(loops):
    """The task is ready and never runs, so locked() must see that nothing holds the lock."""
    lock, waiter = contended(threads.Lock, loops[:1])
    waiter._log_destroy_pending = False
    loops[0].once(lock.release)
    assert lock.locked()
    loops[0].close()
    assert not lock.locked()


@pytest.mark.parametrize("then", ["contention", "release", "collected"])
def test_loop_closes_after_it_was_told(then, loops):
    """The task is ready and never runs."""
    here, there = loops
    semaphore = threads.Semaphore(1)
    assert semaphore.sync.acquire()
    first = here.start(semaphore.acquire())
    first._log_destroy_pending = False
    second = there.start(semaphore.acquire())
    here.once(semaphore.release)
    here.close()
    if then == "contention":
        third = there.start(semaphore.acquire())
    elif then == "release":
        semaphore.release()
    else:
        coroutine = first.get_coro()
        del first
        coroutine.close()
        gc.collect()
    there.turn()
    assert second.result()
    semaphore.release()
    if then == "contention":
        there.turn()
        assert third.result()
        semaphore.release()
    assert semaphore.statistics().value == (2 if then == "release" else 1)


def test_notification_of_a_thread_that_is_interrupted_goes_to_another(loops, instead_of_waiting):
    condition = threads.Condition()

    behind = []
    acts = []

    def interrupt():
        behind.append(loops[0].start(wait_once(condition)))
        assert condition.sync.acquire()
        condition.notify()
        condition.release()
        acts.append(1)
        raise KeyboardInterrupt

    instead_of_waiting(interrupt)
    with pytest.raises(KeyboardInterrupt), condition.sync:
        condition.sync.wait()
    assert acts == [1]
    loops[0].turn()
    assert behind[0].done()
    assert is_free(condition)


def test_cancelled_and_notified_from_elsewhere_keeps_its_place_and_passes_it_on(loops):
    """asyncio's bpo-22970, bpo-32841 and gh-112202, trio's and anyio's (#398) lost notification."""
    here, there = loops
    condition = threads.Condition()

    first, second = here.start(wait_once(condition)), there.start(wait_once(condition))
    with condition.sync:
        condition.sync.notify()
        here.turn()
        first.cancel()
        here.turn()
        assert not first.done()
    here.turn()
    assert first.cancelled()
    there.turn()
    assert second.done()
    assert is_free(condition)


def test_closed_while_another_thread_holds_the_lock_does_not_release_it(loops):
    """asyncio, unreported: the `async with` around the wait released the lock of another task."""
    condition = threads.Condition()

    coroutine = wait_once(condition)

    async def start():
        coroutine.send(None)

    loops[0].run_until_complete(start())
    assert condition.sync.acquire()
    coroutine.close()
    assert condition.locked()
    condition.release()
    assert is_free(condition)


@pytest.mark.usefixtures("woken_by_calls")
@each_mutex
def test_loop_closes_while_the_grant_is_sent(make, loops, monkeypatch):
    """The loop closes between the grant, which saw it open, and the call that sends the wake-up."""
    here, there = loops
    mutex, first, second = contended(make, loops)
    first._log_destroy_pending = False
    send = here.call_soon_threadsafe

    def close_first(*args):
        here.close()
        return send(*args)

    monkeypatch.setattr(here, "call_soon_threadsafe", close_first)
    mutex.release()
    there.turn()
    assert second.result()
    mutex.release()
    assert is_free(mutex)


@each_mutex
def test_task_that_is_cancelled_and_has_not_run_is_passed_over(make, loops):
    mutex, first, second = contended(make, loops)
    first.cancel()
    mutex.release()
    loops[1].turn()
    assert second.result()
    loops[0].turn()
    assert first.cancelled()
    mutex.release()
    assert is_free(mutex)


@each_mutex
def test_free_although_one_that_was_passed_over_has_not_run(make, loops):
    here, there = loops
    mutex = make()
    assert mutex.sync.acquire()
    first = here.start(mutex.acquire())
    first.cancel()
    mutex.release()
    second = there.start(mutex.acquire())
    assert second.result()
    here.turn()
    assert first.cancelled()
    mutex.release()
    assert is_free(mutex)


def test_loop_closes_when_one_of_its_tasks_had_left_the_middle(loops):
    here, there = loops
    semaphore = threads.Semaphore(0)
    tasks = [here.start(semaphore.acquire()) for _ in range(3)]
    last = there.start(semaphore.acquire())
    tasks[1].cancel()
    here.turn()
    for task in tasks:
        task._log_destroy_pending = False
    here.close()
    assert semaphore.statistics().tasks_waiting == 1
    semaphore.release()
    there.turn()
    assert last.result()


def test_loop_closes_and_the_notifications_of_other_loops_stay(loops):
    """Two notified tasks wait for the lock. The loop of one is closed, and only its notification goes to another."""
    here, there = loops
    condition = threads.Condition()

    first = here.start(wait_once(condition))
    others = [there.start(wait_once(condition)) for _ in range(3)]
    first._log_destroy_pending = False
    with condition.sync:
        condition.notify(2)
        here.turn()
        there.turn()
        here.close()
    for _ in range(4):
        there.turn()
    assert [task.done() for task in others] == [True, True, False]


def test_closed_while_another_is_closed_each_owes_its_exit(loops):
    """The clean-up of one coroutine closes another one while a thread holds the lock. The thread keeps it."""
    condition = threads.Condition()

    async def wait(clean_up):
        async with condition:
            try:
                await condition.wait()
            finally:
                clean_up()

    inner = wait(lambda: None)
    outer = wait(inner.close)

    async def start():
        inner.send(None)
        outer.send(None)

    loops[0].run_until_complete(start())
    assert condition.sync.acquire()
    idle = kept_by(condition)
    outer.close()
    assert condition.locked()
    assert kept_by(condition) <= idle
    fresh = threads.Condition()
    assert fresh.sync.acquire()
    assert kept_by(condition) == kept_by(fresh)


# Wake-ups by a call


def interrupted_once(loop, monkeypatch):
    """Have a signal handler raise when something is sent to the loop for the first time."""
    send = loop.call_soon_threadsafe

    def interrupt(*args):
        monkeypatch.setattr(loop, "call_soon_threadsafe", send)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "call_soon_threadsafe", interrupt)


@pytest.mark.usefixtures("woken_by_calls")
def test_handler_raises_while_a_wake_up_is_sent(loops, monkeypatch):
    """The exception comes out after all waiters have been woken."""
    event = threads.Event()
    tasks = [loop.start(event.wait()) for loop in loops]
    interrupted_once(loops[0], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        event.set()
    for loop, task in zip(loops, tasks, strict=True):
        loop.turn()
        assert task.result()


@pytest.mark.usefixtures("woken_by_calls")
def test_handler_raises_after_a_thread_has_been_woken(loops, monkeypatch, instead_of_waiting):
    event = threads.Event()
    tasks = []

    def set_and_be_interrupted():
        tasks.append(loops[0].start(event.wait()))
        interrupted_once(loops[0], monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            event.set()

    instead_of_waiting(set_and_be_interrupted)
    assert event.sync.wait(1)
    loops[0].turn()
    assert tasks[0].result()


@pytest.mark.usefixtures("woken_by_calls")
def test_the_loop_makes_the_call_while_a_task_joins_it(loops, monkeypatch):
    """It does so after the task has found the call and before it has joined, so another call is sent."""
    here, _ = loops
    semaphore = threads.Semaphore(0)
    tasks = [here.start(semaphore.acquire()) for _ in range(2)]
    semaphore.release()
    (handle,) = here._ready  # which keeps the call

    class Calling(dict):
        def get(self, loop, default=None):
            found = super().get(loop, default)
            here.turn()
            return found

    calls = Calling(wake_up_by_call.calls_under_way)
    wake_up_by_call.calls_under_way.clear()
    monkeypatch.setattr(wake_up_by_call, "calls_under_way", calls)
    semaphore.release()
    here.turn()
    assert all(task.done() for task in tasks)
    del handle


@pytest.mark.usefixtures("woken_by_calls")
def test_a_call_that_was_made_and_is_kept_by_somebody_does_nothing(loops):
    """The next two tasks share one call, although the old one is dropped in between."""
    here, _ = loops
    semaphore = threads.Semaphore(0)
    tasks = [here.start(semaphore.acquire()) for _ in range(3)]
    semaphore.release()
    (handle,) = here._ready
    here.turn()
    semaphore.release()
    del handle
    semaphore.release()
    assert here.sent == 2
    here.turn()
    assert all(task.done() for task in tasks)


@pytest.mark.usefixtures("woken_by_calls")
def test_nothing_is_remembered_of_calls_that_were_lost(loops):
    here, there = loops
    lock, first, second = contended(threads.Lock, loops)
    first._log_destroy_pending = False
    lock.release()
    assert wake_up_by_call.calls_under_way
    here.close()
    collect_in_pypy()
    there.turn()
    assert second.result()
    assert not wake_up_by_call.calls_under_way


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to threads")
def test_signal_interrupts_a_thread_that_waits_for_the_section():
    """The thread stops waiting for the section, which another thread holds, and the semaphore works afterwards."""
    semaphore = threads.Semaphore(0)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        semaphore._section.run(lambda: (entered.set(), leave.wait()))

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    try:
        with interrupted_in(Section.run):
            semaphore.try_acquire()
    finally:
        leave.set()
        holder.join()
    semaphore.release()
    assert semaphore.try_acquire()


# The same moments for events, notifications and rounds, which one waiter does not take from another


def test_thread_whose_time_is_up_and_set_at_the_same_moment(instead_of_waiting):
    event = threads.Event()
    instead_of_waiting(event.set)
    assert event.sync.wait(1)
    event.clear()
    instead_of_waiting(lambda: None)
    assert not event.sync.wait(1)
    assert event._queue is None


@pytest.mark.parametrize("notified", [True, False])
def test_thread_whose_time_is_up_and_notified_at_the_same_moment(notified, instead_of_waiting):
    condition = threads.Condition()

    def act():
        if notified:
            with condition.sync:
                condition.notify()

    with condition.sync:
        instead_of_waiting(act)
        assert condition.sync.wait(1) is notified
        assert condition.locked()
    assert is_free(condition)
    assert condition.statistics().tasks_waiting == 0


def test_thread_whose_time_is_up_and_barrier_complete_at_the_same_moment(loops, instead_of_waiting):
    barrier = threads.Barrier(2)
    others = []
    instead_of_waiting(lambda: others.append(loops[0].start(barrier.wait())))
    assert barrier.sync.wait(1) == 0
    assert others[0].result() == 1
    assert not barrier.broken
    assert barrier.n_waiting == 0


@pytest.mark.parametrize("moment", ["cancelled first", "granted first", "told first"])
@pytest.mark.parametrize("kind", ["event", "barrier"])
def test_task_is_cancelled_when_another_loop_lets_it_go(kind, moment, loops):
    """The tasks that were woken together with it go on, and the primitive can be used again."""
    here, there = loops
    shared = threads.Event() if kind == "event" else threads.Barrier(3)
    first, second = here.start(shared.wait()), there.start(shared.wait())
    task, third = None, []
    if moment == "cancelled first":
        first.cancel()
        here.turn()
    if moment == "told first":
        here.once(shared.set if kind == "event" else lambda: third.append(at_once(shared.wait())))
    elif kind == "event":
        shared.set()
    else:
        task = there.start(shared.wait())
    first.cancel()
    here.turn()
    there.turn()
    if kind == "event":
        assert second.result() is True
        assert "waiters" not in repr(shared)
        return
    if moment == "cancelled first":  # it is not a party, so another task has to come
        assert not second.done()
        here.start(shared.wait())
        there.turn()
    if task is not None:
        third.append(task.result())
    indices = {second.result(), *third}
    assert indices < {0, 1, 2}
    assert len(indices) == 2
    assert not shared.broken
    assert shared.n_waiting == 0
    assert shared._queue is None


@pytest.mark.parametrize("moment", ["while it waits", "with the grant on its way", "told"])
def test_loop_closes_when_another_sets_the_event(moment, loops):
    here, there = loops
    event = threads.Event()
    first, second = here.start(event.wait()), there.start(event.wait())
    first._log_destroy_pending = False
    if moment == "with the grant on its way":
        event.set()
    if moment == "told":
        here.once(event.set)
    here.close()
    event.set()
    there.turn()
    assert second.result()
    assert event._queue is None
    assert event.statistics().tasks_waiting == 0


@pytest.mark.parametrize("moment", ["while it waits", "with the grant on its way", "told", "in the line for the lock"])
def test_loop_closes_when_its_task_is_notified(moment, loops):
    """The notification goes to another task, although the test keeps a reference to the first."""
    here, there = loops
    condition = threads.Condition()

    first, second = here.start(wait_once(condition)), there.start(wait_once(condition))
    first._log_destroy_pending = False
    with condition.sync:
        if moment == "while it waits":
            here.close()
        if moment == "told":
            here.once(condition.notify)
        else:
            condition.notify()
        if moment == "in the line for the lock":
            here.turn()
        here.close()
        assert condition.statistics().tasks_waiting <= 1
    there.turn()
    there.turn()
    assert second.done()
    assert is_free(condition)
    first.get_coro().close()
    assert is_free(condition)


@pytest.mark.parametrize("moment", ["while it waits", "with the grant on its way", "told"])
def test_loop_closes_when_its_round_is_complete(moment, loops):
    here, there = loops
    barrier = threads.Barrier(2)
    first = here.start(barrier.wait())
    first._log_destroy_pending = False
    if moment == "told":
        here.once(lambda: at_once(barrier.wait()))
    elif moment == "with the grant on its way":
        assert there.start(barrier.wait()).result() == 1
    here.close()
    second = there.start(barrier.wait())
    assert not second.done()  # a task of a closed loop is not a party
    assert barrier.n_waiting == 1
    third = there.start(barrier.wait())
    assert {second.result(), third.result()} == {0, 1}
    assert not barrier.broken


def test_barrier_breaks_for_all_when_a_thread_runs_out_of_time(loops, instead_of_waiting):
    barrier = threads.Barrier(3)
    other = loops[0].start(barrier.wait())
    instead_of_waiting(lambda: None)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.sync.wait(1)
    loops[0].turn()
    assert isinstance(other.exception(), asyncio.BrokenBarrierError)
    barrier.sync.reset()
    assert not barrier.broken


def test_barrier_action_that_fails_breaks_it(loops):
    def fail():
        raise ZeroDivisionError

    barrier = threads.Barrier(2, fail)
    first, second = (loop.start(barrier.wait()) for loop in loops)
    loops[0].turn()
    assert isinstance(second.exception(), ZeroDivisionError)
    assert isinstance(first.exception(), threads.BrokenBarrierError)


# A finalizer or a signal handler, between any two lines of a change


@pytest.mark.usefixtures("either_way")
def test_finalizer_releases_while_its_thread_uses_a_primitive_for_the_first_time():
    def scenario(number):
        loop = HandLoop()
        semaphore = threads.Semaphore(0)
        tasks = [loop.start(semaphore.acquire()) for _ in range(2)]
        there = []
        thread = threading.Thread(target=lambda: there.append(at_line(number, semaphore.release, semaphore.release)))
        thread.start()
        thread.join()
        loop.turn()
        assert sum(task.done() for task in tasks) == 1 + there[0]
        finish(loop)
        return there[0]

    lines(scenario)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("waiters", range(3))
def test_handler_releases_within_a_release(waiters):
    def scenario(number):
        loop = HandLoop()
        semaphore = threads.Semaphore(0)
        tasks = [loop.start(semaphore.acquire()) for _ in range(waiters)]
        there = at_line(number, semaphore.release, semaphore.release)
        loop.turn()
        assert sum(task.done() for task in tasks) == min(1 + there, waiters)
        assert semaphore.statistics().value == max(0, 1 + there - waiters)
        finish(loop)
        return there

    lines(scenario)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("kind", [threads.Lock, threads.Semaphore])
def test_handler_tries_to_acquire_within_a_change(kind):
    def scenario(number):
        mutex = kind()
        got = []
        loop = HandLoop()
        loop.run_until_complete(mutex.acquire())
        waiter = loop.start(mutex.acquire())
        there = at_line(number, lambda: got.append(mutex.try_acquire()), mutex.release)
        loop.turn()
        assert got != [True]
        assert waiter.done()
        mutex.release()
        assert is_free(mutex)
        finish(loop)
        return there

    lines(scenario)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("make", "wait", "act"),
    [
        (threads.Lock, threads.Lock.acquire, threads.Lock.release),
        (threads.BoundedSemaphore, threads.BoundedSemaphore.acquire, threads.BoundedSemaphore.release),
        (threads.Condition, wait_once, threads.Condition.notify),
    ],
    ids=["Lock.release", "BoundedSemaphore.release", "Condition.notify"],
)
def test_handler_that_fails_before_or_after_a_change_lets_it_count_never_or_once(make, wait, act):
    """A ReentryError of the handler, from another change, comes out of the call that it has interrupted."""

    def scenario(number):
        loop = HandLoop()
        primitive = make()
        assert make is threads.Condition or primitive.sync.acquire()
        tasks = [loop.start(wait(primitive)) for _ in range(2)]
        if make is threads.Condition:
            assert primitive.sync.acquire()

        def handler():
            caller = sys._getframe(2)
            line = linecache.getline(caller.f_code.co_filename, caller.f_lineno)
            if not (this_thread.state.inside or line.strip() == "try:"):  # there the interpreter lets no handler run
                raise ReentryError

        def call():
            with contextlib.suppress(ReentryError):
                act(primitive)

        there = at_line(number, handler, call)
        if make is threads.Condition:
            primitive.release()
        loop.turn(5)
        granted = [task for task in tasks if task.done()]
        assert len(granted) <= 1
        assert primitive.statistics().tasks_waiting == 2 - len(granted)
        assert not any(task.exception() for task in granted)
        finish(loop)
        return there

    lines(scenario)


@pytest.mark.usefixtures("woken_by_calls")
def test_handler_that_fails_as_the_loop_of_the_waiter_closes_is_heard():
    class Closing(HandLoop):
        def call_soon_threadsafe(self, *args, **kwargs):
            if not self.is_closed():
                self.close()
                raise KeyboardInterrupt
            return super().call_soon_threadsafe(*args, **kwargs)

    lock, waiter = contended(threads.Lock, (Closing(),))
    waiter._log_destroy_pending = False
    with pytest.raises(KeyboardInterrupt):
        lock.release()
    assert is_free(lock)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("kind", [threads.Lock, threads.Semaphore])
def test_handler_takes_it_within_an_acquire(kind):
    """Either the handler or the interrupted call gets it, and never both."""

    def scenario(number):
        mutex = kind()
        got = []
        taken = []
        there = at_line(
            number, lambda: got.append(mutex.try_acquire()), lambda: taken.append(mutex.sync.acquire(False))
        )
        assert got.count(True) + taken.count(True) == 1
        mutex.release()
        assert is_free(mutex)
        return there

    lines(scenario)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
def test_handler_sets_within_a_set():
    def scenario(number):
        loop = HandLoop()
        event, other = threads.Event(), threads.Event()
        tasks = [loop.start(event.wait()), loop.start(other.wait())]
        there = at_line(number, lambda: (event.set(), other.set()), event.set)
        loop.turn()
        assert tasks[0].done()
        assert all(task.done() for task in tasks) == there
        finish(loop)
        return there

    lines(scenario)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("either_way")
def test_coroutine_is_closed_within_a_change():
    """A finalizer closes a coroutine that was granted a permit, which goes to the next waiter."""

    def scenario(number):
        here, there = HandLoop(), HandLoop()
        semaphore = threads.Semaphore(0)
        first, second = here.start(semaphore.acquire()), there.start(semaphore.acquire())
        first._log_destroy_pending = False
        found = at_line(number, first.get_coro().close, semaphore.release)
        there.turn()
        if found:
            assert second.done()
            assert semaphore.statistics().value == 0
        else:
            first.get_coro().close()
            there.turn()
            assert second.done()
        here._ready.clear()
        with contextlib.suppress(BaseException):
            here.close()
        finish(there)
        return found

    lines(scenario)


def test_acquire_that_would_have_to_wait_within_a_change_is_an_error():
    lock = threads.Lock()

    def scenario(number):
        errors = []

        def acquire():
            try:
                lock.sync.acquire(timeout=0.001)
            except RuntimeError as error:
                errors.append(error)

        assert lock.sync.acquire()
        loop = HandLoop()
        loop.start(lock.acquire())
        there = at_line(number, acquire, lock.release)
        loop.turn()
        lock.release()
        found.extend(errors)
        finish(loop)
        return there

    found = []
    lines(scenario)
    assert "signal handler" in str(found[0])


@pytest.mark.skipif(not ONE_AT_A_TIME, reason="without the GIL it is done in the section")
@pytest.mark.parametrize("function", [threads.Semaphore._take, threads.Semaphore.release])
def test_a_free_permit_is_taken_and_given_back_in_one_step(function):
    """The interpreter switches threads and runs handlers at calls and at backward jumps: the statement has neither."""
    instructions = [*dis.get_instructions(function)]
    names = [(instruction.opname, instruction.argval) for instruction in instructions]
    stores = [place for place, found in enumerate(names) if found == ("STORE_ATTR", "_value")]
    loads = [place for place, found in enumerate(names) if found == ("LOAD_ATTR", "_value")]
    statement = [opname for opname, _ in names[loads[0] : stores[0]]]
    assert not [opname for opname in statement if "CALL" in opname or "BACKWARD" in opname or opname == "RESUME"]


@pytest.mark.timeout(60)  # it once looped for ever
async def test_what_is_thrown_in_by_hand_while_a_condition_takes_its_lock_again():
    """A task resets `_asyncio_future_blocking` of a future. Code that drives a coroutine by hand need not do so."""
    condition = threads.Condition()

    waiter = wait_once(condition)
    waiter.send(None)
    async with condition:
        condition.notify()
        future = waiter.send(None)
        for _ in range(3):
            assert waiter.throw(asyncio.CancelledError()) is future
    with pytest.raises(asyncio.CancelledError):
        waiter.send(None)
    assert not condition.locked()
