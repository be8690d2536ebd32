"""What this process can say of the tasks and threads that hold something of a session: what they wait for.

Nothing is noted while they run. A grant knows the task, or the thread, whose body it is held in. What that waits for is
found when somebody asks, as `holdfast.debug.dump()` finds it: a task is suspended on a future, and the futures of all
waiting tickets are known. So a program that nobody asks pays nothing.

What must hold:

 1. Who is said to hold something is the only one that gives it back. So `acquire()` without `async with` says nothing,
    as any task may release that. Neither does a body that the stack of its task does not show: an exit stack or a
    generator may have been handed to another task.
 2. All that is said of a task or thread was so at one moment. It is found in one step of the session's event loop, in
    which none of its tasks runs, and no thread gives anything back.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import types
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from holdfast._place import Place
from holdfast.cluster.loop_in_thread.call import Call
from holdfast.cluster.primitives.condition import Condition
from holdfast.cluster.primitives.grant import Grant
from holdfast.cluster.primitives.leader import Leader
from holdfast.cluster.primitives.leased import Leased
from holdfast.cluster.primitives.semaphore import Permits
from holdfast.cluster.primitives.several_locks import SeveralLocks
from holdfast.cluster.session_life.identity import open_here
from holdfast.cluster.session_life.life import Life
from holdfast.cluster.synchronous.leased import SyncLeased
from holdfast.debug.awaited_tasks import waiting_for
from holdfast.debug.closer_look import cancelled_by_timers
from holdfast.debug.names import name_of_task, name_of_thread
from holdfast.debug.parties import Party, is_in_timeout, of_task
from holdfast.debug.stacks import Manager, is_users, place_of
from holdfast.debug.with_blocks import blocks
from holdfast.debug.written import managers_of_running

from .testimony import Held, Question, Spot, Statement, Ticket

_CALL = Call.wait.__code__


def testify(life: Life, question: Question) -> list[Statement]:
    """What is asked of a session. Called in its event loop."""
    seen = _Process(life.loop)
    grants = [
        lease
        for name in question.names
        for lease in life.leases.of(name)
        if isinstance(lease, Grant) and _is_held(lease)
    ]
    tasks = {id(grant._body): grant._body for grant in grants if grant._body is not None and not grant._body.done()}
    threads = {grant._with_in for grant in grants if grant._with_in}
    if question.tickets:
        asked = {*question.tickets}
        waited = [future for future, ticket in seen.waiting_in(life) if (ticket.name, ticket.number) in asked]
        for task in (each for future in waited for each in waiting_for(future)[0]):
            thread = seen.thread_of(task)
            if thread:
                threads.add(thread)
            else:
                tasks[id(task)] = task
    return [*seen.of_tasks(tasks.values()), *(seen.of_thread(thread, life) for thread in threads)]


def _is_held(grant: Grant) -> bool:
    """Whether it is held, and nothing but its holder ends that."""
    return not (grant.released or grant._is_waiting or grant._ends_by_itself) and grant._why is None


class _Process:
    """This process in one step of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._futures: list[asyncio.Future[int]] = []  # kept, so that no other one gets the identity
        self._tickets: dict[int, Ticket] = {}
        for life in [*open_here]:
            if life.over is None and isinstance(life, Life):
                for future, ticket in self.waiting_in(life):
                    self._futures.append(future)
                    self._tickets[id(future)] = ticket
        self._looked_at: dict[int, tuple[asyncio.Task[Any], bool, list[asyncio.Task[Any]]]] = {}
        self._on_time = cancelled_by_timers({loop})
        self._frames = sys._current_frames()
        self._calls = {thread: call for thread, frame in self._frames.items() if (call := _call_in(frame)) is not None}

    def waiting_in(self, life: Life) -> Iterator[tuple[asyncio.Future[int], Ticket]]:
        """The waiting tickets of a session."""
        for name, register in life.registers.in_use.copy().items():
            for number, future in register.waiting():
                yield future, Ticket(life.id, name, number)

    def thread_of(self, task: asyncio.Task[Any]) -> int:
        """The thread for which a task of a session's own loop does something; 0 if there is none."""
        return next((thread for thread, (call, _) in self._calls.items() if call._task is task), 0)

    def of_tasks(self, tasks: Iterable[asyncio.Task[Any]]) -> list[Statement]:
        """What these wait for and hold, and the tasks whose end they wait for."""
        pending, found = [*tasks], dict[int, tuple[Party, Statement]]()
        while pending:
            task = pending.pop()
            if id(task) in found or task.done():
                continue
            party = of_task(task)
            ticket, awaited = self._waited_for(party)
            has_timeout = party.timeout or self._may_be_ended(task)
            keys = tuple(_key("task", id(each)) for each in awaited)
            name, place = f"task {name_of_task(task)}", _spot(party.place)
            statement = Statement(_key("task", id(task)), name, place, ticket, keys, has_timeout, _held_by(party))
            found[id(task)] = party, statement
            pending += awaited
        return [statement for _, statement in found.values()]

    def _may_be_ended(self, task: asyncio.Task[Any]) -> bool:
        """Whether a timeout ends a task: its own one, or one of those that wait for it, as these cancel it then."""
        pending, seen = [task], {id(task)}
        while pending:
            has_timeout, parents = self._timeout_and_parents(pending.pop())
            if has_timeout:
                return True
            pending += [parent for parent in parents if id(parent) not in seen]
            seen.update(map(id, parents))
        return False

    def _timeout_and_parents(self, task: asyncio.Task[Any]) -> tuple[bool, list[asyncio.Task[Any]]]:
        """Whether a task has a timeout, or a timer ends a wait for it; and who waits for it. A parent may have many
        children, and is looked at once."""
        known = self._looked_at.get(id(task))
        if known is None:
            parents, has_timer = waiting_for(task)
            has_timeout = has_timer or id(task) in self._on_time or is_in_timeout(task)
            known = self._looked_at[id(task)] = task, has_timeout, parents
        return known[1:]

    def _waited_for(self, party: Party) -> tuple[Ticket | None, tuple[asyncio.Task[Any], ...]]:
        """The ticket with which a task waits, or the tasks whose end it waits for."""
        for future in (party.future, *party.tasks):
            if (ticket := self._tickets.get(id(future))) is not None:
                return ticket, ()
        are_tasks = all(issubclass(type(each), asyncio.Task) for each in party.tasks)
        return None, party.tasks if are_tasks else ()

    def of_thread(self, thread: int, life: Life) -> Statement:
        """What a thread waits for, and what it holds of a session."""
        names = {each.ident: name_of_thread(each) for each in threading.enumerate()}
        name, key = f"thread {names.get(thread, str(thread))}", _key("thread", thread)
        frame = self._frames.get(thread)
        if frame is None or thread not in self._calls:
            return Statement(key, name, None, None, (), False, ())
        call, outer = self._calls[thread]
        task = call._task
        ticket = None if task is None else self._waited_for(of_task(task))[0]
        frames = [each for each in _outwards(outer) if is_users(each)]
        place = place_of(frames[0]) if frames else None
        held = _held_in(thread, life, frames[::-1])
        return Statement(key, name, _spot(place), ticket, (), call._seconds >= 0, held)


