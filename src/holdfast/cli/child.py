"""CMD under a grant: it gets the signals, its exit code is returned, and it is ended when the lease is lost."""

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

    environment: variables for CMD, besides those that holdfast was given.
    grace: seconds between SIGTERM and SIGKILL if the lease is lost.
    guard: ends CMD if holdfast is killed. Without a guard, CMD stays in holdfast's process group.
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
    """End CMD: the lease is lost, so somebody else may have it by now."""
    try:
        grant.check()
        why = ""
    except LeaseLost as exc:
        why = f" ({exc})"
    complain(f"the lease on {grant.name!r} was lost{why}; {child} gets SIGTERM, and in {grace:g} s SIGKILL")
    until = asyncio.get_running_loop().time() + grace
    child.signal(signal.SIGTERM)
    child.signal(signal.SIGCONT)  # a process that is stopped cannot end
    await asyncio.wait([child.ended], timeout=grace)
    while child.has_left_others() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110
        await asyncio.sleep(PAUSE)  # the kernel tells nobody when a group has ended
    child.signal(signal.SIGKILL)
    await child.ended  # even if it cannot be signalled: the program that started holdfast has to know when CMD is over


class Child:
    """CMD's process, and its process group if it has one of its own.

    In a terminal it has none. It stays in the job that the shell has made. So it can read from the terminal, and
    Ctrl-C, Ctrl-Z and `fg` reach it. Whether stdin is redirected says nothing: ssh and sudo ask on /dev/tty.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], guard: Guard | None) -> None:
        """Start CMD. Raises OSError if it cannot be executed."""
        self._name = command[0]
        self._guard = guard
        self._leads_group = guard is not None
        self._complained = False
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """Done when CMD has ended. It is not reaped yet: until then no other process can have its number."""
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
        """Notice the end of a child. To be entered before the child is started; yields a function that takes it."""
        children: list[Child] = []

        def look(_: int = 0) -> None:
            for child in children:
                child._look()

        def begin(child: Child) -> None:
            children.append(child)
            look()

        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, [signal.SIGCHLD]
        )  # the program that started holdfast may have blocked it
        handle(signal.SIGCHLD, look)
        try:
            yield begin
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def _look(self) -> None:
        if not self.ended.done() and self._has_ended():
            self.ended.set_result(None)

    def _has_ended(self) -> bool:
        if sys.platform == "darwin" or not hasattr(os, "waitid"):  # before 3.13 macOS has none, and PyPy has none
            return self._process.poll() is not None
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def has_left_others(self) -> bool:
        """Whether CMD has ended, but not all that it has started in its group."""
        if not self._leads_group or not self.ended.done():
            return False
        self._process.wait()  # else CMD itself would count; the group keeps its number while anybody is in it
        with contextlib.suppress(ProcessLookupError):
            with contextlib.suppress(PermissionError):
                os.killpg(self._process.pid, 0)
            return True
        return False

    def reap(self) -> int:
        """After its end: its exit code, or the negative number of the signal that has ended it."""
        if self._guard is not None:
            self._guard.dismiss()
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to all processes of CMD's group; without a group of its own, to CMD."""
        try:
            if self._leads_group:
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                os.kill(self._process.pid, number)
        except ProcessLookupError:
            """CMD has ended meanwhile."""
        except PermissionError:
            if not self._complained:
                complain(f"{self} runs as another user, who alone may end it; holdfast waits until it has ended")
            self._complained = True

    @contextlib.contextmanager
    def getting_signals(self) -> Iterator[None]:
        """Pass signals on to CMD while it runs. After that they are ignored: holdfast is about to end."""
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
    """A guard if CMD is to have a process group of its own (see `Child`). To be entered before the event loop runs."""
    return contextlib.nullcontext() if has_terminal() or not hasattr(os, "fork") else Guard(grace)


def _die_with_parent() -> Callable[[], None] | None:
    """What CMD does before it is executed, so that it gets SIGTERM if holdfast is killed. Only on Linux."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # holdfast was killed before this was set
            os._exit(exit_codes.FAILED)

    return ask
