"""One look at all tasks and threads of the process."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .contended import Contended, contended
from .deadlocks import deadlocks
from .event_loops import Loop, find_loops, find_tasks
from .names import name_of_thread
from .parties import Party, of_task, of_thread, still_waits
from .primitives import name_of, shown_permits
from .story import Deadlock, Dump, Holder, WaitedFor, Waiter
from .times import times

Since = Callable[[Party], float | None]
"""For how many seconds one has waited at least."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen."""

    parties: list[Party]
    primitives: list[Contended]
    deadlocks: list[tuple[Deadlock, list[Party]]]
    loops: set[Loop]
    tasks: int
    threads: int

    def dump(self, since: Since) -> Dump:
        """The same as plain data."""
        return Dump(
            tuple(told(primitive, since) for primitive in self.primitives),
            tuple(deadlock for deadlock, _ in self.deadlocks),
            self.tasks,
            self.threads,
        )


def look(known_loops: Iterable[Loop] = (), thorough: bool = True) -> Look:
    """Look at all tasks and threads.

    known_loops: event loops to look at besides those that are found. thorough: see find_loops().
    """
    collects = gc.isenabled()
    gc.disable()  # it would take as long as the look, as all that is seen is new, and may close what is being looked at
    try:
        return _look(known_loops, thorough)
    finally:
        if collects:
            gc.enable()


def _look(known_loops: Iterable[Loop], thorough: bool) -> Look:
    frames = sys._current_frames()
    names = {thread.ident: name_of_thread(thread) for thread in threading.enumerate()}
    loops = find_loops(frames, thorough) | {loop for loop in known_loops if not loop.is_closed()}
    tasks = find_tasks(loops)
    parties = [of_task(task) for task in tasks]
    running = [party for party in parties if party.future is None and _runs(party.subject)]
    threads = [of_thread(names.get(ident, str(ident)), ident, frame, running) for ident, frame in frames.items()]
    del frames
    everybody = parties + threads
    for party in everybody:  # who still waits now has waited all the time, so all that is told of them was so at once
        party.goes_on = party.future is not None and not still_waits(party)
    primitives = contended(everybody)
    circles = [
        (deadlock, members) for deadlock, members in deadlocks(everybody, primitives) if all(map(still_waits, members))
    ]
    return Look(everybody, primitives, circles, loops, len(tasks), len(threads))


def circles(tasks: Iterable[asyncio.Task[Any]]) -> list[Deadlock]:
    """The circles among these tasks, none of which runs."""
    parties = [of_task(task) for task in tasks if not task.done()]
    return [deadlock for deadlock, _ in deadlocks(parties, contended(parties))]


def _runs(task: asyncio.Task[object]) -> bool:
    return asyncio.current_task(task.get_loop()) is task


def told(primitive: Contended, since: Since) -> WaitedFor:
    """A primitive as plain data."""
    core = primitive.core
    name, kind = name_of(core, primitive.shown)
    unknown = primitive.unknown()
    return WaitedFor(
        name,
        kind,
        tuple(
            Holder(each.party.name, each.place, shown_permits(core, each.permits), each.has_run)
            for each in primitive.holdings
        ),
        None if unknown is None else shown_permits(core, unknown),
        tuple(
            Waiter(party.name, party.place, shown_permits(core, party.needs), party.timeout, since(party))
            for party in primitive.line
        ),
    )


def dump() -> Dump:
    """Tell who holds what, and who waits for what, in all event loops and threads of this process.

    It costs nothing before it is called. A call takes some 30 to 50 microseconds for each task, and from Python 3.14 on
    50 milliseconds more for each million objects that the process has.

    Returns a Dump: `print(holdfast.debug.dump())` prints it.

    Example::

        print(holdfast.debug.dump())

    It tells of the primitives of `holdfast`, of `holdfast.threads` and of asyncio. A task or thread that holds one is
    known by the `async with` or `with` that it is in. One that has called `acquire()` is not known. threading's own
    locks are not seen.
    """
    return look().dump(times.seconds_if_known)
