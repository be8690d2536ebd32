"""What an engine promises. It knows texts by name, sessions, and nothing of locks.

1. `apply()` is atomic: for one name, changes are made one after the other, each sees the text that the one before has
   left, and all or nothing of it is kept.
2. A change is made only for a session that is alive. Once `dead()` has named a session, no change is made for it any
   more: death is final.
3. What a change has returned has happened. If `apply()` raises EngineError it may have happened or not, and may
   be tried again; SessionLost says that it did not, and never will.
4. A wake-up is a hint. It may be lost, doubled or late.
5. A process that dies takes its sessions with it; a session that is watched by another one is missed soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")

Change = Callable[[str | None], tuple[str, T]]
"""From the text under a name, or None, to the new one and a result. May be called more than once."""
OnWake = Callable[[str, str], None]
"""Called in the loop of the session with a name and a message."""


class Engine(Protocol):
    """One session's way to what the sessions share. All methods are called in the session's event loop."""

    async def open(self, label: str, on_wake: OnWake) -> str:
        """Begin the session; return its id, which no other session ever has."""

    async def apply(self, name: str, change: Change[T], *, evicted: Iterable[str] = ()) -> T:
        """Change the text under a name, and end the sessions in `evicted`, all of which `dead()` has named.

        Raises SessionLost if this session is dead, EngineError if the engine fails.
        """

    async def read(self, name: str) -> str | None:
        """The text under a name."""

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        """Which of them are dead."""

    def wake(self, session: str, name: str, message: str) -> None:
        """Send a message to a session, if that is still there. Never raises."""

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        """Call `on_death` once when the session may be dead; return what stops watching."""

    async def close(self) -> None:
        """End the session."""
