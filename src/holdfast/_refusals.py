"""Error messages that tell users of other libraries what to write here in place of an argument of theirs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
_LIMITS = "write 'async with asyncio.timeout(SECONDS):' around it"
_INSTEAD = {
    "timeout": f"there is no timeout=; {_LIMITS}",
    "blocking_timeout": f"there is no blocking_timeout=; {_LIMITS}",
    "acquire_timeout": f"there is no acquire_timeout=; {_LIMITS}",
    "blocking": "there is no blocking=; 'await try_acquire()' does not wait",
    "expire": "there is no expire=; write 'holdfast.connect(..., ttl=SECONDS)', which is for all that a session holds",
    "lock_timeout": "there is no lock_timeout=; write 'holdfast.connect(..., ttl=SECONDS)'",
}
_OF_MAKERS = {
    "timeout": "there is no timeout=; what it is in redis-py is 'holdfast.connect(..., ttl=SECONDS)' here; to limit "
    "the wait, write 'async with asyncio.timeout(SECONDS):' around what waits"
}
_IN_THREADS = {
    "timeout": "there is no timeout=; what it is in redis-py is 'holdfast.connect(..., ttl=SECONDS)' here; to limit "
    "the wait, write 'with lock.within(SECONDS):' or 'acquire(timeout=SECONDS)'",
    "blocking_timeout": "there is no blocking_timeout=; write 'acquire(timeout=SECONDS)'",
    "acquire_timeout": "there is no acquire_timeout=; write 'acquire(timeout=SECONDS)'",
    "blocking": "there is no blocking=; write 'acquire(blocking=False)'",
}
"""What the methods of a session for threads say."""
_MAKERS = {
    *("lock", "semaphore", "bounded_semaphore", "event", "condition", "barrier"),
    *("locks", "leader", "rw_lock", "rate_limiter"),
}
"""Methods of a session. In other libraries, such as redis-py, they are given what here is the session's."""


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function. For an argument that only other libraries have, it then says what to write instead."""
    return _refusing(function, _INSTEAD | _OF_MAKERS if function.__name__ in _MAKERS else _INSTEAD)


def refusing_in_threads(function: Callable[P, T]) -> Callable[P, T]:
    """The same for a method of a session for threads, which makes a primitive."""
    return _refusing(function, _INSTEAD | _IN_THREADS)


def _refusing(function: Callable[P, T], instead: Mapping[str, str]) -> Callable[P, T]:
    def check(options: dict[str, Any]) -> None:
        for name in options.keys() & instead.keys():
            raise TypeError(f"{function.__name__}(): {instead[name]}")

    @functools.wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> T:
        if options:
            check(options)
        return function(*args, **options)

    return as_coroutine_function(called) if inspect.iscoroutinefunction(function) else called


def as_coroutine_function(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that returns a coroutine. Mocks and frameworks then take it for what `async def` makes.

    It saves a frame for each task that waits. Before Python 3.12, only asyncio can be told.
    """
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(function)
    else:
        cast(Any, function)._is_coroutine = cast(Any, asyncio.coroutines)._is_coroutine
    return function
