"""find_deadlocks(): planted deadlocks are found, and nothing else is called one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from interpreters import PYPY

from holdfast.cluster import Deadlock, Session, SessionInfo, SessionLost
from holdfast.cluster.deadlock_search import correspondence, search, witnesses
from holdfast.cluster.deadlock_search.correspondence import LONGEST, in_parts
from holdfast.cluster.deadlock_search.stuck import Graph, merged, unchanged
from holdfast.cluster.deadlock_search.suspects import questions
from holdfast.cluster.deadlock_search.testimony import Held, Question, Spot, Statement, Ticket, decode, encode
from holdfast.cluster.engines.session_info import describe_this, described
from holdfast.cluster.overview import Overview
from holdfast.debug.parties import is_in_timeout

from .blocking import in_thread, until, waiting
from .engines import Place, settle
from .engines import memory as memory
from .engines import place as place
from .engines import run as run

try:
    import anyio as _anyio
except ImportError:  # some interpreters are tested without it
    anyio: Any = None
else:
    anyio = _anyio

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")


@contextlib.asynccontextmanager
async def tasks(**named: Awaitable[Any]) -> AsyncIterator[dict[str, asyncio.Task[Any]]]:
    """Tasks of these names; they are cancelled at the end."""
    started = {name: asyncio.create_task(each, name=name) for name, each in named.items()}  # type: ignore[arg-type]
    try:
        yield started
    finally:
        for task in started.values():
            task.cancel()
        await asyncio.wait(started.values())


async def wait_in(session: Session, name: str, tasks: int = 1) -> None:
    """Until so many wait for a name."""
    while True:
        with contextlib.suppress(KeyError):
            if sum(each.tasks for each in (await session.inspect(name)).waiters) >= tasks:
                return
        await asyncio.sleep(0.005)


def chain(*managers: Any, gate: asyncio.Event | None = None) -> Any:
    """A coroutine that enters these one in the other; with a gate, it waits for that after the first."""

    async def enter() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for place, manager in enumerate(managers):
                if place == 1 and gate is not None:
                    await gate.wait()
                await stack.enter_async_context(manager)

    return enter()


def who(deadlock: Deadlock) -> list[str]:
    return sorted(step.name.split("'")[1] for step in deadlock.steps)


@contextlib.asynccontextmanager
async def planted(*chains: tuple[Any, ...], waits: list[tuple[Session, str]]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks "0", "1", ... that each enter these one in the other; all have the first before any asks for the second.

    waits: the names for which somebody waits then.
    """
    gate = asyncio.Event()
    async with tasks(**{str(i): chain(*each, gate=gate) for i, each in enumerate(chains)}) as started:
        while any(not _has_first(each[0]) for each in chains):
            await asyncio.sleep(0.001)
        gate.set()
        for session, name in waits:
            await wait_in(session, name)
        yield [*started.values()]


def _has_first(manager: Any) -> bool:
    leased = getattr(manager, "_semaphore", manager)
    return bool(leased._entered)


async def test_two_tasks_of_two_sessions(place: Place) -> None:
    async with place.connect(name="one") as one, place.connect(name="two") as two:
        names = await one.names()
        async with planted(
            (one.lock("A"), one.lock("B")), (two.lock("B"), two.lock("A")), waits=[(one, "A"), (one, "B")]
        ) as (first, _):
            for session in (one, two):
                (found,) = await session.find_deadlocks()
                assert who(found) == ["0", "1"]
                assert found.names == ("A", "B")
                assert found.behind == 0
                step = next(step for step in found.steps if step.waits_for == "A")
                assert (step.name, step.session.id, step.kind) == ("task '1'", two.id, "lock")
                assert (step.held_by, step.holder and step.holder.id) == ("task '0'", one.id)
                assert step.place is not None
                assert step.place.file == step.held_at.file == __file__  # type: ignore[union-attr]
                assert step.since is not None
                assert "task '1' in 'two' (test_deadlocks.py:" in found.story()
                assert "waits for lock 'A', which task '0' in 'one' holds (test_deadlocks.py:" in str(found)
            first.cancel()
            await asyncio.wait([first])
            assert await one.find_deadlocks() == []
        assert {*await one.names()} - {*names} <= {"A", "B"}, "nothing else is stored"
        assert one._life.expected == two._life.expected == {}


async def test_a_ring_of_many_tasks_of_two_sessions_whose_answers_are_long(place: Place) -> None:
    many = 30
    async with place.connect(name="one") as one, place.connect(name="two") as two:
        both = one, two
        chains = [(both[i % 2].lock(f"{i}"), both[i % 2].lock(f"{(i + 1) % many}")) for i in range(many)]
        async with planted(*chains, waits=[(one, f"{i}") for i in range(many)]):
            (found,) = await two.find_deadlocks()
            assert len(found.steps) == many
            assert len(found.names) == many


async def test_five_tasks_of_one_session_and_those_behind_them(memory: Place) -> None:
    async with memory.connect() as session:
        chains = [(session.lock(f"{i}"), session.lock(f"{(i + 1) % 5}")) for i in range(5)]
        async with planted(*chains, waits=[(session, f"{i}") for i in range(5)]):
            async with tasks(late=session.lock("3").acquire()):
                await wait_in(session, "3", 2)
                (found,) = await session.find_deadlocks()
                assert who(found) == ["0", "1", "2", "3", "4"]
                assert found.behind == 1
                assert str(found).endswith("1 more waits behind them")


