"""How a text is changed by comparing, as far as it is the same on Redis and on PostgreSQL.

Both keep a text, its revision and its additions in one place, so what came of a change is known from the text alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from .contract import Change, Notices, Opening, Stored, T, to_wake
from .knowledge import Knowledge, Version

IN_TEXT = "="
"""The message of a wake-up where the text that comes along says it."""
_MOST_ADDED = 32
"""How many additions a text gets before it is written anew."""


class _Link(Protocol):
    session: str


class _WakeUps(Protocol):
    def send(self, session: str, name: str, message: str, /) -> None: ...


class Comparing(ABC):
    """What makes the changes of one session."""

    _link: _Link
    _known: Knowledge
    _wake_ups: _WakeUps
    _last_number = 0
    """Of all revisions that this session has made."""

    def _added(
        self,
        name: str,
        stored: Version,
        change: Change[T],
        notices: Notices[T] | None,
        opens: Callable[[T], Opening | None] | None,
        may_write_anew: bool,
    ) -> T:
        """The result of a change for which an addition was made. stored: the text; its last row is that addition."""
        known = self._known
        known.note(name, stored)
        before, _, _ = (stored.text or "").rpartition("\n")
        text, result = change(Stored(before, known.time[0] / 1_000_000, known.floor))
        for session, message in to_wake(notices, result):
            self._wake_ups.send(session, name, message or IN_TEXT)  # without a text, it reads
        if may_write_anew and (stored.text or "").count("\n") % _MOST_ADDED == 0:
            opening = opens(result) if opens is not None else None
            self._write_anew(name, stored, text, None if opening is None else opening._replace(is_alike=True))
        return result

    @abstractmethod
    def _write_anew(self, name: str, version: Version, text: str, opening: Opening | None) -> None:
        """Replace a text with additions by one that says the same without. What was added since stays behind it.

        Nobody waits for the answer: if it fails, somebody will do it later.
        """

    def _written_anew(self, name: str, incarnation: str, makes: Version) -> None:
        """It was done, in this incarnation."""
        if incarnation == self._known.incarnation and name in self._known.versions:
            self._known.note(name, makes)

    def _next_version(self, version: Version, text: str, opening: Opening | None) -> Version:
        """Its number is higher than that of `version`, and the session uses no number twice."""
        self._last_number = number = max(version.number, self._last_number) + 1
        return Version(f"{number}.{self._link.session}", text, opening.kind if opening is not None else "-")
