"""What an engine promises. It keeps texts by name and knows which sessions are alive; it knows nothing of locks.

1. `apply()` is atomic. The changes of one name are made one after another, each sees the text that the one before has
   left, and all or nothing of it is kept.
2. A change is made only for a session that is alive. Once `dead()` has named a session, no change is made for that
   session any more: death is final.
3. When `apply()` has returned, the change has happened. If `apply()` raises EngineError, the change may have happened
   or not, and may be tried again. SessionLost says that the change has not happened, and never will.
4. A wake-up is a hint. It may be lost, sent twice, or late. If many may have been lost, the session is told (`OnGap`).
5. When a process dies, so do its sessions. If another session watches one of them, its death is soon noticed.
6. A session with a ttl dies when it has not been renewed for that long, by the engine's clock. A renewal never brings a
   dead session back.
7. A text is removed only if it is still the one that was seen, and its floor is kept: no record that is made later
   starts below that floor.
8. The texts of some engines may go back to an earlier state, as when a server loses its last writes. Such an engine
   tells each session (`OnGap`) before it makes another change for that session, and raises the floor before it makes
   a change for anybody.
9. An engine that compares texts may make an addition in place of a change, if the text is open to it (`Opening`).
   Promises 1 to 3 hold for an addition, with one exception: it may be made twice for one `apply()`. In that case no
   other change of this session comes in between, and none is made after `apply()` has returned. Other engines have no
   need of additions. An addition is stored behind the text as a row of its own: a line break, the engine's time in
   whole microseconds since 1970, a space, the session's id, and the addition's text. A text with its rows may be
   written anew as the one text that they come to; this changes nothing.
10. A keeper (`Engine.keeper()`) renews its session from another thread, also while the session's event loop is blocked.
    It never brings a dead session back either.

`holdfast.testing.engine_suite` tests these promises.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from .eviction_note import Eviction
from .session_info import SessionInfo

T = TypeVar("T")
LATER = 0.01
"""Seconds from the end of a session's ttl until a watcher looks at the session, at the earliest. A loop may call the
watcher before the time; then the session is found alive, and looked at again."""
MOST_LATER = 86400.0
"""Seconds until that look, at most: the timers of some loops reach no further than some weeks."""
NO_DESCRIPTOR = errno.EMFILE, errno.ENFILE
"""The errno of an EngineError that is raised because this process, or the machine, has no file descriptor left."""
MOST_OLD = 100
"""How many names `old()` returns, at most."""


class Stored(NamedTuple):
    """What a change is given."""

    text: str | None
    """The text under the name; None if there is none."""
    now: float
    """The engine's time, in seconds since 1970. No client's clock decides anything."""
    floor: int
    """At least the highest floor that `remove()` was given in this namespace. If texts may have been lost, as with the
    power or with a server's memory, the floor is above every token that may have been given out, by the engine's
    clock."""


class Seen(NamedTuple):
    """What a look returns."""

    texts: Mapping[str, str | None]
    """By name; None where there is no text."""
    dead: frozenset[str]
    """Those of the sessions asked for that are dead."""


Change = Callable[[Stored], tuple[str, T]]
"""A function that takes what is stored under a name, and returns the new text and a result. It may be called more than
once."""


class Addition(NamedTuple):
    """What may be stored behind a text instead of changing it. It has no line breaks."""

    kind: str
    """The kind of text that it is meant for: a word."""
    text: str
    """What is stored behind the session's id."""
    is_better: bool = False
    """True: make the addition even where the change could be made. False: make it only if somebody else has changed the
    text meanwhile."""
    is_known: bool = False
    """Whether the session knows what comes of a better addition, wherever it is made, and nobody has to be woken. Then
    an engine that has made it need not say to which text, and may return None."""


class Opening(NamedTuple):
    """A text that a change has made may have additions. Each reader sees them as a part of the text."""

    kind: str
    """The kind that additions must have: a word."""
    told: str | None
    """The session that is told of each addition, as it is likely to change the text next; None: nobody."""
    is_alike: bool
    """Whether an addition that the change has not seen stays valid behind the text that the change makes. If not, the
    change has to be made again, on the text with all additions."""


