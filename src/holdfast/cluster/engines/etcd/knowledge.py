"""What a session knows of its server: the state of the namespace, the time there, and the last text seen of each name.

etcd has no clock that can be asked. But each answer of the gateway says, in whole seconds, what time it is on the
member that has answered. From several answers follows what time it is more exactly. Only within what they leave open,
a second at most, the wall clock of this process is believed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from holdfast.cluster.engines.clock import monotonic

MOST_TOLD = 8
"""How many of the sessions that were told of additions to a text are remembered: the last ones."""
MOST_KNOWN = 10_000
"""How many texts a session remembers: those that have changed last. Another one is asked for before it is changed."""
SPREAD = 60.0
"""Seconds by which the clocks of two members may differ, and no token is given out twice."""
INCARNATION = 16
"""Characters of an incarnation."""


class State(NamedTuple):
    """The state of a namespace; see `history`."""

    incarnation: str
    floor: int
    mark: int

    @classmethod
    def new(cls, floor: int, mark: int) -> State:
        return cls(secrets.token_hex(INCARNATION // 2), floor, mark)

    @classmethod
    def decode(cls, value: bytes) -> State | None:
        """None if it is not one of holdfast's."""
        try:
            incarnation, floor, mark = value.decode("ascii").split(" ")
            return cls(incarnation, int(floor), int(mark))
        except ValueError:
            return None

    def encode(self) -> bytes:
        return f"{self.incarnation} {self.floor} {self.mark}".encode("ascii")


NO_STATE = State("", 0, 0)


class Version(NamedTuple):
    """What is known to be kept under a name."""

    text: str | None = None
    """With all additions that are known."""
    revision: int = 0
    """Of the text without additions; 0 if there is none."""
    as_of: int = 0
    """The revision of the store at which it was so."""
    name_revision: int = 0
    """The revision of the name's index, where it is known that the index is there, and no text."""
    began: int = 0
    """What the index says then: where the tokens of the text that is gone began."""
    kind: str = "-"
    """That of the additions that the text may have; "-": none."""
    added: tuple[bytes, ...] = ()
    """The keys of the additions that are known."""
    counted: int = 0
    """How many additions to texts of this name there have been, as far as they are known. If another one was made
    since, the count is another one, and the text is not the known one."""
    told: str = "-"
    """The session that is told of additions; "-": nobody."""


NOTHING = Version()


def decode(record: bytes) -> str:
    """The text of a record."""
    _, _, text = record.partition(b" ")
    return text.decode(errors="backslashreplace")


def changed_at(record: bytes) -> float:
    """When a record was changed, in seconds since 1970; 0 if it does not say."""
    micros, _, _ = record.partition(b" ")
    return int(micros) / 1_000_000 if micros.isdigit() else 0.0


class Clock:
    """What time it is on the member that has answered last: between two bounds, from what its answers have said."""

    def __init__(self) -> None:
        self._low = self._high = 0.0  # the member's time less this process's monotonic one

    def learn(self, date: float, sent: float, received: float) -> None:
        """An answer has said this date. sent, received: when, by monotonic()."""
        low, high = date - received, date + 1.0 - sent
        both = max(low, self._low), min(high, self._high)
        self._low, self._high = both if both[0] <= both[1] else (low, high)

    def now(self) -> float:
        """The member's time, in seconds since 1970."""
        passed = monotonic()
        return min(max(time.time(), passed + self._low), passed + self._high)

    @property
    def uncertainty(self) -> float:
        """Seconds between the bounds."""
        return self._high - self._low

    def latest(self) -> float:
        """What the clock of no member has passed by now."""
        return self.now() + SPREAD


class Knowledge:
    """What one session knows."""

    def __init__(self) -> None:
        self.state = NO_STATE
        self.clock = Clock()
        self.revision = 0
        """The highest revision of the store that was seen in this incarnation."""
        self.versions: dict[str, Version] = {}
        """By name; the last noted is last."""
        self._told: dict[str, dict[str, None]] = {}
        """By name: the sessions that were told of additions there lately; the last one is last."""
        self.on_loss: Callable[[], None] = lambda: None
        """Called when there is another incarnation: data may have been lost."""

    def begin(self, state: State, revision: int) -> None:
        """There is this incarnation now, perhaps another one than before. revision: of the store, when it was found."""
        before = self.state
        if state.incarnation == before.incarnation:
            self.saw(state, revision)
            return
        self.state, self.revision = state, revision
        self.versions.clear()
        self._told.clear()
        if before is not NO_STATE:
            self.on_loss()

    def saw(self, state: State, revision: int) -> bool:
        """Take in an answer, if it is of the incarnation that is known; return whether it is. Only the floor changes.

        An answer of another one may be late or early, which it does not say.
        """
        if state.incarnation != self.state.incarnation:
            return False
        if state.floor > self.state.floor:
            self.state = state
        self.revision = max(self.revision, revision)
        return True

    def version(self, name: str) -> Version:
        """The last known version of a text; an empty one if nothing is known."""
        return self.versions.get(name, NOTHING)

    def note(self, name: str, version: Version) -> None:
        """Remember a version, unless a later one is known already."""
        if version.as_of >= self.version(name).as_of:
            self.versions.pop(name, None)
            self.versions[name] = version  # as the last one
            if version.told != "-":
                told = self._told.setdefault(name, {})
                told.pop(version.told, None)
                told[version.told] = None
                if len(told) > MOST_TOLD:
                    del told[next(iter(told))]
            while len(self.versions) > MOST_KNOWN:
                self.forget(next(iter(self.versions)))

    def forget(self, name: str) -> None:
        self.versions.pop(name, None)
        self._told.pop(name, None)

    def told(self, name: str) -> list[str]:
        """The sessions that were told of additions there lately, one of which is likely to be told of the next one."""
        return [*self._told.get(name, ())]

    def note_added(self, name: str, key: bytes, row: str, revision: int) -> None:
        """Somebody has made an addition, and tells. Whether there were others before is not known; then the count is
        not the known one, and the next change will be made again.
        """
        known = self.version(name)
        if known.text is not None and revision > known.as_of:
            text = f"{known.text}\n{row}"
            added = (*known.added, key)
            self.note(name, known._replace(text=text, added=added, counted=known.counted + 1, as_of=revision))
