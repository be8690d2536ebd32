"""A loop that is often woken from outside gets an eventfd. See holdfast/threads/wake_up_by_eventfd.py."""

import asyncio
import contextvars
import gc
import os
import threading
import weakref

import pytest
from interpreters import BOUND

from holdfast import threads
from holdfast.threads import task_waiter, wake_up_by_eventfd
from holdfast.threads.task_waiter import TaskWaiter
from holdfast.threads.wake_up_by_eventfd import CALLS_BEFORE_EVENTFD

from .by_hand import HandLoop, at_line, contended, finish, is_free

pytestmark = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no eventfd on this platform")


def wake_by_calls(loop, number):
    """Wake a task of the loop from outside, `number` times."""
    semaphore = threads.Semaphore(0)
    for _ in range(number):
        task = loop.start(semaphore.acquire())
        semaphore.release()
        loop.turn()
        assert task.result()


def in_a_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def failures(loop):
    """Return a list that collects what fails from now on in callbacks of the loop."""
    failed = []
    loop.set_exception_handler(lambda loop, context: failed.append(context))
    return failed


def files():
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(name="loop")
def loop_with_eventfd():
    loop = HandLoop()
    wake_by_calls(loop, CALLS_BEFORE_EVENTFD)
    loop.sent = 0
    yield loop
    finish(loop)


@pytest.fixture(name="either", params=[True, False], ids=["eventfd", "call"])
def loop_with_eventfd_or_without(request):
    loop = HandLoop()
    if request.param:
        wake_by_calls(loop, CALLS_BEFORE_EVENTFD)
    yield loop
    finish(loop)


@pytest.fixture(name="interrupting")
def let_writing_raise_once(monkeypatch):
    """Have a signal handler raise just before or just after the eventfd is written."""
    write = os.eventfd_write

    def interrupt(when):
        def interrupted(*args):
            monkeypatch.setattr(os, "eventfd_write", write)
            if when == "after":
                write(*args)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "eventfd_write", interrupted)

    return interrupt


@pytest.mark.usefixtures("woken_by_calls")
def test_only_a_loop_that_is_woken_often_has_one():
    before = files()
    loop = HandLoop()
    wake_by_calls(loop, CALLS_BEFORE_EVENTFD - 1)
    assert id(loop) not in wake_up_by_eventfd.eventfds
    wake_by_calls(loop, 1)
    assert id(loop) in wake_up_by_eventfd.eventfds
    assert loop.sent == CALLS_BEFORE_EVENTFD
    wake_by_calls(loop, 100)
    assert loop.sent == CALLS_BEFORE_EVENTFD
    finish(loop)
    assert id(loop) not in wake_up_by_eventfd.eventfds
    assert files() <= before


def test_without_the_gil_a_loop_has_one_from_the_first_waiter_on(monkeypatch):
    monkeypatch.setattr(task_waiter, "ONE_AT_A_TIME", False)
    loop = HandLoop()
    before = files()
    event = threads.Event()
    tasks = [loop.start(event.wait()) for _ in range(2)]
    assert len(files() - before) == 1
    event.set()
    loop.turn()
    assert all(task.result() for task in tasks)
    assert loop.sent == 0
    finish(loop)
    assert id(loop) not in wake_up_by_eventfd.eventfds


def test_it_is_written_once_for_several_wake_ups(loop, monkeypatch):
    write, written = os.eventfd_write, []
    monkeypatch.setattr(os, "eventfd_write", lambda *args: (written.append(args), write(*args)))
    semaphore, event = threads.Semaphore(0), threads.Event()
    tasks = [loop.start(semaphore.acquire()) for _ in range(5)]
    tasks += [loop.start(event.wait()) for _ in range(5)]
    for _ in range(5):
        semaphore.release()
    event.set()
    loop.turn()
    assert all(task.result() for task in tasks)
    assert len(written) == 1
    assert loop.sent == 0