Notice = tuple[str, str | None]
"""A session, and the message that wakes it. None in place of the message: the session need not be woken, but is likely
to change the same text next; an engine that compares texts may send it the new text."""
Notices = Callable[[T], Iterable[Notice]]
"""A function that takes the result of a change, and returns the notices to send."""


class OnWake(Protocol):
    """Called in the session's event loop with the name and the message of a wake-up."""

    def __call__(self, name: str, message: str, text: str | None = None, /) -> None:
        """text: that which the change has made, if it came with the wake-up; see `Engine.sends_texts`."""


OnGap = Callable[[bool], None]
"""Called in the session's event loop when wake-ups may have been lost. True: texts may have gone back as well; then
what the session was told may not have happened, and it has to look before it asks for another change."""


def to_wake(notices: Notices[T] | None, result: T) -> list[tuple[str, str]]:
    """The sessions to wake after a change that has had this result, and the message for each."""
    if notices is None:
        return []
    return [(session, message) for session, message in notices(result) if message is not None]


class Keeper(Protocol):
    """Renews one session from another thread than the session's. Its methods are called in one event loop there."""

    async def renew(self) -> None:
        """Live on for another ttl from now.

        Raises SessionLost if the session is dead or was closed, EngineError if the engine fails.

        Cancellation: the session may have been renewed or not.
        """

    async def close(self) -> None:
        """Let go of what the keeper has for itself.

        Cancellation: it is let go of all the same.
        """


