"""The one queue of waiting tasks: here, and nowhere else, waiters are queued, granted and gone.

A waiter is a future, and in exactly one of three states:

    queued     in the line; nothing has been promised to it
    granted    what it waits for is its own already, but its task has not run yet
    gone       its coroutine has left, by whatever exit

A primitive waits like this, and the queue does the rest:

    line = self._enter_line()          # may the running loop wait here? raises before anything changes
    waiter = line.join()               # queued
    try:
        await waiter                   # granted, by another task's line.grant()
    except BaseException:              # CancelledError; GeneratorExit too, and whatever is thrown in
        if line.leave(waiter):         # gone; it had been granted:
            self._give_back()
        raise
    line.granted -= 1                  # gone, with what it was granted

(These lines could be a coroutine of the queue. Awaiting one costs 6 % of a wake-up, so they are not.)

What must hold, and who broke it elsewhere:

 1. First come, first served: a grant goes to the first in the line, and who comes later stands behind
    (asyncio bpo-45997: the releaser overtook everybody).
 2. A grant is never lost: a waiter that leaves by an exception after the grant gives it back, and it goes to the
    next one (bpo-27585, gh-90155, anyio #1145; for GeneratorExit it is open in asyncio).
 3. A grant is made once, to a waiter that is queued and not cancelled (bpo-32734).
 4. Joining, leaving and granting cost amortised O(1), whatever the order. (`deque.remove` makes cancelling n
    waiters newest first O(n**2).) A waiter that leaves stays in the deque as a dead entry; grants pass over
    it, and when more than half of the entries are dead, they are swept out.
 5. All waiters of a queue belong to one event loop. Once that is closed they are gone, and what was granted to
    them and not taken is given back.
 6. The garbage collector may close a granted waiter (one whose loop was dropped) between any two steps, which calls
    `leave()` and `grant()`. So each step leaves the queue consistent. A queued waiter it cannot close: the
    line holds the future, and that its task.

The idea of such a room is trio's ParkingLot. Unlike there, the number of grants under way is remembered, as
asyncio's Semaphore lets nobody overtake a task that has been woken and has not run.
"""

from __future__ import annotations

import asyncio
import enum
import math
import sys
import threading
from asyncio import InvalidStateError, _get_running_loop  # the latter is public, for authors of event loops
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ._errand import do_there, refuses_plain_calls, send, wake_if_started

if TYPE_CHECKING or sys.version_info >= (3, 12):
    this_run = _get_running_loop
else:
    from sys import get_asyncgen_hooks

    def this_run() -> object:
        """What tells the loop that runs in this thread from any other, cheaply; None if that can't be told.

        In Python 3.11 asyncio's own function asks the kernel for the id of the process each time, which is a
        tenth of a hand-off. Here the answer is the hook that a loop makes and sets each time it starts to run
        (PEP 525). Who gets another one than hoped for asks `_get_running_loop()`.
        """
        return get_asyncgen_hooks()[0]


Waiter = asyncio.Future[int]
"""What a waiting task awaits. Its result tells how many were granted before it in the same step."""


class SteadfastWaiter(Waiter):
    """A waiter whose task does not run when it is cancelled, but when it is granted.

    `Task.cancel()` first asks the future that the task awaits. Refused, it marks the task, and the
    CancelledError, with its message, comes out of the await together with the grant. A task that must have
    its lock back before it may raise is thus not run for nothing, however often it is cancelled (anyio #884).
    """

    def cancel(self, msg: object = None) -> bool:
        """Refuse: the task is cancelled once it is granted."""
        return False


class _Note(enum.Enum):
    """What is remembered of some waiters, besides the steadfast one that holds a cancelled one's place."""

    GONE = "left, its entry is still in the line"
    OVERLOOKED = "cancelled, a grant has met it and dropped its entry, its task has not run yet"
    GRANTED = "cancelled, and granted all the same, its task has not run yet"


# To look them up in the class each time would cost a twentieth of a wake-up.
_GONE, _OVERLOOKED, _GRANTED = _Note


