"""The wait queue: the one place where waiting tasks are queued, granted and forgotten. All primitives are built on it.

A primitive of asyncio keeps its own deque of futures, and its own answer to each hard question: what happens to a
waiter that is cancelled after it was woken, which waiter is first in line meanwhile, what a closed loop leaves behind.
Nearly every bug in the history of asyncio's locks is one of these answers. Here they are given once. A primitive only
decides what is granted (a lock, a permit, a notification) and what to do with a grant that comes back.

The idea is that of trio's ParkingLot. Unlike a ParkingLot, the queue also knows which waiters have been granted and
have not run yet, because asyncio's Semaphore promises that no task overtakes such a one.


How a primitive waits
=====================

A waiter is a future. It is always in exactly one of three states:

    queued     It is in the line, and nothing has been promised to it.
    granted    What it waits for belongs to it, but its task has not run yet.
    gone       Its coroutine has left the wait, by whatever exit.

All waits of the task tier look like this:

    line = self._enter_line()          # May the running loop wait here? Raises before anything changes.
    waiter = line.join()               # queued
    try:
        await waiter                   # granted, when another task calls line.grant()
    except BaseException:              # CancelledError, GeneratorExit, and whatever else is thrown in
        if line.leave(waiter):         # gone; and if it had been granted,
            self._give_back()          # the grant goes to the next waiter
        raise
    line.granted -= 1                  # gone, and it keeps what it was granted

These lines are repeated in each primitive, because a coroutine of the queue that did the same would cost 6 % of each
wake-up. `_enter_line()` is called only if the running loop is not the one that waited last, which each primitive asks
itself: to leave that to `_enter_line()` would cost 7 % (CPython 3.13) to 13 % (3.11) of a hand-off.


What must hold
==============

 1. First come, first served. A grant goes to the first waiter in the line, and a task that asks later stands behind
    it. (In asyncio bpo-45997, a task that released a semaphore took it again before all that waited.)
 2. A grant is never lost. A waiter that leaves by an exception after it was granted gives the grant back, and the next
    waiter gets it. (bpo-27585, gh-90155, anyio #1145; for GeneratorExit it is still open in asyncio.)
 3. A grant is made once, to a waiter that is queued and not cancelled. (bpo-32734.)
 4. Joining, leaving and granting cost O(1), amortised, in whatever order they come. A waiter that leaves from the
    middle of the line stays in the deque as a dead entry. Grants pass over dead entries, and once they are more than
    half of the line, they are swept out. (With `deque.remove()`, cancelling n waiters newest first is O(n**2).)
 5. All waiters of a queue belong to one event loop. Once that loop is closed they are gone, and grants that they had
    not taken are given back.
 6. Every step leaves the queue consistent, because the garbage collector may come between any two. It may close a
    granted waiter, one whose loop was dropped, and that calls `leave()` and `grant()`. It cannot close a queued one:
    the line holds the future, and the future holds the task.
 7. A queue that was closed refuses those that are queued and those that come. Who was granted keeps the grant. A waiter
    that keeps its place goes on: it had the lock before, and must have it back before it may end.
 8. A waiter may need several grants at once, as permits of a semaphore. It keeps its place: nobody behind it is granted
    anything before it. So when it leaves without a grant, it may be what those behind it have waited for, and the head
    of the line is looked at again. (aiorwlock 1.5.1, Nito.AsyncEx #134; Go's semaphore has four lines for it.)
"""

from __future__ import annotations

import asyncio
import enum
import math
import sys
import threading
from asyncio import InvalidStateError, _get_running_loop  # The latter is documented, for authors of event loops.
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

from holdfast import _hooks

from .closed import Closed
from .other_loop import do_there, refuses_plain_calls, send, wake_if_started

if TYPE_CHECKING or sys.version_info >= (3, 12):
    this_run = _get_running_loop
else:
    from sys import get_asyncgen_hooks

    def this_run() -> object:
        """An object that identifies the loop that runs in this thread; None if there is none to be had.

        In Python 3.11, asyncio's own function asks the kernel for the process id each time, which takes a tenth of a
        hand-off. This one returns the hook for asynchronous generators (PEP 525), which a loop makes and sets each time
        it starts to run. The same hook means the same loop. Another hook means nothing: then `_get_running_loop()` has
        to be asked.
        """
        return get_asyncgen_hooks()[0]


Waiter = asyncio.Future[int]
"""What a waiting task awaits. Its result is the number of waiters that were granted before it in the same step."""


