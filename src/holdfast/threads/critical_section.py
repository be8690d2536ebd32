"""The critical section: the lock under which a primitive of this tier changes.

What must hold:

 1. Once a primitive has a queue, it changes in its section and nowhere else.
 2. Waiters that a change has granted are woken after the section has been left, by the thread that made the change.
 3. A thread never blocks on a section while it is inside another one. A finalizer or a signal handler may run between
    any two lines, and so inside a section too. What it changes there (a release, a `set()`, a coroutine that is closed)
    is deferred, and the interrupted thread does it as soon as it has left its section. This holds for the sections of
    all primitives together: otherwise two threads, each inside one section, could each run a finalizer that waits for
    the other's. A call that needs an answer at once raises ReentryError instead.
"""

from __future__ import annotations

import threading
from _thread import RLock, get_ident
from asyncio import AbstractEventLoop, _get_running_loop, current_task
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Sleeper(Protocol):
    """A waiter, as far as the section knows it: something to wake."""

    thread: int
    """The thread that sleeps, or in which the event loop of the task runs."""

    def wake(self, running: AbstractEventLoop | None) -> None:
        """Wake it. A second call is harmless.

        running: the caller's loop; None outside a task.
        """


class ReentryError(RuntimeError):
    """A signal handler or a finalizer needs an answer while its own thread is inside a critical section."""


class ThreadState:
    """What a thread remembers between entering a section and leaving it."""

    __slots__ = ("deferred", "inside", "to_wake")

    def __init__(self) -> None:
        self.inside = False
        """Whether the thread is inside a section."""
        self.to_wake: list[Sleeper] = []
        """The waiters that were granted in this section."""
        self.deferred: deque[Callable[[], object]] = deque()
        """The changes to make once the section has been left."""


class _ThisThread(threading.local):
    state: ThreadState

    def __getattr__(self, name: str) -> ThreadState:
        """Make the state of a thread when that first uses a primitive.

        A finalizer that comes here meanwhile makes one too, and uses it. So the first one to be put in place counts.
        """
        if name != "state":
            raise AttributeError(name)
        state: ThreadState = self.__dict__.setdefault("state", ThreadState())
        return state


this_thread = _ThisThread()
"""`this_thread.state` belongs to the calling thread. The look-up is slow, so each section makes it once."""


class Section(RLock):  # type: ignore[misc]  # final for typeshed only
    """A lock for one change at a time.

    It is reentrant because a signal handler may run when `run()` has noted that the thread is outside and has not
    unlocked yet.
    """

    __slots__ = ()

    def run(self, step: Callable[[*Ts], T], /, *args: *Ts, if_inside: Callable[[*Ts], T] | None = None) -> T:
        """Call `step(*args)` in the section, and return its result.

        If the thread is inside a section already, call `if_inside(*args)` instead. Without `if_inside`, raise
        ReentryError.
        """
        state = this_thread.state
        if state.inside:
            if if_inside is not None:
                return if_inside(*args)
            raise ReentryError(
                "a signal handler or a finalizer interrupted its own thread in the middle of a change, and needs an "
                "answer that is not there yet: use release(), set(), notify() or try_acquire() there"
            )
        to_wake: list[Sleeper] | None = None
        locked = False
        try:  # `with` would be slower by a third
            state.inside = True
            locked = self.acquire()
            return step(*args)
        finally:
            if state.to_wake:
                to_wake, state.to_wake = state.to_wake, []
            state.inside = False
            try:
                self.release()
            except RuntimeError:
                if locked:
                    raise
                # A signal handler has raised while this thread waited for the section, so it has nothing to unlock.
            finally:
                try:
                    if to_wake:
                        wake_all(to_wake)
                except BaseException:  # A signal handler has raised. Wake all waiters before its exception comes out.
                    wake_all(to_wake or ())
                    raise
                finally:
                    while state.deferred:
                        state.deferred.popleft()()

    def run_or_defer(self, step: Callable[[*Ts], object], /, *args: *Ts) -> None:
        """Call `step(*args)` in the section: now, or, if the thread is inside a section, when it has left that.

        The step must not raise.
        """
        state = this_thread.state
        if state.inside:
            state.deferred.append(partial(self.run, step, *args))  # a lambda would make every call slower
        else:
            self.run(step, *args)


def wake_all(sleepers: Sequence[Sleeper]) -> None:
    """Wake these waiters. A second call is harmless."""
    thread, running = get_ident(), None
    for sleeper in sleepers:
        if running is None and sleeper.thread == thread:  # otherwise not needed, and slow to get in Python 3.11
            running = _get_running_loop()
            if running is not None and current_task(running) is None:
                # This may be a signal handler that has interrupted the loop's sleep: wake the loop as from outside.
                running = None
        sleeper.wake(running)


def hold_back_wake_ups() -> list[Sleeper]:
    """In a section: return the waiters that have been granted in it, and do not wake them when it is left."""
    state = this_thread.state
    held, state.to_wake = state.to_wake, []
    return held


def release_wake_ups(held: Sequence[Sleeper]) -> None:
    """In a section: have these waiters woken when it is left."""
    this_thread.state.to_wake += held