async def test_a_task_that_waits_for_what_it_holds(memory: Place) -> None:
    async with memory.connect(name="me") as session:
        async with planted((session.lock("A"), session.lock("A")), waits=[(session, "A")]):
            (found,) = await session.find_deadlocks()
            assert "which it holds itself" in str(found)


async def test_a_semaphore_has_a_way_out_while_one_of_its_holders_works(memory: Place) -> None:
    async with memory.connect() as one, memory.connect() as two:
        permits = one.semaphore("S", 2), two.semaphore("S", 2)
        working = asyncio.Event()
        async with tasks(works=chain(permits[0], _Waits(working))) as started:
            async with planted((permits[1], one.lock("A")), (one.lock("A"), permits[1]), waits=[(one, "S")]):
                await wait_in(one, "A")
                assert await one.find_deadlocks() == []
                working.set()
                await asyncio.wait(started.values())
                await settle(one, two)
                assert await one.find_deadlocks() == []


async def test_a_semaphore_has_a_way_out_while_any_task_may_release_a_permit(memory: Place) -> None:
    async with memory.connect() as one:
        s = one.semaphore("S", 2)
        await s.acquire()
        async with planted((s, s), waits=[(one, "S")]):
            assert await one.find_deadlocks() == []
            await s.release()


async def test_a_semaphore_all_of_whose_holders_wait(place: Place) -> None:
    async with place.connect() as one, place.connect() as two:
        s, t = one.semaphore("S", 2), two.bounded_semaphore("T", 2)
        async with planted((s, one.lock("A")), (s, s.permits(1)), (one.lock("A"), s), waits=[(one, "S"), (one, "A")]):
            await wait_in(one, "S", 2)
            (found,) = await two.find_deadlocks()
            assert "S" in found.names
        async with planted((t.permits(2), t), waits=[(two, "T")]):
            (found,) = await one.find_deadlocks()
            assert found.steps[0].kind == "bounded semaphore of 2"


async def test_one_that_asks_for_more_permits_than_are_free_keeps_others_out(memory: Place) -> None:
    async with memory.connect() as session:
        s, lock, gate = session.semaphore("S", 3), session.lock("A"), asyncio.Event()
        for big, is_stuck in ((chain(s.permits(3)), True), (_limited(s.permits(3)), False)):
            gate.clear()
            async with tasks(first=chain(s, lock, gate=gate), second=chain(lock, s, gate=gate)):
                await settle(session)
                async with tasks(big=big):
                    await wait_in(session, "S")
                    gate.set()
                    await wait_in(session, "S", 2)
                    await wait_in(session, "A")
                    found = await session.find_deadlocks()
                    assert len(found) == is_stuck
                    if is_stuck:
                        assert who(found[0]) == ["first", "second"]
                        assert "behind task 'big'" in str(found[0])
                await settle(session)
                assert await session.find_deadlocks() == []  # the second one has a permit


async def _limited(manager: Any) -> None:
    async with asyncio.timeout(30), manager:
        pass


async def test_a_reader_that_wants_to_write(place: Place) -> None:
    async with place.connect() as one, place.connect() as two:
        a, b = one.rw_lock("R"), two.rw_lock("R")
        async with planted((a.reader, a.writer), (b.reader, b.writer), waits=[(one, "R")]):
            await wait_in(one, "R", 2)
            (found,) = await one.find_deadlocks()
            assert who(found) == ["0", "1"]
            assert {step.side for step in found.steps} == {"writer"}
            assert "waits for reader-writer lock 'R' as a writer" in str(found)


async def test_a_writer_waits_for_all_readers(memory: Place) -> None:
    async with memory.connect() as one:
        rw = one.rw_lock("R")
        async with rw.reader:  # of this task, which goes on
            async with planted((rw.reader, rw.writer), waits=[(one, "R")]):
                assert await one.find_deadlocks() == []


async def test_a_reader_behind_a_writer_that_waits_for_it(memory: Place) -> None:
    async with memory.connect() as one, memory.connect(name="w") as two:
        rw, gate = one.rw_lock("R"), asyncio.Event()
        for writer, is_one in ((chain(two.rw_lock("R").writer), True), (_limited(two.rw_lock("R").writer), False)):
            gate.clear()
            async with tasks(reader=chain(rw.reader, rw.reader, gate=gate)):
                await settle(one)
                async with tasks(writer=writer):
                    await wait_in(one, "R")
                    gate.set()
                    await wait_in(one, "R", 2)
                    found = await one.find_deadlocks()
                    assert len(found) == is_one
                    if is_one:
                        assert "behind task 'writer' in 'w', which it holds itself" in str(found[0])


async def test_a_task_that_uses_two_sessions(place: Place) -> None:
    async with place.connect() as one, place.connect() as two:
        async with planted((one.lock("A"), two.lock("B")), (two.lock("B"), one.lock("A")), waits=[(one, "A")]):
            await wait_in(one, "B")
            (found,) = await one.find_deadlocks()
            assert who(found) == ["0", "1"]


async def test_a_task_that_waits_for_another_one_to_end(memory: Place) -> None:
    async with memory.connect() as session:

        async def parent() -> None:
            async with session.lock("A"), asyncio.TaskGroup() as group:
                group.create_task(chain(session.lock("A")), name="child")

        async with tasks(parent=parent()):
            await wait_in(session, "A")
            await settle(session)
            (found,) = await session.find_deadlocks()
            assert who(found) == ["child", "parent"]
            assert "waits for task 'child' to end" in str(found)


