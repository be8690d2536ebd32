"""CMD under a grant: it gets the signals, its exit code is passed on, and it is ended when the lease is lost."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from holdfast.cluster import Grant

from . import exit_codes

_PR_SET_PDEATHSIG = 1


async def run_command(command: Sequence[str], grant: Grant, grace: float, complain: Callable[[str], None]) -> int:
    """Run CMD while the grant is held; return the exit code for holdfast.

    grace: seconds between SIGTERM and SIGKILL if the lease is lost.
    complain: gets a line for the user.
    """
    environment = {"HOLDFAST_NAME": grant.name, "HOLDFAST_TOKEN": str(grant.token)}
    try:
        child = await Child.start(command, environment)
    except OSError as exc:
        complain(f"{command[0]}: {exc.strerror or exc}")
        return exit_codes.NOT_FOUND if isinstance(exc, FileNotFoundError) else exit_codes.NOT_EXECUTABLE
    with child.getting_signals():
        ended = asyncio.ensure_future(child.process.wait())
        lost = asyncio.ensure_future(grant.lost.wait())
        await asyncio.wait([ended, lost], return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if not ended.done():
            complain(f"the lease on {grant.name!r} was lost; {command[0]} gets SIGTERM, and in {grace:g} s SIGKILL")
            child.signal(signal.SIGTERM)
            await asyncio.wait([ended], timeout=grace)
            child.signal(signal.SIGKILL)
            await ended
            return exit_codes.LEASE_LOST
    code = ended.result()
    return exit_codes.BY_SIGNAL - code if code < 0 else code


class Child:
    """CMD's process, and its process group if it has one of its own."""

    def __init__(self, process: asyncio.subprocess.Process, leads_group: bool) -> None:
        self.process = process
        self._leads_group = leads_group

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start it. In a terminal it stays in the foreground, so that it can read, and gets Ctrl-C from there."""
        leads_group = sys.stdin is None or not sys.stdin.isatty()
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **environment},
            process_group=0 if leads_group else None,
            preexec_fn=_die_with_parent(),
        )
        return cls(process, leads_group)

    def signal(self, number: int) -> None:
        """Send it to all that belongs to CMD, as far as it can be told."""
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            if self._leads_group:
                os.killpg(self.process.pid, number)
            elif self.process.returncode is None:
                self.process.send_signal(number)

    @contextlib.contextmanager
    def getting_signals(self) -> Iterator[None]:
        """While CMD runs, what is sent to holdfast goes to CMD. Then it is left aside: holdfast is about to end."""
        loop = asyncio.get_running_loop()
        handled = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
        for number in handled:
            loop.add_signal_handler(number, self._pass_on, number)
        try:
            yield
        finally:
            for number in handled:
                loop.add_signal_handler(number, lambda: None)

    def _pass_on(self, number: int) -> None:
        if number != signal.SIGINT or self._leads_group:  # else the terminal has sent it to both
            self.signal(number)


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
