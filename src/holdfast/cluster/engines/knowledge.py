"""What a session knows of its server: the incarnation, the floor, the time, and the last text seen of each name.

A change is tried on the text that is known. So a text is noted only if it is not older than the known one, and when the
server may have lost data, all texts are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .bell import Bell
from .clock import monotonic

MOST_KNOWN = 10_000
"""How many texts a session remembers: those that have changed last. Another one is asked for before it is changed."""


class Version(NamedTuple):
    """The text under a name, as far as it is known."""

    revision: str = ""
    text: str | None = None
    """With all additions that are known."""
    kind: str = "-"
    """That of the additions that the text may have; "-": none."""

    @property
    def number(self) -> int:
        """Of two revisions of a record, the later one has the higher number."""
        return int(self.revision.partition(".")[0] or 0)

    @property
    def length(self) -> int:
        """In bytes. Of two versions with the same revision, the later one is longer."""
        text = self.text or ""
        return len(text) if text.isascii() else len(text.encode())

    def with_added(self, additions: bytes) -> Version:
        return Version(self.revision, (self.text or "") + additions.decode(errors="backslashreplace"), self.kind)


_NOTHING = Version()


class Knowledge:
    """What one session knows."""

    def __init__(self) -> None:
        self.incarnation = ""
        self.floor = 0
        self.versions: dict[str, Version] = {}
        """By name; the last noted is last."""
        self.on_loss: Callable[[], None] = lambda: None
        """Called when the server has another incarnation: it may have lost data."""
        self.time = 0, 0.0
        """The server's last known time in µs, and when that was, by monotonic()."""
        self._bells: dict[str, set[Bell]] = {}

    def learn(self, incarnation: str, floor: int, time: int) -> None:
        """Take in what an answer says of the server. time: in µs since 1970."""
        self.floor = floor
        self.time = time, monotonic()
        if incarnation != self.incarnation:
            is_first, self.incarnation = not self.incarnation, incarnation
            if not is_first:
                self.versions.clear()
                self.on_loss()

    def now(self) -> float:
        """The server's time by now, in seconds since 1970."""
        micros, at = self.time
        return micros / 1_000_000 + monotonic() - at

    def version(self, name: str) -> Version:
        """The last known version of a text; an empty one if nothing is known."""
        return self.versions.get(name) or Version()

    def note(self, name: str, version: Version, instead_of: Version | None = None) -> None:
        """Remember a version, unless a newer one is known already, by a wake-up from the session that made it.

        instead_of: a version that was found to be gone, though its number may be higher: a record that is made anew
        begins with a low one.
        """
        known = self.versions.get(name) or _NOTHING
        if (
            known is instead_of
            or known == instead_of
            or (version.number, version.length) >= (known.number, known.length)
        ):
            self.versions.pop(name, None)
            self.versions[name] = version  # as the last one
            while len(self.versions) > MOST_KNOWN:
                del self.versions[next(iter(self.versions))]

    def ring(self, name: str) -> None:
        """A newer text has come: wake the tasks that wait in `news()`."""
        for bell in self._bells.get(name, ()):
            bell.ring()

    async def news(self, name: str, bell: Bell) -> None:
        """Wait until a newer text comes, or somebody rings the bell."""
        bells = self._bells.setdefault(name, set())
        bells.add(bell)
        try:
            await bell
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(name, None)
