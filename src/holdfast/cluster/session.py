"""A session: one process's (or one event loop's) membership, to which all belongs that it holds."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import socket
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit
from weakref import WeakSet, WeakValueDictionary

from .barrier import Barrier
from .condition import Condition
from .engines.clock import monotonic
from .engines.contract import Engine, Seen
from .errors import EngineError, FormatError, LeaseLost, NameConflict, SessionLost
from .event import Event
from .grant import Grant
from .inspection import Inspection, decode_any, report
from .lock import Lock
from .record import Record, with_article
from .register import Register
from .semaphore import BoundedSemaphore, Semaphore

if TYPE_CHECKING:
    from redis.asyncio import Redis

CLOSING = 5.0
"""Seconds that closing a session waits for the engine, at most. What is left then is for the others to clean up."""
LONGEST_NAME = 200
RENEWALS = 3
"""How often a session with a ttl is renewed in one, and looks whether it has missed a wake-up or a death."""
JITTER = 1.0, 1.2
"""By what the time between two looks is multiplied: sessions that were opened together do not look together."""
CHECKED = 1.0
"""Seconds after which a session without a ttl that holds something looks whether it is still alive."""
LOOK_AGAIN = 3.0
"""Seconds after which one without a ttl that waits looks whether it has missed a wake-up or a death."""
MARGIN = 0.05
"""How much of its ttl before the engine a session gives up what it holds."""
RETRY_RENEWAL = 0.1
"""Seconds until a renewal is tried again that the engine has failed to make, at least."""
SHORTEST_TTL, LONGEST_TTL = 0.1, 1e9
"""Seconds. No server reckons in what is much longer."""
KEPT = 3600.0
"""Seconds that a record is kept in which nothing is held, waited for or set."""
IDLE = 60.0
"""Seconds that the register of a name is kept, at least, which the user has no object of any more."""
MANY = 1000
"""Registers from which on it is looked, before the time, which of them may go."""


class Session:
    """What `holdfast.connect()` returns. Use it with `async with`, in one event loop.

    Closing it gives back everything that it holds. So does the end of the process, however it comes.
    """

    def __init__(self, engine: Engine, label: str) -> None:
        self.engine = engine
        self.id = ""
        self.over: SessionLost | None = None
        """Why it has ended, if it has."""
        self.label = label
        """What it is called in reports."""
        self._registers: WeakValueDictionary[str, Register] = WeakValueDictionary()
        self._in_use: dict[str, Register] = {}  # those of them whose records may know the session
        self._numbers = 0  # no ticket or batch of a register that has been let go had a higher one
        self._many = MANY
        self._grants: set[Grant] = set()
        self._pid = 0
        self._opening = False
        self._losing: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[Seen] | None = None
        self._in_haste = False  # whether to renew anew as soon as that is done
        self._failure: EngineError | None = None  # why the last renewal has failed
        self._next_renewal: asyncio.TimerHandle | None = None
        self._deadline = math.inf  # of monotonic(): when others may take it for dead
        self._alarm: asyncio.TimerHandle | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._tidied = 0.0  # the loop's time when that began

    def __repr__(self) -> str:
        state = "not open yet" if not self.id else "over" if self.over else "open"
        return f"<holdfast.cluster.Session {self.label!r} {self.id} [{state}]>"

    def __str__(self) -> str:
        """For messages about its end, which are made while it is open."""
        return f"session {self.label!r} {self.id}"

    async def __aenter__(self) -> Self:
        if self.id or self._opening:
            raise RuntimeError(f"{self!r} has been opened before; call holdfast.connect() for another one")
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._tidied = self.loop.time()
        asked = monotonic()
        self._opening = True
        try:
            self.id = await self.engine.open(self.label, self._on_wake, self._on_gap)
        finally:
            self._opening = False
        _open.add(self)
        if self.engine.ttl is not None:
            self._extend(asked, self.engine.ttl)
            self._renew_in(self.engine.ttl / RENEWALS)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back all that is held, withdraw all who wait (they get SessionLost), and end the session.

        Waits for the engine at most a few seconds. Does nothing if the session is over already.

        Cancellation: the session ends all the same; what it held is found by the others.
        """
        if not self.id or os.getpid() != self._pid:
            return  # it is the parent's, and goes on there
        self.check_loop()
        if self._losing is not None:
            await self._losing
        if self.over is not None:
            return
        self._end(SessionLost(f"{self} was closed"))
        try:
            if self._tidying is not None:
                self._tidying.cancel()
            with contextlib.suppress(TimeoutError, EngineError, SessionLost):
                async with asyncio.timeout(CLOSING):
                    for register in [*self._in_use.values()]:
                        await register.leave()
                    await self._tidy(KEPT)
        finally:
            await self.engine.close()

    def lock(self, name: str) -> Lock:
        """A Lock; all that have this name, in all sessions of the namespace, are one.

        Two objects of one name in one session contend as if they were in two.

        name: any text of 1 to 200 characters.
        """
        return Lock(self, _checked(name))

    def semaphore(self, name: str, value: int = 1) -> Semaphore:
        """A Semaphore of `value` permits; see lock(). While it is held or waited for it keeps its value, but for
        `resize()`: who uses another one gets NameConflict."""
        return Semaphore(self, _checked(name), value)

    def bounded_semaphore(self, name: str, value: int = 1) -> BoundedSemaphore:
        """A BoundedSemaphore of `value` permits; see semaphore()."""
        return BoundedSemaphore(self, _checked(name), value)

    def event(self, name: str) -> Event:
        """An Event; see lock()."""
        return Event(self, _checked(name))

    def condition(self, name: str, lock: Lock | None = None) -> Condition:
        """A Condition over `lock`, by default over the Lock of the same name.

        name: tells apart the conditions of one lock.
        """
        if lock is not None and (not isinstance(lock, Lock) or lock._session is not self):
            raise TypeError(f"a condition needs a lock that {self!r} has made, or None, not {lock!r}")
        return Condition(self, _checked(name), self.lock(name) if lock is None else lock)

    def barrier(self, name: str, parties: int) -> Barrier:
        """A Barrier of `parties` tasks; see lock(). While somebody waits, or it is broken, it keeps their number."""
        return Barrier(self, _checked(name), parties)

    async def names(self) -> list[str]:
        """All names of the namespace that are in use, or were a while ago, sorted."""
        self.check()
        return await self.engine.names()

    async def inspect(self, name: str) -> Inspection:
        """Who holds a name and who waits for it, whatever it is.

        Raises KeyError if nobody has used it (or not for long), EngineError if the engine fails, FormatError if
        another version wrote it.
        """
        self.check()
        text = await self.engine.read(_checked(name))
        if text is None:
            raise KeyError(name)
        record = decode_any(text, name)
        return report(record, name, await self.engine.describe(record.sessions()))

    async def tidy(self, seconds: float = KEPT) -> int:
        """Remove the records in which nothing has happened for so long; return how many.

        Done by itself now and then. Only what is as good as new goes: nothing held, waited for or set, and no
        living session that may ask about its last request. Tokens go on rising all the same.
        """
        self.check()
        return await self._tidy(seconds)

    async def _tidy(self, seconds: float) -> int:
        self._tidied = self.loop.time()
        for name, register in [*self._in_use.items()]:
            if register.idle_for(min(seconds, IDLE)):
                await register.forget()
                if register.is_forgotten:  # from here on it lasts as long as an object of the user's
                    self._numbers = max(self._numbers, register.numbers)
                    self._in_use.pop(name, None)
        self._many = max(MANY, 2 * len(self._in_use))
        removed = 0
        for name in await self.engine.old(seconds):
            text = await self.engine.read(name)
            if text is None:
                continue
            try:
                record = decode_any(text, name)
            except FormatError:
                continue  # it is for a newer version to say
            if record.is_initial() and record.sessions() <= await self.engine.dead(record.sessions()):
                removed += await self.engine.remove(name, text, record.last_token())
        return removed

    # For the primitives

    def check(self) -> None:
        """Raise an error if the session cannot be used here and now."""
        if not self.id:
            raise RuntimeError(f"{self!r} is not open; write 'async with holdfast.connect() as session:'")
        if self.over is not None:
            raise SessionLost(str(self.over))
        self.check_deadline()
        self.check_loop()

    def check_loop(self) -> None:
        """Raise RuntimeError in another event loop than the session's, before anything is touched that is not safe."""
        self.check_process()
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(f"{self!r} belongs to the event loop {self.loop!r}; connect() in each loop")

    def check_process(self) -> None:
        """Raise RuntimeError in a process that was forked since: the session and its grants are the parent's."""
        if os.getpid() != self._pid:
            raise self._of_another_process()

    def _of_another_process(self) -> SessionLost:
        return SessionLost(f"{self} belongs to process {self._pid}; after a fork the child must connect() itself")

    def register(self, name: str, initial: Record) -> Register:
        """The one register of the name. Raises NameConflict if that is for another kind or value."""
        if self.id and self.over is None and (self._tidying is None or self._tidying.done()):
            pause = IDLE if len(self._in_use) > self._many else KEPT
            if self.loop.time() > self._tidied + pause:
                self._tidying = self.loop.create_task(self._keep_tidy(), name=f"tidying of {self!r}")
        register = self._registers.get(name)
        if register is not None and register.initial.kind != initial.kind and not register.serves(initial):
            is_same_kind = type(register.initial) is type(initial)
            if not (register.is_forgotten or (is_same_kind and register.is_at_rest)):
                raise NameConflict(
                    f"{name!r} is used as {with_article(register.initial.kind)} in {self!r} already, and here as "
                    f"{with_article(initial.kind)}"
                )
            register.is_replaced = True  # it was of the wrong kind, or nobody uses it now
            self._numbers = max(self._numbers, register.numbers)
            before, register = register, Register(self, name, initial, self._numbers)
            if is_same_kind:
                register.follow(before)
            self._registers[name] = register
            if name in self._in_use:
                self._in_use[name] = register
        if register is None:
            register = self._registers[name] = Register(self, name, initial, self._numbers)
        return register

    def use(self, name: str, register: Register) -> None:
        """Something is asked for there: it is kept until the record has forgotten the session."""
        self._in_use[name] = register

    def hold(self, grant: Grant) -> None:
        """Remember a grant, to be told when the session is lost."""
        self._grants.add(grant)
        if self.engine.ttl is None:
            self._renew_in(CHECKED)

    def drop(self, grant: Grant) -> None:
        """Forget a grant that has ended."""
        self._grants.discard(grant)

    def tokens(self, name: str) -> list[int]:
        """Of the grants of this name that are held."""
        return [grant.token for grant in self._grants if grant.name == name]

    def forgo(self, name: str) -> None:
        """The grants of this name are lost, and no others."""
        for grant in [grant for grant in self._grants if grant.name == name]:
            self._grants.discard(grant)
            grant._lose(LeaseLost(f"{grant} was lost: the engine has lost data"))

    def keep_looking(self) -> None:
        """Somebody waits: have all that they wait for looked at now and then."""
        if self.engine.ttl is None:
            self._renew_in(LOOK_AGAIN)

    def lose(self, exc: SessionLost) -> None:
        """The session is dead for the others: nothing that it held may be believed held any more."""
        if self.over is None:
            self._end(exc)
            self._close_engine()

    def _close_engine(self) -> None:
        self._losing = self.loop.create_task(self.engine.close())
        # It may be cancelled by a program that cancels all tasks there are.
        self._losing.add_done_callback(lambda done: self._close_engine() if done.cancelled() else None)

    # Life

    def check_deadline(self) -> None:
        """Raise SessionLost if others may take the session for dead already."""
        self.look_at_clock()
        if self.over is not None:
            raise SessionLost(str(self.over))

    def look_at_clock(self) -> None:
        """End the session if others may take it for dead already."""
        if self.over is None and monotonic() >= self._deadline:
            why = f": {self._failure}" if self._failure is not None else ""
            self.lose(SessionLost(f"{self} could not be renewed within its ttl of {self.engine.ttl} s{why}"))

    def _extend(self, asked: float, ttl: float) -> None:
        """It was renewed by a request that was sent at `asked`."""
        self.look_at_clock()  # an answer that comes too late is not believed
        self._deadline = asked + ttl * (1 - MARGIN)
        if self._alarm is not None:
            self._alarm.cancel()
        if self.over is None:
            self._alarm = self.loop.call_later(self._deadline - monotonic(), self.look_at_clock)

    def _renew_in(self, seconds: float) -> None:
        """Renew, and look around, after that time; or before, if that is planned already."""
        if self._renewal is not None:
            return
        at = self.loop.time() + seconds * random.uniform(*JITTER)
        if self._next_renewal is not None:
            if self._next_renewal.when() <= at:
                return
            self._next_renewal.cancel()
        self._next_renewal = self.loop.call_at(at, self._renew)

    def _renew(self) -> None:
        """One task for each renewal: a timer goes on also where a program cancels all tasks there are."""
        self._next_renewal = None
        if self.over is not None:
            return  # in a child, that has its parent's timers
        waiting = {name: waits for name, each in self._in_use.items() if (waits := each.waits_for)}
        if self.engine.ttl is None and not self._grants and not any(each.is_waiting for each in self._in_use.values()):
            return
        asked = monotonic()
        watched = frozenset[str]().union(*(sessions for _, sessions in waiting.values()))
        self._renewal = self.loop.create_task(self.engine.renew(waiting, watched), name=f"renewal of {self!r}")
        self._renewal.add_done_callback(
            partial(self._renewed, asked, {name: batch for name, (batch, _) in waiting.items()})
        )

    def _renewed(self, asked: float, batches: dict[str, int], renewal: asyncio.Task[Seen]) -> None:
        ttl = self.engine.ttl
        pause = ttl / RENEWALS if ttl is not None else CHECKED if self._grants else LOOK_AGAIN
        self._renewal = None
        exc = asyncio.CancelledError() if renewal.cancelled() else renewal.exception()
        if self.over is not None:
            return
        if exc is None:
            self._failure = None
            if ttl is not None:
                self._extend(asked, ttl)
            texts, dead = renewal.result()
            for name, batch in batches.items():
                if (register := self._in_use.get(name)) is not None:  # else nobody waits there any more
                    register.see(batch, texts[name], dead)
            self._renew_in(0 if self._in_haste else pause)
            self._in_haste = False
        elif isinstance(exc, asyncio.CancelledError):
            self._renew_in(0)
        elif isinstance(exc, EngineError):
            self._failure = exc
            self._renew_in(min(RETRY_RENEWAL, pause))  # until the deadline, which ends it
        elif isinstance(exc, SessionLost):
            self.lose(exc)
        else:
            lost = SessionLost(f"{self} failed: {exc!r}")
            lost.__cause__ = exc
            self.lose(lost)

    def _on_gap(self, went_back: bool) -> None:
        """Whoever waits may have missed something, and if texts went back, what is held may not be held any more."""
        if self.over is None:
            if went_back:
                for register in self._in_use.values():
                    register.doubt()
            self._in_haste = self._renewal is not None
            self._renew_in(0)

    async def _keep_tidy(self) -> None:
        with contextlib.suppress(EngineError, SessionLost):  # then somebody else will do it
            await self._tidy(KEPT)

    def end_in_child(self) -> None:
        """After a fork: the session goes on in the parent, and nothing that runs here may renew or end it."""
        self.over = self._of_another_process()

    def _end(self, exc: SessionLost) -> None:
        self.over = exc
        if self._alarm is not None:
            self._alarm.cancel()
        if self._next_renewal is not None:
            self._next_renewal.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        for register in self._in_use.values():
            register.lose(exc)
        for grant in self._grants:
            grant._lose(LeaseLost(f"{grant} was lost: {exc}"))
        self._grants.clear()

    def _on_wake(self, name: str, message: str) -> None:
        register = self._registers.get(name)
        if register is not None:
            register.on_wake(message)


