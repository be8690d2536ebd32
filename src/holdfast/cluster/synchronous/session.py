"""SyncSession: a session with its primitives, as threads use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast._refusals import refusing_in_threads
from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import FormatError, SessionLost
from holdfast.cluster.names import checked
from holdfast.cluster.session_life.housekeeping import KEPT
from holdfast.cluster.values_in_messages import shown

from .barrier import SyncBarrier
from .condition import SyncCondition
from .event import SyncEvent
from .grant import SyncGrant
from .lock import SyncLock
from .rate_limiter import SyncRateLimiter
from .rw_lock import SyncRWLock
from .semaphore import SyncSemaphore
from .way_in import WayIn

if TYPE_CHECKING:
    from holdfast.cluster.deadlock import Deadlock
    from holdfast.cluster.engines.session_info import SessionInfo
    from holdfast.cluster.inspection import Inspection


class SyncSession(WayIn):
    """What `holdfast.connect().sync` is: the session for threads. Use it with `with`, or with open() and close().

    Any number of threads may use it. A thread of its own runs an event loop that renews the session, so what is held is
    kept while the program's threads block. It ends with the program: what is held is given back then.

    Everything here, and in what the session hands out, raises RuntimeError if the session is not open, is open in an
    event loop, or if the call would block a running event loop; SessionLost if it is over or ends meanwhile, and in a
    forked child. With `reopen=True` the session opens by itself when it is first used, and so in each forked child,
    under another identity. That raises EngineError if the engine cannot be used.
    """

    def __eq__(self, other: object) -> bool:
        """Whether it is the same session."""
        return isinstance(other, SyncSession) and other._session is self._session

    def __hash__(self) -> int:
        return hash((SyncSession, id(self._session)))

    def __repr__(self) -> str:
        return repr(self._session).replace("Session", "SyncSession", 1)

    @property
    def id(self) -> str:
        """Its identity; see `Session.id`."""
        return self._session.id

    @property
    def over(self) -> SessionLost | None:
        """Why it has ended, if it has."""
        return self._session.over

    @property
    def engine(self) -> Engine:
        """Where its state is; see `Session.engine`."""
        return self._session.engine

    @property
    def label(self) -> str:
        """What it is called in reports."""
        return self._session.label

    def open(self) -> Self:
        """Open the session; return it. `with` does so as well.

        Raises EngineError if the engine cannot be used; RuntimeError if the session has been opened before.

        Cancellation: if a signal handler raises meanwhile, as at Ctrl-C, its exception comes out, and the session is
        not open.
        """
        self._open()
        return self

    def close(self) -> None:
        """Give back all that is held, withdraw all threads that wait (they get SessionLost), and end the session.

        Waits for the engine a few seconds at most. Does nothing if the session is over already, and in a forked child.

        Raises RuntimeError if the session is open in an event loop.

        Cancellation: if a signal handler raises meanwhile, its exception comes out, and the session ends all the same.
        """
        self._close()

    def __enter__(self) -> Self:
        """Open the session, as open() does; the `as` value is the session."""
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the session, as close() does."""
        self.close()

    @refusing_in_threads
    def lock(
        self, name: str, *, on_lost: Callable[[SyncGrant], object] | None = None, hold_at_most: float | None = None
    ) -> SyncLock:
        """A Lock. All locks of this name, in all sessions of the namespace, are one; see `Session.lock()`.

        name: any text of 1 to 200 characters.
        on_lost: is called with the grant if it is lost while it is held, in a thread of its own; not when the program
            ends.
        hold_at_most: seconds after which a holding ends by itself: the lock goes to the next waiter, and the grant is
            lost. The thread that held it runs on, as Python cannot stop it. By default there is no limit.

        Raises ValueError if the name is not such a text, or `hold_at_most` is no number above 0; TypeError if `on_lost`
        cannot be called; NameConflict if this session uses the name for something else. The engine is not asked.
        """
        return SyncLock(self, self._session.lock(name), on_lost, hold_at_most)

    @refusing_in_threads
    def locks(self, *names: str) -> AbstractContextManager[dict[str, SyncGrant]]:
        """The Locks of several names, to be held together: `with session.locks("a", "b") as grants:`.

        They are taken one after the other, in an order that is the same everywhere. So threads and tasks that take
        several locks in this way do not wait for each other in a circle. A name that is given twice counts once.

        names: as for lock().

        Raises what lock() raises.
        """
        return _held({name: self.lock(name) for name in sorted({checked(name) for name in names})})

    @refusing_in_threads
    def rw_lock(
        self, name: str, *, on_lost: Callable[[SyncGrant], object] | None = None, hold_at_most: float | None = None
    ) -> SyncRWLock:
        """An RWLock: its `reader` is for any number of threads, its `writer` for one; see `Session.rw_lock()`.

        name, on_lost, hold_at_most: as for lock().

        Raises what lock() raises.
        """
        return SyncRWLock(self, self._session.rw_lock(name), on_lost, hold_at_most)

    @refusing_in_threads
    def semaphore(
        self,
        name: str,
        value: int = 1,
        *,
        on_lost: Callable[[SyncGrant], object] | None = None,
        hold_at_most: float | None = None,
    ) -> SyncSemaphore:
        """A Semaphore of `value` permits; see `Session.semaphore()`.

        name, on_lost, hold_at_most: as for lock().
        value: the number of permits, 0 or more.

        Raises what lock() raises; TypeError if the value is not an integer, ValueError if it is below 0.
        """
        return SyncSemaphore(self, self._session.semaphore(name, value), on_lost, hold_at_most)

    @refusing_in_threads
    def bounded_semaphore(
        self,
        name: str,
        value: int = 1,
        *,
        on_lost: Callable[[SyncGrant], object] | None = None,
        hold_at_most: float | None = None,
    ) -> SyncSemaphore:
        """A BoundedSemaphore of `value` permits: it refuses a release in a session that holds no permit.

        name, on_lost, hold_at_most: as for lock().
        value: the number of permits, 0 or more.

        Raises what semaphore() raises.
        """
        return SyncSemaphore(self, self._session.bounded_semaphore(name, value), on_lost, hold_at_most)

    @refusing_in_threads
    def rate_limiter(self, name: str, rate: float, per: float = 1.0, *, burst: int | None = None) -> SyncRateLimiter:
        """A RateLimiter of `rate` tokens in `per` seconds; see `Session.rate_limiter()`.

        name: as for lock().
        rate: the number of tokens that come in `per` seconds; more than 0.
        per: seconds; more than 0.
        burst: how many tokens can be there at once, an integer, 1 or more; by default `rate`, rounded up.

        Raises ValueError and NameConflict as lock() does; TypeError or ValueError if a number is wrong.
        """
        return SyncRateLimiter(self, self._session.rate_limiter(name, rate, per, burst=burst))

    @refusing_in_threads
    def event(self, name: str) -> SyncEvent:
        """An Event; see `Session.event()`.

        name: as for lock().

        Raises ValueError and NameConflict as lock() does.
        """
        return SyncEvent(self, self._session.event(name))

    @refusing_in_threads
    def condition(self, name: str, lock: SyncLock | None = None) -> SyncCondition:
        """A Condition over `lock`, by default over the Lock of the same name; see `Session.condition()`.

        name: tells apart the conditions of one lock; a text as for lock().
        lock: a SyncLock that this session has made.

        Raises what lock() raises; TypeError if `lock` is not a SyncLock of this session.
        """
        if lock is None:
            lock = self.lock(name)
        elif not isinstance(lock, SyncLock) or lock._way_in != self:
            raise TypeError(f"a condition needs a lock that {self!r} has made, or None, not {shown(lock)}")
        return SyncCondition(self, self._session.condition(name, lock._leased), lock)

    @refusing_in_threads
    def barrier(self, name: str, parties: int) -> SyncBarrier:
        """A Barrier of `parties` threads and tasks; see `Session.barrier()`.

        name: as for lock().
        parties: how many, 1 or more.

        Raises ValueError and NameConflict as lock() does; TypeError if `parties` is not an integer, ValueError if it is
        below 1.
        """
        return SyncBarrier(self, self._session.barrier(name, parties))

    def names(self) -> list[str]:
        """All names of the namespace that are in use, or were a while ago, sorted.

        Raises EngineError if the engine fails.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; nothing has been changed.
        """
        return self._run(self._session.names)

    def inspect(self, name: str) -> Inspection:
        """Report the holders and the waiters of a name, whatever its kind; see `Session.inspect()`.

        name: as for lock().

        Raises KeyError if no session has used the name, or not for long; ValueError if the name is no text of 1 to 200
        characters; EngineError if the engine fails; FormatError if another version wrote the record.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; nothing has been changed.
        """
        return self._run(lambda: self._session.inspect(name))

    def inspect_all(self, *, on_error: Callable[[FormatError], object] | None = None) -> list[Inspection]:
        """Report on all names of the namespace; see `Session.inspect_all()`.

        on_error: called, in the thread of the session's event loop, with the error of each name whose record another
        version wrote. By default the first one is raised.

        Raises SessionLost if the session is over; EngineError if the engine fails; FormatError without `on_error`.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, its exception comes out.
        """
        return self._run(lambda: self._session.inspect_all(on_error=on_error))

    def find_deadlocks(
        self,
        names: Iterable[str] | None = None,
        *,
        within: float = 2.0,
        on_silent: Callable[[SessionInfo], object] | None = None,
        on_error: Callable[[FormatError], object] | None = None,
    ) -> list[Deadlock]:
        """Find tasks and threads of all sessions that wait for each other in a circle; see `Session.find_deadlocks()`.

        names: those to look at; by default all.
        within: how many seconds the sessions have to answer, each of the two times.
        on_silent: called, in the thread of the session's event loop, with each session that has not answered.
            One that polls, as with `?poll=`, never answers, so it is not waited for; to one that polls nobody answers.
        on_error: called, in the same thread, with the error of each name whose record another version wrote. By default
            the first one is raised.

        Raises ValueError if `within` is no number of seconds above 0, or one of the names is no text of 1 to 200
        characters; TypeError if `names` is one text; SessionLost if the session is over; EngineError if the engine
        fails; FormatError without `on_error`; RuntimeError without `on_silent`, if this session polls and others would
        have to be asked.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, its exception comes out.
        """
        return self._run(
            lambda: self._session.find_deadlocks(names, within=within, on_silent=on_silent, on_error=on_error)
        )

    def evict(self, id: str, *, reason: str = "", by: str | None = None) -> bool:
        """End another session of the namespace, wherever it is; return whether it was alive. See `Session.evict()`.

        id: as in `inspect(name).holders[0].session.id`.
        reason: for people who read of it, at most 200 characters.
        by: who does this, at most 200 characters; by default the name of this session.

        Raises ValueError if the session is this one, or a text is too long or cannot be encoded; EngineError if the
        engine fails.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; the session may have been ended.
        """
        return self._run(lambda: self._session.evict(id, reason=reason, by=by))

    def reopen(self, name: str) -> bool:
        """Open again whatever is closed under a name; return whether anything was. See `Session.reopen()`.

        name: as for lock().

        Raises ValueError if the name is no text of 1 to 200 characters; EngineError if the engine fails before it has
        told what is closed, after which this goes on trying; FormatError if another version wrote the record;
        NameConflict if this session uses the name for something else.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; it may be opened all the same.
        """
        return self._run(lambda: self._session.reopen(name))

    def tidy(self, seconds: float = KEPT) -> int:
        """Remove the records in which nothing has happened for `seconds`; return how many. See `Session.tidy()`.

        seconds: how long, by the engine's clock; an hour by default.

        Raises EngineError if the engine fails.

        Cancellation: if a signal handler raises meanwhile, its exception comes out; some records may have been removed.
        """
        return self._run(lambda: self._session.tidy(seconds))


@contextmanager
def _held(locks: Mapping[str, SyncLock]) -> Iterator[dict[str, SyncGrant]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(lock) for name, lock in locks.items()}
