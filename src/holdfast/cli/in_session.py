"""Runs a command in a session: within its time, until a signal ends it; what goes wrong becomes a `Failure`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

import holdfast
from holdfast.cluster import Session
from holdfast.cluster.connecting import url_in_use
from holdfast.cluster.errors import EngineError, NameConflict, SessionLost
from holdfast.tasks.closed import Closed

from . import exit_codes
from .failure import Failure
from .patience import ANSWER, Patience
from .signals import ENDING, handle, taken
from .waits import what_it_waited_for

Command = Callable[[Session, Patience], Coroutine[Any, Any, int]]
"""What to do in a session. Returns the exit code."""


@dataclass(frozen=True)
class SessionOptions:
    """The options of every command that opens a session; see `options.holding_options`."""

    url: str | None
    namespace: str
    ttl: float | None
    timeout: float | None
    quiet: bool = False


@dataclass(frozen=True)
class Awaited:
    """What a command may wait for."""

    kind: str
    name: str


def in_session(waits_for: str | None = None) -> Callable[[Callable[..., Command]], Callable[..., int]]:
    """Make a click callback of a function that returns a `Command`.

    waits_for: the kind of primitive that the command may wait for, if it waits.
    """

    def decorate(function: Callable[..., Command]) -> Callable[..., int]:
        @wraps(function)
        def callback(
            url: str | None, namespace: str, ttl: float | None, timeout: float | None, quiet: bool = False, **rest: Any
        ) -> int:
            options = SessionOptions(url, namespace, ttl, timeout, quiet)
            return execute(function(**rest), options, None if waits_for is None else Awaited(waits_for, rest["name"]))

        return callback

    return decorate


def execute(command: Command, options: SessionOptions, awaited: Awaited | None = None) -> int:
    """Run a command in a session; return the exit code. Raises Failure.

    awaited: what the command may wait for; a message says so if it has waited in vain.
    """
    check_url(options.url)
    try:
        return asyncio.run(_execute(command, options, awaited))
    except TimeoutError:
        limit = options.timeout or ANSWER
        failure = Failure(
            f"the engine has not answered within {limit:g} s; look whether what --url or HOLDFAST_URL names is up",
            exit_codes.TIMED_OUT,
        )
    except Failure as exc:
        failure = exc
    except (NameConflict, EngineError, SessionLost, Closed) as exc:
        raise Failure(str(exc), exit_codes.FAILED) from exc
    except (ValueError, ImportError) as exc:
        raise Failure(str(exc), exit_codes.USAGE) from exc
    if options.quiet and failure.exit_code == exit_codes.TIMED_OUT:
        return failure.exit_code
    raise failure


def check_url(url: str | None) -> None:
    """Refuse memory:, which would exclude nobody: only one process sees it, and each command is a process."""
    try:
        scheme = urlsplit(url_in_use(url) or "").scheme
    except ValueError:
        return  # connect() says what is wrong with it
    if scheme == "memory":
        raise Failure(
            "memory: is seen by one process alone, so a command would exclude nobody with it; leave --url out, or name "
            "a directory or a server: sqlite:///DIRECTORY, redis://HOST",
            exit_codes.USAGE,
        )


async def _execute(command: Command, options: SessionOptions, awaited: Awaited | None) -> int:
    interrupted: list[int] = []
    task = asyncio.current_task()
    assert task is not None

    def interrupt(number: int) -> None:
        interrupted.append(number)
        task.cancel()

    for number in taken(ENDING):
        handle(number, interrupt)
    patience = Patience(options.timeout)
    try:
        async with AsyncExitStack() as stack:
            async with patience.limit():
                session = await stack.enter_async_context(
                    holdfast.connect(options.url, namespace=options.namespace, ttl=options.ttl)
                )
            try:
                async with patience.limit():
                    return await command(session, patience)
            except TimeoutError:
                if awaited is None:
                    raise
                message = await what_it_waited_for(session, awaited.kind, awaited.name, options.timeout)
                raise Failure(message, exit_codes.TIMED_OUT) from None
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return exit_codes.BY_SIGNAL + interrupted[0]