class Engine(Protocol):
    """One session's way to what all sessions share. All methods are called in the session's event loop.

    A method that only looks need not notice that this session is dead. If it does, it raises SessionLost.
    """

    ttl: float | None
    """Seconds without a renewal after which the session is dead; None if it lives as long as its process."""
    sends_texts: int = 0
    """Characters. A text that is not longer comes with each wake-up that the change which has made it sends. Then the
    session leaves the message empty where the text says the same."""
    makes_additions: bool = True
    """Whether it may make an addition in place of a change; see promise 9. If False, none is offered to it."""
    polls: float | None = None
    """Seconds after which a session that waits looks whether anything was granted to it, again and again; None: it is
    woken. For an engine that is told of nothing."""

    @property
    def vouches(self) -> bool:
        """Whether only somebody who can change the texts can have sent a wake-up. False is always right.

        If False, a session that is told of a grant reads the text before it believes it. It asks while `on_wake` is
        called, so an engine may judge each wake-up.
        """
        return False

    @property
    def begins_at_once(self) -> bool:
        """Whether a request may now begin in the step of the task that needs it. False is always right.

        If it has to wait, it goes on in a task of its own. So it uses `current_task()`, and what rests on that, only
        once it has waited.
        """
        return False

    async def open(self, label: str, on_wake: OnWake, on_gap: OnGap | None = None) -> str:
        """Begin the session.

        label: the session's name, for `SessionInfo.name`.
        on_wake: called with each wake-up.
        on_gap: called when wake-ups may have been lost; None: nobody wants to know.

        Return the session's id, in printable ASCII; no other session ever has the same.

        Raises EngineError if the engine cannot be used, FormatError if another version of holdfast uses it.

        Cancellation: nothing of the session is left, except for what an engine cannot reach; that dies by its ttl.
        """

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Notices[T] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T | None:
        """Change the text under a name, and bury the sessions in `evicted`, all of which `dead()` has named.

        change: is called with what is stored under the name.
        notices: from the result to the sessions to wake when the change has been made, as by wake().
        addition: an addition that comes to the same as the change, on any text that is open to it. If it was made,
        `change` is called with the text that it was added to and with the time of its row, for the result and for the
        notices. The text that `change` then returns is that text with the addition, written anew.
        opens: from the result to whether the new text may have additions.

        Return the result of the change; None if it has made an addition with `is_known`, and `change` was not called
        for that.

        Raises SessionLost if this session is dead; EngineError if the engine fails; what `change` raises, and then
        nothing has been changed.

        Cancellation: as with EngineError, the change may have been made or not.
        """

    async def renew(self, names: Iterable[str] = (), sessions: Iterable[str] = ()) -> Seen:
        """Live on for another ttl from now; without a ttl, check that the session is alive.

        names, sessions: as for look().

        Return what look() returns, in the same request if the engine is far.

        Raises SessionLost if this session is dead, EngineError if the engine fails.

        Cancellation: as with EngineError, the session may have been renewed or not.
        """

    def keeper(self) -> Keeper:
        """What renews this session from another thread. Called in the session's event loop, once the session is open.

        Only a session with a ttl has use for one, and only if its user asks for that (`loop_may_block` of connect()).
        An engine of yours need not have it if nobody asks for that.
        """

    async def read(self, name: str) -> str | None:
        """The text under a name; None if there is none.

        Raises EngineError if the engine fails.

        Cancellation: nothing has been changed.
        """

    async def look(self, names: Iterable[str], sessions: Iterable[str]) -> Seen:
        """The texts under these names, and which of these sessions, by id, were dead before the texts were read.

        It does not matter whether this session is alive. If the engine is far, it is one request.

        Raises EngineError if the engine fails.

        Cancellation: nothing has been changed.
        """

    async def names(self) -> list[str]:
        """The names in this namespace that have a text, sorted.

        Raises EngineError if the engine fails.

        Cancellation: nothing has been changed.
        """

    async def old(self, seconds: float, skip: int = 0) -> list[str]:
        """Names that have not been changed for so many seconds, by the engine's clock: the oldest, `MOST_OLD` at most.

        skip: how many of the oldest names are left out.

        Raises EngineError if the engine fails.

        Cancellation: nothing has been changed.
        """

    async def remove(self, name: str, text: str | None, floor: int) -> bool:
        """Remove the text under a name and raise the namespace's floor, if the text is still this one.

        text: None for a name that old() has returned and that has no text; then the name is removed.
        floor: see `Stored.floor`.

        Return whether the text, or the name, is gone.

        Raises EngineError if the engine fails.

        Cancellation: as with EngineError, it may have been removed or not.
        """

    async def describe(self, sessions: Iterable[str]) -> dict[str, SessionInfo]:
        """What is known of these sessions, by id, and whether they are alive. Dead ones may be missing.

        Raises EngineError if the engine fails, FormatError if what is stored is not holdfast's.

        Cancellation: nothing has been changed.
        """

    async def dead(self, sessions: Iterable[str]) -> frozenset[str]:
        """Which of these sessions are dead.

        Raises EngineError if the engine fails.

        Cancellation: nothing has been changed.
        """

    async def evict(self, session: str, by: str, reason: str, held: Iterable[str]) -> bool:
        """End a living session in one step, and keep a note of it for a day.

        From then on the session is dead, as in promise 2. It is told to look at itself, by a wake-up with the name "".
        Whatever it then asks for raises a SessionLost that says who has ended it, when and why.

        session: its id.
        by, reason, held: as in `Eviction`.

        Return whether the session was alive.

        Raises SessionLost if this session is dead, EngineError if the engine fails.

        Cancellation: as with EngineError, the session may have been ended or not.
        """

    async def evictions(self) -> list[Eviction]:
        """The notes of this namespace that are still kept, the earliest first.

        Raises EngineError if the engine fails.

        Cancellation: nothing has been changed.
        """

    def wake(self, session: str, name: str, message: str) -> None:
        """Send a message to a session, if that is still there. Never waits, and never raises.

        name: "" for what one session says to another one, under no name. message: ASCII without control characters,
        3,000 characters at most.
        """

    def watch(self, session: str, on_death: Callable[[], None]) -> Callable[[], None]:
        """Call `on_death` once, when the session may have died; soon, if it is dead already.

        Return a function that stops watching. Neither waits, and neither raises.
        """

    async def close(self) -> None:
        """End the session. May be called again, as after a cancellation.

        Raises EngineError if the engine fails. The others then find the session dead, as if its process had ended.

        Cancellation: as with EngineError.
        """
