"""A session: one process's (or one event loop's) membership, to which all belongs that it holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from holdfast._refusals import refusing, shown

from .background import begin
from .barrier import Barrier
from .condition import Condition
from .engines.contract import Engine, Notice, SessionInfo, Stored
from .errors import EngineError, FormatError, SessionLost
from .event import Event
from .inspection import Inspection, burial, decode_any, report
from .life import ENDING, HOW_TO_OPEN, KEPT, Life
from .lock import Lock
from .record import Record, Step, encode
from .semaphore import BoundedSemaphore, Semaphore
from .tidying import AT_ONCE, slices

if TYPE_CHECKING:
    from redis.asyncio import Redis

LONGEST_NAME = 200
SHORTEST_TTL, LONGEST_TTL = 0.1, 1e9
"""Seconds. No server reckons in what is much longer."""


class Session:
    """What `holdfast.connect()` returns. Use it with `async with`, in one event loop.

    Closing it gives back everything that it holds. So does the end of the process, however it comes.
    """

    def __init__(self, engine: Engine, label: str, anew: Callable[[], Engine] | None = None) -> None:
        """anew: what makes another engine, if the session is to open again after it was lost."""
        self.label = label
        """What it is called in reports."""
        self._life = Life(engine, label)
        self._anew = anew
        self._opening = False
        self._closed = False
        self._reopening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return repr(self._life)

    if not TYPE_CHECKING:  # type checkers say it by themselves

        def __enter__(self):
            raise TypeError("a session is opened with 'async with': write 'async with holdfast.connect() as session:'")

        def __exit__(self, *exc):
            """Never reached; `with` looks it up before it calls `__enter__`."""

        def __await__(self):
            raise TypeError("connect() is not awaited: write 'async with holdfast.connect() as session:'")

    @property
    def id(self) -> str:
        """Its identity, which no other session ever has; "" before it is open. After a loss it opens under another."""
        return self._life.id

    @property
    def over(self) -> SessionLost | None:
        """Why it has ended, if it has."""
        return self._life.over

    @property
    def engine(self) -> Engine:
        """Where its state is; see `engines.contract`. After a loss it is another one."""
        return self._life.engine

    async def __aenter__(self) -> Self:
        if self.id or self._opening:
            raise RuntimeError(f"{self!r} has been opened before; call holdfast.connect() for another one")
        self._opening = True
        try:
            await self._life.open()
        finally:
            self._opening = False
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back all that is held, withdraw all who wait (they get SessionLost), and end the session.

        Waits for the engine at most a few seconds, and lets the event loop run meanwhile. Does nothing if the session
        is over already.

        Cancellation: the session ends all the same; what it held is found by the others.
        """
        if not self.id or self._life.is_inherited():
            return
        self._life.check_loop()
        self._closed = True
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait([self._reopening], timeout=ENDING)
        await self._life.close("was closed")

    def __del__(self) -> None:
        life = getattr(self, "_life", None)
        if life is not None and life.id and life.over is None and not life.is_inherited():
            try:
                warnings.warn(f"{life!r} was dropped without close(); {HOW_TO_OPEN}", ResourceWarning, 2, source=self)
            finally:
                life.abandon()

    @refusing
    def lock(self, name: str) -> Lock:
        """A Lock; all that have this name, in all sessions of the namespace, are one.

        Two objects of one name in one session contend as if they were in two.

        name: any text of 1 to 200 characters.
        """
        return Lock(self, _checked(name))

    @refusing
    def semaphore(self, name: str, value: int = 1) -> Semaphore:
        """A Semaphore of `value` permits; see lock(). Its first use fixes the value while its record lives."""
        return Semaphore(self, _checked(name), value)

    @refusing
    def bounded_semaphore(self, name: str, value: int = 1) -> BoundedSemaphore:
        """A BoundedSemaphore of `value` permits; see semaphore()."""
        return BoundedSemaphore(self, _checked(name), value)

    @refusing
    def event(self, name: str) -> Event:
        """An Event; see lock()."""
        return Event(self, _checked(name))

    @refusing
    def condition(self, name: str, lock: Lock | None = None) -> Condition:
        """A Condition over `lock`, by default over the Lock of the same name.

        name: tells apart the conditions of one lock.
        """
        if lock is not None and (not isinstance(lock, Lock) or lock._session is not self):
            raise TypeError(f"a condition needs a lock that {self!r} has made, or None, not {_other(lock)}")
        return Condition(self, _checked(name), self.lock(name) if lock is None else lock)

    @refusing
    def barrier(self, name: str, parties: int) -> Barrier:
        """A Barrier of `parties` tasks; see lock(). Its first use fixes their number while its record lives."""
        return Barrier(self, _checked(name), parties)

    async def names(self) -> list[str]:
        """All names of the namespace that are in use, or were a while ago, sorted."""
        await self._ready()
        return await self.engine.names()

    async def inspect(self, name: str) -> Inspection:
        """Who holds a name and who waits for it, whatever it is, and who has died with it.

        Raises KeyError if nobody has used it (or not for long), EngineError if the engine fails, FormatError if
        another version wrote it.

        Cancellation: raises at once; nothing has been changed anyway.
        """
        await self._ready()
        asked: set[str] = set()
        found: dict[str, SessionInfo] = {}
        record = await self._record(name)
        while new := record.sessions() - asked:
            asked |= new
            found |= await self.engine.describe(new)
            record = await self._record(name)  # who was closed meanwhile has taken itself out of it, and is not dead
        return report(record, name, found, await self.engine.evictions())

    async def _record(self, name: str) -> Record:
        text = await self.engine.read(_checked(name))
        if text is None:
            raise KeyError(name)
        return decode_any(text, name)

    async def evict(self, id: str, *, reason: str = "", by: str | None = None) -> bool:
        """End another session of the namespace, wherever it is; return whether it was alive.

        It is told at once: what it holds is lost (LeaseLost) and who waits in it gets SessionLost; both say who has
        ended it, when and why. What it held goes to the next at once, before it may have noticed: see docs/safety.md.
        A note of it is kept for a day, for inspect().

        id: as in `inspect(name).holders[0].session.id`.
        reason: for those who read of it, at most 200 characters.
        by: who does this; by default the name of this session.

        Raises EngineError if the engine fails, SessionLost if this session is over.

        Cancellation: raises at once; the session may have been ended.
        """
        await self._ready()
        if _checked(id, "a session's id") == self.id:
            raise ValueError(f"{self!r} cannot evict itself; use close()")
        for text, what in ((reason, "a reason"), (by, "'by'")):
            if text:
                _checked(text, what)
        held = [name for name, record in await self._naming(id) if id in record.holding()]
        if not await self.engine.evict(id, by or self.label, reason, held):
            return False
        for name, _ in await self._naming(id):
            await self._bury(name, id)
        return True

    async def _naming(self, id: str) -> list[tuple[str, Record]]:
        """All records that name the session."""
        found = []
        names = await self.engine.names()
        for some in slices(names, AT_ONCE):
            texts, _ = await self.engine.look(some, ())
            for name, text in texts.items():
                if text is not None and id in text:
                    with contextlib.suppress(FormatError):  # it is for a newer version to say
                        found.append((name, decode_any(text, name)))
        return found

    async def _bury(self, name: str, id: str) -> None:
        """Take a dead session out of a record, whether this one uses that or not; whom that serves is told."""

        def change(stored: Stored) -> tuple[str, Step]:
            if stored.text is None:
                raise KeyError(name)
            record = decode_any(stored.text, name)
            done = burial(record.starting_at(max(stored.floor, record.last_token())), {id}, stored.now)
            return encode(done.record), done

        def notices(done: Step) -> list[Notice]:
            return [(wake.session, wake.message()) for wake in done.wakes]

        with contextlib.suppress(KeyError, FormatError):  # somebody was faster
            await self.engine.apply(name, change, notices=notices)

    async def tidy(self, seconds: float = KEPT) -> int:
        """Remove the records in which nothing has happened for so long; return how many.

        Done by itself now and then. Only what is as good as new goes: nothing held, waited for or set, and no
        living session that may ask about its last request. Tokens go on rising all the same.
        """
        await self._ready()
        return await self._life.tidy(seconds)

    # For the primitives

    def _check(self) -> None:
        """Raise an error if the session cannot be used here and now."""
        try:
            self._life.check()
        except SessionLost as exc:
            if self._life.is_inherited():
                raise
            how = "for another one" if self._closed else "anew, or with reopen=True: then it opens again by itself"
            raise SessionLost(f"{exc}; connect() {how}") from None

    async def _ready(self) -> None:
        """The same; but one that was lost and may open again does so first. Raises EngineError if it cannot yet.

        Cancellation: raises at once; the opening goes on.
        """
        if self._anew is not None and self.id and not self._closed:
            self._life.check_loop()
            self._life.look_at_clock()
            await self._life.look_if_idle()
            while self.over is not None and not self._closed:
                await self._reopen()
        self._check()

    async def _reopen(self) -> None:
        """Open it under another identity, or wait for that if it is under way."""
        if self._reopening is None:
            self._reopening = begin(self._life.loop, self._live_anew, f"opening of session {shown(self.label)}")
            self._reopening.add_done_callback(self._reopened)
        task = self._reopening
        await asyncio.wait([task])
        if not task.cancelled():  # as by a program that cancels all tasks there are: then once more
            task.result()

    async def _live_anew(self) -> None:
        assert self._anew is not None
        life = Life(self._anew(), self.label, self._life.numbers())
        await life.open()
        self._life = life

    def _reopened(self, task: asyncio.Task[None]) -> None:
        self._reopening = None
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more


