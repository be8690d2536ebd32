"""Runs CMD under a grant: for `holdfast lock` and `holdfast semaphore`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.cluster import Grant, Lock, Semaphore, Session

from . import exit_codes
from .ancestors import deadlock, have_ancestors, with_session
from .child import guard_if_needed, run_command
from .failure import Failure
from .in_session import Awaited, SessionOptions, execute
from .looking import inspect
from .patience import Patience


def run_leased(
    primitive: Callable[[Session], Lock | Semaphore],
    name: str,
    command: tuple[str, ...],
    grace: float,
    permits: int = 1,
    **options: Any,
) -> int:
    """Run CMD while the primitive is held; return the exit code. Raises Failure.

    permits: how many of a semaphore.
    grace: seconds between SIGTERM and SIGKILL if the lease is lost.
    options: those of `SessionOptions`.
    """
    with guard_if_needed(grace) as guard:

        async def hold(session: Session, patience: Patience) -> int:
            leased = primitive(session)
            if have_ancestors():
                await _check_ancestors(session, name, permits)
            grant = await _ask(leased, permits, patience.waits)
            if grant is None:
                raise TimeoutError
            patience.end()
            return await run_command(command, grant, with_session(session), grace, guard)

        return execute(hold, SessionOptions(**options), Awaited("lock", name))


async def _ask(leased: Lock | Semaphore, permits: int, waits: bool) -> Grant | None:
    if isinstance(leased, Semaphore):
        return await (leased.acquire(permits) if waits else leased.try_acquire(permits))
    return await (leased.acquire() if waits else leased.try_acquire())


async def _check_ancestors(session: Session, name: str, permits: int) -> None:
    """Raise Failure if the command would wait for its own end."""
    found = await inspect(session, name)
    reason = None if found is None else deadlock(found, permits)
    if reason is not None:
        raise Failure(reason, exit_codes.FAILED)
