"""The critical section: in it, and nowhere else, a primitive of this tier changes once somebody waits.

Whoever was granted something meanwhile is woken after the section has been left.

The collector may run a finalizer, and the interpreter a signal handler, between any two lines, and so in the
section too. What these change (a release, a `set()`, a coroutine that is closed) is put down, and done by the
interrupted thread as soon as it has left the section. So they never block: neither on the section of their own
thread, nor on one that another thread holds, whose finalizer may want this one. What needs an answer raises
ReentryError.
"""

from __future__ import annotations

import sys
import threading
from _thread import RLock, get_ident
from asyncio import _get_running_loop, current_task
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from ._waiter import Waiter

ONE_AT_A_TIME = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
"""Whether threads see each other's changes in the order in which they are made, and none comes in between the reading
and the writing of one statement that calls nothing."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ReentryError(RuntimeError):
    """A signal handler or a finalizer wants an answer while its own thread is changing a primitive."""


class Me:
    """What a thread knows of itself."""

    __slots__ = ("inside", "late", "woken")

    def __init__(self) -> None:
        self.inside = False
        """Whether it is in a section."""
        self.woken: list[Waiter] = []
        """Who has been granted something in the section."""
        self.late: deque[Callable[[], object]] = deque()
        """What is to be done once the section has been left."""


class _Here(threading.local):
    def __init__(self) -> None:
        self.me = Me()


here = _Here()
"""`here.me` is the thread that asks. To ask is slow, so it is done once in each section."""


class Section(RLock):  # type: ignore[misc]  # final for typeshed only
    """One thread at a time. It is reentrant so that a signal just before it is unlocked does no harm."""

    __slots__ = ()

    def run(self, step: Callable[[*Ts], T], /, *args: *Ts, within: Callable[[*Ts], T] | None = None) -> T:
        """The result of `step()`, called in the section; within a section, of `within()`, or ReentryError."""
        me = here.me
        if me.inside:
            if within is not None:
                return within(*args)
            raise ReentryError(
                "a signal handler or a finalizer interrupted its own thread in the middle of a change, and needs an "
                "answer that is not there yet: use release(), set(), notify() or try_acquire() there"
            )
        woken: list[Waiter] | None = None
        locked = False
        try:  # `with` would be slower by a third
            me.inside = True
            locked = self.acquire()
            return step(*args)
        finally:
            if me.woken:
                woken, me.woken = me.woken, []
            me.inside = False
            try:
                self.release()
            except RuntimeError:
                if locked:
                    raise
                # Otherwise a signal handler has raised while this thread waited for the section.
            finally:
                try:
                    if woken:
                        deliver(woken)
                except BaseException:  # A signal handler has raised. Before that comes out, all are woken,
                    deliver(woken)  # type: ignore[arg-type]  # there were some
                    raise
                finally:  # and what has been put down is done.
                    while me.late:
                        me.late.popleft()()

    def do(self, step: Callable[[*Ts], object], /, *args: *Ts) -> None:
        """Call `step()`, which must not raise, in the section; within a section, as soon as that has been left."""
        me = here.me
        if me.inside:
            me.late.append(partial(self.run, step, *args))  # a lambda would make every call slower
        else:
            self.run(step, *args)


def deliver(woken: Sequence[Waiter]) -> None:
    """Wake them. To do so twice is harmless."""
    thread, running = get_ident(), None
    for waiter in woken:
        if running is None and waiter.thread == thread:  # else need not be asked for, which is slow in Python 3.11
            running = _get_running_loop()
            if running is not None and current_task(running) is None:
                # Perhaps in a signal handler, while the loop sleeps: then it is woken as from outside.
                running = None
        waiter.wake(running)


def hold_back() -> list[Waiter]:
    """In a section: who has been granted something in it, and is to be woken later."""
    me = here.me
    woken, me.woken = me.woken, []
    return woken


def let_go(held: Sequence[Waiter]) -> None:
    """In a section: those that were held back are woken after this one."""
    here.me.woken += held
