"""How a session looks: at texts, and at which sessions are alive, in one request (`scripts.LOOK`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from holdfast.cluster.engines.knowledge import Knowledge, Version

from .keys import Keys, decode
from .link import Link
from .scripts import LOOK


class Look(NamedTuple):
    """What a look has found."""

    is_alive: bool
    """Whether this session is."""
    texts: dict[str, str | None]
    """By name."""
    lives: dict[str, float]
    """For each of the sessions asked for, the seconds that it lives without a renewal; below 0 if it is dead."""


class Reading:
    """The looks of one session. A text that is known already is not sent again."""

    def __init__(self, link: Link, keys: Keys, known: Knowledge) -> None:
        self._link = link
        self._keys = keys
        self._known = known

    async def fetch(self, name: str) -> Version:
        """What is kept under the name now. Tried once; raises EngineError."""
        keys = [self._keys.namespace, self._link.key, self._keys.record(name)]
        _, here, floor, time, [stored], _ = await self._link.run(LOOK, keys, [0, "?", 0])
        self._known.learn(here.decode(), int(floor), int(time))
        return decode(stored)

    async def look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), live_on: int = 0) -> Look:
        """Look at texts and lives; with `live_on`, renew this session for so many milliseconds as well.

        Tried once; raises EngineError.
        """
        known = {name: self._known.version(name) for name in names}
        others = [*sessions]
        keys = [self._keys.namespace, self._link.key, *map(self._keys.record, known), *map(self._keys.session, others)]
        arguments: list[str | int] = [live_on]
        for version in known.values():
            arguments += [version.revision, version.length]
        alive, here, floor, time, texts, lives = await self._link.run(LOOK, keys, arguments)
        self._known.learn(here.decode(), int(floor), int(time))
        seen = {}
        for (name, version), stored in zip(known.items(), texts, strict=True):
            found = version if stored is None else decode(stored)
            seen[name] = found.text
            if stored is not None and name in self._known.versions:
                self._known.versions[name] = found
        return Look(bool(alive), seen, {id: life / 1000 for id, life in zip(others, lives, strict=True)})
