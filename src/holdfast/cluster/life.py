"""A session from its opening to its end: one identity, its engine, and all that belongs to it there."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import time
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import partial
from itertools import islice
from weakref import WeakSet, WeakValueDictionary

from holdfast._refusals import shown

from .background import begin
from .engines.clock import monotonic
from .engines.contract import Engine, Seen
from .errors import EngineError, LeaseLost, NameConflict, SessionLost
from .grant import Grant
from .leaving import leave_all
from .record import Record, with_article
from .register import Register
from .tidying import AT_ONCE, each, remove_old, remove_some, slices

CLOSING = 5.0
"""Seconds in which a session that closes gives back what it has, at most. What is left is for the others to do."""
ENDING = 1.0
"""Seconds that it waits after that for the engine to end, at most."""
SLICE = 0.002
"""Seconds that it keeps the loop busy with its names, at a time."""
RENEWALS = 3
"""How often a session with a ttl is renewed in one, and looks whether it has missed a wake-up or a death."""
JITTER = 1.0, 1.2
"""By what the time between two looks is multiplied: sessions that were opened together do not look together."""
CHECKED = 1.0
"""Seconds after which a session without a ttl that holds something looks whether it is still alive."""
HELD_AT_ONCE = 500
"""Names of which something is held, at most, whose records are looked at together with a renewal."""
LOOK_AGAIN = 3.0
"""Seconds after which one without a ttl that waits looks whether it has missed a wake-up or a death."""
SHORTEST_TIMER, LONGEST_TIMER = 0.001, 86400.0
"""Seconds. Many loops count in milliseconds, and some in a number of 32 bits. A timer that is called before its time is
set again."""
MARGIN = 0.05
"""How much of its ttl before the engine a session gives up what it holds."""
RETRY_RENEWAL = 0.1
"""Seconds until a renewal is tried again that the engine has failed to make, at least."""
KEPT = 3600.0
"""Seconds that a record is kept in which nothing is held, waited for or set."""
AT_CLOSE = 200
"""Old names, at most, that a session looks at which closes: so many short sessions remove more than they make."""
GOING_ON = 0.2
"""Seconds that it goes on with the next ones, at most, as long as half of them could be removed."""
IDLE = 10.0
"""Seconds that the register of a name is kept, at least, which the user has no object of any more."""
MANY = 1000
"""Registers from which on it is looked, before the time, which of them may go."""
HOW_TO_OPEN = "write 'async with holdfast.connect() as session:'"


class Life:
    """A session from its opening to its end: one identity, and all that belongs to it.

    Everything that goes on in the loop refers to this, and to no Session. So a Session that the program has
    dropped is noticed.
    """

    def __init__(self, engine: Engine, label: str, numbers: int = 0) -> None:
        """numbers: no ticket or batch of a life before had a higher one."""
        self.engine = engine
        self.id = ""
        self.over: SessionLost | None = None
        """Why it has ended, if it has."""
        self.label = label
        self._registers: WeakValueDictionary[str, Register] = WeakValueDictionary()
        self._in_use: dict[str, Register] = {}  # those of them whose records may know the session
        self._numbers = numbers  # no ticket or batch of a register that has been let go had a higher one
        self._many = MANY
        self._grants: WeakSet[Grant] = WeakSet()  # a grant keeps its session; what nobody has is nobody's to be told of
        self._held: dict[str, WeakSet[Grant]] = {}  # the same, by name
        self._looked_at: set[str] = set()  # of those names, in this round
        self._pid = 0
        self._losing: asyncio.Task[None] | None = None
        self._going: asyncio.Task[None] | None = None  # what closes it after the program has dropped it
        self._has_ended = False  # the engine as well
        self._keeper: AsyncGenerator[None] | None = None
        self._renewal: asyncio.Task[Seen] | None = None
        self._in_haste = False  # whether to renew anew as soon as that is done
        self._failure: EngineError | None = None  # why the last renewal has failed
        self._next_renewal: asyncio.Handle | None = None
        self._renewal_at = 0.0  # the loop's time of that: not every loop's timers tell it
        self._deadline = math.inf  # of monotonic(): when others may take it for dead
        self._alarm: asyncio.Handle | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._tidied = 0.0  # the loop's time when that began

    def __repr__(self) -> str:
        state = "not open yet" if not self.id else "over" if self.over else "open"
        return f"<holdfast.cluster.Session {shown(self.label)} {self.id} [{state}]>"

    def __str__(self) -> str:
        """For messages about its end, which are made while it is open."""
        return f"session {shown(self.label)} {self.id}"

    async def open(self) -> None:
        """Begin; may be called again if that has failed."""
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._tidied = self.loop.time()
        asked = monotonic()
        self.id = await self.engine.open(self.label, self._on_wake, self._on_gap)
        _open.add(self)
        self._keeper = _until_the_loop_ends(self)
        await anext(self._keeper)
        if self.engine.ttl is not None:
            if monotonic() > asked + self.engine.ttl / RENEWALS:  # the engine is slow, and some of the ttl has passed
                asked = await self._renew_once()
            self._extend(asked, self.engine.ttl)
            self._renew_in(max(self.engine.ttl / RENEWALS - (monotonic() - asked), 0))

    async def _renew_once(self) -> float:
        """Before anything is asked for. Return when that was asked."""
        asked = monotonic()
        try:
            await self.engine.renew()
        except BaseException as exc:
            self.lose(SessionLost(f"{self} could not be opened: {exc!r}"))
            if self._losing is not None and isinstance(exc, Exception):
                await asyncio.wait([self._losing], timeout=ENDING)
            raise
        return asked

    def numbers(self) -> int:
        """The highest that any ticket or batch has got."""
        return max([self._numbers, *(register.numbers for register in self._registers.values())])

    async def tidy(self, seconds: float) -> int:
        """See Session.tidy()."""
        self._tidied = self.loop.time()
        idle = [entry for entry in self._in_use.items() if entry[1].idle_for(min(seconds, IDLE))]
        for some in slices(idle, AT_ONCE):
            await each(some, lambda entry: entry[1].forget())
            for name, register in some:
                if register.is_forgotten:  # from here on it lasts as long as an object of the user's
                    self._numbers = max(self._numbers, register.numbers)
                    self._in_use.pop(name, None)
        self._many = max(MANY, 2 * len(self._in_use))
        return await remove_old(self.engine, seconds)

    # For the registers and grants

    def check(self) -> None:
        """Raise an error if the session cannot be used here and now."""
        if not self.id:
            raise RuntimeError(f"{self!r} is not open; {HOW_TO_OPEN}")
        if self.over is not None:
            raise SessionLost(str(self.over))
        self.check_deadline()
        self.check_loop()

    def check_loop(self) -> None:
        """Raise RuntimeError in another event loop than the session's, before anything is touched that is not safe."""
        self.check_process()
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(f"{self!r} belongs to the event loop {self.loop!r}; connect() in each loop")

    def is_inherited(self) -> bool:
        """Whether this process was forked since: the session is the parent's, and goes on there."""
        return os.getpid() != self._pid

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
                self._tidying = begin(self.loop, self._keep_tidy, f"tidying of session {shown(self.label)}")
        register = self._registers.get(name)
        if register is not None and register.initial.kind != initial.kind and not register.serves(initial):
            is_same_kind = type(register.initial) is type(initial)
            if not (register.is_forgotten or (is_same_kind and register.is_unused)):
                raise NameConflict(
                    f"{shown(name)} is used as {with_article(register.initial.kind)} in {self!r} already, and here as "
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
        self._held.setdefault(grant.name, WeakSet()).add(grant)
        if self.engine.ttl is None:
            self._renew_in(CHECKED)

    def drop(self, grant: Grant) -> None:
        """Forget a grant that has ended."""
        self._grants.discard(grant)
        held = self._held.get(grant.name)
        if held is not None:
            held.discard(grant)
        if not held:
            self._held.pop(grant.name, None)

    def tokens(self, name: str) -> list[int]:
        """Of the grants of this name that are held."""
        return [grant.token for grant in self._held.get(name, ())]

    def forgo(self, name: str, why: str) -> None:
        """The grants of this name are lost, and no others."""
        for grant in [*self._held.get(name, ())]:
            self.drop(grant)
            grant._lose(LeaseLost(f"{grant} was lost: {why}"))

    def keep_looking(self) -> None:
        """Somebody waits: have all that they wait for looked at now and then."""
        if self.engine.ttl is None:
            self._renew_in(LOOK_AGAIN)

    # Its end

    def lose(self, exc: SessionLost) -> None:
        """The session is dead for the others: nothing that it held may be believed held any more."""
        if self.over is None:
            self._end(exc)
            self._close_engine()

    async def close(self, how: str) -> None:
        """Give back what is held, as far as that can be done in a few seconds, and end. how: for who asks why.

        Cancellation: raises at once, and the engine is closed all the same.
        """
        if self.over is None:
            exc = SessionLost(f"{self} {how}")
            self._stop(exc)
            telling = self._tell(exc)
            try:
                with contextlib.suppress(TimeoutError, EngineError, SessionLost):
                    async with asyncio.timeout(CLOSING):
                        await _in_slices(telling)
                        await leave_all(self._in_use, self.engine)
                        await self._remove_some()
            finally:
                deque(telling, maxlen=0)  # the rest
                self._close_engine()
        if self._losing is not None:
            await asyncio.wait([self._losing], timeout=ENDING)

    async def _remove_some(self) -> None:
        until = monotonic() + GOING_ON
        while True:
            removed = await remove_some(self.engine, KEPT, AT_CLOSE)
            if removed < AT_CLOSE // 2 or monotonic() >= until:
                return

    def _close_engine(self) -> None:
        if self.loop.is_closed():
            return  # in the middle of close(); then nothing can be awaited, and the engine has ended with the loop
        self._losing = begin(self.loop, self._end_engine, f"end of session {shown(self.label)}")
        # It may be cancelled by a program that cancels all tasks there are.
        self._losing.add_done_callback(lambda done: self._close_engine() if done.cancelled() else None)

    async def _end_engine(self) -> None:
        try:
            with contextlib.suppress(TimeoutError, EngineError):  # then the others find it dead
                async with asyncio.timeout(ENDING):
                    await self.engine.close()
        finally:
            self._has_ended = True
            if self._keeper is not None:
                await self._keeper.aclose()

    def abandon(self) -> None:
        """Nobody can use it any more: end it, and let the others have what it held. Called in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: then it has ended with that
            self.loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        """Also once more, if a program that cancels all tasks there are has cancelled this one before it began."""
        if self.over is None and not (self.is_inherited() or self.loop.is_closed()):
            close = partial(self.close, "was dropped without close()")
            self._going = begin(self.loop, close, f"end of session {shown(self.label)}")
            self._going.add_done_callback(lambda done: self._leave())

    async def end_with_loop(self) -> None:
        """The loop is about to be closed: end in it, if the program has not seen to that."""
        self._keeper = None  # it is what calls this
        if self._going is not None and self.over is not None and not self._has_ended:
            await asyncio.wait([self._going], timeout=CLOSING + ENDING)
        if self.over is None:
            try:
                warnings.warn(f"{self!r} was open when its loop ended; {HOW_TO_OPEN}", ResourceWarning, 2, source=self)
            finally:
                await self.close("was open when its event loop ended")
        elif self._losing is not None and not self._has_ended:
            await asyncio.wait([self._losing], timeout=ENDING)

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

    async def look_if_idle(self) -> None:
        """End the session if it is dead and has nothing to lose: without a ttl, nothing else looks after it then."""
        if self.over is None and self.engine.ttl is None and not self._grants:
            try:
                await self.engine.renew()
            except SessionLost as exc:
                self.lose(exc)
            except EngineError:
                return  # whatever is asked for now tells

    def _extend(self, asked: float, ttl: float) -> None:
        """It was renewed by a request that was sent at `asked`."""
        self.look_at_clock()  # an answer that comes too late is not believed
        self._deadline = asked + ttl * (1 - MARGIN)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self.over is None:
            seconds = min(max(self._deadline - monotonic(), SHORTEST_TIMER), LONGEST_TIMER)
            self._alarm = self.loop.call_later(seconds, self._on_alarm)

    def _on_alarm(self) -> None:
        """Nothing else may look at the clock, and a loop may call this before the time: then once more."""
        self.look_at_clock()
        self._set_alarm()

    def _renew_in(self, seconds: float) -> None:
        """Renew, and look around, after that time; or before, if that is planned already."""
        if self._renewal is not None:
            return
        pause = min(seconds * random.uniform(*JITTER), LONGEST_TIMER)
        at = self.loop.time() + pause
        if self._next_renewal is not None:
            if self._renewal_at <= at:
                return
            self._next_renewal.cancel()
        self._next_renewal, self._renewal_at = self.loop.call_later(pause, self._renew), at

    def _renew(self) -> None:
        """One task for each renewal: a timer goes on also where a program cancels all tasks there are."""
        self._next_renewal = None
        if self.over is not None:
            return  # in a child, that has its parent's timers
        waiting = [name for name, each in self._in_use.items() if each.is_waiting]
        if self.engine.ttl is None and not self._grants and not waiting:
            return
        looked_at = {*waiting, *self._held_to_look_at()}
        at_rest = {name: rest for name in looked_at if (rest := self._in_use[name].at_rest) is not None}
        asked = monotonic()
        watched = frozenset[str]().union(*(sessions for _, sessions in at_rest.values()))
        self._renewal = begin(
            self.loop, partial(self.engine.renew, at_rest, watched), f"renewal of session {shown(self.label)}"
        )
        self._renewal.add_done_callback(
            partial(self._renewed, asked, {name: batch for name, (batch, _) in at_rest.items()})
        )

    def _held_to_look_at(self) -> list[str]:
        """Some names of which something is held, each in its turn: somebody may have removed their records."""
        due = self._held.keys() - self._looked_at
        if not due:
            self._looked_at.clear()
            due = {*self._held}
        chosen = [name for name in islice(due, HELD_AT_ONCE) if name in self._in_use]
        self._looked_at.update(chosen)
        return chosen

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
            if ttl is not None:
                pause = max(pause - (monotonic() - asked), 0)  # an answer that takes long does not put off the next
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
            await self.tidy(KEPT)

    def end_in_child(self) -> None:
        """After a fork: the session goes on in the parent, and nothing that runs here may renew or end it."""
        self.over = self._of_another_process()

    def _end(self, exc: SessionLost) -> None:
        self._stop(exc)
        deque(self._tell(exc), maxlen=0)

    def _stop(self, exc: SessionLost) -> None:
        self.over = exc
        if self._alarm is not None:
            self._alarm.cancel()
        if self._next_renewal is not None:
            self._next_renewal.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        if self._tidying is not None:
            self._tidying.cancel()

    def _tell(self, exc: SessionLost) -> Iterator[None]:
        """Those who wait, and those who hold something, one after the other."""
        for register in [*self._in_use.values()]:
            register.lose(exc)
            yield
        for grant in [*self._grants]:
            grant._lose(LeaseLost(f"{grant} was lost: {exc}"))
            yield
        self._grants.clear()
        self._held.clear()

    def _on_wake(self, name: str, message: str) -> None:
        if not name:  # somebody has evicted this session, or says so
            if self.over is None:
                self._in_haste = self._renewal is not None
                self._renew_in(0)
            return
        register = self._registers.get(name)
        if register is not None:
            register.on_wake(message)


async def _until_the_loop_ends(life: Life) -> AsyncGenerator[None]:
    """What asyncio.run() and other runners close at their end, in the loop, before that is closed."""
    try:
        yield
    finally:
        if not (life.is_inherited() or life.loop.is_closed()):
            await life.end_with_loop()


async def _in_slices(steps: Iterable[None]) -> None:
    """Let the loop run between them."""
    end = time.perf_counter() + SLICE
    for _ in steps:
        if time.perf_counter() > end:
            await asyncio.sleep(0)
            end = time.perf_counter() + SLICE


_open: WeakSet[Life] = WeakSet()


def _end_in_child() -> None:
    for life in [*_open]:
        life.end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)
