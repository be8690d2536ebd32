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
import sys
import threading
from asyncio import InvalidStateError, _get_running_loop  # the latter is public, for authors of event loops
from collections import deque
from typing import TYPE_CHECKING, Protocol

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

    # Granting

    def grant(self, n: float = 1, refusing: bool = True) -> int:
        """Grant the first `n` waiters, with the results 0, 1, ...; return how many there were.

        Raises RuntimeError, before anything changes, if they might not notice: see `check_wake()`. With
        `refusing=False` it never raises: what is given back may come from anywhere, as from the collector in
        another thread.
        """
        if self.run is NOWHERE or self.run is not this_run():
            if refusing:
                self.check_wake()
            elif not self._wakes_by_plain_call() and self.loop is not _get_running_loop():
                return self._send_grant()
        line, notes = self.line, self._notes
        if n == 1 and line:  # the short way; the rest would do the same
            waiter = line[0]
            if not (notes or waiter.done()):
                del line[0]
                waiter.set_result(0)
                self.granted += 1
                return 1
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

    def grant_all(self, behind: int = 0) -> None:
        """Grant every waiter, or every one behind so many. Raises as grant() does."""
        if self.run is not this_run():
            self.check_wake()
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

    def release_all(self) -> int:
        """Grant every waiter what nobody can give back; return how many there were. The next ones get a new queue.

        Raises as grant() does. The queue does not count them: see Event, where that would cost 5 % of a wake-up.
        """
        if self.run is not this_run():
            self.check_wake()
        if self._notes:
            self._sweep()
        self._owner._queue = None if self.bound is None else type(self)(self._owner, bound=self.bound)
        released = len(self.line)
        for waiter in self.line:
            try:
                waiter.set_result(True)
            except InvalidStateError:
                released -= 1
        return released

    def _wakes_by_plain_call(self) -> bool:
        """With the loop of the waiters not running here: does setting a future suffice to wake its task?"""
        loop = self.loop
        return loop is None or not (loop.is_closed() or loop.is_running())

    def _send_grant(self) -> int:
        """Let the loop of the waiters make one grant, as it runs in another thread; return 1 if it will."""
        if not self.forget_closed_loop() and self.count_live():
            assert self.loop is not None
            self.granted += 1  # on its way, so that it is given back if the loop is closed before
            try:
                self.loop.call_soon_threadsafe(self._grant_sent)
            except RuntimeError:  # closed since we looked
                self.granted -= 1
                self.forget_closed_loop()
            else:
                return 1
        return 0

    def _grant_sent(self) -> None:
        self.granted -= 1
        self._owner._give_back()

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

    def check_wake(self) -> None:
        """Check, before anything changes, that a waiter may be woken from here.

        Raises RuntimeError if it might not notice: its loop runs in another thread, or is not the one that runs
        here. Between two runs of its loop, plain code may wake it.
        """
        running = _get_running_loop()
        if running is not self.loop:
            self.check_bound()
            self.forget_closed_loop()
            if self.loop is not None and self.count_live():
                if running is not None:
                    raise self._wrong_loop("has waiting tasks in", self.loop, repr(running))
                if self.loop.is_running():
                    thread = f"thread {threading.current_thread().name!r}, where none runs"
                    raise self._wrong_loop("has waiting tasks in", self.loop, thread)

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
            "event loop at a time and is not thread-safe: make one for each loop, or send the call to the other "
            "loop with loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
        )
