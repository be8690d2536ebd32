"""What a session holds, and how each holder is told that it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol
from weakref import ref

from holdfast.cluster.errors import LeaseLost
from holdfast.instrumentation import installed
from holdfast.instrumentation.periods import Holding

LOOKED_AT = 500
"""The highest number of held names whose records are looked at in one renewal."""


class Lease(Protocol):
    """One holding, which its session can lose: a grant, as the session sees it."""

    name: str
    token: int
    permits: int
    """How many permits it has; 1 of a lock."""
    _kind: str
    """What it is of: "lock", "semaphore", …"""

    def _lose(self, why: LeaseLost) -> None:
        """The holding must not be relied on any more."""


class _Held(ref[Lease]):
    """A lease, as long as the user's objects keep it, and where it is found."""

    __slots__ = ("key", "name")

    name: str
    key: int


class Leases:
    """The leases of one session. Only the user's objects keep them: one that the user has dropped need not be told."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[int, _Held]] = {}  # by the name and the id() of each
        self._looked_at: set[str] = set()  # the names that had their turn in this round
        self._holdings: dict[int, Holding] = {}  # by the id() of each, if hooks are told of it
        self._dropped: list[Holding] = []  # those of leases that the user has dropped; they last as long as the session
        leases = ref(self)

        def dropped(held: ref[Lease]) -> None:
            here = leases()
            if here is not None and isinstance(held, _Held):
                here._was_dropped(held)

        self._on_drop = dropped

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def add(self, lease: Lease) -> None:
        """Remember a lease, to tell it when it is lost."""
        held = _Held(lease, self._on_drop)
        held.name, held.key = name, key = lease.name, id(lease)
        leases = self._by_name.get(name)
        if leases is None:
            self._by_name[name] = {key: held}
        else:
            leases[key] = held
        if installed.hooks:
            self._holdings[key] = Holding(lease._kind, name)

    def drop(self, lease: Lease) -> None:
        """Forget a lease that has ended."""
        key = id(lease)
        self._forget(lease.name, key)
        if self._holdings:
            self._end_holding(key)

    def _was_dropped(self, held: _Held) -> None:
        """The user has dropped a lease. Called by the collector."""
        self._forget(held.name, held.key)
        if held.key in self._holdings:  # a hook must not be called here, in the middle of whatever is being done
            self._dropped.append(self._holdings.pop(held.key))

    def _forget(self, name: str, key: int) -> None:
        held = self._by_name.get(name)
        if held is not None:
            held.pop(key, None)
            if not held:
                del self._by_name[name]

    def _end_holding(self, key: int) -> None:
        if key in self._holdings:
            self._holdings.pop(key).end()

    def of(self, name: str) -> list[Lease]:
        """What is held under a name."""
        return [lease for each in [*self._by_name.get(name, {}).values()] if (lease := each()) is not None]

    def names(self) -> list[str]:
        """The names under which something is held."""
        return [*self._by_name]

    def tokens(self, name: str) -> dict[int, int]:
        """The tokens of what is held under a name, and how many permits are held under each."""
        held: dict[int, int] = {}
        if name in self._by_name:
            for lease in self.of(name):
                held[lease.token] = held.get(lease.token, 0) + lease.permits
        return held

    def some_names(self) -> list[str]:
        """Some names under which something is held; all of them have their turn."""
        due = self._by_name.keys() - self._looked_at
        if not due:
            self._looked_at.clear()
            due = {*self._by_name}
        chosen = [*islice(due, LOOKED_AT)]
        self._looked_at.update(chosen)
        return chosen

    def lose(self, name: str, why: str) -> None:
        """What is held under one name is lost."""
        for lease in self.of(name):
            self.drop(lease)
            lease._lose(LeaseLost(f"{lease} was lost: {why}"))

    def lose_all(self, why: str) -> Iterator[None]:
        """All is lost. Each step tells one lease."""
        for name in [*self._by_name]:
            for lease in self.of(name):
                lease._lose(LeaseLost(f"{lease} was lost: {why}"))
                self._end_holding(id(lease))
                yield
        self._by_name.clear()
        while self._dropped:
            self._dropped.pop().end()
