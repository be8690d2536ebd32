"""Tasks and threads at one moment: what each holds, and what it waits for.

What must hold: all that is told of a task was so at the same moment. A task that waits with the same future before and
after it was looked at has not run in between. One that has run is told as running.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from holdfast.tasks.keyed_lock import AllKeys
from holdfast.tasks.primitive import Queue
from holdfast.tasks.rw_lock import Side
from holdfast.tasks.wait_queue import WaitQueue
from holdfast.threads.condition import SyncCondition
from holdfast.threads.task_tier import KeyLock
from holdfast.threads.task_waiter import TaskWaiter
from holdfast.threads.thread_waiter import ThreadWaiter

from .awaited_tasks import awaited_in, awaited_itself
from .doubts import Doubt
from .names import class_name, name_of_task
from .primitives import Taken, is_asyncios, is_condition, taken_by, taken_of_key
from .stacks import Link, Manager, chain, is_users, managers, place_of, users_place
from .story import Place
from .written import attribute_of, managers_of_running

log = logging.getLogger("holdfast.debug")
_TAKES_ALL = AllKeys.acquire.__code__, AllKeys._acquire_by.__code__
_STANDS_FOR = KeyLock, AllKeys, Side


@dataclass(frozen=True, slots=True)
class Held:
    """Something that a task or a thread holds."""

    taken: Taken
    shown: Any
    """What stands for it in the program."""
    place: Place
    generator: object
    doubt: Doubt | None
    depth: int
    """See stacks.Manager."""


@dataclass(eq=False, slots=True)
class Party:
    """A task or a thread."""

    name: str
    subject: Any
    """The task, or the identifier of the thread."""
    place: Place | None = None
    """Where it waits."""
    future: Any = None
    """What stands in a line for it: a future, or a ThreadWaiter."""
    core: Any = None
    """The primitive that it waits for."""
    shown: Any = None
    """What stands for that in the program."""
    needs: int = 1
    timeout: bool = False
    """Whether a timeout ends its wait."""
    has_grant: bool = False
    """Whether it has been handed what it waited for, and has not run since."""
    tasks: tuple[Any, ...] = ()
    """The tasks whose end it waits for."""
    goes_on: bool = False
    """Whether it was woken or cancelled since it was looked at, and will run."""
    reacquires: bool = False
    """Whether it is in a condition's wait() and wants its lock back. It cannot be refused that."""
    cancels: bool = False
    """Whether the timeout of its wait cancels the tasks whose end it waits for."""
    held: list[Held] = field(default_factory=list)
    entered: list[Manager] = field(default_factory=list)
    """The context managers that it is inside of, from the outside in."""
    frames: list[types.FrameType | None] = field(default_factory=list)
    """The frames of its chain that are the user's, from the outside in; None in place of others."""

    def waits(self) -> bool:
        """Whether it waits for a primitive and has not been handed it."""
        return self.core is not None and not self.has_grant


def of_task(task: asyncio.Task[Any]) -> Party:
    """What a task holds and waits for. Its event loop may run in another thread."""
    name = f"task {name_of_task(task)}"
    for _ in range(3):
        party = Party(name, task)
        party.future = getattr(task, "_fut_waiter", None)
        if party.future is None:
            return party
        try:
            _look(party, chain(task.get_coro()))
        except Exception:
            log.debug("%s cannot be looked at, and is told as one that runs", name, exc_info=True)
            return Party(name, task)
        if getattr(task, "_fut_waiter", None) is party.future:
            return party
    return Party(name, task)


def still_waits(party: Party) -> bool:
    """Whether a task or thread waits as it did when it was looked at."""
    if type(party.future) is ThreadWaiter:
        return not party.future.done()
    return party.future is not None and party.subject._fut_waiter is party.future and not party.future.done()


def is_in_timeout(task: asyncio.Task[Any]) -> bool:
    """Whether a timeout ends what a task waits for, or is around what it goes on with; True if that cannot be told.

    Called in its event loop, by none of its tasks.
    """
    party = of_task(task)
    if party.timeout or _has_deadline(task):
        return True
    if party.future is not None:
        return False
    try:  # it was woken, and has not run since
        return any(_is_timeout(each.manager) for each in managers(chain(task.get_coro())))
    except Exception:
        log.debug("%s cannot be looked at, and may have a timeout", party.name, exc_info=True)
        return True


def _has_deadline(task: asyncio.Task[Any]) -> bool:
    """Whether one of anyio's scopes around a task has a deadline: also one that another task is in, or a thread."""
    states = getattr(sys.modules.get("anyio._backends._asyncio"), "_task_states", None)
    state = None if states is None else states.get(task)
    scope = None if state is None else attribute_of(state, "cancel_scope")
    while scope is not None:
        if attribute_of(scope, "_deadline") not in (None, math.inf):
            return True
        scope = attribute_of(scope, "_parent_scope")
    return False


class _Role(enum.Enum):
    """What an object may be in the chain of a task that waits."""

    LINE = enum.auto()
    WAITER = enum.auto()
    ASYNCIOS = enum.auto()
    STANDS_FOR = enum.auto()


def _role(kind: type) -> _Role | None:
    return _known_role(kind) if type(kind) is type else _role_of(kind)  # other metaclasses may not have a hash


@lru_cache(maxsize=1024)
def _known_role(kind: type) -> _Role | None:
    return _role_of(kind)


