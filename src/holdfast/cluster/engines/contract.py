"""What an engine promises. It knows texts by name, sessions, and nothing of locks.

1. `apply()` is atomic: for one name, changes are made one after the other, each sees the text that the one before has
   left, and all or nothing of it is kept.
2. A change is made only for a session that is alive. Once `dead()` has named a session, no change is made for it any
   more: death is final.
3. What a change has returned has happened. If `apply()` raises EngineError it may have happened or not, and may
   be tried again; SessionLost says that it did not, and never will.
4. A wake-up is a hint. It may be lost, doubled or late. If many may have been lost, the session is told (`OnGap`).
5. A process that dies takes its sessions with it; a session that is watched by another one is missed soon.
6. A session with a ttl dies when it has not been renewed for so long, by the engine's clock. A renewal never brings one
   back.
7. A text is removed only as it is, and its floor is kept: no record that is made later starts below it.
8. An engine whose texts may go back to what they were, as when a server loses its last writes, tells each session
   (`OnGap`) before it makes another change for it, and raises the floor before it makes one for anybody.
9. An engine that compares texts may make an addition in place of a change, if the text is open to that (`Opening`).
   1 to 3 hold for it, but that it may be made twice for one `apply()`, in which case no other change by this session
   comes in between, and none of them after `apply()` has returned. All others have no need of it. It is stored behind
   the text as a row of its own: a line break, the engine's time in whole microseconds since 1970, a space, and what
   was given. Whoever writes the text anew that comes of a text and its rows changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar

from holdfast.cluster.errors import FormatError

if TYPE_CHECKING:
    from .evictions import Eviction

T = TypeVar("T")
LATER = 0.01
"""Seconds after the end of a session's ttl when it is looked after, at the earliest. A loop may call this before the
time: then the session is found alive, and looked after again."""
MOST_LATER = 86400.0
"""Seconds until then, at most: the timers of some loops go no further than some weeks."""
NO_DESCRIPTOR = errno.EMFILE, errno.ENFILE
"""The errno of an EngineError that is raised because this process, or the machine, has no file descriptor left."""
MOST_OLD = 100
"""How many old names an engine tells in one go, at most."""


class Stored(NamedTuple):
    """What a change finds."""

    text: str | None
    """What is kept under the name, if anything."""
    now: float
    """The engine's time, in seconds since 1970. No client's clock decides anything."""
    floor: int
    """At least the highest that `remove()` has been given in this namespace. If texts may have been lost, as with
    the power or with a server's memory, it is above every token that may have been given out, by the engine's clock."""


class Seen(NamedTuple):
    """What a session sees when it looks around."""

    texts: Mapping[str, str | None]
    """By name."""
    dead: frozenset[str]
    """Of the sessions that it asked for."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Who a session is."""

    id: str
    name: str
    """What `connect(name=)` said; by default host and pid."""
    host: str
    pid: int
    since: datetime
    """When it was opened."""
    command: str = ""
    """The command line of its process, with no passwords of URLs, or the first 200 characters of it."""
    alive: bool = True
    """Whether it lived when it was asked for."""
    stopped: bool = False
    """Whether its process was stopped then, as by Ctrl-Z, as far as this machine can tell."""

    @classmethod
    def read(cls, id: str, name: object, host: object, pid: Any, since: Any, command: object, alive: bool) -> Self:
        """From what an engine has kept. Raises FormatError if somebody else has written it."""
        try:
            moment = datetime.fromtimestamp(since, UTC)
            return cls(id, str(name), str(host), int(pid), moment, str(command), alive)
        except (TypeError, ValueError, OverflowError, OSError) as exc:
            raise FormatError(f"the record of session {id} is not one of holdfast's. Nothing was changed") from exc


Change = Callable[[Stored], tuple[str, T]]
"""From what is stored under a name to the new text and a result. May be called more than once."""


class Addition(NamedTuple):
    """What may be stored behind a text, instead of changing it. No line breaks."""

    kind: str
    """What kind of text it is meant for: a word."""
    text: str
    is_better: bool = False
    """Whether to add it though the text could be changed; else only if somebody else has changed it meanwhile."""


class Opening(NamedTuple):
    """That a text which a change has made may have additions. Each reader sees them as part of the text."""

    kind: str
    """Of what kind they must be: a word."""
    told: str | None
    """The session that is told of each, if any is, as it is likely to change the text next."""
    is_alike: bool
    """Whether an addition that the change did not find stays valid behind the text that it makes. If not, the
    change has to be made again, on all that was added."""


Notice = tuple[str, str | None]
"""A session and the message that wakes it. With None it need not be woken: it is likely to change the same text
next, and an engine that compares texts may let it know the new one."""
OnWake = Callable[[str, str], None]
"""Called in the loop of the session with a name and a message."""
OnGap = Callable[[bool], None]
"""Called in the loop of the session when wake-ups may have been lost. With True, texts may have gone back, too: what
this session has been told of may not have happened, and it has to look before it asks for another change."""


class Engine(Protocol):
    """One session's way to what the sessions share. All methods are called in the session's event loop."""

    ttl: float | None
    """Seconds without a renewal after which the session is dead; None if it lives as long as its process."""
    vouches: bool = False
    """Whether only somebody who can change the texts can send wake-ups. If not, the session reads the text before it
    believes that it was granted something: where texts are near, that costs little."""

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        """Begin the session; return its id, which no other session ever has, in printable ASCII."""

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Callable[[T], Iterable[Notice]] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T:
        """Change the text under a name, and end the sessions in `evicted`, all of which `dead()` has named.

        notices: from the result to whom to wake once that is kept, as by wake().
        addition: what comes to the same as the change, on any text that is open to it. When it was made, `change` is
        called with the text that it was added to, and with the time that it was given, for the result and for whom
        to wake; the text that this gives is that text with the addition, written anew.
        opens: from the result to whether the text may have additions.

        Raises SessionLost if this session is dead, EngineError if the engine fails.
        """

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        """Live on for another ttl from now; without a ttl, see that the session is alive. Raises as apply() does.

        Return the texts under these names, and which of these sessions are dead: in one request, if the engine is far.
        """

    async def read(self, name: str) -> str | None:
        """The text under a name."""

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        """The texts under these names, and which of these sessions were dead by the time of that; in one request, if
        the engine is far. As renew(), for whom it does not matter whether this session lives.
        """

    async def names(self) -> list[str]:
        """The names in this namespace under which there is a text, sorted."""

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        """Some names that have not been changed for so long, by the engine's clock: the oldest, but for so many."""

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """Remove the text under a name and raise the namespace's floor, if it is still this one; return whether.

        text: None, if old() has named what is not there: then the name goes, and true is returned if it is gone.
        """

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        """Who they are, by id, and whether they live. Those that are dead may be missing."""

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        """Which of them are dead."""

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        """End a session that lives, in one step, and keep a note of it for a day; return whether it has lived.

        From then on it is dead, as in 2. It is told to look at itself, by a wake-up of the name ""; what it then asks
        for raises a SessionLost that says who has ended it, when and why.

        by, reason, held: see `Eviction`.

        Raises as apply() does.
        """

    async def evictions(self) -> list[Eviction]:
        """Those in this namespace of which there is a note, the earliest first."""

    def wake(self, session: str, name: str, message: str) -> None:
        """Send a message to a session, if that is still there. Never raises."""

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        """Call `on_death` once when the session may have died; return what stops watching.

        If it is dead already, call it soon.
        """

    async def close(self) -> None:
        """End the session. May be called again, as after a cancellation."""
