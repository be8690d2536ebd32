"""CMD under a grant: it gets the signals, its exit code is passed on, and it is ended when the lease is lost."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from holdfast.cluster import Grant, LeaseLost

from . import exit_codes
from .guard import PAUSE, Guard
from .messages import complain
from .signals import PASSED_ON, handle, taken
from .terminal import has_terminal, is_in_foreground

_PR_SET_PDEATHSIG = 1


async def run_command(
    command: Sequence[str], grant: Grant, environment: Mapping[str, str], grace: float, guard: Guard | None
) -> int:
    """Run CMD while the grant is held; return the exit code for holdfast.

    environment: what CMD is told besides all that holdfast was.
    grace: seconds between SIGTERM and SIGKILL if the lease is lost.
    guard: what ends CMD if holdfast is killed; without one CMD stays in holdfast's process group.
    """
    if os.name != "posix":
        complain("CMD can be run on POSIX systems only; the other commands work here")
        return exit_codes.FAILED
    told = {**environment, "HOLDFAST_NAME": grant.name, "HOLDFAST_TOKEN": str(grant.token)}
    with Child.noticing_its_end() as look:
        try:
            child = Child(command, told, guard)
        except OSError as exc:
            complain(f"{shlex.quote(command[0])}: {exc.strerror or exc}")
            return exit_codes.NOT_FOUND if isinstance(exc, FileNotFoundError) else exit_codes.NOT_EXECUTABLE
        look(child)
        with child.getting_signals():
            lost = asyncio.ensure_future(grant.lost.wait())
            await asyncio.wait([child.ended, lost], return_when=asyncio.FIRST_COMPLETED)
            lost.cancel()
            was_lost = not child.ended.done()
            if was_lost:
                await _end(child, grant, grace)
            code = child.reap()
    if was_lost:
        return exit_codes.LEASE_LOST
    return exit_codes.BY_SIGNAL - code if code < 0 else code


async def _end(child: Child, grant: Grant, grace: float) -> None:
    """The lease is lost, so somebody else may have it by now."""
    try:
        grant.check()
        why = ""
    except LeaseLost as exc:
        why = f" ({exc})"
    complain(f"the lease on {grant.name!r} was lost{why}; {child} gets SIGTERM, and in {grace:g} s SIGKILL")
    until = asyncio.get_running_loop().time() + grace
    child.signal(signal.SIGTERM)
    child.signal(signal.SIGCONT)  # one that is stopped cannot end
    await asyncio.wait([child.ended], timeout=grace)
    while child.has_left_others() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110
        await asyncio.sleep(PAUSE)  # the kernel tells nobody when a group has ended
    child.signal(signal.SIGKILL)
    await child.ended  # also of one that may not be signalled: whoever started holdfast is to know when it is over


class Child:
    """CMD's process, and its process group if it has one of its own.

    In a terminal it has none: it stays in the job that the shell has made, so that it can read from the terminal, and
    Ctrl-C, Ctrl-Z and `fg` reach it from there. Whether stdin is redirected says nothing: ssh and sudo ask on /dev/tty.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], guard: Guard | None) -> None:
        """Start it."""
        self._name = command[0]
        self._guard = guard
        self._leads_group = guard is not None
        self._complained = False
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """Done when it has, and not been reaped yet: until that, nothing else can have its number."""
        if guard is not None:
            guard.expect()
        try:
            self._process = subprocess.Popen(
                command,
                env={**os.environb, **{name.encode(): value.encode() for name, value in environment.items()}},
                process_group=0 if self._leads_group else None,
                preexec_fn=guard.take_charge if guard is not None else _die_with_parent(),
            )
        except BaseException:
            if guard is not None:
                guard.dismiss()
            raise

    def __str__(self) -> str:
        return self._name

    @staticmethod
    @contextlib.contextmanager
    def noticing_its_end() -> Iterator[Callable[[Child], None]]:
        """In between, a child that is given to what this yields is told of its end. To be entered before it begins."""
        children: list[Child] = []

        def look(_: int = 0) -> None:
            for child in children:
                child._look()

        def begin(child: Child) -> None:
            children.append(child)
            look()

        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])  # whoever started holdfast may have blocked it
        handle(signal.SIGCHLD, look)
        try:
            yield begin
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def _look(self) -> None:
        if not self.ended.done() and self._has_ended():
            self.ended.set_result(None)

    def _has_ended(self) -> bool:
        if sys.platform == "darwin":  # before 3.13 it has no waitid()
            return self._process.poll() is not None
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def has_left_others(self) -> bool:
        """Whether it has ended, and what it has started in its group has not."""
        if not self._leads_group or not self.ended.done():
            return False
        self._process.wait()  # else it counts itself; the number stays the group's as long as anybody is in it
        with contextlib.suppress(ProcessLookupError):
            with contextlib.suppress(PermissionError):
                os.killpg(self._process.pid, 0)
            return True
        return False

    def reap(self) -> int:
        """Once it has ended: its exit code, or of the signal that has ended it the number, below 0."""
        if self._guard is not None:
            self._guard.dismiss()
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send it to all that belongs to CMD, as far as it can be told."""
        try:
            if self._leads_group:
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                os.kill(self._process.pid, number)
        except ProcessLookupError:
            """It has ended meanwhile."""
        except PermissionError:
            if not self._complained:
                complain(f"{self} runs as another user, who alone may end it; holdfast waits until it has ended")
            self._complained = True

    @contextlib.contextmanager
    def getting_signals(self) -> Iterator[None]:
        """While CMD runs, what is sent to holdfast goes to CMD. Then it is left aside: holdfast is about to end."""
        handled = taken(PASSED_ON)
        for number in handled:
            handle(number, self._pass_on)
        try:
            yield
        finally:
            for number in handled:
                handle(number, lambda _: None)

    def _pass_on(self, number: int) -> None:
        if number not in (signal.SIGINT, signal.SIGQUIT) or not self._shares_foreground():
            self.signal(number)

    def _shares_foreground(self) -> bool:
        """Whether the terminal sends Ctrl-C to CMD as well. CMD may have left the group, as timeout(1) does."""
        try:
            return os.getpgid(self._process.pid) == os.getpgrp() and is_in_foreground()
        except ProcessLookupError:
            return False


def guard_if_needed(grace: float) -> contextlib.AbstractContextManager[Guard | None]:
    """A guard for CMD where CMD is to have a process group of its own; see `Child`. Before the event loop runs."""
    return contextlib.nullcontext() if has_terminal() or not hasattr(os, "fork") else Guard(grace)


def _die_with_parent() -> Callable[[], None] | None:
    """What makes CMD get SIGTERM if holdfast is killed, so that it does not go on without its lock. On Linux."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed before it asked
            os._exit(exit_codes.FAILED)

    return ask
