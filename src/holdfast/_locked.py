"""`holdfast.locked()`, which loads the cluster tier when it is first called."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")


class Locked(Protocol):
    """The decorator that `locked()` returns: the function is as before."""

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]: ...


class LockedOrSkipped(Protocol):
    """The decorator that `locked(skip=True)` returns: the function may return None."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Callable[P, Coroutine[Any, Any, T | None]]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Callable[P, T | None]: ...


@overload
def locked(
    name: str,
    *,
    url: str | None = None,
    timeout: float | None = None,
    skip: Literal[False] = False,
    ttl: float | None = None,
    namespace: str = "default",
) -> Locked: ...
@overload
def locked(
    name: str,
    *,
    url: str | None = None,
    timeout: float | None = None,
    skip: bool,
    ttl: float | None = None,
    namespace: str = "default",
) -> LockedOrSkipped: ...
def locked(
    name: str,
    *,
    url: str | None = None,
    timeout: float | None = None,
    skip: bool = False,
    ttl: float | None = None,
    namespace: str = "default",
) -> Locked | LockedOrSkipped:
    """Return a decorator: while the function runs, it holds a lock that is shared with other processes.

    It is for `def` and `async def`. Each call opens a session for itself and closes it, which takes some milliseconds.
    So it works in every thread, event loop and forked child. For what is called often, keep a session open instead. The
    lock is not reentrant: a function that calls itself waits for itself.

    name: the name of the lock, any text of 1 to 200 characters.
    timeout: how many seconds a call waits for the lock at most; 0 does not wait for others, and None means no limit.
        The function itself, and the opening of the session, are not limited.
    skip: whether a call that does not get the lock in time returns None. Otherwise it raises TimeoutError. In both
        cases the function has not been called.
    url, ttl, namespace: as for `connect()`.

    Raises ValueError for a wrong name, timeout or option, and what `connect()` raises; TypeError for a generator
    function. A call raises TimeoutError; EngineError if the engine cannot be used; LeaseLost at its end if the lock was
    lost meanwhile; and what the function raises. An `async def` is cancelled when the lock is lost; a `def` runs on, as
    Python cannot stop a thread.

    Cancellation: while a call waits, as for `Lock.acquire()`: it does not have the lock, and the function is not
    called. If a signal handler raises in a thread that waits, as at Ctrl-C, the same holds.
    """
    from .cluster.locked import decorator

    return decorator(name, url, timeout, skip, ttl, namespace)
