"""A session from its opening to its end: one identity, its engine, and all that belongs to it there.

Everything that goes on in the event loop refers to the life, and to no Session. So a Session that the program has
dropped is collected, and that is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from functools import partial

from holdfast.cluster.background import begin
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import EngineError, SessionLost
from holdfast.cluster.records.record import Record
from holdfast.cluster.values_in_messages import shown

from . import told
from .exchange import Exchange, Home
from .housekeeping import Housekeeping
from .identity import HOW_TO_OPEN, open_here
from .keeping import Keeping
from .leases import Lease
from .leaving import leave_all
from .register import Register
from .registers import Registers
from .renewal import RENEWALS, Renewal

CLOSING = 5.0
"""Seconds in which a closing session gives back what it has, at most. The other sessions find the rest."""
ENDING = 1.0
"""Seconds that it then waits for the engine to end, at most."""
AT_ONCE = 32
"""How much is done at once in one iteration of the event loop, at most: some milliseconds. Then the loop has its turn,
so a task that acquires and releases without a pause keeps nobody waiting."""
SLICE = 0.002
"""Seconds that it keeps the event loop busy with its names, at a time."""


OnSaid = Callable[["Life", str], bool]
"""Takes what another session says or asks; returns False if that is nothing of the kind."""


class Life(Home):
    """One life of a session."""

    def __init__(
        self,
        engine: Engine,
        label: str,
        numbers: int = 0,
        loop_may_block: float | None = None,
        on_said: OnSaid | None = None,
    ) -> None:
        """numbers: no ticket or batch of a life before had a higher one. loop_may_block: see `connect()`. on_said: is
        called with each message that comes under no name.
        """
        super().__init__(engine, label)
        self._on_said = on_said
        self.expected: dict[str, Callable[[str], None]] = {}
        """What takes the answers of other sessions, by the number of the question."""
        self.registers = Registers(self, numbers)
        self.renewal = Renewal(self, self.registers)
        self.housekeeping = Housekeeping(self, self.registers)
        self._keeping = Keeping(self, loop_may_block) if loop_may_block is not None else None
        self._left = AT_ONCE  # of what may be done in this iteration of the loop
        self._ending: asyncio.Task[None] | None = None  # of the engine
        self._has_ended = False  # the engine as well
        self._closing: asyncio.Task[None] | None = None  # after the program has dropped the session
        self._keeper: AsyncGenerator[None] | None = None
        self._is_open = False  # its opening has succeeded; stays true

    async def open(self) -> None:
        """Begin. May be called again if that has failed."""
        self._belongs_here()
        self.housekeeping.start()
        asked = monotonic()
        self.id = await self.engine.open(self.label, self._on_wake, self._on_gap)
        open_here.add(self)
        self._keeper = _until_the_loop_ends(self)
        await anext(self._keeper)
        if self.engine.ttl is not None:
            if monotonic() > asked + self.engine.ttl / RENEWALS:  # the engine is slow, and some of the ttl has passed
                asked = await self._renew_once()
            self.expiry.extend(self.loop, asked, self.engine.ttl)
            self.renewal.within(max(self.engine.ttl / RENEWALS - (monotonic() - asked), 0))
            if self._keeping is not None:
                await self._start(self._keeping)
        self._is_open = True

    async def _renew_once(self) -> float:
        """Renew before anything is asked for; return the time at which the renewal was sent."""
        asked = monotonic()
        try:
            await self.engine.renew()
        except BaseException as exc:
            await self._not_opened(exc)
            raise
        return asked

    async def _start(self, keeping: Keeping) -> None:
        try:
            keeping.start()
        except BaseException as exc:  # most likely there may be no more threads
            await self._not_opened(exc)
            raise

    async def _not_opened(self, exc: BaseException) -> None:
        """It was opened, and something that has to follow has failed: end it again."""
        self.lose(SessionLost(f"{self} could not be opened: {exc!r}"))
        if self._ending is not None and isinstance(exc, Exception):
            await asyncio.wait([self._ending], timeout=ENDING)

    # For the primitives

    def register(self, name: str, initial: Record) -> Register:
        """The one register of a name. Raises NameConflict if it is used as another kind, or with another value."""
        self.housekeeping.look()
        return self.registers.get(name, initial)

    def hold(self, lease: Lease) -> None:
        """Remember something that is held, to tell it when it is lost."""
        self.leases.add(lease)
        self.renewal.keep_checking()

    # For the registers

    def use(self, name: str, exchange: Exchange) -> None:
        self.registers.in_use[name] = exchange

    def bring_back(self, name: str, exchange: Exchange) -> bool:
        return self.registers.bring_back(name, exchange)

    def may_go_on(self) -> bool:
        if self._left == AT_ONCE:
            self.loop.call_soon(self._refill)
        elif not self._left:
            return False
        self._left -= 1
        return True

    def let_others_go_on(self) -> None:
        self.may_go_on()
        self._left = 0

    def _refill(self) -> None:
        self._left = AT_ONCE

    def keep_looking(self) -> None:
        self.renewal.keep_looking()

    # For the engine

    def _on_wake(self, name: str, message: str, text: str | None = None) -> None:
        if not name:
            if self.over is None and not (self._on_said is not None and self._on_said(self, message)):
                self.renewal.at_once()  # somebody has evicted this session, or says so
            return
        register = self.registers.by_name.get(name)
        if register is not None:
            register.on_wake(message, text)

    def _on_gap(self, went_back: bool) -> None:
        """A waiter may have missed something; and if texts went back, what is held may not be held any more."""
        if self.over is None:
            if went_back:
                self.registers.doubt()
            self.renewal.at_once()

    # Its end

    def lose(self, exc: SessionLost) -> None:
        """The session is dead for the others: nothing that it held may be believed held any more."""
        if self.over is None:
            self._stop(exc)
            if self._is_open:
                told.lost(self, exc)
            deque(self._tell(exc), maxlen=0)
            self._end_engine()

    async def close(self, how: str) -> None:
        """Give back what is held, as far as that can be done in a few seconds, and end.

        how: what has happened to the session, for error messages, as in "was closed".

        Cancellation: raises at once, and the engine is closed all the same.
        """
        if self.over is None:
            exc = SessionLost(f"{self} {how}")
            self._stop(exc)
            told.closed(self)
            telling = self._tell(exc)
            try:
                with contextlib.suppress(TimeoutError, EngineError, SessionLost):
                    async with asyncio.timeout(CLOSING):
                        await _in_slices(telling)
                        await leave_all(self.registers.in_use, self.engine)
                        await self.housekeeping.before_closing()
            finally:
                deque(telling, maxlen=0)  # the rest
                self._end_engine()
        if self._ending is not None:
            await asyncio.wait([self._ending], timeout=ENDING)

    def _stop(self, exc: SessionLost) -> None:
        self.over = exc
        self.expiry.stop()
        self.renewal.stop()
        if self._keeping is not None:
            self._keeping.stop()
        self.housekeeping.stop()

    def _tell(self, exc: SessionLost) -> Iterator[None]:
        """Tell the tasks that wait, and the holders, one after the other."""
        yield from self.registers.lose_all(exc)
        yield from self.leases.lose_all(str(exc))

    def _end_engine(self) -> None:
        if self.loop.is_closed():
            return  # in the middle of close(); then nothing can be awaited, and the engine has ended with the loop
        self._ending = begin(self.loop, self._close_engine, f"end of session {shown(self.label)}")
        # It may be cancelled by a program that cancels all its tasks.
        self._ending.add_done_callback(lambda done: self._end_engine() if done.cancelled() else None)

    async def _close_engine(self) -> None:
        try:
            with contextlib.suppress(TimeoutError, EngineError):  # then the others find the session dead
                async with asyncio.timeout(ENDING):
                    await self.engine.close()
        finally:
            self._has_ended = True
            if self._keeper is not None:
                await self._keeper.aclose()

    def abandon(self) -> None:
        """Nobody can use the session any more: end it, and let the others have what it held. Called in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: then the session has ended with it
            self.loop.call_soon_threadsafe(self._close_abandoned)

    def _close_abandoned(self) -> None:
        """Called once more if a program that cancels all its tasks has cancelled the closing before it began."""
        if self.over is None and not (self.is_inherited() or self.loop.is_closed()):
            close = partial(self.close, "was dropped without close()")
            self._closing = begin(self.loop, close, f"end of session {shown(self.label)}")
            self._closing.add_done_callback(lambda done: self._close_abandoned())

    async def end_with_loop(self) -> None:
        """The loop is about to be closed: end in it, if the program has not seen to that."""
        self._keeper = None  # which is what calls this
        if self._closing is not None and self.over is not None and not self._has_ended:
            await asyncio.wait([self._closing], timeout=CLOSING + ENDING)
        if self.over is None:
            try:
                warnings.warn(f"{self!r} was open when its loop ended; {HOW_TO_OPEN}", ResourceWarning, 2, source=self)
            finally:
                await self.close("was open when its event loop ended")
        elif self._ending is not None and not self._has_ended:
            await asyncio.wait([self._ending], timeout=ENDING)


async def _until_the_loop_ends(life: Life) -> AsyncGenerator[None]:
    """An asynchronous generator: asyncio.run() and other runners close it at their end, before they close the loop."""
    try:
        yield
    finally:
        if not (life.is_inherited() or life.loop.is_closed()):
            await life.end_with_loop()


async def _in_slices(steps: Iterable[None]) -> None:
    """Let the loop run between the steps."""
    end = time.perf_counter() + SLICE
    for _ in steps:
        if time.perf_counter() > end:
            await asyncio.sleep(0)
            end = time.perf_counter() + SLICE
