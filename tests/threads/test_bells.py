"""A loop that is often woken from outside is woken by an eventfd; see holdfast/threads/_bell.py."""

import asyncio
import contextvars
import gc
import os
import threading
import weakref

import pytest

from holdfast import threads
from holdfast.threads import _bell
from holdfast.threads._bell import WORTH_A_BELL
from holdfast.threads._waiter import TaskWaiter

from .by_hand import HandLoop, at_line, contended, finish, is_free

pytestmark = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no eventfd on this platform")


def send_letters(loop, number):
    """Wake a task of the loop so many times."""
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
    """What fails from now on in a callback of the loop."""
    failed = []
    loop.set_exception_handler(lambda loop, context: failed.append(context))
    return failed


def files():
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(name="loop")
def loop_with_a_bell():
    loop = HandLoop()
    send_letters(loop, WORTH_A_BELL)
    loop.sent = 0
    yield loop
    finish(loop)


@pytest.fixture(name="either", params=[True, False], ids=["bell", "letter"])
def loop_with_a_bell_or_without(request):
    loop = HandLoop()
    if request.param:
        send_letters(loop, WORTH_A_BELL)
    yield loop
    finish(loop)


@pytest.fixture(name="interrupting")
def let_writing_raise_once(monkeypatch):
    """A signal handler raises when the bell is rung, before or after that."""
    write = os.eventfd_write

    def interrupt(when):
        def interrupted(*args):
            monkeypatch.setattr(os, "eventfd_write", write)
            if when == "after":
                write(*args)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "eventfd_write", interrupted)

    return interrupt


def test_only_a_loop_that_is_woken_often_has_one():
    before = files()
    loop = HandLoop()
    send_letters(loop, WORTH_A_BELL - 1)
    assert id(loop) not in _bell.bells
    send_letters(loop, 1)
    assert id(loop) in _bell.bells
    assert loop.sent == WORTH_A_BELL
    send_letters(loop, 100)
    assert loop.sent == WORTH_A_BELL
    finish(loop)
    assert id(loop) not in _bell.bells
    assert files() <= before


def test_it_is_rung_once_for_several_wake_ups(loop, monkeypatch):
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


def test_it_is_not_touched_within_its_loop(loop, monkeypatch):
    monkeypatch.delattr(os, "eventfd_write")
    semaphore = threads.Semaphore(0)
    task = loop.start(semaphore.acquire())

    async def release():
        semaphore.release()

    loop.start(release())
    assert task.result()
    assert loop.sent == 0


def test_rung_while_it_is_answered(loop):
    """While a task runs that it has woken."""
    semaphore, other = threads.Semaphore(0), threads.Semaphore(0)

    async def first():
        await semaphore.acquire()
        in_a_thread(other.release)

    tasks = [loop.start(first()), loop.start(other.acquire())]
    semaphore.release()
    loop.turn()
    assert all(task.done() for task in tasks)


def test_who_is_named_while_it_is_answered_waits_for_the_next_iteration(loop):
    """However often it is rung meanwhile, the loop gets on."""
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
def test_rung_as_it_is_stopped(moment, loop, monkeypatch):
    """Before the reading of the eventfd, which takes the newcomer's ringing with it, or after."""
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


def test_called_twice_for_one_ringing(loop):
    """The loop's run was ended when it had seen the ringing, and sees it again in the next one."""

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


def test_a_task_that_is_let_run_finds_itself(either):
    """It is the current task, in its own context, and runs on until it waits."""
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


def test_a_task_that_fails_is_no_cycle(loop):
    """Its exception has the frame, which has the future, which has the task no more."""
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


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_ends_the_loop_keeps_nobody_from_running(either, error):
    """It comes out of run_forever(), and the others run in the loop's next run."""
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


def test_handler_raises_while_it_is_answered(either, monkeypatch):
    """Just before a task would have run, which so runs in the loop's next run, and so do the others."""
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
def test_handler_raises_as_it_is_about_to_be_answered(line, loop):
    """Before the first of them is let run."""
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


def test_answered_within_an_answer(loop, monkeypatch):
    """A task that runs its own loop, as nest_asyncio lets it, and there everybody is woken."""
    event = threads.Event()
    tasks = [loop.start(event.wait()) for _ in range(3)]
    failed = failures(loop)
    event.set()
    run = TaskWaiter.run

    def run_the_loop_within(waiter):
        monkeypatch.setattr(TaskWaiter, "run", run)
        run(waiter)
        _bell.bells[id(loop)]()._answer()

    monkeypatch.setattr(TaskWaiter, "run", run_the_loop_within)
    loop.turn()
    assert all(task.result() for task in tasks)
    assert not failed


@pytest.mark.parametrize("when", ["before", "after"])
def test_handler_raises_while_it_is_rung(when, loop, interrupting):
    """It comes out, and all have been woken before."""
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


def test_loop_closes_when_it_has_been_rung(loop):
    """What was granted to its task goes to the next one, although somebody keeps the first."""
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
    send_letters(loops[0], WORTH_A_BELL)
    there = id(loops[0])

    def forget():
        loops.clear()
        gc.collect()

    with pytest.warns(ResourceWarning):
        forget()
    assert there not in _bell.bells
    assert files() <= before


def test_letter_that_was_under_way_brings_no_second_bell(monkeypatch):
    loop = HandLoop()
    send_letters(loop, WORTH_A_BELL - 1)
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


def test_no_file_is_left_for_it(monkeypatch):
    """Letters go on."""

    def no_file(*args):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "eventfd", no_file)
    loop = HandLoop()
    failed = failures(loop)
    send_letters(loop, 3 * WORTH_A_BELL)
    assert loop.sent == 3 * WORTH_A_BELL
    assert not failed
    assert id(loop) not in _bell.bells
    finish(loop)


def test_no_eventfd_on_this_platform(monkeypatch):
    monkeypatch.delattr(os, "eventfd")
    loop = HandLoop()
    failed = failures(loop)
    send_letters(loop, 2 * WORTH_A_BELL)
    assert loop.sent == 2 * WORTH_A_BELL
    assert not failed
    finish(loop)


def test_loops_that_are_not_asyncios_have_none():
    uvloop = pytest.importorskip("uvloop")
    semaphore = threads.Semaphore(0)

    async def main():
        for _ in range(2 * WORTH_A_BELL):
            waiting = asyncio.ensure_future(semaphore.acquire())
            await asyncio.sleep(0)
            await asyncio.to_thread(semaphore.release)
            await waiting
        return id(asyncio.get_running_loop()) in _bell.bells

    assert not uvloop.run(main())


def test_a_waiter_that_has_left_is_not_woken(loop):
    """A coroutine that is closed by hand while it is named: its task, which would raise, does not run."""
    event = threads.Event()
    task = loop.start(event.wait())
    task._log_destroy_pending = False
    event.set()
    task.get_coro().close()
    loop.turn()
    assert not task.done()


@pytest.mark.parametrize("told", [True, False], ids=["a callback", "no callback"])
def test_a_coroutine_without_a_task(told, either):
    """Who drives it by hand may add a callback of its own to the future, or look later."""
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
    """Each hand-off by a bell but the first ones; nothing is lost, and none is left over."""
    mine, yours = threads.Semaphore(1), threads.Semaphore(0)

    async def play(take, give):
        for _ in range(2_000):
            async with asyncio.timeout(30):
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