def test_it_is_not_written_within_its_loop(loop, monkeypatch):
    monkeypatch.delattr(os, "eventfd_write")
    semaphore = threads.Semaphore(0)
    task = loop.start(semaphore.acquire())

    async def release():
        semaphore.release()

    loop.start(release())
    assert task.result()
    assert loop.sent == 0


def test_written_while_tasks_are_resumed(loop):
    """A task that it has woken causes another wake-up of the same loop."""
    semaphore, other = threads.Semaphore(0), threads.Semaphore(0)

    async def first():
        await semaphore.acquire()
        in_a_thread(other.release)

    tasks = [loop.start(first()), loop.start(other.acquire())]
    semaphore.release()
    loop.turn()
    assert all(task.done() for task in tasks)


def test_a_task_that_is_woken_while_tasks_are_resumed_waits_for_the_next_iteration(loop):
    """So the loop can go on, however many wake-ups come meanwhile."""
    semaphore, other = threads.Semaphore(0), threads.Semaphore(0)
    ran = []

    async def first():
        await semaphore.acquire()
        loop.call_soon(ran.append, "the loop")
        in_a_thread(other.release)

    async def second():
        await other.acquire()
        ran.append("second")

    tasks = [loop.start(first()), loop.start(second())]
    semaphore.release()
    loop.turn()
    assert all(task.done() for task in tasks)
    assert ran == ["the loop", "second"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_written_as_it_is_read(moment, loop, monkeypatch):
    """A wake-up comes just before the eventfd is read, and its write is read as well, or just after that."""
    semaphore = threads.Semaphore(0)
    tasks = [loop.start(semaphore.acquire()) for _ in range(2)]
    read = os.eventfd_read

    def late(*args):
        monkeypatch.setattr(os, "eventfd_read", read)
        if moment == "before":
            in_a_thread(semaphore.release)
        read(*args)
        if moment == "after":
            in_a_thread(semaphore.release)

    monkeypatch.setattr(os, "eventfd_read", late)
    semaphore.release()
    loop.turn(1)
    assert [task.done() for task in tasks] == [True, False]
    loop.turn(1)
    assert tasks[1].result()


def test_the_reader_is_called_twice_for_one_write(loop):
    """The loop's run ends after it has seen the write, and the next run sees it again."""

    def interrupt():
        raise KeyboardInterrupt

    semaphore = threads.Semaphore(0)
    tasks = [loop.start(semaphore.acquire()) for _ in range(2)]
    semaphore.release()
    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    failed = failures(loop)
    loop.turn()
    assert tasks[0].result()
    assert not failed
    semaphore.release()
    loop.turn()
    assert tasks[1].result()


def test_a_task_that_is_resumed_at_once_runs_as_usual(either):
    """It is the current task, runs in its own context, and runs on until it waits."""
    variable = contextvars.ContextVar("variable", default="the callback's")
    semaphore = threads.Semaphore(0)

    async def wait():
        variable.set("the task's")
        await semaphore.acquire()
        current, before = asyncio.current_task(), variable.get()
        variable.set("still the task's")
        await asyncio.sleep(0)
        return current, before, variable.get()

    task = either.start(wait())
    semaphore.release()
    either.turn()
    assert task.result() == (task, "the task's", "still the task's")
    assert variable.get() == "the callback's"


def test_a_task_that_fails_is_in_no_cycle(loop):
    """Its exception refers to the frame, and that to the future, which no longer refers to the task."""
    barrier = threads.Barrier(2)
    task = loop.start(barrier.wait())
    barrier.sync.abort()
    loop.turn()
    assert isinstance(task.exception(), threading.BrokenBarrierError)
    known = weakref.ref(task)
    gc.disable()
    try:
        del task
        assert known() is None
    finally:
        gc.enable()


def test_a_loop_that_cannot_be_seen_where_it_calls_readers(either, monkeypatch):
    """As trio-asyncio's. The task runs in the loop's next iteration."""
    run = TaskWaiter.run

    def run_unseen(waiter):
        asyncio._set_running_loop(None)
        try:
            run(waiter)
        finally:
            asyncio._set_running_loop(either)

    monkeypatch.setattr(TaskWaiter, "run", run_unseen)
    semaphore = threads.Semaphore(0)
    task = either.start(semaphore.acquire())
    semaphore.release()
    either.turn()
    assert task.result()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_ends_the_loop_keeps_nobody_from_running(either, error):
    """The exception comes out of run_forever(), and the other tasks run in the loop's next run."""
    event = threads.Event()
    ran = []

    async def wait(name):
        await event.wait()
        ran.append(name)
        if name == "second":
            raise error

    tasks = [either.start(wait(name)) for name in ("first", "second", "third", "fourth")]
    event.set()
    with pytest.raises(error):
        either.turn()
    assert ran == ["first", "second"]
    either.turn()
    assert ran == ["first", "second", "third", "fourth"]
    with pytest.raises(error):
        tasks[1].result()


def test_handler_raises_while_tasks_are_resumed(either, monkeypatch):
    """It raises just before a task would have run. That task and the others run in the loop's next run."""
    event = threads.Event()
    tasks = [either.start(event.wait()) for _ in range(3)]
    event.set()
    run = TaskWaiter.run

    def interrupt(waiter):
        monkeypatch.setattr(TaskWaiter, "run", run)
        raise KeyboardInterrupt

    monkeypatch.setattr(TaskWaiter, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        either.turn()
    either.turn()
    assert all(task.result() for task in tasks)


@pytest.mark.parametrize("line", range(7))
def test_handler_raises_before_the_first_task_is_resumed(line, loop):
    event, failed = threads.Event(), failures(loop)
    tasks = [loop.start(event.wait()) for _ in range(3)]

    def interrupt():
        raise KeyboardInterrupt

    event.set()
    with pytest.raises(KeyboardInterrupt):
        at_line(line, interrupt, loop.turn)
    loop.turn()
    assert all(task.result() for task in tasks)
    assert not failed


def test_a_task_that_is_resumed_runs_the_loop_itself(loop, monkeypatch):
    """nest_asyncio allows that. All tasks are resumed in the inner run."""
    event = threads.Event()
    tasks = [loop.start(event.wait()) for _ in range(3)]
    failed = failures(loop)
    event.set()
    run = TaskWaiter.run

    def run_the_loop_within(waiter):
        monkeypatch.setattr(TaskWaiter, "run", run)
        run(waiter)
        wake_up_by_eventfd.eventfds[id(loop)]()._wake_up()

    monkeypatch.setattr(TaskWaiter, "run", run_the_loop_within)
    loop.turn()
    assert all(task.result() for task in tasks)
    assert not failed


@pytest.mark.parametrize("when", ["before", "after"])
def test_handler_raises_while_it_is_written(when, loop, interrupting):
    """The exception comes out after all waiters have been woken."""
    event = threads.Event()
    tasks = [loop.start(event.wait()) for _ in range(3)]
    interrupting(when)
    with pytest.raises(KeyboardInterrupt):
        event.set()
    loop.turn()
    assert all(task.result() for task in tasks)
    semaphore = threads.Semaphore(0)
    task = loop.start(semaphore.acquire())
    semaphore.release()
    loop.turn()
    assert task.result()


def test_loop_closes_when_it_has_been_written(loop):
    """The grant goes to the next waiter, although the test keeps a reference to the first task."""
    there = HandLoop()
    lock, first, second = contended(threads.Lock, (loop, there))
    first._log_destroy_pending = False
    lock.release()
    loop.close()
    there.turn()
    assert second.result()
    lock.release()
    assert is_free(lock)
    finish(there)


def test_loop_that_is_forgotten_takes_it_along():
    before = files()
    loops = [HandLoop()]
    wake_by_calls(loops[0], CALLS_BEFORE_EVENTFD)
    there = id(loops[0])

    def forget():
        loops.clear()
        gc.collect()

    with pytest.warns(ResourceWarning):
        forget()
    assert there not in wake_up_by_eventfd.eventfds
    assert files() <= before


@pytest.mark.usefixtures("woken_by_calls")
def test_a_call_that_was_under_way_brings_no_second_eventfd(monkeypatch):
    loop = HandLoop()
    wake_by_calls(loop, CALLS_BEFORE_EVENTFD - 1)
    first, second = threads.Semaphore(0), threads.Semaphore(0)
    tasks = [loop.start(first.acquire()), loop.start(second.acquire())]
    run = TaskWaiter.run

    def wake_the_second_from_elsewhere(waiter):
        monkeypatch.setattr(TaskWaiter, "run", run)
        in_a_thread(second.release)
        run(waiter)

    monkeypatch.setattr(TaskWaiter, "run", wake_the_second_from_elsewhere)
    before = files()
    first.release()
    loop.turn()
    assert all(task.result() for task in tasks)
    assert len(files() - before) == 1
    finish(loop)


def test_no_file_descriptor_is_left_for_it(monkeypatch):
    """The loop goes on being woken by calls."""

    def no_file(*args):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "eventfd", no_file)
    loop = HandLoop()
    failed = failures(loop)
    wake_by_calls(loop, 3 * CALLS_BEFORE_EVENTFD)
    assert loop.sent == 3 * CALLS_BEFORE_EVENTFD
    assert not failed
    assert id(loop) not in wake_up_by_eventfd.eventfds
    finish(loop)


def test_no_eventfd_on_this_platform(monkeypatch):
    monkeypatch.delattr(os, "eventfd")
    loop = HandLoop()
    failed = failures(loop)
    wake_by_calls(loop, 2 * CALLS_BEFORE_EVENTFD)
    assert loop.sent == 2 * CALLS_BEFORE_EVENTFD
    assert not failed
    finish(loop)


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_loops_that_are_not_asyncios_have_none(one_at_a_time, monkeypatch):
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.setattr(task_waiter, "ONE_AT_A_TIME", one_at_a_time)
    semaphore = threads.Semaphore(0)

    async def main():
        for _ in range(2 * CALLS_BEFORE_EVENTFD):
            waiting = asyncio.ensure_future(semaphore.acquire())
            await asyncio.sleep(0)
            await asyncio.to_thread(semaphore.release)
            await waiting
        return id(asyncio.get_running_loop()) in wake_up_by_eventfd.eventfds

    assert not uvloop.run(main())


def test_a_waiter_that_has_left_is_not_woken(loop):
    """Its coroutine is closed by hand while the wake-up is under way. Its task, which would raise, does not run."""
    event = threads.Event()
    task = loop.start(event.wait())
    task._log_destroy_pending = False
    event.set()
    task.get_coro().close()
    loop.turn()
    assert not task.done()


@pytest.mark.parametrize("told", [True, False], ids=["a callback", "no callback"])
def test_a_coroutine_without_a_task(told, either):
    """Code that drives it by hand may add a callback of its own to the future, or ask the future later."""
    event = threads.Event()
    called = []

    async def begin():
        coroutine = event.wait()
        future = coroutine.send(None)
        if told:
            future.add_done_callback(called.append)
        return coroutine, future

    coroutine, future = either.start(begin()).result()
    event.set()
    assert not future.done()
    either.turn()
    assert called == ([future] if told else [])
    assert future.done()
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_a_future_without_a_task_is_cancelled_once(loop):
    coroutine = threads.Event().wait()

    async def begin():
        return coroutine.send(None)

    future = loop.start(begin()).result()
    assert future.cancel()
    assert not future.cancel()
    with pytest.raises(asyncio.CancelledError):
        coroutine.send(None)


def test_between_two_loops_for_long():
    """Each hand-off but the first ones goes by an eventfd. Nothing is lost, and nothing is left over."""
    mine, yours = threads.Semaphore(1), threads.Semaphore(0)

    async def play(take, give):
        for _ in range(2_000):
            async with asyncio.timeout(BOUND):
                await take.acquire()
            give.release()

    players = [
        threading.Thread(target=asyncio.run, args=[play(*semaphores)]) for semaphores in ((mine, yours), (yours, mine))
    ]
    for player in players:
        player.start()
    for player in players:
        player.join()
    assert mine.statistics().value == 1
    assert yours.statistics().value == 0
