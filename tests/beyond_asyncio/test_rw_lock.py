"""RWLock: readers together, a writer alone, in the order in which they asked."""

from __future__ import annotations

import asyncio
import math
import threading
from types import ModuleType
from typing import Any

import pytest

import holdfast.threads

from .turns import turns


class Log:
    """Tasks that go in as a reader or a writer, and what they did."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.inside: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def start(self, *names: str) -> list[asyncio.Task[None]]:
        """Start a task for each name; one that begins with "w" writes."""
        return [asyncio.create_task(self._use(name), name=name) for name in names]

    async def _use(self, name: str) -> None:
        self.gates[name] = asyncio.Event()
        async with self.lock.writer if name.startswith("w") else self.lock.reader:
            self.inside.append(name)
            assert len(self.inside) == 1 or not any(each.startswith("w") for each in self.inside)
            try:
                await self.gates[name].wait()
            finally:
                self.inside.remove(name)

    async def let_out(self, *names: str) -> None:
        for name in names:
            self.gates[name].set()
        await turns()


async def test_readers_are_in_together_and_a_writer_is_alone(library: ModuleType) -> None:
    log = Log(library.RWLock())
    tasks = log.start("r1", "r2", "w1", "w2")
    await turns()
    assert log.inside == ["r1", "r2"]
    await log.let_out("r1")
    assert log.inside == ["r2"]
    await log.let_out("r2")
    assert log.inside == ["w1"]
    await log.let_out("w1")
    assert log.inside == ["w2"]
    await log.let_out("w2")
    await asyncio.gather(*tasks)


async def test_the_order_is_that_of_asking(library: ModuleType) -> None:
    log = Log(library.RWLock())
    tasks = log.start("r1", "w1", "r2", "r3", "w2", "r4")
    await turns()
    assert log.inside == ["r1"], "a reader does not overtake a writer that waits"
    await log.let_out("r1")
    assert log.inside == ["w1"]
    await log.let_out("w1")
    assert log.inside == ["r2", "r3"], "readers behind each other come in together, and none behind the next writer"
    await log.let_out("r2", "r3")
    assert log.inside == ["w2"]
    await log.let_out("w2")
    assert log.inside == ["r4"]
    await log.let_out("r4")
    await asyncio.gather(*tasks)


async def test_a_writer_that_leaves_lets_the_readers_behind_it_in(library: ModuleType) -> None:
    """In aiorwlock 1.5.1 and Nito.AsyncEx #134 they sleep on."""
    log = Log(library.RWLock())
    tasks = log.start("r1", "w1", "r2", "r3", "w2", "r4")
    await turns()
    tasks[1].cancel()
    await turns()
    assert log.inside == ["r1", "r2", "r3"]
    tasks[4].cancel()
    await turns()
    assert log.inside == ["r1", "r2", "r3", "r4"]
    await log.let_out("r1", "r2", "r3", "r4")


async def test_a_writer_that_is_cancelled_with_the_grant_passes_it_on(library: ModuleType) -> None:
    log = Log(library.RWLock())
    tasks = log.start("r1", "w1", "r2", "r3")
    await turns()
    log.gates["r1"].set()
    await asyncio.sleep(0)
    tasks[1].cancel()
    await turns()
    assert log.inside == ["r2", "r3"]
    await log.let_out("r2", "r3")


async def test_a_writer_becomes_a_reader_and_no_other_writer_comes_between(library: ModuleType) -> None:
    """CURATOR-621 and tokio #2957 let one in."""
    lock = library.RWLock()
    log = Log(lock)
    async with lock.writer:
        tasks = log.start("r1", "w1", "r2")
        await turns()
        assert log.inside == []
        lock.writer.downgrade()
        await turns()
        assert log.inside == ["r1"]
        assert lock.statistics().readers == 2
        await log.let_out("r1")
        assert log.inside == []
    await turns()
    assert log.inside == ["w1"]
    await log.let_out("w1")
    await log.let_out("r2")
    await asyncio.gather(*tasks)
    assert not lock.writer.locked()


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_either_side_gives_back_what_was_downgraded(library: ModuleType, side: str) -> None:
    lock = library.RWLock()
    await lock.writer.acquire()
    lock.writer.downgrade()
    assert lock.reader.try_acquire()
    getattr(lock, side).release()
    lock.reader.release()
    assert lock.writer.try_acquire()
    lock.writer.release()
    for each in (lock.writer.release, lock.reader.release, lock.writer.downgrade):
        with pytest.raises(RuntimeError, match="not acquired"):
            each()


async def test_each_side_has_the_methods_of_a_lock(library: ModuleType) -> None:
    lock = library.RWLock()
    for side, other in ((lock.reader, lock.writer), (lock.writer, lock.reader)):
        assert not side.locked()
        assert await side.acquire() is True
        assert other.locked() is True
        assert not lock.writer.try_acquire()
        side.release()
        with pytest.raises(RuntimeError, match="async with"):
            side.release()
        assert side.try_acquire()
        side.release()
        with pytest.raises(TypeError, match="async with"), side:
            pass
    assert lock.statistics().tasks_waiting == lock.reader.statistics().tasks_waiting == 0


async def test_what_it_says_of_itself(library: ModuleType) -> None:
    lock = library.RWLock()
    assert "[unlocked]" in repr(lock)
    log = Log(lock)
    tasks = log.start("r1", "r2", "w1")
    await turns()
    assert "[reading, readers:2, waiters:1]" in repr(lock)
    assert lock.statistics() == type(lock.statistics())(readers=2, writing=False, tasks_waiting=1)
    assert lock.reader.locked(), "a reader would wait behind the writer"
    await log.let_out("r1", "r2")
    assert "[writing]" in repr(lock)
    assert lock.statistics().writing
    await log.let_out("w1")
    await asyncio.gather(*tasks)


