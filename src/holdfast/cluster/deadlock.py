"""Deadlocks across sessions, as they are told: who waits for what, and who holds it.

The words are those of `holdfast.debug`. All objects are plain data.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from holdfast._place import Place

from .engines.session_info import SessionInfo
from .values_in_messages import shown


@dataclass(frozen=True, slots=True)
class DeadlockStep:
    """One wait in a circle."""

    name: str
    """Who waits: what it is and its name, such as `task 'deploy 7'` or `thread 'MainThread'`."""
    session: SessionInfo
    """The session in which it waits. If it waits for a task to end: one in which that task, or another one, waits."""
    place: Place | None
    """The line that waits. None if that cannot be told."""
    waits_for: str
    """The name of a primitive; or who it is whose end is awaited, as in `name`."""
    kind: str | None
    """The kind of the primitive, with its value if it has one: "semaphore of 10". None if a task's end is awaited."""
    side: str | None
    """Of an RWLock: as what it is waited for, "reader" or "writer"."""
    since: datetime | None
    """The time since which it waits, to a second, by the engine's clock. None if that cannot be told."""
    held_by: str | None
    """Who holds the primitive: the next in the circle. None if a task's end is awaited."""
    holds_itself: bool
    """Whether that is who waits."""
    holder: SessionInfo | None
    """The session that holds it."""
    held_at: Place | None
    """The line of the `async with`, or of the `with`. None if that cannot be told."""
    token: int | None
    """The token of the grant that holds it; see `Grant.token`."""
    behind: str | None
    """Who stands before it in the line and keeps it from what is free: a writer, or one that asks for more permits.
    None if it would have to wait all the same."""

    def __str__(self) -> str:
        text = f"{self.name} in {shown(self.session.name)}{_at(self.place)} waits for "
        if self.kind is None:
            return f"{text}{self.waits_for} to end"
        text += f"{self.kind} {shown(self.waits_for)}{'' if self.side is None else f' as a {self.side}'}"
        if self.behind is not None:
            text += f", behind {self.behind}"
        through = "" if self.holder is None else f" in {shown(self.holder.name)}"
        if not self.holds_itself:
            holder = f"{self.held_by}{through} holds"
        else:
            holder = f"it holds itself{'' if self.holder == self.session else through}"
        return f"{text}, which {holder}{_at(self.held_at)}"


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Tasks and threads of one session or more that wait for each other in a circle.

    It is certain: none of them can go on by itself. Somebody has to cancel one, or to end its session.
    """

    steps: tuple[DeadlockStep, ...]
    """The circle. The last one waits for what the first one holds."""
    names: tuple[str, ...]
    """The names that are waited for in it, sorted."""
    behind: int
    """How many more tasks and threads wait for what those in the circle hold."""

    def __str__(self) -> str:
        text = f"deadlock: {'; '.join(map(str, self.steps))}"
        if self.behind:
            text += f". {self.behind} more {'waits' if self.behind == 1 else 'wait'} behind them"
        return text

    def story(self) -> str:
        """What `str()` says: the circle as one sentence.

        Raises nothing.
        """
        return str(self)


def _at(place: Place | None) -> str:
    return "" if place is None else f" ({place})"