def connect(url: str | Redis | None, ttl: float | None, namespace: str, name: str | None) -> Session:
    """See `holdfast.connect()`."""
    if url is None or url == "":
        url = os.environ.get("HOLDFAST_URL") or None
    is_number = isinstance(ttl, (int, float)) and not isinstance(ttl, bool)
    if ttl is not None and not (is_number and SHORTEST_TTL <= ttl <= LONGEST_TTL):
        raise ValueError(f"ttl must be a number of seconds, {SHORTEST_TTL} to {LONGEST_TTL:g}, or None, not {ttl!r}")
    label = (
        _checked(name, "a session's name")
        if name is not None and name != ""
        else f"{socket.gethostname()}:{os.getpid()}"
    )
    return Session(_engine(url, ttl, _checked(namespace, "a namespace")), label)


def _engine(url: str | Redis | None, ttl: float | None, namespace: str) -> Engine:
    if url is not None and not isinstance(url, str):
        if type(url).__module__.partition(".")[0] != "redis" and not hasattr(url, "connection_pool"):
            raise TypeError(
                "connect() needs a URL, a text like 'sqlite:///var/lib/locks', or a client of redis.asyncio, or None, "
                f"not {url!r}"
            )
        return _redis_engine(url, ttl, namespace)
    parts = urlsplit(url or "sqlite:")
    if parts.scheme in ("redis", "rediss", "unix"):
        return _redis_engine(url or "", ttl, namespace)
    if parts.scheme == "memory":
        if parts.netloc or parts.path or parts.query or parts.fragment:
            raise ValueError(
                f"{url!r} has something after 'memory:', where nothing belongs; use namespace= to keep apart"
            )
        from .engines.memory import MemoryEngine

        return MemoryEngine(namespace, ttl)
    if parts.scheme == "sqlite":
        from .engines.embedded import EmbeddedEngine, default_directory

        if parts.netloc:
            raise ValueError(f"{url!r} names a host; write the directory after three slashes: sqlite:///var/lib/locks")
        if parts.query or parts.fragment:
            raise ValueError(f"{url!r} has a '?' or '#'; in the name of a directory write %3F or %23")
        path = unquote(parts.path)
        if path and (not path.startswith("/") or not path.strip("/") or "\0" in path):
            raise ValueError(
                f"{url!r} names no directory by its absolute path, which all processes would agree on; "
                "write it after three slashes: sqlite:///var/lib/locks"
            )
        return EmbeddedEngine(Path(path) if path else default_directory(), namespace, ttl)
    shown = f"{parts.scheme}://..." if "@" in parts.netloc else url  # there may be a password in it
    raise ValueError(
        f"unknown URL scheme in {shown!r}; known are sqlite:///DIRECTORY, memory:, redis://HOST, rediss://HOST and "
        "unix://SOCKET"
    )


def _redis_engine(server: str | Redis, ttl: float | None, namespace: str) -> Engine:
    try:
        from .engines.redis import RedisEngine
    except ImportError as exc:
        raise ImportError("Redis and Valkey need an extra: pip install 'holdfast[redis]'") from exc
    return RedisEngine(server, namespace, ttl)


def _checked(name: str, what: str = "a name") -> str:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"{what} is a text of 1 to {LONGEST_NAME} characters, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"{what} must have an encoding in UTF-8, and {name!r} has none") from exc
    return name


_open: WeakSet[Session] = WeakSet()


def _end_in_child() -> None:
    for session in _open:
        session.end_in_child()


os.register_at_fork(after_in_child=_end_in_child)
