"""What a dump is made of, and its text.

These words are used in every text: a task or thread *holds* a primitive, *waits for* one, and *may be* in a deadlock
where that is not certain. All objects are plain data: nothing in them keeps a task or a lock alive.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from holdfast._place import Place as Place


@dataclass(frozen=True, slots=True)
class Holder:
    """A task or a thread that holds a primitive."""

    name: str
    """What it is and its name, such as `task 'deploy 7'` or `thread 'MainThread'`."""
    place: Place | None
    """The line of the `async with` or `with`. None if that cannot be told."""
    permits: int
    """How many permits of a semaphore; 1 of anything else."""
    has_run: bool
    """False if it was handed to a task that has not run since."""

    def __str__(self) -> str:
        permits = f" ({self.permits} permits)" if self.permits > 1 else ""
        if not self.has_run:
            return f"{self.name}{permits}, which was handed it and has not run yet"
        return f"{self.name}{permits}{_at(self.place)}"


@dataclass(frozen=True, slots=True)
class Waiter:
    """A task or a thread that waits for a primitive."""

    name: str
    """As of a Holder."""
    place: Place | None
    """The line that waits."""
    needs: int
    """How many permits of a semaphore it waits for; 1 of anything else."""
    timeout: bool
    """Whether a timeout ends the wait. Timeouts of asyncio and anyio, and of threads, are seen."""
    seconds: float | None
    """For how long it has waited at least. It is known only while `watch()` is on: asyncio does not note it."""

    def __str__(self) -> str:
        needs = f", for {self.needs} permits" if self.needs > 1 else ""
        seconds = "" if self.seconds is None else f", for {self.seconds:.1f} s or longer"
        return f"{self.name}{_at(self.place)}{needs}{seconds}{', with a timeout' if self.timeout else ''}"


@dataclass(frozen=True, slots=True)
class WaitedFor:
    """A primitive that somebody waits for."""

    name: str
    """Its repr."""
    kind: str
    """The name of its class, such as `Lock`."""
    holders: tuple[Holder, ...]
    """Those that are known. Empty for what nobody holds: events, barriers, rate limiters."""
    unknown: int | None
    """How many permits others hold: by `acquire()` without `async with`, or in a task that runs at this moment. None
    for a semaphore that does not know how many permits there are."""
    waiters: tuple[Waiter, ...]
    """In the order in which they will get it."""

    def __str__(self) -> str:
        lines = [self.name, *(f"    held by {holder}" for holder in self.holders)]
        if self.unknown:
            lines.append(
                f"    held by {'a holder' if self.unknown == 1 else f'{self.unknown} holders'} unknown: acquire() "
                "without 'async with', or a task that runs now"
            )
        return "\n".join([*lines, *(f"    waited for by {waiter}" for waiter in self.waiters)])


@dataclass(frozen=True, slots=True)
class Step:
    """One wait in a circle."""

    name: str
    """Who waits. As of a Holder."""
    place: Place | None
    """The line that waits."""
    waits_for: str
    """The repr of a primitive; or the name of a task whose end is awaited."""
    held_by: str | None
    """Who holds the primitive: the next in the circle. None if the end of a task is awaited."""
    held_at: Place | None
    """The line of the holder's `async with` or `with`. None if that cannot be told, or nobody holds it."""

    def __str__(self) -> str:
        text = f"{self.name}{_at(self.place)} waits for {self.waits_for}"
        if self.held_by is None:
            return f"{text} to end"
        holder = "it holds itself" if self.held_by == self.name else f"{self.held_by} holds"
        return f"{text}, which {holder}{_at(self.held_at)}"


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Tasks and threads that wait for each other in a circle."""

    steps: tuple[Step, ...]
    """The waits, each for what the next one holds. The last one is for what the first one holds."""
    certain: bool
    """Whether none of them can go on by itself: only if somebody cancels one, or releases what another one holds. It is
    not certain if one has a timeout, if others may hold permits of a semaphore, or if it is in doubt who holds what."""
    why: str
    """What may help, in words; empty if nothing is known."""
    behind: int
    """How many more tasks and threads wait for one of these, directly or not, and cannot go on either."""

    def __str__(self) -> str:
        text = f"{'deadlock' if self.certain else 'may be a deadlock'}: {'; '.join(map(str, self.steps))}"
        if self.why:
            text += f" ({self.why})"
        if self.behind:
            text += f". {self.behind} more {'waits' if self.behind == 1 else 'wait'} behind them"
        return text


@dataclass(frozen=True, slots=True)
class Dump:
    """Who holds what and who waits for what, in one process at one moment. `str()` is a text for people."""

    primitives: tuple[WaitedFor, ...]
    """Those that somebody waits for."""
    deadlocks: tuple[Deadlock, ...]
    """The circles."""
    tasks: int
    """How many tasks there are, in all event loops that were found."""
    threads: int
    """How many threads there are."""

    def __str__(self) -> str:
        waiting = sum(len(primitive.waiters) for primitive in self.primitives)
        verb = "waits" if waiting == 1 else "wait"
        everybody = f"{_many(self.tasks, 'task')} and {_many(self.threads, 'thread')}"
        parts = [f"holdfast: {waiting} of {everybody} {verb} for {_many(len(self.primitives), 'primitive')}"]
        parts += map(str, self.deadlocks)
        parts += map(str, self.primitives)
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, strings and numbers."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The same as JSON, in one line."""
        return json.dumps(self.as_dict())


def _at(place: Place | None) -> str:
    return "" if place is None else f" ({place})"


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
