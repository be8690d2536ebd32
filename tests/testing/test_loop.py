"""The loop runs ordinary asyncio code, the same way each time."""

import asyncio
import contextvars
import sys

import pytest
from interpreters import refcounting

from holdfast.testing import explore


def check(scenario, **bounds):
    report = explore(scenario, **bounds)
    report.check()
    return report


def test_a_task_group_cancels_its_tasks_in_the_same_order_each_time():
    def scenario(run):
        async def child(name):
            try:
                await asyncio.sleep(10)
            finally:
                run.log(name)

        async def main():
            async with asyncio.TaskGroup() as group:
                for number in range(12):
                    group.create_task(child(number))
                await asyncio.sleep(0)
                raise ValueError

        async def expect_group():
            with pytest.raises(ExceptionGroup):
                await main()

        return expect_group()

    for _ in range(3):
        check(scenario, cancels=0)


def test_a_task_group_under_cancellation():
    def scenario(run):
        done = []

        async def child(name):
            await asyncio.sleep(0)
            done.append(name)

        async def main():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(child(name)) for name in "abc"]
            assert all(task.done() for task in tasks)
            assert len(done) == sum(not task.cancelled() for task in tasks)

        return main()

    assert check(scenario, cancels=2, cancel_main=True).schedules > 100


def test_wait_and_gather():
    async def main():
        tasks = [asyncio.create_task(asyncio.sleep(n, n)) for n in range(4)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done
        assert len(done | pending) == 4
        await asyncio.gather(*pending, return_exceptions=True)

    check(main)


def test_a_queue():
    def scenario(run):
        queue = asyncio.Queue(1)
        got = []

        async def producer():
            for item in range(3):
                await queue.put(item)

        async def consumer():
            while True:
                got.append(await queue.get())

        async def main():
            task = asyncio.create_task(consumer())
            await producer()
            while len(got) < 3 and not task.done():
                await asyncio.sleep(0)
            assert got == [0, 1, 2] or task.cancelled()

        run.at_end(lambda: got == list(range(len(got))))
        return main()

    # The consumer runs for ever: it is cancelled when the main task is done, as asyncio.run() does. A producer
    # without a consumer waits for ever.
    check(scenario, cancels=0)
    assert explore(scenario).counterexample.kind == "deadlock"


@refcounting
def test_an_asynchronous_generator_that_is_abandoned_is_closed_by_the_loop():
    def scenario(run):
        async def numbers():
            try:
                while True:
                    yield 1
            finally:
                await asyncio.sleep(0)
                run.log("closed")

        async def main():
            async for _ in numbers():
                break
            for _ in range(4):
                await asyncio.sleep(0)

        run.at_end(lambda: run._log == ["closed"])
        return main()

    check(scenario, cancels=0)


def test_context_variables():
    variable = contextvars.ContextVar("variable", default=0)

    async def main():
        async def child():
            assert variable.get() == 1
            variable.set(2)

        variable.set(1)
        await asyncio.wait([asyncio.create_task(child())])
        assert variable.get() == 1

    check(main)
    assert variable.get() == 0


def test_names_do_not_depend_on_earlier_runs():
    def scenario(run):
        async def main():
            run.log(asyncio.current_task().get_name())
            await asyncio.create_task(named())

        async def named():
            run.log(asyncio.current_task().get_name())

        return main()

    check(lambda run: run.at_end(lambda: run._log == ["main", "Task-2"]) or scenario(run), cancels=0)


def test_all_tasks_and_the_running_loop():
    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        assert asyncio.all_tasks() == {task, asyncio.current_task()}
        loop = asyncio.get_running_loop()
        assert loop.is_running()
        assert not loop.is_closed()
        assert not loop.get_debug()
        assert asyncio.Future().get_loop() is loop
        await asyncio.wait([task])

    check(main)
    assert asyncio._get_running_loop() is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_tasks():
    def scenario(run):
        async def child(name):
            run.log(name)
            await asyncio.sleep(0)
            run.log(name)

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            assert loop.get_task_factory() is asyncio.eager_task_factory
            tasks = [asyncio.create_task(child(name)) for name in "ab"]
            await asyncio.wait(tasks)

        run.at_end(lambda: run._log[:2] == ["a", "b"])
        return main()

    assert check(scenario).schedules > 3


def test_another_task_factory_is_refused():
    async def main():
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **kw: asyncio.Task(coro, loop=loop, **kw))
        coroutine = asyncio.sleep(0)
        with pytest.raises(NotImplementedError, match="factories"):
            await asyncio.create_task(coroutine)
        coroutine.close()

    check(main)


def test_there_is_no_io():
    async def main():
        with pytest.raises(NotImplementedError, match="no I/O"):
            await asyncio.open_connection("localhost", 1)

    check(main)


def test_a_closed_loop_takes_nothing():
    loops = []

    async def main():
        loops.append(asyncio.get_running_loop())

    check(main)
    (loop, *_) = loops
    assert loop.is_closed()
    coroutine = main()
    for call in (loop.call_soon, loop.call_soon_threadsafe, lambda f: loop.call_later(1, f)):
        with pytest.raises(RuntimeError, match="closed"):
            call(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_what_is_no_coroutine_is_refused():
    async def main():
        with pytest.raises(TypeError):
            asyncio.get_running_loop().create_task(7)

    check(main)