def connect(
    url: str | Redis | None, ttl: float | None, namespace: str, name: str | None, reopen: bool = False
) -> Session:
    """See `holdfast.connect()`."""
    if url is None or url == "":
        url = os.environ.get("HOLDFAST_URL") or None
    is_number = isinstance(ttl, (int, float)) and not isinstance(ttl, bool)
    if ttl is not None and not (is_number and SHORTEST_TTL <= ttl <= LONGEST_TTL):
        raise ValueError(
            f"ttl must be a number of seconds, {SHORTEST_TTL} to {LONGEST_TTL:g}, or None, not {shown(ttl)}"
        )
    label = (
        _checked(name, "a session's name")
        if name is not None and name != ""
        else f"{socket.gethostname()}:{os.getpid()}"
    )
    anew = partial(_engine, url, ttl, _checked(namespace, "a namespace"))
    return Session(anew(), label, anew if reopen else None)


def _engine(url: str | Redis | None, ttl: float | None, namespace: str) -> Engine:
    if url is not None and not isinstance(url, str):
        if type(url).__module__.partition(".")[0] != "redis" and not hasattr(url, "connection_pool"):
            raise TypeError(
                "connect() needs a URL, a text like 'sqlite:///var/lib/locks', or a client of redis.asyncio, or None, "
                f"not {shown(url)}"
            )
        return _redis_engine(url, ttl, namespace)
    try:
        parts = urlsplit(url or "sqlite:")
    except ValueError:  # which may have a password in its message
        raise ValueError(
            "the URL has a '[', a ']' or another sign that cannot stand in the name of a host; an address of IPv6 is "
            "written as in redis://[::1]:6379, and in a password '[' is %5B and ']' is %5D"
        ) from None
    if parts.scheme in ("redis", "rediss", "unix"):
        return _redis_engine(url or "", ttl, namespace)
    if parts.scheme == "memory":
        if parts.netloc or parts.path or parts.query or parts.fragment:
            raise ValueError(
                f"{shown(url)} has something after 'memory:', where nothing belongs; use namespace= to keep apart"
            )
        from .engines.memory import MemoryEngine

        return MemoryEngine(namespace, ttl)
    if parts.scheme == "sqlite":
        if parts.netloc:
            raise ValueError(
                f"{shown(url)} names a host; write the directory after three slashes: sqlite:///var/lib/locks"
            )
        if parts.query or parts.fragment:
            raise ValueError(f"{shown(url)} has a '?' or '#'; in the name of a directory write %3F or %23")
        path = unquote(parts.path)
        if path and (not path.startswith("/") or not path.strip("/") or "\0" in path):
            raise ValueError(
                f"{shown(url)} names no directory by its absolute path, which all processes would agree on; "
                "write it after three slashes: sqlite:///var/lib/locks"
            )
        return _embedded_engine(path, namespace, ttl)
    if not parts.scheme:
        raise ValueError(f"{shown(url)} is no URL; a directory is written with three slashes: sqlite:///var/lib/locks")
    known = f"{parts.scheme}://..." if "@" in parts.netloc else url  # there may be a password in it
    raise ValueError(
        f"unknown URL scheme in {shown(known)}; known are sqlite:///DIRECTORY, memory:, redis://HOST, rediss://HOST "
        "and unix://SOCKET"
    )


