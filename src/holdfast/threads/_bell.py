"""How a loop is woken that is often woken from outside: by a bell of its own, which takes half the system calls.

What wakes asyncio's loop is a pair of sockets: one is written to, and the other is read until there is no more. An
eventfd (Linux) is written once and read once. It is a file descriptor more, so only a loop gets one that has had
WORTH_A_BELL letters.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from ._waiter import TaskWaiter

WORTH_A_BELL = 10


class Bell:
    """Rung from anywhere, it lets those run in its loop who are named. Closed, the loop drops it, and it tells so."""

    __slots__ = ("__weakref__", "_eventfd", "loop", "named", "rung")

    def __init__(self, loop: asyncio.AbstractEventLoop, eventfd: int) -> None:
        self.loop = loop
        self.named: deque[TaskWaiter] = deque()
        """Who is to be woken."""
        self.rung = False
        """Whether the loop will look."""
        self._eventfd = eventfd
        loop.add_reader(eventfd, self._answer)

    def ring(self, waiter: TaskWaiter) -> None:
        """Wake this one, too. If a signal handler raises meanwhile, this is called again."""
        self.named.append(waiter)
        if not self.rung:  # if it is, the loop looks for names after it has said that it is not
            self._ring()

    def _ring(self) -> None:
        try:
            self.rung = True
            os.eventfd_write(self._eventfd, 1)
        except BaseException:
            self.rung = False
            raise

    def _answer(self) -> None:
        """Let them run, in the loop itself. The bell is stopped last, as somebody may wait for what they do."""
        named, waiter = self.named, None
        left = len(named)
        try:
            while left and named:  # somebody may run the loop within a task, which comes here again
                left -= 1
                waiter = named.popleft()
                waiter.run()
        except BaseException:
            # Such as KeyboardInterrupt. The bell goes on ringing, so the loop's next run is for the others.
            if waiter is not None:
                named.append(waiter)
            raise
        self.rung = False
        try:  # noqa: SIM105  # which takes longer than the reading
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            pass  # This is called twice for one ringing, if another callback ended the loop's run before the first.
        if named:  # Their ringing may have been read as well.
            self._ring()

    def __del__(self) -> None:
        bells.pop(id(self.loop), None)
        os.close(self._eventfd)
        for waiter in self.named:
            waiter.lose()


bells: dict[int, ref[Bell]] = {}
"""By the id of its loop. The loop alone keeps it, as its reader, and so drops it."""
_letters: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
"""How many a loop has had."""


def count_letter(loop: asyncio.AbstractEventLoop) -> None:
    """The loop, which runs here, has had another letter: give it a bell if it is worth one.

    Only asyncio's own gets one: uvloop is woken by an eventfd anyway, and other loops may be anything.
    """
    if not (hasattr(os, "eventfd") and isinstance(loop, asyncio.SelectorEventLoop)):
        return
    _letters[loop] = letters = _letters.get(loop, 0) + 1
    if letters >= WORTH_A_BELL and id(loop) not in bells:  # this one may have been under way when it got its bell
        try:
            eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:  # no file descriptor is left: letters will do
            return
        bells[id(loop)] = ref(Bell(loop, eventfd))
