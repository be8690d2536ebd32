"""A session: the membership of one process (or one event loop), with the primitives that it hands out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast._refusals import refusing

from .deadlock import Deadlock
from .deadlock_search.correspondence import hear
from .deadlock_search.search import OnSilent, find_deadlocks
from .engines.contract import Engine
from .errors import FormatError, SessionLost
from .eviction import evict
from .inspection import Inspection
from .loop_in_thread.loop_thread import LoopThread
from .names import checked
from .only_async_with import OnlyAsyncWith
from .overview import Overview
from .primitives.barrier import Barrier
from .primitives.condition import Condition
from .primitives.event import Event
from .primitives.leader import Leader
from .primitives.lock import Lock
from .primitives.rate_limiter import RateLimiter
from .primitives.rw_lock import RWLock
from .primitives.semaphore import BoundedSemaphore, Semaphore
from .primitives.several_locks import SeveralLocks
from .records.any_kind import decode_any, initial_of
from .records.closing import Reopen
from .session_life import told
from .session_life.housekeeping import KEPT
from .session_life.identity import HOW_IN_THREADS, HOW_TO_OPEN
from .session_life.life import OnSaid
from .session_life.membership import Membership
from .synchronous.session import SyncSession
from .values_in_messages import shown


class Session(Membership, OnlyAsyncWith):
    """What `holdfast.connect()` returns. Use it with `async with`, in one event loop. Threads use its `sync`.

    Closing it gives back everything that it holds. So does the end of the process, however it comes.

    Everything that is awaited, here and in what the session hands out, raises RuntimeError if the session is not open,
    or in another event loop than the session's, and SessionLost in a forked child. With `reopen=True` it raises
    EngineError if the session cannot be opened again.
    """

    @property
    def id(self) -> str:
        """Its identity, which no other session ever has; "" before it is open.

        A session that opens again after a loss gets another one.
        """
        return self._life.id

    @property
    def over(self) -> SessionLost | None:
        """Why it has ended, if it has."""
        return self._life.over

    @property
    def engine(self) -> Engine:
        """Where its state is; see the engine contract. A session that opens again after a loss gets another one."""
        return self._life.bare_engine

    async def __aenter__(self) -> Self:
        """Open the session; the `as` value is the session.

        Raises EngineError if the engine cannot be used, RuntimeError if the session has been opened before.

        Cancellation: the session is not open, and may be opened again.
        """
        await self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the session, as close() does."""
        await self.close()

    async def close(self) -> None:
        """Give back all that is held, withdraw all tasks that wait (they get SessionLost), and end the session.

        Waits for the engine a few seconds at most, and lets the event loop run meanwhile. Does nothing if the session
        is over already.

        Raises RuntimeError in another event loop than the session's.

        Cancellation: the session ends all the same. The other sessions find what it held.
        """
        await self._close()

    @property
    def sync(self) -> SyncSession:
        """The same session for threads, with threading's methods. A session is used either so or in an event loop."""
        # In one step: two threads may be here.
        return SyncSession(self, self.__dict__.setdefault("_loop_thread", LoopThread()))

    def __del__(self) -> None:
        """End a session that the program has dropped without close(), and the thread that may serve it."""
        super().__del__()
        thread: LoopThread | None = self.__dict__.get("_loop_thread")
        if thread is not None:
            thread.end()

    def _hears(self) -> OnSaid:
        return hear

    def _how_to_enter(self) -> str:
        return f"a session is opened with 'async with': {HOW_TO_OPEN}; without an event loop, {HOW_IN_THREADS}"

    if not TYPE_CHECKING:  # type checkers say it by themselves

        def __await__(self):
            """Refuse `await connect()`: raise a TypeError that says what to write."""
            raise TypeError(f"connect() is not awaited: {HOW_TO_OPEN}")

    @refusing
    def lock(self, name: str) -> Lock:
        """A Lock. All locks of this name, in all sessions of the namespace, are one.

        Two objects of one name in one session contend as if they were in two sessions.

        name: any text of 1 to 200 characters.

        Raises ValueError if the name is not such a text; NameConflict if this session uses the name for something else.
        The engine is not asked.
        """
        return Lock(self, checked(name))

    @refusing
    def rw_lock(self, name: str) -> RWLock:
        """An RWLock: its `reader` is for any number of tasks, its `writer` for one; see lock().

        name: as for lock().

        Raises what lock() raises.
        """
        return RWLock(self, checked(name))

    @refusing
    def semaphore(self, name: str, value: int = 1) -> Semaphore:
        """A Semaphore of `value` permits; see lock(). Its first use fixes the value while its record lives.

        name: as for lock().
        value: the number of permits, 0 or more.

        Raises what lock() raises; TypeError if the value is not an integer, ValueError if it is below 0.
        """
        return Semaphore(self, checked(name), value)

    @refusing
    def bounded_semaphore(self, name: str, value: int = 1) -> BoundedSemaphore:
        """A BoundedSemaphore of `value` permits; see semaphore().

        name: as for lock().
        value: the number of permits, 0 or more.

        Raises what semaphore() raises.
        """
        return BoundedSemaphore(self, checked(name), value)

    @refusing
    def rate_limiter(self, name: str, rate: float, per: float = 1.0, *, burst: int | None = None) -> RateLimiter:
        """A RateLimiter of `rate` tokens in `per` seconds; see lock(). Its first use fixes them while it is in use.

        name: as for lock().
        rate: the number of tokens that come in `per` seconds; more than 0.
        per: seconds; more than 0.
        burst: how many tokens can be there at once, an integer, 1 or more; by default `rate`, rounded up. All are there
            at the start.

        Raises what lock() raises; TypeError or ValueError if a number is wrong.
        """
        return RateLimiter(self, checked(name), rate, per, burst)

    @refusing
    def event(self, name: str) -> Event:
        """An Event; see lock().

        name: as for lock().

        Raises what lock() raises.
        """
        return Event(self, checked(name))

    @refusing
    def condition(self, name: str, lock: Lock | None = None) -> Condition:
        """A Condition over `lock`, by default over the Lock of the same name.

        name: tells apart the conditions of one lock; a text as for lock().
        lock: a Lock that this session has made.

        Raises what lock() raises; TypeError if `lock` is not a Lock of this session.
        """
        if lock is not None and (not isinstance(lock, Lock) or lock._session is not self):
            raise TypeError(f"a condition needs a lock that {self!r} has made, or None, not {_other(lock)}")
        return Condition(self, checked(name), self.lock(name) if lock is None else lock)

    @refusing
    def barrier(self, name: str, parties: int) -> Barrier:
        """A Barrier of `parties` tasks; see lock(). Its first use fixes their number while its record lives.

        name: as for lock().
        parties: the number of tasks, 1 or more.

        Raises what lock() raises; TypeError if `parties` is not an integer, ValueError if it is below 1.
        """
        return Barrier(self, checked(name), parties)

    @refusing
    def locks(self, *names: str) -> SeveralLocks:
        """The Locks of several names, to be held together: `async with session.locks("a", "b") as grants:`.

        They are taken one after the other, in an order that is the same everywhere. So tasks that take several locks in
        this way do not wait for each other in a circle. A name that is given twice counts once.

        names: as for lock().

        Raises what lock() raises.
        """
        return SeveralLocks([self.lock(name) for name in sorted({checked(name) for name in names})])

    @refusing
    def leader(self, name: str) -> Leader:
        """The election of a leader under this name: of the sessions that stand, one leads.

        name: as for lock(). It is the same record as that of the Lock of this name.

        Raises what lock() raises.
        """
        return Leader(self.lock(name))

    async def names(self) -> list[str]:
        """All names of the namespace that are in use, or were a while ago, sorted.

        Raises SessionLost if the session is over, EngineError if the engine fails.

        Cancellation: raises at once; nothing has been changed.
        """
        await self._ready()
        with self._telling_why():
            return await self._life.engine.names()

    async def inspect(self, name: str) -> Inspection:
        """Report the holders and the waiters of a name, whatever its kind, and the sessions that have died with it.

        name: as for lock().

        Raises KeyError if no session has used the name, or not for long; ValueError if the name is no text of 1 to 200
        characters; SessionLost if the session is over; EngineError if the engine fails; FormatError if another version
        wrote the record.

        Cancellation: raises at once; nothing has been changed anyway.
        """
        await self._ready()
        with self._telling_why():
            found = await Overview().look(self._life.engine, [checked(name)])
        if not found:
            raise KeyError(name)
        return found[0]

    async def inspect_all(self, *, on_error: Callable[[FormatError], object] | None = None) -> list[Inspection]:
        """Report on all names of the namespace that are in use, or were a while ago, as inspect() does, sorted by name.

        It asks for many names at once, and decodes again only what has changed since the last call in this session. So
        it may be called every few seconds, as by a page that shows them.

        on_error: called with the error of each name whose record another version wrote, which is then left out. By
        default the first one is raised.

        Raises SessionLost if the session is over; EngineError if the engine fails; FormatError without `on_error`.

        Cancellation: raises at once; nothing has been changed anyway.
        """
        await self._ready()
        engine = self._life.engine
        with self._telling_why():
            return await self._overview.look(engine, await engine.names(), on_error)

    async def find_deadlocks(
        self,
        names: Iterable[str] | None = None,
        *,
        within: float = 2.0,
        on_silent: OnSilent | None = None,
        on_error: Callable[[FormatError], object] | None = None,
    ) -> list[Deadlock]:
        """Find tasks and threads of all sessions of the namespace that wait for each other in a circle.

        Each deadlock is certain: none of those in it can go on by itself. One with a timeout can, and so can who waits
        for something that an `acquire()` without `async with` holds, as any task may release that.

        It reads the records. If they leave room for a deadlock, it asks the sessions that hold those names, twice.
        Nothing is stored, and a session that nobody asks pays nothing.

        names: those to look at; by default all. A circle is found if it goes through these alone.
        within: how many seconds the sessions have to answer, each of the two times. What one holds that does not
            answer, as its event loop is blocked, its process is stopped or it has an earlier version, is not judged.
        on_silent: called with each session that has not answered. One that polls, as with `?poll=`, never answers, so
            it is not waited for; to one that polls nobody answers.
        on_error: called with the error of each name whose record another version wrote, which is then left out. By
            default the first one is raised.

        Return the deadlocks; `print(*found, sep="\\n")` tells them in words.

        Raises ValueError if `within` is no number of seconds above 0, or one of the names is no text of 1 to 200
        characters; TypeError if `names` is one text; SessionLost if the session is over; EngineError if the engine
        fails; FormatError without `on_error`; RuntimeError without `on_silent`, if this session polls and others would
        have to be asked.

        Cancellation: raises at once; nothing has been changed anyway.
        """
        if isinstance(within, bool) or not isinstance(within, (int, float)) or not 0 < within < math.inf:
            raise ValueError(f"within must be a number of seconds above 0, not {shown(within)}")
        if isinstance(names, (str, bytes)):
            raise TypeError(f"names must be several names, as a list or a set, not {shown(names)}")
        await self._ready()
        some = None if names is None else [*dict.fromkeys(map(checked, names))]
        overview = self._overview if some is None else Overview()
        with self._telling_why():
            return await find_deadlocks(self._life, overview, some, within, on_error, on_silent)

    @cached_property
    def _overview(self) -> Overview:
        return Overview()

    async def evict(self, id: str, *, reason: str = "", by: str | None = None) -> bool:
        """End another session of the namespace, wherever it is; return whether it was alive.

        The session is told at once: what it holds is lost (LeaseLost), and tasks that wait in it get SessionLost. Both
        errors say by whom, when and why it was ended. What it held goes to the next waiters at once, perhaps before the
        session has noticed: see "Guarantees" in the manual. A note of the eviction is kept for a day, for inspect().

        id: as in `inspect(name).holders[0].session.id`.
        reason: for people who read of it, at most 200 characters.
        by: who does this, at most 200 characters; by default the name of this session.

        Raises ValueError if the session is this one, or a text is too long or cannot be encoded; EngineError if the
        engine fails; SessionLost if this session is over.

        Cancellation: raises at once; the session may have been ended.
        """
        await self._ready()
        if checked(id, "a session's id") == self.id:
            raise ValueError(f"{self!r} cannot evict itself; use close()")
        for text, what in ((reason, "a reason"), (by, "'by'")):
            if text:
                checked(text, what)
        evictor = by or self.label
        with self._telling_why():
            was_alive = await evict(self._life.engine, id, evictor, reason)
        if was_alive:
            told.evicted(self._life, id, evictor, reason)
        return was_alive

    async def reopen(self, name: str) -> bool:
        """Open again whatever is closed under a name, the primitive and its conditions; return whether anything was.

        For who does not know of what kind the name is; else `reopen()` of the primitive does it.

        name: as for lock().

        Raises ValueError if the name is no text of 1 to 200 characters; SessionLost if the session is over or ends
        before; EngineError if the engine fails before it has told what is closed, after which this goes on trying;
        FormatError if another version wrote the record; NameConflict if this session uses the name for something else.

        Cancellation: raises at once, and what is closed may be opened all the same.
        """
        await self._ready()
        with self._telling_why():
            text = await self._life.engine.read(checked(name))
        record = None if text is None else decode_any(text, name)
        initial = None if record is None else initial_of(record.kind)
        if record is None or initial is None or not record.closings:
            return False
        register = self._life.register(name, initial)
        for what in record.closings:
            await register.tell(Reopen(what))
        return True

    async def tidy(self, seconds: float = KEPT) -> int:
        """Remove the records in which nothing has happened for `seconds`; return how many.

        A session does this by itself now and then. A record is removed only if it is as good as new: nothing is held,
        waited for or set, and it names no living session that may ask for the answer to its last request. Where
        something is closed, it is kept for a day at least. Tokens go on rising all the same.

        seconds: how long, by the engine's clock; an hour by default.

        Raises SessionLost if the session is over, EngineError if the engine fails.

        Cancellation: raises at once; some records may have been removed.
        """
        await self._ready()
        with self._telling_why():
            return await self._life.housekeeping.tidy(seconds)


def _other(lock: object) -> str:
    return "one that another session has made" if isinstance(lock, Lock) else shown(lock)