NOWHERE = object()
"""What `this_run()` never is."""


class Owner(Protocol):
    """A primitive, as its queue sees it."""

    _queue: WaitQueue | None

    def _give_back(self) -> None:
        """Take back what was granted to a waiter that left without it. Must not raise."""

    def _let_go(self) -> None:
        """Take back what nobody waits for, from any thread."""

    def _settle(self) -> None:
        """Called in the loop of the waiters after `_let_go()`: somebody may wait for it after all. Must not raise."""


class WaitQueue:
    """The tasks that wait for one primitive. It exists only while there is something to remember."""

    __slots__ = ("_dead", "_notes", "_owner", "bound", "granted", "keepers", "line", "loop", "owed_exits", "run")

    def __init__(
        self,
        owner: Owner,
        bound: asyncio.AbstractEventLoop | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        run: object = NOWHERE,
    ) -> None:
        self._owner = owner
        self.bound = bound
        """The loop that was given as `loop=`, if any."""
        self.loop = loop
        """The loop of the waiters."""
        self.run = run
        """What `this_run()` is where they wait. Equal there means: the running loop is theirs."""
        self.granted = 0
        """How many waiters have been granted and have not run yet."""
        self.owed_exits = 0
        """See Lock._owe_exit()."""
        self.line: deque[Waiter] = deque()
        """The entries of the waiters, queued or dead. Others may ask whether there is any."""
        self.keepers: set[Waiter] | None = None
        """Who is granted in its turn also if it has been cancelled, once there was one. See join_to_stay()."""
        self._notes: dict[Waiter, _Note | SteadfastWaiter] = {}
        self._dead = 0  # how many entries of the line are noted as GONE

    def __len__(self) -> int:
        """How many waiters are queued. One that is cancelled counts until a grant meets it or its task runs."""
        return len(self.line) - self._dead

    def count_live(self) -> int:
        """How many waiters are queued and not cancelled. O(n)."""
        keepers = self.keepers or ()
        return sum(not waiter.done() or waiter in keepers for waiter in self._queued())

    def waiters(self) -> tuple[Waiter | None, ...]:
        """Who is not gone yet, None standing for one that was granted."""
        return (*[None] * self.granted, *self._queued())

    def _queued(self) -> list[Waiter]:
        """The waiters of the line; for a cancelled one that keeps its place, the steadfast one there."""
        queued = []
        for waiter in tuple(self.line):
            note = self._notes.get(waiter)
            if isinstance(note, SteadfastWaiter):
                waiter, note = note, self._notes.get(note)
            if note is not _GONE:
                queued.append(waiter)
        return queued

    # Waiting

    def join(self) -> Waiter:
        """Put a new waiter at the end of the line. `enter()` has been called before."""
        waiter: Waiter = self.loop.create_future()  # type: ignore[union-attr]  # enter() has set it
        self.line.append(waiter)
        return waiter

    def join_to_stay(self) -> Waiter:
        """Join with a waiter that is granted in its turn even if it has been cancelled; see `rejoin()`.

        It has to leave `keepers` as well when it is gone.
        """
        waiter = self.join()
        if self.keepers is None:
            self.keepers = {waiter}
        else:
            self.keepers.add(waiter)
        return waiter

    def rejoin(self, waiter: Waiter) -> Waiter | None:
        """Put a steadfast waiter at the place of one that was cancelled; return None if that was granted before."""
        if self._notes.get(waiter) is _GRANTED:
            del self._notes[waiter]
            return None
        self.keepers.discard(waiter)  # type: ignore[union-attr]  # join_to_stay() has made it
        steadfast = SteadfastWaiter(loop=waiter.get_loop())
        self._notes[waiter] = steadfast
        return steadfast

    def leave(self, waiter: Waiter) -> bool:
        """Make `waiter` gone; return True if it had been granted, which the caller must give back."""
        line, notes = self.line, self._notes
        if self.keepers is not None:
            self.keepers.discard(waiter)
        if not notes and line and line[0] is waiter:  # the short way for the oldest; the rest would do the same
            line.popleft()
            if not line:
                self.retire()
            return False
        if self.loop is not waiter.get_loop():
            return False  # forgotten, and if its loop was closed, whatever had been granted there was given back
        note = notes.pop(waiter, None) if notes else None
        granted = note is _GRANTED or (waiter.done() and not waiter.cancelled())
        if granted:
            self.granted -= 1
        elif note is not _OVERLOOKED:
            if line[0] is waiter:
                line.popleft()
            elif line[-1] is waiter:
                line.pop()
            else:
                notes[waiter] = _GONE
                self._dead += 1
            if self._dead * 2 > len(line):
                self._sweep()
        if not self.line:
            self.retire()
        return granted

    def _sweep(self) -> None:
        """Remove the dead entries from the line."""
        self.line = deque(self._queued())
        self._dead = 0
        kept = (_OVERLOOKED, _GRANTED)
        self._notes = {waiter: note for waiter, note in self._notes.items() if note in kept}

    def retire(self) -> None:
        """Let go of an empty queue, so that an idle primitive has none."""
        idle = not (self.line or self.granted or self._notes or self.owed_exits or self.bound)
        if idle and self._owner._queue is self:
            self._owner._queue = None

    def retire_here(self) -> bool:
        """Retire if the loop of the waiters runs here; else somebody may be about to join it there. Return whether."""
        here = self.run is this_run()
        if here:
            self.retire()
        return here

    # Granting

    def grant(self, n: float = 1, refusing: bool = True) -> int:
        """Grant the first `n` waiters, with the results 0, 1, ...; return how many there were.

        If their loop runs elsewhere, that is left to it: the result is how often it will call `_give_back()`, or 1 if
        there was nobody and the owner has let go of it.

        Raises RuntimeError, before anything changes, as `elsewhere()` does.
        """
        if self.run is NOWHERE or self.run is not this_run():
            loop = self.elsewhere(refusing)
            if loop is not None:
                return self._grant_there(loop, n)
        line = self.line
        if n == 1 and line:  # the short way; the rest would do the same
            waiter = line[0]
            if not (self._notes or waiter.done()):
                del line[0]
                waiter.set_result(0)
                self.granted += 1
                return 1
        return self._grant_next(n)

    def _grant_next(self, n: float) -> int:
        line, notes = self.line, self._notes
        granted = 0
        while line and granted < n:
            waiter = line.popleft()
            if notes:
                note = notes.pop(waiter, None)
                if isinstance(note, SteadfastWaiter):
                    waiter, note = note, notes.pop(note, None)
                if note is _GONE:
                    self._dead -= 1
                    continue
            if not waiter.done():
                waiter.set_result(granted)
                granted += 1
            elif self.keepers is not None and waiter in self.keepers:
                notes[waiter] = _GRANTED
                granted += 1
            else:
                notes[waiter] = _OVERLOOKED
        if granted:
            self.granted += granted
        elif not self.granted:
            self.retire()
        return granted

    def _grant_there(self, loop: asyncio.AbstractEventLoop, n: float) -> int:
        """Grant in the loop of the waiters, which does not run here: by errands if it runs, else now."""
        granted = 0
        if not loop.is_running():
            granted = self._grant_next(n)
            wake_if_started(loop)
        elif not self.line:  # nobody, unless somebody is about to join there, between two lines of its code
            self._owner._let_go()
            send(loop, self._owner._settle)
            granted = 1
        else:
            wanted = math.ceil(min(n, len(self.line)))
            while granted < wanted and send(loop, self._owner._give_back):
                granted += 1
            if granted < wanted:
                self.forget_closed_loop()  # since we looked
        return granted

    def grant_all(self, behind: int = 0) -> None:
        """Grant every waiter, or every one behind so many. Raises as `grant()` does."""
        if self.run is not this_run():
            loop = self.elsewhere()
            if loop is not None:
                do_there(loop, partial(self._grant_line_there, behind))
                return
        self._grant_line(behind)

    def _grant_line_there(self, behind: int) -> None:
        if not self.forget_closed_loop():
            self._grant_line(behind)

    def _grant_line(self, behind: int) -> None:
        if self._notes:
            self._sweep()
        line = tuple(self.line)  # faster than one by one
        self.line.clear()
        if behind:
            self.line.extend(line[:behind])
            line = line[behind:]
        overlooked = 0
        for waiter in line:
            try:
                waiter.set_result(True)
            except InvalidStateError:  # it is cancelled; cheaper than to ask each one before
                self._notes[waiter] = _OVERLOOKED
                overlooked += 1
        self.granted += len(line) - overlooked

    def detach(self) -> None:
        """Leave the waiters to who calls `release_all()`. The next ones get a new queue."""
        if self._owner._queue is self:
            self._owner._queue = None if self.bound is None else type(self)(self._owner, bound=self.bound)

    def release_all(self) -> int:
        """Grant every waiter what nobody can give back; return how many there were.

        The queue, which was detached, does not count them: see Event, where that would cost 5 % of a wake-up.
        """
        if self._notes:
            self._sweep()
        released = len(self.line)
        for waiter in self.line:
            try:
                waiter.set_result(True)
            except InvalidStateError:
                released -= 1
        return released

    # Loops

    def enter(self) -> None:
        """Check, before anything changes, that a task of the running loop may wait here.

        Raises RuntimeError while another loop's tasks wait: a release in one loop does not wake a task of the
        other. Once nobody waits, a primitive that is not bound may go to any loop.
        """
        running = asyncio.get_running_loop()
        self.check_bound()
        self.forget_closed_loop()
        if self.loop is not None and self.loop is not running:
            if self.granted or self.count_live():
                raise self._wrong_loop("has waiting tasks in", self.loop, repr(running))
            self._forget_waiters()
        self.loop, self.run = running, this_run() or NOWHERE
        self._owner._queue = self  # forgetting may have retired it

    def elsewhere(self, refusing: bool = True) -> asyncio.AbstractEventLoop | None:
        """The loop of the waiters, if it is another one than runs here and not closed: their waking is its business.

        Raises RuntimeError if `loop=` was another one than runs here. In asyncio's debug mode it also does where
        asyncio would, as to wake a task from another thread is a mistake in most programs. With `refusing=False`
        it never raises: what is given back may come from anywhere, as from the collector in another thread.
        """
        running, loop = _get_running_loop(), self.loop
        if running is loop:
            return None
        if refusing:
            self.check_bound()
        if loop is None or self.forget_closed_loop():
            return None
        if refusing and refuses_plain_calls(loop) and self.count_live():
            error = self._wrong_loop("has waiting tasks in", loop, _where(running))
            raise RuntimeError(f"Non-thread-safe operation in asyncio's debug mode: {error}")
        return loop

    def check_bound(self) -> None:
        """Check that a primitive made with `loop=` is not used from another running loop."""
        if self.bound is not None:
            running = _get_running_loop()
            if running is not None and running is not self.bound:
                raise self._wrong_loop("is bound to", self.bound, repr(running))

    def forget_closed_loop(self) -> bool:
        """If the loop of the waiters is closed, they are gone, and their grants are given back; return whether."""
        if self.loop is None or not self.loop.is_closed():
            return False
        self.loop, self.run = None, NOWHERE
        self._forget_waiters()
        lost, self.granted = self.granted, 0
        for _ in range(lost):
            self._owner._give_back()
        self.retire()
        return True

    def _forget_waiters(self) -> None:
        self.line = deque()
        self._notes = {}
        self._dead = 0

    def _wrong_loop(self, relation: str, loop: asyncio.AbstractEventLoop, here: str) -> RuntimeError:
        return RuntimeError(
            f"{self._owner!r} {relation} a different event loop, {loop!r}, and is used from {here}. It serves one "
            "event loop at a time and is not thread-safe: make one for each loop, use the one of holdfast.threads, "
            "which serves all loops and threads, or send the call to the other loop with "
            "loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
        )


def _where(running: asyncio.AbstractEventLoop | None) -> str:
    return f"thread {threading.current_thread().name!r}, where none runs" if running is None else repr(running)