def _role_of(kind: type) -> _Role | None:
    if issubclass(kind, (WaitQueue, Queue)):
        return _Role.LINE
    if issubclass(kind, TaskWaiter):
        return _Role.WAITER
    if issubclass(kind, _STANDS_FOR):
        return _Role.STANDS_FOR
    return _Role.ASYNCIOS if is_asyncios(kind) else None


def _look(party: Party, links: list[Link]) -> None:
    party.place = users_place(links)
    own = [link for link in links if not link.is_users]
    party.tasks = awaited_itself(party.future)
    if not party.tasks:
        for link in reversed(own):
            for value in link.referents:
                role = _role(type(value))
                if role is _Role.STANDS_FOR:
                    party.shown = value
                elif role is not None and party.core is None:
                    _look_for_line(party, value, role)
        if party.core is None:
            party.tasks, party.timeout, party.cancels = awaited_in(links)
        if party.shown is None:
            party.shown = party.core
    conditions = _waited_conditions(own) if party.waits() else []
    party.frames = [link.frame if link.is_users else None for link in links]
    _note_held(party, managers(links), conditions)
    for link in own:
        _note_some_of_all(party, link.frame)


def _look_for_line(party: Party, value: Any, role: _Role) -> None:
    """If this is what the future stands in, note the primitive."""
    future = party.future
    if role is _Role.LINE:
        party.core = value._owner
        note = value._notes.get(future) if value._notes else None
        party.needs = note if type(note) is int else 1
    elif role is _Role.ASYNCIOS:
        party.core = value
    elif value.future is future and value.line is not None:
        party.core = value.line._owner
        party.needs = value.needs
    party.has_grant = party.core is not None and future.done() and not future.cancelled()


def _waited_conditions(own: Iterable[Link]) -> list[Any]:
    """The conditions whose wait() is in the chain. Who waits there has released the lock."""
    return [
        value
        for link in own
        if getattr(link.awaitable, "__name__", "") == "wait"
        for value in link.referents
        if is_condition(value)
    ]


def _note_held(party: Party, found: Iterable[Manager], conditions: Iterable[Any]) -> None:
    for manager in found:
        party.entered.append(manager)
        party.timeout = party.timeout or _is_timeout(manager.manager)
        for taken in taken_by(manager.manager):
            if manager.is_exact or taken.core is not party.core:
                party.held.append(
                    Held(taken, manager.manager, manager.place, manager.generator, manager.doubt, manager.depth)
                )
    if not party.waits():
        return
    party.reacquires = bool(conditions)
    for condition in {id(each): each for each in conditions}.values():  # who waits there has released the lock
        for taken in taken_by(condition):
            for held in reversed(party.held):
                if held.taken.core is taken.core:
                    party.held.remove(held)
                    break


def _note_some_of_all(party: Party, frame: types.FrameType | None) -> None:
    """Note the keys that the acquire() of all() has taken, which now waits for the next one."""
    if frame is not None and frame.f_code in _TAKES_ALL:
        variables = frame.f_locals
        manager = variables["self"]
        place = party.place or place_of(frame)
        for key in tuple(variables.get("taken", ())):
            for taken in taken_of_key(manager._keyed, key):
                party.held.append(Held(taken, manager, place, None, None, len(party.frames)))


def _is_timeout(manager: Any) -> bool:
    kind = type(manager)
    if issubclass(kind, asyncio.Timeout):
        return asyncio.Timeout.when(manager) is not None
    name = class_name(manager)  # those of the package async_timeout, and of anyio
    return name == "Timeout" or (name == "CancelScope" and attribute_of(manager, "_deadline") not in (None, math.inf))


def of_thread(name: str, ident: int, frame: types.FrameType, running: list[Party]) -> Party:
    """What a thread holds and waits for.

    name: the repr of its name. frame: its innermost frame. running: the tasks that run now; what the one of this thread
    holds is noted there.
    """
    party = Party(f"thread {name}", ident)
    inner: list[types.FrameType] = []
    conditions = []
    for each in _outwards(frame):
        inner.append(each)
        code = each.f_code
        if code is ThreadWaiter.wait.__code__:
            _look_for_thread(party, each)
        elif code is SyncCondition.wait.__code__:
            conditions.append(each.f_locals["self"]._shared)
        elif party.core is not None and party.shown is None and is_users(each):
            party.shown = party.core
            party.place = place_of(each)
        elif (task := _run_by(each, running)) is not None:
            _note_held(task, reversed([*managers_of_running(inner)]), ())
            inner = []
    inner.reverse()
    party.frames = [each if is_users(each) else None for each in inner]
    _note_held(party, managers_of_running(inner), conditions)
    for each in inner:
        _note_some_of_all(party, each)
    return party


def _outwards(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _look_for_thread(party: Party, frame: types.FrameType) -> None:
    waiter = frame.f_locals["self"]
    party.future, party.needs, party.has_grant = waiter, waiter.needs, waiter.granted
    party.core = None if waiter.line is None else waiter.line._owner
    party.timeout = frame.f_locals["timeout"] >= 0


def _run_by(frame: types.FrameType, running: list[Party]) -> Party | None:
    """The task whose outermost frame this is."""
    for party in running:
        if getattr(party.subject.get_coro(), "cr_frame", None) is frame:
            return party
    return None
