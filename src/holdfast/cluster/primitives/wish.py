"""What a task asks for that acquires something: the operations of the record for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from holdfast.cluster.records.leased import Acquire, TryAcquire
from holdfast.cluster.records.record import Withdraw, WithdrawMany
from holdfast.cluster.records.semaphore import AcquireMany, TryAcquireMany

NOT_NOW = -1
"""What the record answers to a try if it is not free."""


class Wish(NamedTuple):
    """The operations by which a ticket asks for something, and gives it up. Each is made from the ticket."""

    acquire: Callable[[int], Any]
    try_acquire: Callable[[int], Any]
    leave: Callable[[int], Any]
    permits: int = 1


FOR_ONE = Wish(Acquire, TryAcquire, Withdraw)


def for_permits(n: int) -> Wish:
    """What asks for `n` permits at once."""
    if n == 1:
        return FOR_ONE
    acquire, try_acquire, leave = (
        partial(operation, permits=n) for operation in (AcquireMany, TryAcquireMany, WithdrawMany)
    )
    return Wish(acquire, try_acquire, leave, n)
