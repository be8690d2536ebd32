"""A process that ends CMD, with all that CMD has started, if holdfast is killed.

The guard is forked before holdfast's event loop and session begin, so it has nothing of theirs. It waits on a pipe
whose other end holdfast has, so the kernel tells it of holdfast's end, however that comes about. CMD itself tells it
the number of its process group, before it is executed. The guard is dismissed when CMD has ended and is not reaped yet:
until then no other process can have that number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import TracebackType
from typing import Self

from .signals import PASSED_ON

PAUSE = 0.02
"""Seconds between two looks whether the group is still there. No other group gets its number in that time: the kernel
first gives out all other numbers."""


class Guard:
    """The guard, as holdfast uses it. Use it with `with`, from before the event loop until CMD has ended."""

    def __init__(self, grace: float) -> None:
        """grace: seconds between SIGTERM and SIGKILL for CMD."""
        self._grace = grace
        self._charged = False

    def __enter__(self) -> Self:
        read, self._write = os.pipe()  # neither end is inherited by what is executed
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _keep_watch(read, self._grace)
            finally:
                os._exit(0)
        os.close(read)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._charged:  # else CMD runs and holdfast fails: the guard has to end CMD
            self.dismiss()

    def take_charge(self) -> None:
        """Tell the guard the group's number. Called in CMD's process, which leads the group, before CMD is executed."""
        os.write(self._write, b"%d\n" % os.getpid())

    def expect(self) -> None:
        """CMD is about to be started."""
        self._charged = True

    def dismiss(self) -> None:
        """CMD has ended, or was never started."""
        self._charged = False
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)  # not waited for yet, so the number is still the guard's
            with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored
                os.waitpid(self._pid, 0)
            os.close(self._write)
            self._pid = 0


def _keep_watch(read: int, grace: float) -> None:
    """In the guard: wait for the end of holdfast, then end CMD."""
    os.setsid()  # out of the reach of Ctrl-C, of CMD's `kill 0`, and of the end of the terminal
    for name in PASSED_ON:
        signal.signal(signal.Signals[name], signal.SIG_IGN)
    _keep_only(read)
    told = b""
    while packet := os.read(0, 64):
        told += packet
    if told:
        end_group(int(told), grace)


def _keep_only(read: int) -> None:
    """Have the pipe as descriptor 0, and no other open: else a reader of holdfast's output would not see its end."""
    os.dup2(read, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(null, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")  # no file system is kept busy


def end_group(group: int, grace: float) -> None:
    """Send SIGTERM to all processes of the group, and after `grace` seconds SIGKILL to those that are left."""
    until = time.monotonic() + grace
    with contextlib.suppress(ProcessLookupError, PermissionError):  # they have ended, or run as another user
        os.killpg(group, signal.SIGTERM)
        os.killpg(group, signal.SIGCONT)  # a process that is stopped cannot end
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(PAUSE)
        os.killpg(group, signal.SIGKILL)
