"""What `holdfast.locked()` makes of a function: each call opens a session, and holds a lock while the function runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from holdfast.blocking.timeouts import check_timeout

from .connecting import connect
from .names import checked
from .primitives.grant import Grant
from .primitives.lock import Lock
from .session import Session
from .values_in_messages import shown

F = TypeVar("F", bound=Callable[..., Any])


def decorator(
    name: str, url: str | None, timeout: float | None, skip: bool, ttl: float | None, namespace: str
) -> Callable[[F], F]:
    """See `holdfast.locked()`."""
    checked(name)
    if timeout is not None and check_timeout(True, timeout) < 0:
        raise ValueError("timeout value must be a non-negative number")
    # This opens nothing, but a wrong option is an error here and now. HOLDFAST_URL may be set later.
    connect("memory:" if url is None else url, ttl, namespace, None)

    def too_late() -> None:
        if not skip:
            raise TimeoutError(f"{shown(name)} was not free within {timeout} s, so the function was not called")

    def session() -> Session:
        return connect(url, ttl, namespace, None)

    def decorate(function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function!r} is a generator function, of which a call runs nothing: lock what it is used in"
            )

        @functools.wraps(function)
        async def in_loop(*args: Any, **options: Any) -> Any:
            async with session() as opened, contextlib.AsyncExitStack() as stack:
                lock = opened.lock(name)
                grant = await _acquired(lock, timeout)
                if grant is None:
                    return too_late()
                lock._entered_with(grant, asyncio.current_task())
                stack.push_async_exit(lock.__aexit__)
                return await function(*args, **options)

        @functools.wraps(function)
        def in_thread(*args: Any, **options: Any) -> Any:
            with session().sync as opened, contextlib.ExitStack() as stack:
                lock = opened.lock(name)
                try:
                    stack.enter_context(lock if timeout is None else lock.within(timeout))
                except TimeoutError:
                    return too_late()
                return function(*args, **options)

        return cast(F, in_loop if inspect.iscoroutinefunction(function) else in_thread)

    return decorate


async def _acquired(lock: Lock, seconds: float | None) -> Grant | None:
    if seconds == 0:
        return await lock.try_acquire()
    try:
        async with asyncio.timeout(seconds):
            return await lock.acquire()
    except TimeoutError:
        return None
