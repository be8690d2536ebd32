"""Waking an event loop from outside by an eventfd of its own: half the system calls of call_soon_threadsafe().

call_soon_threadsafe() wakes a loop of asyncio's by a pair of sockets: one is written, and the other is read until
nothing is left in it. An eventfd (Linux) is written once and read once. It takes a file descriptor, so a loop gets one
only after CALLS_BEFORE_EVENTFD wake-ups by a call.

Without the GIL a loop gets its eventfd with its first waiter. There, an object that is made by one thread and dropped
by another is finalized by the thread that made it, when that runs again. The sender makes a WakeUpCall. If a closed
loop drops it while the sender is blocked, it cannot say that it was lost. A LoopEventfd can, as the thread of the loop
has made it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Protocol
from weakref import WeakKeyDictionary, ref

CALLS_BEFORE_EVENTFD = 10


class SleepingTask(Protocol):
    """A task to be woken from outside its loop. See TaskWaiter."""

    def run(self) -> None:
        """In a callback of its loop: resume the task at once. A second call is harmless."""

    def lose(self) -> None:
        """The loop was closed with the wake-up under way."""


class LoopEventfd:
    """The eventfd of a loop, and the tasks that it wakes.

    Only the loop refers to it, as a reader. A closed loop drops it, and then the tasks that it had still to wake lose
    their grants.
    """

    __slots__ = ("__weakref__", "_eventfd", "_written", "loop", "sleepers")

    def __init__(self, loop: asyncio.AbstractEventLoop, eventfd: int) -> None:
        self.loop = loop
        self.sleepers: deque[SleepingTask] = deque()
        """The tasks to be woken."""
        self._written = False  # whether the loop is sure to look at `sleepers` again
        self._eventfd = eventfd
        loop.add_reader(eventfd, self._wake_up)

    def wake(self, sleeper: SleepingTask) -> None:
        """Wake this task too, from any thread. If a signal handler raises meanwhile, it has to be called again."""
        self.sleepers.append(sleeper)
        if not self._written:  # if it is, the loop sees the newcomer: it looks once more after it has reset this
            self._write()

    def _write(self) -> None:
        try:
            self._written = True
            os.eventfd_write(self._eventfd, 1)
        except BaseException:
            self._written = False
            raise

    def _wake_up(self) -> None:
        """In the loop: resume the tasks. The eventfd is read last, as these tasks may wake others of this loop."""
        sleepers, sleeper = self.sleepers, None
        left = len(sleepers)
        try:
            while left and sleepers:  # a task may run the loop itself, as with nest_asyncio, and come here again
                left -= 1
                sleeper = sleepers.popleft()
                sleeper.run()
        except BaseException:
            # Such as KeyboardInterrupt. The eventfd has not been read, so the loop's next run wakes the others.
            if sleeper is not None:
                sleepers.append(sleeper)
            raise
        self._written = False
        try:  # noqa: SIM105  # which takes longer than the reading
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            pass  # Called twice for one write: another callback ended the loop's run before the first call.
        if sleepers:  # the read may have taken their write as well
            self._write()

    def __del__(self) -> None:
        eventfds.pop(id(self.loop), None)
        os.close(self._eventfd)
        for sleeper in self.sleepers:
            sleeper.lose()


eventfds: dict[int, ref[LoopEventfd]] = {}
"""By the id of the loop."""
_calls: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
"""How many wake-ups by a call each loop has had."""


def count_call(loop: asyncio.AbstractEventLoop) -> None:
    """In the loop: it has been woken by a call once more. Give it an eventfd if that was often."""
    if not _can_have_eventfd(loop):
        return
    _calls[loop] = calls = _calls.get(loop, 0) + 1
    if calls >= CALLS_BEFORE_EVENTFD:
        _add_eventfd(loop)


def give_eventfd(loop: asyncio.AbstractEventLoop) -> None:
    """In the loop: give it an eventfd if it can have one."""
    if _can_have_eventfd(loop):
        _add_eventfd(loop)


def _can_have_eventfd(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is asyncio's own loop on Linux. uvloop uses an eventfd anyway, and other loops may be anything."""
    return hasattr(os, "eventfd") and isinstance(loop, asyncio.SelectorEventLoop)


def _add_eventfd(loop: asyncio.AbstractEventLoop) -> None:
    if id(loop) in eventfds:  # this call may have been under way when the loop got it
        return
    try:
        eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except OSError:  # no file descriptor is left: go on with calls
        return
    eventfds[id(loop)] = ref(LoopEventfd(loop, eventfd))
