"""For how long each has waited, as far as watches have seen it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from .parties import Party


class _Wait:
    """A wait that a watch has seen."""

    __slots__ = ("get", "since", "told")

    def __init__(self, future: Any, since: float) -> None:
        self.get: Callable[[], Any]
        try:
            self.get = weakref.ref(future)
        except TypeError:  # what stands in a line for a thread; the thread is in the middle of a call with it
            self.get = lambda: future
        self.since = since
        self.told = False


class Times:
    """The waits that were seen by watches, and when each was seen first. It keeps no task alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches = 0
        self._waits: dict[int, _Wait] = {}

    def begin(self) -> None:
        """A watch is on."""
        with self._lock:
            self._watches += 1

    def end(self) -> None:
        """A watch is not on any more."""
        with self._lock:
            self._watches -= 1
            if not self._watches:
                self._waits = {}

    def note(self, parties: Iterable[Party]) -> None:
        """Note who waits now."""
        now = time.monotonic()
        waits = {id(party.future): self._wait(party) or _Wait(party.future, now) for party in parties if _waits(party)}
        with self._lock:
            if self._watches:
                self._waits = waits

    def _wait(self, party: Party) -> _Wait | None:
        wait = self._waits.get(id(party.future))
        return wait if wait is not None and wait.get() is party.future else None

    def seconds(self, party: Party) -> float:
        """For how long it has waited at least; 0 if no watch has seen that."""
        wait = self._wait(party)
        return 0.0 if wait is None else time.monotonic() - wait.since

    def seconds_if_known(self, party: Party) -> float | None:
        """The same; None if no watch has seen it."""
        return None if self._wait(party) is None else self.seconds(party)

    def is_news(self, party: Party, after: float) -> bool:
        """Whether it has waited so long, and that was not told yet."""
        wait = self._wait(party)
        return wait is not None and not wait.told and time.monotonic() - wait.since >= after

    def set_told(self, parties: Iterable[Party]) -> None:
        """These waits were told."""
        for party in parties:
            wait = self._wait(party)
            if wait is not None:
                wait.told = True


def _waits(party: Party) -> bool:
    return party.waits() or bool(party.tasks)


times = Times()
"""Of all watches of this process."""