def _held_by(party: Party) -> tuple[Held, ...]:
    """What a task holds in the bodies that its stack shows."""
    places: dict[Leased, list[Place]] = {}
    for manager in party.entered:
        if manager.doubt is None:
            for leased in _entered(manager.manager):
                places.setdefault(leased, []).append(_shown_place(party, manager))
    held = []
    for leased, shown in places.items():
        grants = [grant for grant in leased._entered if grant._body is party.subject and _is_held(grant)]
        if len(grants) <= len(shown):
            held += [_held(grant, place) for grant, place in zip(grants, shown, strict=False)]
    return tuple(held)


def _shown_place(party: Party, manager: Manager) -> Place:
    """The line of a block; if that is in holdfast, as of `Leader.run()`, the user's line that has called it."""
    if not is_users(manager.frame):
        for frame in reversed(party.frames[: manager.depth]):
            if frame is not None:
                return place_of(frame)
    return manager.place


def _entered(manager: object) -> Collection[Leased]:
    """What is held inside the block of a context manager."""
    kind = type(manager)  # a mock or a proxy answers isinstance() with code of its own
    if issubclass(kind, Leased):
        return (manager,)  # type: ignore[return-value]
    if issubclass(kind, Permits):
        return (manager._semaphore,)  # type: ignore[attr-defined]
    if issubclass(kind, (Condition, Leader)):
        return (manager._lock,)  # type: ignore[attr-defined]
    if issubclass(kind, SeveralLocks):
        return manager._locks  # type: ignore[attr-defined,no-any-return]
    return ()


def _held_in(thread: int, life: Life, frames: list[types.FrameType]) -> tuple[Held, ...]:
    """What a thread holds in its `with` bodies. frames: those of the user's, from the outside in."""
    grants = [
        lease
        for name in life.leases.names()
        for lease in life.leases.of(name)
        if isinstance(lease, Grant) and lease._with_in == thread and _is_held(lease)
    ]
    around = [place_of(frame, block.line) for frame in frames for block in blocks(frame.f_code, frame.f_lasti)]
    if len(grants) > len(around):  # it has left a body whose exit it has handed on
        return ()
    if len(grants) == len(around) == 1:
        return (_held(grants[0], around[0]),)
    places: dict[int, Place] = {}
    for manager in managers_of_running(frames):
        if issubclass(type(manager.manager), SyncLeased):
            places |= {id(each._grant): manager.place for each in manager.manager._entered if each._thread == thread}
    return tuple(_held(grant, places.get(id(grant))) for grant in grants)


def _held(grant: Grant, place: Place | None) -> Held:
    return Held(grant._life.id, grant.name, grant.token, grant.permits, id(grant), _spot(place))


def _call_in(frame: types.FrameType) -> tuple[Call[Any], types.FrameType] | None:
    """What a thread asks of a session's event loop at this moment, and the frame from which it does."""
    for each in _outwards(frame):
        if each.f_code is _CALL:
            return each.f_locals["self"], each
    return None


def _outwards(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _spot(place: Place | None) -> Spot | None:
    return None if place is None else Spot(place.file, place.line, place.function)


_marks: dict[int, str] = {}
"""What tells this process from all others, by its pid: a forked child has its parent's."""


def _key(what: str, number: int) -> str:
    mark = _marks.setdefault(os.getpid(), secrets.token_hex(8))
    return f"{mark} {what} {number}"