class SteadfastWaiter(Waiter):
    """A waiter whose task runs only when it is granted, and not when it is cancelled.

    `Task.cancel()` first tries to cancel the future that the task awaits. If that refuses, the task is marked, and
    the CancelledError, with its message, is raised in it when the future is done. So a task that must have its lock
    back before it may raise does not run in vain, however often it is cancelled (anyio #884).
    """

    def cancel(self, msg: object = None) -> bool:
        """Refuse. The task raises CancelledError once it is granted."""
        return False


class _Note(enum.Enum):
    """What the queue remembers about a waiter that is not simply queued."""

    GONE = "it has left, and its dead entry is still in the line"
    OVERLOOKED = "it is cancelled or refused, its entry has been removed, and its task has not run yet"
    GRANTED = "it is cancelled and was granted all the same, and its task has not run yet"

    # In place of a note, there may be the waiter that keeps the place, or the number of grants that are needed.


# Looking them up in the class each time would cost a twentieth of a wake-up.
_GONE, _OVERLOOKED, _GRANTED = _Note


NOWHERE = object()
"""A value that `this_run()` never returns."""


class Owner(Protocol):
    """What a queue needs of its primitive."""

    _queue: WaitQueue | None
    _kind: str
    _name: str

    def _give_back(self) -> None:
        """Take back a grant from a waiter that left without it. Must not raise."""

    def _give_back_all(self, n: int) -> None:
        """Take back so many grants. Must not raise."""

    def _let_go(self) -> None:
        """Take back a grant for which no task waits. May be called in any thread."""

    def _settle(self) -> None:
        """Look again whether a task waits, in the waiters' own loop, after a `_let_go()`. Must not raise."""

    def _is_granted(self) -> bool:
        """For hooks: whether the waiters that are being woken get what they have waited for."""