async def test_tasks_that_wait_for_each_other_to_end_are_in_no_circle_of_names(memory: Place) -> None:
    async with memory.connect() as session:
        others: list[asyncio.Task[Any]] = []

        async def waits_for(number: int) -> None:
            await asyncio.sleep(0)
            await asyncio.wait([others[number]])

        async def holds() -> None:
            async with session.lock("A"):
                await asyncio.wait([others[0]])

        async with tasks(one=waits_for(1), two=waits_for(0)) as started:
            others += started.values()
            async with tasks(holds=holds()):
                await settle(session)
                async with tasks(waits=session.lock("A").acquire()):
                    await wait_in(session, "A")
                    assert await session.find_deadlocks() == []


async def test_who_was_notified_and_takes_the_lock_of_a_condition_again(memory: Place) -> None:
    async with memory.connect() as one:
        condition, lock = one.condition("C"), one.lock("A")

        async def waits() -> None:
            async with lock, condition:
                await condition.wait()

        async def notifies() -> None:
            async with condition:
                await condition.notify()
                async with lock:
                    pass

        async with tasks(waits=waits()):
            await wait_in(one, "C")
            async with tasks(notifies=notifies()):
                await wait_in(one, "A")
                (found,) = await one.find_deadlocks()
                assert who(found) == ["notifies", "waits"]


async def test_what_is_held_inside_of_functions_and_stacks(memory: Place) -> None:
    async with memory.connect() as one:

        @contextlib.asynccontextmanager
        async def both() -> AsyncIterator[None]:
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(one.lock("A"))
                yield

        async def waits() -> None:
            async with both():
                await one.lock("A").acquire()

        async with tasks(waits=waits()):
            await wait_in(one, "A")
            (found,) = await one.find_deadlocks()
            assert found.steps[0].place is not None
            assert (found.steps[0].place.function.rpartition(".")[2], found.behind) == ("waits", 0)


async def test_a_condition_is_not_waited_for_by_its_holders(memory: Place) -> None:
    async with memory.connect() as one:
        condition, lock = one.condition("C"), one.lock("A")

        async def waits() -> None:
            async with lock, condition:
                await condition.wait()

        async with tasks(waits=waits(), other=chain(condition, lock)):
            await wait_in(one, "A")
            assert await one.find_deadlocks() == []


async def test_what_is_held_in_a_method_of_ours_is_told_at_the_line_that_calls_it(memory: Place) -> None:
    async with memory.connect() as one:
        gate = asyncio.Event()

        async def works(term: object) -> None:
            await gate.wait()
            async with one.locks("A", "B"):
                pass

        async def leads() -> None:
            await one.leader("C").run(works)

        async with tasks(leads=leads(), other=chain(one.lock("B"), one.lock("C"), gate=gate)):
            await settle(one)
            gate.set()
            await wait_in(one, "B")
            await wait_in(one, "C")
            (found,) = await one.find_deadlocks()
            (step,) = [step for step in found.steps if step.held_by == "task 'leads'"]
            assert step.held_at is not None
            assert step.held_at.function.rpartition(".")[2] == "leads"
            async with tasks(waits=chain(one.lock("A"))):
                await wait_in(one, "A")
                assert (await one.find_deadlocks())[0].behind == 1


async def test_locks_of_several_names_and_leaders_are_held_as_well(memory: Place) -> None:
    async with memory.connect() as one:

        async def several() -> None:
            async with one.locks("A", "B"), one.leader("C"):
                pass

        gate = asyncio.Event()
        async with tasks(leads=chain(one.leader("C"), one.lock("B"), gate=gate)):
            await settle(one)
            async with tasks(several=several()):
                await wait_in(one, "C")
                gate.set()
                await wait_in(one, "B")
                (found,) = await one.find_deadlocks()
                assert who(found) == ["leads", "several"]