async def test_a_coroutine_that_is_closed_lets_the_next_one_in(library: ModuleType) -> None:
    lock = library.RWLock()

    async def body() -> None:
        async with lock.writer:
            await asyncio.sleep(math.inf)

    coroutine = body()
    coroutine.send(None)
    assert lock.reader.locked()
    coroutine.close()
    assert not lock.writer.locked()


def test_a_closed_loop_leaves_a_writers_place(library: ModuleType) -> None:
    lock = library.RWLock()

    async def first() -> None:
        await lock.reader.acquire()
        waiting.append(asyncio.create_task(lock.writer.acquire()))
        await turns()

    waiting: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    lock.reader.release()  # which grants the writer all there is
    loop.close()
    assert asyncio.run(lock.writer.acquire())


async def test_ten_thousand_readers_behind_a_writer(library: ModuleType) -> None:
    lock = library.RWLock()
    await lock.writer.acquire()
    readers = [asyncio.create_task(lock.reader.acquire()) for _ in range(10_000)]
    await turns()
    lock.writer.release()
    await turns()
    assert all(each.done() for each in readers)
    assert lock.statistics().readers == 10_000


def test_threads_and_tasks_in_one_line() -> None:
    lock, order = holdfast.threads.RWLock(), []

    def write() -> None:
        with lock.writer.sync:
            order.append("thread writes")
            lock.writer.sync.downgrade()
            order.append("thread reads")

    async def main() -> None:
        async with lock.reader:
            thread = threading.Thread(target=write)
            thread.start()
            while not lock.statistics().tasks_waiting:
                await asyncio.sleep(0.001)
            assert not lock.reader.try_acquire(), "the thread's turn comes first"
            last = asyncio.create_task(lock.writer.acquire())
            await turns()
            order.append("task reads")
        await last
        order.append("task writes")
        lock.writer.release()
        thread.join(60)

    asyncio.run(main())
    assert order == ["task reads", "thread writes", "thread reads", "task writes"]


def test_a_thread_gives_up_and_those_behind_it_come_in() -> None:
    lock, came = holdfast.threads.RWLock(), threading.Event()
    with lock.reader.sync:
        assert not lock.writer.sync.acquire(blocking=False)

        def read() -> None:
            while not lock.statistics().tasks_waiting:
                came.wait(0.001)
            with lock.reader.sync:
                came.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert not lock.writer.sync.acquire(timeout=0.1)
        assert came.wait(60)
        reader.join(60)
    assert lock.reader.sync == lock.reader.sync != lock.writer.sync
    assert not lock.writer.sync.locked()


def test_a_thread_that_would_block_its_loop_is_told_what_to_write() -> None:
    lock = holdfast.threads.RWLock()

    async def main() -> None:
        async with lock.reader:
            with pytest.raises(RuntimeError, match=r"async with rw\.reader"):
                lock.writer.sync.acquire()

    asyncio.run(main())


# What breakers have found


def granted_in_a_loop_that_was_closed(lock: Any) -> None:
    assert lock.reader.try_acquire()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(lock.writer.acquire())
    loop.run_until_complete(turns())
    lock.reader.release()
    loop.close()
    del waiting


def test_a_writer_that_was_let_in_in_a_closed_loop_is_not_in(library: ModuleType) -> None:
    lock = library.RWLock()
    granted_in_a_loop_that_was_closed(lock)
    assert not lock.reader.locked()
    assert lock.reader.try_acquire()


@pytest.mark.parametrize("call", ["release", "downgrade"])
def test_and_nobody_can_give_back_its_place(library: ModuleType, call: str) -> None:
    lock = library.RWLock()
    granted_in_a_loop_that_was_closed(lock)
    with pytest.raises(RuntimeError, match="not acquired"):
        getattr(lock.writer, call)()
    assert lock.statistics().readers == 0
    assert lock.writer.try_acquire()
    assert not lock.reader.try_acquire()


async def test_a_writer_that_is_not_in_cannot_be_released_beside_readers(library: ModuleType) -> None:
    lock = library.RWLock()
    await lock.reader.acquire()
    with pytest.raises(RuntimeError, match=r"RWLock\.writer is not acquired"):
        lock.writer.release()
    assert lock.statistics().readers == 1
    assert not lock.writer.try_acquire()
    lock.reader.release()
    assert lock.writer.try_acquire()
    assert (lock.statistics().readers, lock.statistics().writing) == (0, True)
    lock.writer.downgrade()
    lock.reader.release()
    with pytest.raises(RuntimeError, match=r"RWLock\.writer is not acquired"):
        lock.writer.release()
    assert not lock.writer.locked()


async def test_the_repr_of_a_side_says_which_it_is(library: ModuleType) -> None:
    lock = library.RWLock()
    assert repr(lock.reader).startswith("<Reader at 0x")
    assert repr(lock.writer).startswith("<Writer at 0x")
    await lock.writer.acquire()
    assert repr(lock.reader).endswith(" [writing]>")


def test_the_sides_for_threads_have_threadings_results() -> None:
    lock = holdfast.threads.RWLock()
    reader, writer = lock.reader.sync, lock.writer.sync
    assert reader.acquire() is True
    assert reader.locked() is False
    assert writer.locked() is True
    assert writer.acquire(blocking=False) is False
    assert writer.acquire(timeout=0.001) is False
    reader.release()
    assert writer.acquire(timeout=1) is True
    assert reader.acquire(blocking=False) is False
    writer.downgrade()
    assert reader.acquire(blocking=False) is True
    reader.release()
    writer.release()
    assert writer.locked() is False
    assert lock.statistics().readers == 0