def _embedded_engine(path: str, namespace: str, ttl: float | None) -> Engine:
    from .engines.requirements import lacking

    if lacks := lacking():
        raise EngineError(
            "sqlite:///DIRECTORY, which is the default, is for POSIX systems as Linux and macOS: here is no "
            f"{lacks}. Use redis://HOST, or memory: within one process"
        )
    from .engines.directory import default_directory
    from .engines.embedded import EmbeddedEngine

    return EmbeddedEngine(Path(path) if path else default_directory(), namespace, ttl)


def _redis_engine(server: str | Redis, ttl: float | None, namespace: str) -> Engine:
    try:
        from .engines.redis import RedisEngine
    except ImportError as exc:
        raise ImportError("Redis and Valkey need an extra: pip install 'holdfast[redis]'") from exc
    return RedisEngine(server, namespace, ttl)


def _other(lock: object) -> str:
    return "one that another session has made" if isinstance(lock, Lock) else shown(lock)


def _checked(name: str, what: str = "a name") -> str:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        length = f", which has {len(name)}" if isinstance(name, str) else ""
        raise ValueError(f"{what} is a text of 1 to {LONGEST_NAME} characters, not {shown(name)}{length}")
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"{what} must have an encoding in UTF-8, and {shown(name)} has none") from exc
    return name