class WaitQueue:
    """The tasks that wait for one primitive. A primitive has a queue only while there is something to remember."""

    __slots__ = (
        "_dead",
        "_notes",
        "_owner",
        "bound",
        "closed",
        "granted",
        "keepers",
        "line",
        "loop",
        "more",
        "owed_exits",
        "run",
    )

    def __init__(
        self,
        owner: Owner,
        bound: asyncio.AbstractEventLoop | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        run: object = NOWHERE,
    ) -> None:
        self._owner = owner
        self.bound = bound
        """The loop that the primitive was given as `loop=`, if any."""
        self.loop = loop
        """The loop of the waiters."""
        self.run = run
        """The `this_run()` of the waiters' loop. Where `this_run()` is the same, that loop is the running one."""
        self.closed: Callable[[], Closed] | None = None
        """If it was closed: what makes the error for a waiter. `run` is NOWHERE then, so nobody joins unchecked."""
        self.granted = 0
        """How many waiters have been granted and have not run yet."""
        self.more = 0
        """How many grants these waiters have besides one each."""
        self.owed_exits = 0
        """For a Lock: see Lock._owe_exit()."""
        self.line: deque[Waiter] = deque()
        """The entries of the waiters, queued or dead. Primitives may ask whether it is empty."""
        self.keepers: set[Waiter] | None = None
        """The waiters that keep their place when they are cancelled; None until there was one. See join_to_stay()."""
        self._notes: dict[Waiter, _Note | SteadfastWaiter | int] = {}
        self._dead = 0  # the number of entries that are noted as GONE

    def __len__(self) -> int:
        """How many waiters are queued. A cancelled one counts until its task has run, or a grant has passed over it."""
        return len(self.line) - self._dead

    def count_live(self) -> int:
        """How many waiters are queued and not cancelled. This takes O(n)."""
        keepers = self.keepers or ()
        return sum(not waiter.done() or waiter in keepers for waiter in self._queued())

    def waiters(self) -> tuple[Waiter | None, ...]:
        """All waiters that are not gone: None for each that was granted, then those that are queued."""
        return (*[None] * self.granted, *self._queued())

    def _queued(self) -> list[Waiter]:
        """The waiters of the line, in order. A steadfast one stands for the cancelled one whose place it keeps."""
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
        """Put a new waiter at the end of the line. The caller has called `enter()` before."""
        waiter: Waiter = self.loop.create_future()  # type: ignore[union-attr]  # enter() has set it
        self.line.append(waiter)
        if _hooks.are_installed or waiter._source_traceback is not None:  # type: ignore[attr-defined]  # set in debug mode
            self._tell_of(waiter)
        return waiter

    def _tell_of(self, waiter: Waiter) -> None:
        """Tell the hooks of a waiter that has joined, and have them told of its end. In debug mode, look for deadlocks.

        An interrupt that comes meanwhile is raised in the loop, a moment later: here it would leave the waiter in the
        line, with no task that awaits it.
        """
        try:
            if _hooks.are_installed:
                from .told_waits import begin

                begin(self._owner, self, waiter)
            if _hooks.look_in_debug_mode is not None and waiter._source_traceback is not None:  # type: ignore[attr-defined]
                _hooks.look_in_debug_mode(waiter.get_loop(), waiter)
        except BaseException as exc:
            waiter.get_loop().call_soon(_raise, exc)

    def join_for(self, needs: int) -> Waiter:
        """Join with a waiter that needs so many grants at once. When it goes with them, the caller corrects `more`."""
        waiter: Waiter = self.loop.create_future()  # type: ignore[union-attr]  # enter() has set it
        self.line.append(waiter)
        self._notes[waiter] = needs
        if _hooks.are_installed or waiter._source_traceback is not None:  # type: ignore[attr-defined]  # set in debug mode
            self._tell_of(waiter)
        return waiter

    def join_to_stay(self) -> Waiter:
        """Join with a waiter that keeps its place, and is granted in its turn, even if it is cancelled.

        After a cancellation, the caller goes on with `rejoin()`. When the waiter is gone, the caller removes it from
        `keepers`.
        """
        waiter: Waiter = self.loop.create_future()  # type: ignore[union-attr]  # enter() has set it
        self.line.append(waiter)
        if self.keepers is None:
            self.keepers = {waiter}
        else:
            self.keepers.add(waiter)
        if _hooks.are_installed or waiter._source_traceback is not None:  # type: ignore[attr-defined]  # set in debug mode
            self._tell_of(waiter)
        return waiter

    def rejoin(self, waiter: Waiter) -> Waiter | None:
        """Put a steadfast waiter in the place of a cancelled one, and return it; None if that has been granted."""
        steadfast: SteadfastWaiter | None = None
        if self._notes.get(waiter) is _GRANTED:
            del self._notes[waiter]
        else:
            self.keepers.discard(waiter)  # type: ignore[union-attr]  # join_to_stay() has made it
            steadfast = SteadfastWaiter(loop=waiter.get_loop())
            self._notes[waiter] = steadfast
        if _hooks.were_installed:
            from .told_waits import move

            move(waiter, steadfast)
        return steadfast

    def leave(self, waiter: Waiter) -> bool:
        """Remove a waiter. Return True if it had been granted; the caller then gives the grant back."""
        line, notes = self.line, self._notes
        if self.keepers is not None:
            self.keepers.discard(waiter)
        if not notes and line and line[0] is waiter:  # a shortcut; the rest does the same
            line.popleft()
            if not line:
                self.retire()
            return False
        if self.loop is not waiter.get_loop():
            return False  # It was forgotten before. If its loop was closed, its grant has been given back.
        note = notes.pop(waiter, None) if notes else None
        granted = note is _GRANTED or (note is None and waiter.done() and not waiter.cancelled())
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
        if type(note) is int:
            self._owner._settle()
        return granted

    def _sweep(self) -> None:
        """Remove the dead entries from the line."""
        self.line = deque(self._queued())
        self._dead = 0
        kept = (_OVERLOOKED, _GRANTED)
        self._notes = {waiter: note for waiter, note in self._notes.items() if note in kept or type(note) is int}

    def retire(self) -> None:
        """Remove the queue from its primitive if there is nothing to remember."""
        idle = not (self.line or self.granted or self._notes or self.owed_exits or self.bound or self.closed)
        if idle and self._owner._queue is self:
            self._owner._queue = None

    def retire_here(self) -> bool:
        """Retire if the waiters' loop is the running one, and return whether it is.

        If it runs elsewhere, a task there may be about to join.
        """
        here = self.run is this_run()
        if here:
            self.retire()
        return here

    # Granting

    def grant(self, n: float = 1, refusing: bool = True) -> int:
        """Make `n` grants, to the first waiters, whose results are 0, 1, ...; return how many there were.

        If the waiters' loop runs elsewhere, it does the granting. The result is then the number of times that it will
        call `_give_back()`; or 1 if no task waited and the owner has taken the grant back.

        Raises RuntimeError, before anything changes, as `elsewhere()` does.
        """
        if self.run is NOWHERE or self.run is not this_run():
            loop = self.elsewhere(refusing)
            if loop is not None:
                return self._grant_there(loop, n)
        line = self.line
        if n == 1 and line:  # a shortcut; the rest does the same
            waiter = line[0]
            if not (self._notes or waiter.done()):
                del line[0]
                waiter.set_result(0)
                self.granted += 1
                return 1
        return self._grant_next(n)

    def _grant_next(self, n: float) -> int:
        line, notes = self.line, self._notes
        granted = given = 0
        while line and given < n:
            waiter, needs = line.popleft(), 1
            if notes:
                note = notes.pop(waiter, None)
                if isinstance(note, SteadfastWaiter):
                    waiter, note = note, notes.pop(note, None)
                if note is _GONE:
                    self._dead -= 1
                    continue
                if type(note) is int and not waiter.done():
                    needs = note
                    if given + needs > n:
                        line.appendleft(waiter)
                        notes[waiter] = needs
                        break
            if not waiter.done():
                waiter.set_result(granted)
                granted += 1
                given += needs
            elif self.keepers is not None and waiter in self.keepers:
                notes[waiter] = _GRANTED
                granted += 1
                given += 1
            else:
                notes[waiter] = _OVERLOOKED
        if granted:
            self.granted += granted
            self.more += given - granted
        elif not self.granted:
            self.retire()
        return given

    def refuse(self, most: int, error: Callable[[int], Exception]) -> None:
        """Raise an error in each task that needs more than `most` grants. error: makes it, from what the task needs."""
        loop = self.elsewhere(refusing=False)
        if loop is not None:
            do_there(loop, partial(self._refuse, most, error))
        else:
            self._refuse(most, error)

    def _refuse(self, most: int, error: Callable[[int], Exception]) -> None:
        for waiter in self.line:
            needs = self._notes.get(waiter)
            if type(needs) is int and needs > most and not waiter.done():
                waiter.set_exception(error(needs))
                waiter.exception()  # else asyncio would complain if the task is cancelled before it has run

    def refuse_one(self, waiter: Waiter, error: Exception) -> bool:
        """Raise an error in one task, and return True; False if it does not wait any more, or keeps its place.

        Called in the waiters' loop. For debugging: it takes O(n).
        """
        if waiter.done() or self._keeps_place(waiter) or waiter not in self.line:
            return False
        self.line.remove(waiter)
        needed_several = type(self._notes.get(waiter)) is int
        self._notes[waiter] = _OVERLOOKED
        waiter.set_exception(error)
        waiter.exception()  # see _refuse()
        if needed_several:
            self._owner._settle()
        return True

    def has_waiters(self) -> bool:
        """Whether a task waits that is not cancelled; see `first_needs()`."""
        return self.first_needs() > 0

    def first_needs(self) -> int:
        """How many grants the first waiter needs; 0 if no task waits. It passes over cancelled ones, as a grant does.

        One that has joined with `join_for()` counts until it has left: those behind it may then be granted what is
        there, and only its leaving looks at them.

        This is for primitives whose waiters do not keep their place when they are cancelled.
        """
        line, notes = self.line, self._notes
        while line:
            waiter = line[0]
            note = notes.get(waiter) if notes else None
            if note is _GONE:
                del notes[waiter]
                self._dead -= 1
            elif note is None and waiter.done():
                notes[waiter] = _OVERLOOKED
            else:
                return note if type(note) is int else 1
            line.popleft()
        return 0

    def _grant_there(self, loop: asyncio.AbstractEventLoop, n: float) -> int:
        """Grant waiters of another loop than the running one: in that loop if it runs elsewhere, else here and now."""
        granted = 0
        if not loop.is_running():
            granted = self._grant_next(n)
            wake_if_started(loop)
        elif not self.line:  # No task waits; but a task of that loop may be about to join.
            self._owner._let_go()
            send(loop, self._owner._settle)
            granted = 1
        else:
            needed = sum(note - 1 for note in self._notes.values() if type(note) is int)
            wanted = math.ceil(min(n, len(self.line) + needed))
            if send(loop, partial(self._owner._give_back_all, wanted)):
                granted = wanted
            else:
                self.forget_closed_loop()  # It has been closed since is_running().
        return granted

    def grant_all(self, behind: int = 0) -> None:
        """Grant every waiter but the first `behind`. Raises as `grant()` does."""
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
        line = tuple(self.line)  # This is faster than to pop one by one.
        self.line.clear()
        if behind:
            self.line.extend(line[:behind])
            line = line[behind:]
        overlooked = 0
        for waiter in line:
            try:
                waiter.set_result(True)
            except InvalidStateError:  # It is cancelled. To ask each one before would cost more.
                self._notes[waiter] = _OVERLOOKED
                overlooked += 1
        self.granted += len(line) - overlooked

    def detach(self) -> None:
        """Take the queue away from its primitive, unless it is closed. Tasks that come then get a new one."""
        if self._owner._queue is self and self.closed is None:
            self._owner._queue = None if self.bound is None else type(self)(self._owner, bound=self.bound)

    def release_all(self) -> int:
        """Wake every waiter of a detached queue, with nothing that could be given back; return how many there were.

        They are not counted in `granted`, which would cost 5 % of a wake-up: an Event counts them itself.
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

    # Closing

    def close(self, closed: Callable[[], Closed]) -> None:
        """Refuse whoever waits and whoever comes. closed: makes the error for a waiter. A second call does nothing."""
        if self.closed is not None:
            return
        self.closed, self.run = closed, NOWHERE
        loop = self.elsewhere(refusing=False)
        if loop is not None:
            do_there(loop, self._refuse_line)
        else:
            self._refuse_line()

    def _refuse_line(self) -> None:
        assert self.closed is not None
        line, notes = self.line, self._notes
        staying: deque[Waiter] = deque()
        while line:
            waiter = line.popleft()
            note = notes.get(waiter)
            if note is _GONE:
                del notes[waiter]
                self._dead -= 1
            elif isinstance(note, SteadfastWaiter) or self._keeps_place(waiter):
                staying.append(waiter)
            else:
                notes[waiter] = _OVERLOOKED
                if not waiter.done():
                    waiter.set_exception(self.closed())
                    waiter.exception()  # see _refuse()
        self.line = staying

    def _keeps_place(self, waiter: Waiter) -> bool:
        return isinstance(waiter, SteadfastWaiter) or (self.keepers is not None and waiter in self.keepers)

    def check_open(self) -> None:
        """Raise Closed if it was closed, and RuntimeError as `check_bound()` does."""
        self.check_bound()
        if self.closed is not None:
            raise self.closed()

    # Loops

    def enter(self, again: bool = False) -> None:
        """Check, before anything changes, that a task of the running loop may wait here.

        again: whether it had the lock before, and has to have it back also if the lock was closed meanwhile.

        Raises RuntimeError while tasks of another loop wait, since all waiters must belong to one. Once none waits, a
        primitive that is not bound may be used in any loop. Raises Closed if it was closed.
        """
        running = asyncio.get_running_loop()
        if again:
            self.check_bound()
        else:
            self.check_open()
        self.forget_closed_loop()
        if self.loop is not None and self.loop is not running:
            if self.granted or self.count_live():
                raise self._wrong_loop("has waiting tasks in", self.loop, repr(running))
            self._forget_waiters()
        self.loop, self.run = running, NOWHERE if self.closed else this_run() or NOWHERE
        self._owner._queue = self  # forget_closed_loop() may have retired it.

    def elsewhere(self, refusing: bool = True) -> asyncio.AbstractEventLoop | None:
        """The waiters' loop if it is neither closed nor the running one; it then has to wake them itself. Else None.

        Raises RuntimeError if the primitive is bound to another loop than the running one. In asyncio's debug mode it
        also raises where asyncio would, because waking a task from another thread is a mistake in most programs. With
        `refusing=False` it never raises: a grant may be given back from anywhere, also by the collector in another
        thread.
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
        """Raise RuntimeError if the primitive was made with `loop=` and another loop is running here."""
        if self.bound is not None:
            running = _get_running_loop()
            if running is not None and running is not self.bound:
                raise self._wrong_loop("is bound to", self.bound, repr(running))

    def forget_closed_loop(self) -> bool:
        """If the waiters' loop is closed, forget them, give their grants back, and return True."""
        if self.loop is None or not self.loop.is_closed():
            return False
        self.loop, self.run = None, NOWHERE
        self._forget_waiters()
        lost, self.granted, self.more = self.granted + self.more, 0, 0
        if lost:
            self._owner._give_back_all(lost)
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


def _raise(exc: BaseException) -> NoReturn:
    raise exc


def _where(running: asyncio.AbstractEventLoop | None) -> str:
    return f"thread {threading.current_thread().name!r}, where none runs" if running is None else repr(running)