class _Waits:
    """A block that begins when an event is set."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def __aenter__(self) -> None:
        await self._event.wait()

    async def __aexit__(self, *exc: object) -> None:
        pass


def two_namespaces(place: Place) -> tuple[Session, Session]:
    """Sessions of one namespace, and of another one."""
    other = place.connect(name="other", namespace=f"{place.namespace} 2")
    return place.connect(name="one"), other


@pytest.mark.parametrize("where", ["memory", "embedded"])
@pytest.mark.parametrize("same_namespace", [True, False])
async def test_what_is_held_by_a_session_that_has_no_part_in_it(
    same_namespace: bool, where: str, tmp_path: Any
) -> None:
    place = Place(where, tmp_path)
    mine, foreign = two_namespaces(place)
    async with mine as session, place.connect() if same_namespace else foreign as other:

        async def parent() -> None:
            async with other.lock("Z"), session.lock("A"), asyncio.TaskGroup() as group:
                group.create_task(chain(session.lock("A")), name="child")

        async with tasks(parent=parent()):
            await wait_in(session, "A")
            (found,) = await session.find_deadlocks()
            assert who(found) == ["child", "parent"]
            assert {step.session for step in found.steps} == {found.steps[0].session}
            assert found.names == ("A",)


async def test_a_name_that_is_held_in_another_namespace_as_well(memory: Place) -> None:
    mine, foreign = two_namespaces(memory)
    async with mine as one, memory.connect() as two, foreign as other:
        async with planted(
            (other.lock("A"), one.lock("A"), one.lock("B")),
            (two.lock("B"), two.lock("A")),
            waits=[(one, "A"), (one, "B")],
        ):
            (found,) = await two.find_deadlocks()
            assert who(found) == ["0", "1"]
            assert {step.holder and step.holder.name for step in found.steps} == {"one", two.label}
            assert await other.find_deadlocks() == []


async def test_a_session_that_ended_before_the_records_were_read_again(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory.connect() as one, memory.connect() as two:
        async with planted(
            (one.lock("A"), one.lock("B")), (two.lock("B"), two.lock("A")), waits=[(one, "A"), (one, "B")]
        ):
            for ended in (one, two):

                class Later(Overview):
                    async def read(self, *arguments: Any) -> Any:
                        records, sessions = await super().read(*arguments)
                        return records, {id: info for id, info in sessions.items() if id != ended.id}  # noqa: B023

                with monkeypatch.context() as patch:
                    patch.setattr(search, "Overview", Later)
                    assert await one.find_deadlocks() == []
            assert len(await one.find_deadlocks()) == 1


async def test_a_session_that_ended_while_it_stood_in_line_is_not_asked(memory: Place) -> None:
    async with memory.connect() as one, memory.connect() as two:
        rw = one.rw_lock("R")
        async with rw.reader, tasks(writer=chain(two.rw_lock("R").writer)):
            await wait_in(one, "R")
            async with tasks(reader=chain(rw.reader)):
                await wait_in(one, "R", 2)
                records, sessions = await Overview().read(one.engine, ["R"])
                assert questions(records, sessions).keys() == {one.id, two.id}
                del sessions[two.id]
                assert questions(records, sessions).keys() == {one.id}


# What may go on by itself


async def _with_timeout(first: Any, second: Any, gate: asyncio.Event) -> None:
    async with first:
        await gate.wait()
        async with asyncio.timeout(60), second:
            pass


async def _with_wait_for(first: Any, second: Any, gate: asyncio.Event) -> None:
    async with first:
        await gate.wait()
        await asyncio.wait_for(second.acquire(), 60)


async def _with_timer(first: Any, second: Any, gate: asyncio.Event) -> None:
    async with first:
        await gate.wait()
        timer = asyncio.get_running_loop().call_later(60, asyncio.current_task().cancel)  # type: ignore[union-attr]
        try:
            async with second:
                pass
        finally:
            timer.cancel()


async def _acquires(first: Any, second: Any, gate: asyncio.Event) -> None:
    await first.acquire()  # which any task may release
    await gate.wait()
    await second.acquire()


async def _hands_on(first: Any, second: Any, gate: asyncio.Event) -> None:
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(first)
    asyncio.get_running_loop().handed_on = stack  # type: ignore[attr-defined]
    await gate.wait()
    async with second:
        pass


async def _in_a_generator(first: Any, second: Any, gate: asyncio.Event) -> None:
    async def holding() -> AsyncIterator[None]:
        async with first:
            yield

    generator = holding()
    await anext(generator)  # type: ignore[call-overload]
    asyncio.get_running_loop().handed_on = generator  # type: ignore[attr-defined]
    await gate.wait()
    async with second:
        pass


async def _in_group(way: Awaitable[Any]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(way)  # type: ignore[arg-type]


async def _in_anyios_group(way: Awaitable[Any]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: way)


async def _timeout_around(way: Awaitable[Any]) -> None:
    async with asyncio.timeout(60):
        await way


async def _move_on_after(way: Awaitable[Any]) -> None:
    with anyio.move_on_after(60):
        await way


async def _deadline_of_anyios_group(way: Awaitable[Any]) -> None:
    async with anyio.create_task_group() as group:
        group.cancel_scope.deadline = anyio.current_time() + 60
        group.start_soon(lambda: way)


async def _from_anyios_thread(way: Awaitable[Any]) -> None:
    async def run() -> None:
        await way

    with anyio.move_on_after(60):
        await anyio.to_thread.run_sync(anyio.from_thread.run, run)


async def _cancel_later(way: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(way)
    done, _ = await asyncio.wait([task], timeout=60)
    if not done:
        task.cancel()


async def _timeout_inside_group(way: Awaitable[Any]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(way)  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            await asyncio.get_running_loop().create_future()


async def _as_completed(way: Awaitable[Any]) -> None:
    for each in asyncio.as_completed([way], timeout=60):
        await each


AROUND: dict[str, Callable[[Awaitable[Any]], Awaitable[Any]]] = {
    "group": lambda way: _timeout_around(_in_group(way)),
    "gather": lambda way: _timeout_around(_gathered(way)),
    "group in gather in group": lambda way: _timeout_around(_in_group(_gathered(_in_group(way)))),
    "task": lambda way: _timeout_around(asyncio.ensure_future(way)),
    "anyio": lambda way: _move_on_after(_in_anyios_group(way)),
    "anyio's deadline": _deadline_of_anyios_group,
    "a thread of anyio's": _from_anyios_thread,
    "wait_for(gather())": lambda way: asyncio.wait_for(_gathered(way), 60),
    "wait_for() a group": lambda way: asyncio.wait_for(_in_group(way), 60),
    "wait()": _cancel_later,
    "inside of the group": _timeout_inside_group,
    "as_completed()": _as_completed,
    "shield()": lambda way: _timeout_around(asyncio.shield(way)),
}


async def _gathered(way: Awaitable[Any]) -> None:
    await asyncio.gather(way, asyncio.sleep(0))


@pytest.mark.parametrize("around", AROUND)
async def test_a_circle_with_one_that_a_timeout_around_its_parent_ends_is_not_told(around: str, memory: Place) -> None:
    if "anyio" in around and anyio is None:
        pytest.skip("anyio is not there")
    async with memory.connect() as one, memory.connect() as two:
        gate = asyncio.Event()
        async with tasks(
            left=AROUND[around](chain(one.lock("A"), one.lock("B"), gate=gate)),
            right=chain(two.lock("B"), two.lock("A"), gate=gate),
        ):
            await settle(one, two)
            gate.set()
            await wait_in(one, "A")
            await wait_in(one, "B")
            assert await one.find_deadlocks() == []


@pytest.mark.parametrize("timeout", [None, 60])
async def test_a_thread_that_waits_for_a_task(timeout: float | None, memory: Place) -> None:
    async with memory.connect() as one:
        loop = asyncio.get_running_loop()
        task = asyncio.run_coroutine_threadsafe(chain(one.lock("A"), one.lock("A")), loop)

        def waits() -> None:
            with contextlib.suppress(concurrent.futures.CancelledError):
                task.result(timeout)

        thread = in_thread(waits)
        await wait_in(one, "A")
        while not task._condition._waiters:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        assert len(await one.find_deadlocks()) == (timeout is None)
        task.cancel()
        await asyncio.to_thread(thread.result)


async def test_many_children_of_one_parent_are_looked_at_quickly(memory: Place) -> None:
    many = 300
    async with memory.connect() as one:

        async def parent() -> None:
            async with asyncio.timeout(None), one.lock("A"), asyncio.TaskGroup() as group:
                for i in range(many):
                    group.create_task(chain(one.lock(f"{i}"), one.lock("A")))

        looks = 0

        def counted(task: asyncio.Task[Any]) -> bool:
            nonlocal looks
            looks += 1
            return is_in_timeout(task)

        async with tasks(parent=parent()):
            await wait_in(one, "A", many)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(witnesses, "is_in_timeout", counted)
                (found,) = await one.find_deadlocks()
            assert found.behind == many - 1
            assert looks == 2 * (many + 1)


WITHOUT: dict[str, Callable[[Awaitable[Any]], Awaitable[Any]]] = {
    "group": _in_group,
    "gather": _gathered,
    "shield": lambda way: asyncio.shield(way),
    "anyio": _in_anyios_group,
    "wait_for() without": lambda way: asyncio.wait_for(_gathered(way), None),
}


@pytest.mark.parametrize("around", WITHOUT)
async def test_a_parent_that_waits_for_its_child_and_has_no_timeout(around: str, memory: Place) -> None:
    if "anyio" in around and anyio is None:
        pytest.skip("anyio is not there")
    async with memory.connect() as one, memory.connect() as two:

        async def parent() -> None:
            async with one.lock("A"):
                await WITHOUT[around](chain(two.lock("B"), two.lock("A")))

        async with tasks(parent=parent()) as started:
            await wait_in(one, "A")
            (found,) = await one.find_deadlocks()
            assert len(found.steps) == 2
            assert "task 'parent'" in str(found)
            assert not started["parent"].done()


@pytest.mark.parametrize("way", [_with_timeout, _with_wait_for, _with_timer, _acquires, _hands_on, _in_a_generator])
async def test_a_circle_that_may_open_by_itself_is_not_told(way: Callable[..., Any], memory: Place) -> None:
    async with memory.connect() as one, memory.connect() as two:
        gate = asyncio.Event()
        async with tasks(
            left=way(one.lock("A"), one.lock("B"), gate), right=chain(two.lock("B"), two.lock("A"), gate=gate)
        ):
            await settle(one, two)
            gate.set()
            await wait_in(one, "A")
            await wait_in(one, "B")
            assert await one.find_deadlocks() == []


# Two looks


@pytest.mark.parametrize("what", ["cancelled", "released", "asks again"])
async def test_a_wait_that_has_ended_between_the_looks(
    what: str, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory.connect() as one, memory.connect() as two:
        b, gate = two.lock("B"), asyncio.Event()

        async def left() -> None:
            async with one.lock("A"):
                await gate.wait()
                try:
                    async with one.lock("B"):
                        pass
                except asyncio.CancelledError:
                    if what != "asks again":
                        raise
                    await chain(one.lock("B"))  # with another ticket

        async with tasks(left=left(), right=chain(b, two.lock("A"), gate=gate)) as started:
            await settle(one, two)
            gate.set()
            await wait_in(one, "A")
            await wait_in(one, "B")
            looks = 0

            async def ask(*arguments: Any) -> Any:
                nonlocal looks
                said = await correspondence.ask(*arguments)
                looks += 1
                if looks == 1 and what == "released":
                    await b.release()
                    await settle(one, two)
                elif looks == 1:
                    started["left"].cancel()
                    await settle(one, two)
                return said

            with monkeypatch.context() as patch:
                patch.setattr(search, "ask", ask)
                assert await one.find_deadlocks() == []
            assert looks == 1
            assert len(await one.find_deadlocks()) == (what == "asks again")


@pytest.mark.parametrize("asks_again", [False, True])
async def test_a_wait_that_ends_in_the_last_moment(
    asks_again: bool, memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory.connect() as one, memory.connect() as two:
        looks, gate = 0, asyncio.Event()

        async def left() -> None:
            async with one.lock("A"):
                await gate.wait()
                with contextlib.suppress(asyncio.CancelledError):
                    await chain(one.lock("B"))
                if asks_again:  # with another ticket
                    await chain(one.lock("B"))

        async with tasks(left=left(), right=chain(two.lock("B"), two.lock("A"), gate=gate)) as started:
            await settle(one, two)
            gate.set()
            await wait_in(one, "A")
            await wait_in(one, "B")

            async def ask(*arguments: Any) -> Any:
                nonlocal looks
                looks += 1
                if looks == 2:  # what is stored was read before
                    started["left"].cancel()
                    await settle(one, two)
                return await correspondence.ask(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(search, "ask", ask)
                assert await one.find_deadlocks() == []
            assert looks == 2
            assert len(await one.find_deadlocks()) == asks_again


# Programs


class _Program:
    """A few tasks of two sessions that enter blocks one in the other, at random."""

    def __init__(self, seed: int, sessions: tuple[Session, Session], in_order: bool) -> None:
        """in_order: so that there is no deadlock: names are entered in their order, and each but once."""
        self._random = random.Random(seed)
        self._sessions = sessions
        self._in_order = in_order

    def _blocks(self) -> list[Any]:
        names = sorted(self._random.sample(range(5), self._random.randint(1, 3)))
        if not self._in_order:
            self._random.shuffle(names)
        return [self._block(name) for name in names]

    def _block(self, name: int) -> Any:
        session = self._random.choice(self._sessions)
        if name < 3:
            return session.lock(f"lock {name}")
        if name == 3:
            rw = session.rw_lock("rw")
            return self._random.choice([rw.reader, rw.reader, rw.writer])
        return session.semaphore("semaphore", 3).permits(self._random.randint(1, 2))

    async def _work(self, plans: list[tuple[list[Any], list[int]]]) -> None:
        for managers, pauses in plans:
            async with contextlib.AsyncExitStack() as stack:
                for manager, pause in zip(managers, pauses, strict=True):
                    await stack.enter_async_context(manager)
                    for _ in range(pause):
                        await asyncio.sleep(0)

    async def run(self, tasks: int) -> tuple[list[Deadlock], bool]:
        """Look again and again while it runs; return what was found, and whether it has come to its end."""
        plans = [
            [(blocks, [self._random.randint(0, 5) for _ in blocks]) for blocks in (self._blocks(), self._blocks())]
            for _ in range(tasks)
        ]
        running = [asyncio.create_task(self._work(plan)) for plan in plans]
        found: list[Deadlock] = []
        for _ in range(60):
            found += await self._sessions[0].find_deadlocks()
            if found or all(task.done() for task in running):
                break
            for _ in range(self._random.randint(0, 4)):
                await asyncio.sleep(0)
        else:
            found += await self._sessions[0].find_deadlocks()
        for _ in range(20):
            if all(task.done() for task in running):
                break
            await asyncio.sleep(0.001)
        is_over = all(task.done() for task in running)
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        return found, is_over


async def test_200_programs_without_a_deadlock_are_not_accused(memory: Place) -> None:
    async with memory.connect() as one, memory.connect() as two:
        for seed in range(200):
            assert await _Program(seed, (one, two), True).run(5) == ([], True), seed


async def test_programs_that_may_have_a_deadlock_are_accused_if_they_stand_still(memory: Place) -> None:
    outcomes = []
    async with memory.connect() as one, memory.connect() as two:
        for seed in range(60):
            found, is_over = await _Program(seed, (one, two), False).run(5)
            assert bool(found) is not is_over, seed
            outcomes.append(is_over)
    assert 5 < sum(outcomes) < 55


# Threads


def _enter(first: Any, second: Any, gate: threading.Event) -> None:
    with first:
        gate.wait()
        with second:
            pass


def found_in_threads(session: Any) -> list[Deadlock]:
    """The deadlocks, as soon as there is one: a wait may be in the record before its own event loop has gone on."""
    until(session.find_deadlocks)
    return session.find_deadlocks()  # type: ignore[no-any-return]


def test_a_thread_and_a_task(place: Place) -> None:
    entered, gate, done = threading.Event(), threading.Event(), threading.Event()

    async def with_task() -> None:
        async with place.connect(name="tasks") as session, session.lock("A"):
            entered.set()
            await asyncio.to_thread(gate.wait)
            task = asyncio.create_task(_entered(session.lock("A")), name="unused")
            task.cancel()
            acquiring = asyncio.ensure_future(asyncio.to_thread(done.wait))
            lock = session.lock("B")
            waits = asyncio.current_task()
            assert waits is not None
            acquiring.add_done_callback(lambda _: waits.cancel())
            with contextlib.suppress(asyncio.CancelledError):
                async with lock:
                    pass

    with place.connect(name="threads").sync as session:
        tasks = in_thread(lambda: asyncio.run(with_task()))
        entered.wait()
        thread = in_thread(lambda: _enter(session.lock("B"), session.lock("A"), gate))
        until(lambda: session.lock("B").locked())
        gate.set()
        until(lambda: waiting(session, "A") and waiting(session, "B"))
        (found,) = found_in_threads(session)
        names = sorted(step.name.split()[0] for step in found.steps)
        assert names == ["task", "thread"]
        step = next(step for step in found.steps if step.name.startswith("thread"))
        assert step.place is not None
        assert (step.place.function, step.waits_for) == ("_enter", "A")
        other = next(each for each in found.steps if each is not step)
        assert other.held_at is not None
        assert other.held_at.function == "_enter"
        done.set()
        tasks.result()
        thread.result()
        assert session.find_deadlocks() == []


async def _entered(manager: Any) -> None:
    async with manager:
        pass


def test_a_thread_that_waits_for_what_it_holds(memory: Place) -> None:
    with memory.connect(name="one").sync as one, memory.connect(name="two").sync as two:
        entered = threading.Event()

        def waits() -> None:
            with one.lock("A"):
                entered.set()
                two.lock("A").acquire()

        thread = in_thread(waits)
        entered.wait()
        until(lambda: waiting(one, "A"))
        for session in (one, two):
            (found,) = found_in_threads(session)
            assert f"which it holds itself in '{one.label}' (test_deadlocks.py:" in str(found)
            assert [step.place and step.place.function.rpartition(".")[2] for step in found.steps] == ["waits"]
        two.close()
        with pytest.raises(SessionLost):
            thread.result()


def test_threads_that_have_a_timeout_or_hold_it_for_a_while_are_not_told(memory: Place) -> None:
    with memory.connect().sync as one:
        for first, second in (
            (one.lock("A", hold_at_most=60), one.lock("B")),
            (one.lock("A"), one.lock("B").within(0.5)),
        ):
            gate, over = threading.Event(), threading.Event()

            def waits(first: Any = first, second: Any = second, gate: Any = gate) -> None:
                with contextlib.suppress(TimeoutError), first:
                    gate.wait()
                    with second:
                        pass

            left = in_thread(waits)
            right = in_thread(lambda gate=gate, over=over: _until_lost(one, gate, over))
            until(lambda: one.lock("A").locked() and one.lock("B").locked())
            gate.set()
            until(lambda: waiting(one, "A") and waiting(one, "B"))
            assert one.find_deadlocks() == []
            over.set()
            right.result()
            left.result()


def test_a_thread_that_was_notified_and_takes_the_lock_of_a_condition_again(memory: Place) -> None:
    with memory.connect(name="one").sync as one, memory.connect(name="two").sync as two:
        condition = one.condition("C")

        def waits() -> None:
            with one.lock("L"), condition:
                condition.wait()

        def notifies() -> None:
            other = two.condition("C")
            with other:
                other.notify()
                with two.lock("L"):
                    pass

        thread = in_thread(waits)
        until(lambda: waiting(one, "C"))
        other = in_thread(notifies)
        until(lambda: waiting(one, "L"))
        (found,) = found_in_threads(one)
        assert sorted(step.waits_for for step in found.steps) == ["C", "L"]
        two.close()
        with pytest.raises(SessionLost):
            other.result()
        thread.result()


def _until_lost(session: Any, gate: threading.Event, over: threading.Event) -> None:
    with session.lock("B"):
        gate.wait()
        while not over.is_set() and not session.lock("A").acquire(timeout=0.2):
            pass


# Sessions that do not answer, and messages from anybody


async def test_a_session_that_does_not_answer_is_not_judged(memory: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory.connect(name="one") as one, memory.connect(name="two") as two:
        async with planted(
            (one.lock("A"), one.lock("B")), (two.lock("B"), two.lock("A")), waits=[(one, "A"), (one, "B")]
        ):
            silent: list[SessionInfo] = []
            with monkeypatch.context() as patch:
                patch.setattr(two._life, "_on_said", None)
                began = asyncio.get_running_loop().time()
                assert await one.find_deadlocks(within=0.05, on_silent=silent.append) == []
                assert asyncio.get_running_loop().time() - began < 5
            assert [each.name for each in silent] == ["two"]
            assert not one._life.expected


async def test_a_session_that_polls_cannot_answer(memory: Place) -> None:
    async with memory.connect(name="one") as one, memory.connect(name="two") as two:
        async with planted(
            (one.lock("A"), one.lock("B")), (two.lock("B"), two.lock("A")), waits=[(one, "A"), (one, "B")]
        ):
            engine: Any = two.engine
            engine._info = replace(engine._info, polls=True)
            silent: list[SessionInfo] = []
            async with asyncio.timeout(20):
                assert await one.find_deadlocks(within=60, on_silent=silent.append) == []
            assert [(each.name, each.polls) for each in silent] == [("two", True)]


async def test_a_session_that_polls_cannot_ask_others(memory: Place) -> None:
    async with memory.connect(name="one") as one, memory.connect(name="two") as two:
        one._life.polls = 0.2
        async with planted((one.lock("A"), one.lock("A")), waits=[(one, "A")]):
            (alone,) = await one.find_deadlocks()
            assert who(alone) == ["0"]
            async with planted((two.lock("B"), two.lock("B")), waits=[(one, "B")]):
                with pytest.raises(RuntimeError, match="polls, so answers of other sessions do not reach it"):
                    await one.find_deadlocks()
                silent: list[SessionInfo] = []
                async with asyncio.timeout(20):
                    assert await one.find_deadlocks(within=60, on_silent=silent.append) == [alone]
                assert [each.name for each in silent] == ["two"]


def test_that_a_session_polls_is_kept_with_it() -> None:
    for polls in (False, True):
        kept = describe_this("me", 1.0, polls)
        assert described("x", kept.encode(), True).polls is polls
    assert "polls" not in describe_this("me", 1.0)  # as earlier versions write it


async def test_a_question_or_an_answer_that_is_lost_is_sent_again(
    memory: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correspondence, "AGAIN", 0.02)
    async with memory.connect() as one, memory.connect() as two:
        async with planted(
            (one.lock("A"), one.lock("B")), (two.lock("B"), two.lock("A")), waits=[(one, "A"), (one, "B")]
        ):
            for engine in (one.engine, two.engine):
                sent: list[str] = []
                wake = engine.wake

                def losing(session: str, name: str, message: str, sent: Any = sent, wake: Any = wake) -> None:
                    sent.append(message)
                    if len(sent) > 1:
                        wake(session, name, message)

                monkeypatch.setattr(engine, "wake", losing)
                assert await one.find_deadlocks()
                assert len(sent) > 2


async def test_what_anybody_may_send_harms_nobody(place: Place) -> None:
    async with place.connect() as one, place.connect() as two:
        for message in (
            "ask",
            "ask 1",
            "ask 1 x {",
            "ask 1 x [[1],[]]",
            "ask 1 ../x [[],[]]",
            "ask 1 ä [[],[]]",
            "say",
            "say 1 2",
            "ask 1 x " + "[" * 2000,
            "?",
        ):
            one.engine.wake(two.id, "", message)
        async with planted(
            (one.lock("A"), one.lock("B")), (two.lock("B"), two.lock("A")), waits=[(one, "A"), (one, "B")]
        ):
            life = one._life
            asked = asyncio.create_task(one.find_deadlocks())
            while not life.expected:
                await asyncio.sleep(0)
            for number in life.expected:
                for said in ("x", "0 1 {", "0 1 [1]", "a b c", "0 0 "):
                    two.engine.wake(one.id, "", f"say {number} {said}")
            await asked
            assert len(await one.find_deadlocks()) == 1
        assert two.over is one.over is None


async def test_whatever_is_answered_leads_to_no_error(memory: Place) -> None:
    async with memory.connect() as one, memory.connect() as two:
        rw, told = one.rw_lock("R"), 0
        async with planted(
            (one.lock("A"), one.lock("B")),
            (two.lock("B"), two.lock("A")),
            (rw.reader, rw.writer),
            waits=[(one, "A"), (one, "B"), (one, "R")],
        ):
            records, sessions = await Overview().read(one.engine, ["A", "B", "R"])
            for seed in range(3000):
                chance = random.Random(seed)

                def some(chance: random.Random = chance) -> Statement:
                    session = lambda: chance.choice([one.id, two.id, one.id, two.id, "foreign"])  # noqa: E731
                    name = lambda: chance.choice(["A", "B", "R", "X"])  # noqa: E731
                    ticket = Ticket(session(), name(), chance.randint(1, 2)) if chance.random() < 0.7 else None
                    awaited = tuple(chance.choices("abcd?", k=chance.randint(0, 2)))
                    held = tuple(
                        Held(session(), name(), 1, 1, chance.randint(0, 1), Spot("\ud800", 1, "f"))
                        for _ in range(chance.randint(0, 3))
                    )
                    return Statement(chance.choice("abcd"), "\ud800", None, ticket, awaited, False, held)

                answered = decode(encode(some() for _ in range(chance.randint(1, 6))))
                assert answered is not None
                parties = merged(answered)
                for some_sessions in (sessions, {one.id: sessions[one.id]}, {}):
                    for each in Graph(records, some_sessions, unchanged(parties, parties)).deadlocks():
                        told += bool(str(each))
        assert told > 10


async def test_who_does_not_wait_for_what_others_hold_is_asked_nothing(memory: Place) -> None:
    async with memory.connect() as one, memory.connect() as two:
        sent: list[str] = []
        for engine in (one.engine, two.engine):
            wake = engine.wake
            engine.wake = lambda session, name, message, wake=wake: (  # type: ignore[method-assign,misc]
                sent.append(name),
                wake(session, name, message),
            )
        async with one.lock("A"), tasks(waits=two.lock("A").acquire()):
            await wait_in(one, "A")
            assert await one.find_deadlocks() == []
            assert "" not in sent


async def test_bad_arguments(memory: Place) -> None:
    async with memory.connect() as session:
        for within in (0, -1, float("inf"), float("nan"), True, "1"):
            with pytest.raises(ValueError, match="within must be a number of seconds above 0"):
                await session.find_deadlocks(within=within)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="names must be several names"):
            await session.find_deadlocks("A")
        with pytest.raises(ValueError, match="a name is a text"):
            await session.find_deadlocks([""])


def test_questions_are_sent_in_parts() -> None:
    names = [f"name {i} {'ä' * 100}" for i in range(100)]
    asked = in_parts(names, [("x", 1)])
    assert all(len(each.encode()) <= LONGEST and each.encode().isascii() for each in asked)
    assert [name for each in asked for name in each.names] == names
    assert [Question.decode(each.encode()) for each in asked] == asked


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[[]]", '[["k","n",null,null,[],false,[["s"]]]]', "[" * 100_000])
def test_what_is_no_statement_and_no_question_is_refused(text: str) -> None:
    assert decode(text) is None
    assert Question.decode(text) is None
