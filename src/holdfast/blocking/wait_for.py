"""threading's wait_for(), for whatever condition a thread waits in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    wait: Callable[[float | None], object], predicate: Callable[[], T], timeout: float | None, closed: type[Exception]
) -> T:
    """Wait until `predicate()` is true; return its last value, which is false only if the time is up.

    wait: the condition's wait(), called with the seconds that are left; None means no limit.
    closed: what that raises, with the lock held, if the condition is closed meanwhile.
    """
    end = None if timeout is None else time.monotonic() + timeout
    result = predicate()
    while not result:
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            wait(left)
        except closed:
            if result := predicate():  # the last items are there, and nobody was notified of them
                return result
            raise
        result = predicate()
    return result
