"""What a task that waits keeps in memory, and what somebody has put in place of acquire()."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import tracemalloc
from unittest import mock

import pytest

import holdfast
from holdfast.cluster import SessionLost
from holdfast.cluster.primitives.leased import Acquiring
from holdfast.cluster.primitives.lock import Lock

from .engines import settle


def coroutines_of(task):
    """Those that wait for each other in a task, from the outermost to the one that awaits a future."""
    found, awaited = [], task.get_coro()
    while hasattr(awaited, "cr_await"):
        found.append(awaited.__qualname__)
        awaited = awaited.cr_await
    return found


async def in_body(primitive):
    async with primitive:
        pass


async def by_acquire(primitive):
    await primitive.acquire()
    await primitive.release()


async def on_a_future(future):
    await future


@pytest.mark.parametrize("use", [in_body, by_acquire])
@pytest.mark.parametrize("kind", ["lock", "semaphore"])
def test_a_task_that_waits_keeps_no_frame_of_async_with(kind, use):
    """A frame costs some 300 bytes for each of the tasks."""

    async def main():
        async with holdfast.connect("memory:") as session:
            primitive = getattr(session, kind)(kind)
            async with primitive:
                tasks = [asyncio.create_task(use(primitive)) for _ in range(2)]
                await settle(session)
                assert [len(coroutines_of(task)) for task in tasks] == [1 if use is in_body else 2] * 2
            await asyncio.wait(tasks)

    asyncio.run(main())


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts as CPython's allocators do")
@pytest.mark.parametrize("use", [in_body, by_acquire])
def test_a_task_that_waits_takes_little_memory(use):
    """Beside what a bare task on a future takes: 240 and 350 bytes when this was written, on 3.11."""
    number = 1000

    async def taken(begin):
        """Bytes of a task, the mean of so many."""
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            tasks = [asyncio.create_task(begin()) for _ in range(number)]
            for _ in range(10):
                await asyncio.sleep(0.001)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return (after - before) / number

    async def main():
        loop = asyncio.get_running_loop()
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            async with lock:
                for _ in range(2):  # from the second time on, no list or table grows
                    bare = await taken(lambda: on_a_future(loop.create_future()))
                    waiting = await taken(lambda: use(lock))
        assert waiting - bare < 450

    asyncio.run(main())


def test_what_async_with_awaits_is_used_once():
    async def main():
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            entering = lock.__aenter__()
            grant = await entering
            with pytest.raises(RuntimeError, match="cannot reuse"):
                await entering
            grant.check()
            await lock.release()

    asyncio.run(main())


@pytest.mark.parametrize("end", ["close", "throw", "send", "await"])
def test_once_it_has_ended_it_changes_nothing(end):
    """As a coroutine that has ended. It must not give away what its task has."""

    async def main():
        async with holdfast.connect("memory:") as session, holdfast.connect("memory:") as other:
            lock = session.lock("x")
            entering = lock.__aenter__()
            grant = await entering
            if end == "close":
                entering.close()
            elif end == "throw":
                with pytest.raises(RuntimeError, match="cannot reuse"):
                    entering.throw(ValueError())
            elif end == "send":
                with pytest.raises(RuntimeError, match="cannot reuse"):
                    entering.send(None)
            else:
                with pytest.raises(RuntimeError, match="cannot reuse"):
                    await entering
            await settle(session)
            assert await other.lock("x").try_acquire() is None
            grant.check()
            await lock.release()

    asyncio.run(main())


def test_one_that_is_dropped_while_it_waits_leaves_the_line():
    async def main():
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            async with lock:
                entering = lock.__aenter__()
                assert entering.send(None) is not None
                await settle(session)
                del entering
                gc.collect()  # for PyPy
                await settle(session)
                assert not (await session.inspect("x")).waiters
            async with lock:
                pass

    asyncio.run(main())


def test_one_that_is_never_awaited_is_told():
    async def main():
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            with pytest.warns(RuntimeWarning, match=r"'Lock.acquire' was never awaited"):  # noqa: PT031
                lock.__aenter__()
                gc.collect()  # for PyPy
            closed = lock.__aenter__()
            closed.close()
            with pytest.raises(RuntimeError, match="cannot reuse"):
                await closed

    asyncio.run(main())


@pytest.mark.parametrize("ttl", [None, 30])
def test_as_a_task_of_its_own_it_opens_the_session_again(ttl):
    async def main():
        options = {"ttl": ttl, "reopen": True}
        async with holdfast.connect("memory:") as other, holdfast.connect("memory:", **options) as session:
            lock = session.lock("x")
            await other.evict(session.id)
            await settle(session)
            assert (await asyncio.create_task(lock.__aenter__())).token
            await lock.release()

    asyncio.run(main())


def test_a_signal_handler_that_raises_anywhere_leaves_nothing_taken():
    """Raised at each line that the acquiring task runs there; but for the last, where the grant is on its way to it."""
    file = inspect.getsourcefile(Acquiring)

    async def main(at):
        seen = 0

        def trace(frame, event, _):
            nonlocal seen
            if frame.f_code.co_filename != file or frame.f_code.co_qualname != "Acquiring.__next__":
                return None
            if event == "line":
                seen += 1
                if seen == at:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            sys.settrace(trace)
            try:
                await lock.acquire()
            except KeyboardInterrupt:
                sys.settrace(None)
            else:
                await lock.release()
                return False
            finally:
                sys.settrace(None)
            await settle(session)
            if await lock.locked():
                taken.append(at)
            return True

    lines, taken = 0, []
    while asyncio.run(main(lines + 1)):
        lines += 1
    assert lines > 5
    assert taken == [lines]


def test_it_runs_as_a_task_of_its_own():
    async def main():
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            async with lock:
                first, second = (asyncio.create_task(lock.__aenter__()) for _ in range(2))
                await settle(session)
                first.cancel()
            assert "Lock 'x'" in repr(second.get_coro())
            assert (await second).token
            assert first.cancelled()
        with pytest.raises(SessionLost):
            await asyncio.create_task(lock.__aenter__())

    asyncio.run(main())


def test_one_that_is_closed_while_it_waits_leaves_the_line():
    """As when the loop is closed, and the collector closes the coroutines of its tasks."""

    async def main():
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            async with lock:
                waiting = in_body(lock)
                assert waiting.send(None) is not None
                await settle(session)
                assert [each.session.id for each in (await session.inspect("x")).waiters]
                waiting.close()
                await settle(session)
                assert not (await session.inspect("x")).waiters
            async with lock:
                pass

    asyncio.run(main())


@pytest.mark.parametrize("on", ["class", "subclass", "object"])
def test_async_with_goes_through_an_acquire_that_was_put_in_place(on):
    class Own(Lock):
        async def acquire(self):
            calls.append("acquire")
            return await super().acquire()

    calls = []

    async def main():
        async with holdfast.connect("memory:") as session:
            lock = Own(session, "x") if on == "subclass" else session.lock("x")
            acquire = lock.acquire

            async def tracking(*self):
                calls.append("acquire")
                return await acquire()

            owner = {"class": Lock, "object": lock, "subclass": mock.Mock()}[on]
            with mock.patch.object(owner, "acquire", tracking):
                async with lock as grant:
                    grant.check()
                    assert await session.lock("x").locked()
            assert calls == ["acquire"]
            assert not await lock.locked()
            async with session.lock("x"):
                pass
            assert calls == ["acquire"]

    asyncio.run(main())
