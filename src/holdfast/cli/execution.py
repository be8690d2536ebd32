"""A command in a session: how long it may take, what ends it, and what becomes of what goes wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

import holdfast
from holdfast.cluster import Session
from holdfast.cluster.errors import EngineError, NameConflict, SessionLost

from . import exit_codes
from .signals import ENDING, handle, taken
from .waits import what_it_waited_for

ANSWER = 5.0
"""Seconds that the engine may take where --timeout is 0."""


class Failure(Exception):  # noqa: N818  # it is how a command ends, as click's Exit
    """One line for the user, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Patience:
    """What --timeout says. It counts from the start, so that an engine that does not answer is given up as well."""

    def __init__(self, seconds: float | None) -> None:
        self.waits = seconds != 0
        """Whether to wait for others at all."""
        allowed = seconds if self.waits else ANSWER
        self._until = None if allowed is None else asyncio.get_running_loop().time() + allowed
        self._clock = asyncio.timeout_at(self._until)

    def limit(self) -> asyncio.Timeout:
        """For a block of what counts."""
        self._clock = asyncio.timeout_at(self._until)
        return self._clock

    def end(self) -> None:
        """What was waited for is there: from now on there is time."""
        self._until = None
        self._clock.reschedule(None)


Command = Callable[[Session, Patience], Coroutine[Any, Any, int]]


def in_session(waits_for: str | None = None) -> Callable[[Callable[..., Command]], Callable[..., int]]:
    """Make a click callback of a function that returns what to do in a session.

    waits_for: the kind of what it may wait for, if it does.
    """

    def decorate(function: Callable[..., Command]) -> Callable[..., int]:
        @wraps(function)
        def callback(
            url: str | None, namespace: str, ttl: float | None, timeout: float | None, quiet: bool = False, **rest: Any
        ) -> int:
            waited = None if waits_for is None else (waits_for, rest["name"])
            try:
                return execute(function(**rest), url, namespace, ttl, timeout, waited)
            except Failure as exc:
                if quiet and exc.exit_code == exit_codes.TIMED_OUT:
                    return exc.exit_code
                raise

        return callback

    return decorate


def execute(
    command: Command,
    url: str | None,
    namespace: str,
    ttl: float | None,
    timeout: float | None,
    waited: tuple[str, str] | None,
) -> int:
    """Run the command in a session; what goes wrong becomes a Failure.

    waited: the kind and the name of what it may wait for, for the message to who has waited in vain.
    """
    check_url(url)
    try:
        return asyncio.run(_execute(command, url, namespace, ttl, timeout, waited))
    except TimeoutError:
        limit = timeout or ANSWER
        raise Failure(
            f"the engine has not answered within {limit:g} s; look whether what --url or HOLDFAST_URL names is up",
            exit_codes.TIMED_OUT,
        ) from None
    except (NameConflict, EngineError, SessionLost) as exc:
        raise Failure(str(exc), exit_codes.FAILED) from exc
    except (ValueError, ImportError) as exc:
        raise Failure(str(exc), exit_codes.USAGE) from exc


def check_url(url: str | None) -> None:
    """Refuse what would exclude nobody: the sessions of memory: are those of one process, and each command is one."""
    try:
        scheme = urlsplit(url or os.environ.get("HOLDFAST_URL") or "").scheme
    except ValueError:
        return  # connect() says what is wrong with it
    if scheme == "memory":
        raise Failure(
            "memory: is seen by one process alone, so a command would exclude nobody with it; leave --url out, or name "
            "a directory or a server: sqlite:///DIRECTORY, redis://HOST",
            exit_codes.USAGE,
        )


async def _execute(
    command: Command,
    url: str | None,
    namespace: str,
    ttl: float | None,
    seconds: float | None,
    waited: tuple[str, str] | None,
) -> int:
    interrupted: list[int] = []
    task = asyncio.current_task()
    assert task is not None

    def interrupt(number: int) -> None:
        interrupted.append(number)
        task.cancel()

    for number in taken(ENDING):
        handle(number, interrupt)
    patience = Patience(seconds)
    try:
        async with AsyncExitStack() as stack:
            async with patience.limit():
                session = await stack.enter_async_context(holdfast.connect(url, namespace=namespace, ttl=ttl))
            try:
                async with patience.limit():
                    return await command(session, patience)
            except TimeoutError:
                if waited is None:
                    raise
                message = await what_it_waited_for(session, *waited, seconds)
                raise Failure(message, exit_codes.TIMED_OUT) from None
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return exit_codes.BY_SIGNAL + interrupted[0]
