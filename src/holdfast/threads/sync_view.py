"""A primitive as threads see it: the base of what `sync` returns, and threading's checks of a timeout."""

from __future__ import annotations

import threading

from .primitive import Shared


class SyncView:
    """A primitive with threading's methods. Two views of the same primitive are equal."""

    __slots__ = ("__weakref__", "_shared")

    _shared: Shared

    def __init__(self, shared: Shared) -> None:
        """Called by the `sync` of a primitive."""
        self._shared = shared

    def __eq__(self, other: object) -> bool:
        """Whether it is the same primitive."""
        return type(other) is type(self) and other._shared is self._shared

    def __hash__(self) -> int:
        return hash((SyncView, id(self._shared)))


def check_timeout(blocking: bool, timeout: float) -> float:
    """The timeout as `Shared._block()` takes it, or 0 if the call must not block. Raises the errors of threading."""
    if not blocking:
        if timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > threading.TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return timeout


def check_optional_timeout(timeout: float | None) -> float:
    """The timeout as `Shared._block()` takes it: None means no limit, and a negative number is taken as 0."""
    return -1 if timeout is None else check_timeout(True, max(timeout, 0))
