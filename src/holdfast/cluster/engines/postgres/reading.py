"""How a session looks: at texts, and at which sessions are alive, in one request (`look` in `routines`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from holdfast.cluster.engines.knowledge import Knowledge, Version

from .link import Link

if TYPE_CHECKING:
    from asyncpg import Record

_LOOK = "SELECT * FROM SCHEMA.look($1, $2, $3, $4, $5, $6, $7)"


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

    def __init__(self, link: Link, namespace: bytes, known: Knowledge) -> None:
        self._link = link
        self._namespace = namespace
        self._known = known

    async def fetch(self, name: str) -> Version:
        """What is kept under the name now. Tried once; raises EngineError."""
        rows = await self._ask(0.0, [], [name], ["?"], ["0"])
        return version(rows[0]["o_id"], rows[0]["o_kind"], rows[0]["o_text"])

    async def look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), live_on: float = 0.0) -> Look:
        """Look at texts and lives; with `live_on`, renew this session for so many seconds as well.

        Tried once; raises EngineError.
        """
        known = {name: self._known.version(name) for name in names}
        others = [*sessions]
        versions = known.values()
        revisions, lengths = [each.revision for each in versions], [str(each.length) for each in versions]
        rows = await self._ask(live_on, others, [*known], revisions, lengths)
        lives = {id: life / 1000 for what, id, life, *_ in rows if what == "life"}
        texts = {name: version.text for name, version in known.items()}
        places = [*known]
        for what, revision, place, _, kind, text in rows:
            if what == "text":
                name = places[place - 1]
                found = version(revision, kind, text)
                texts[name] = found.text
                if name in self._known.versions:
                    self._known.versions[name] = found
        return Look(self._is_alive, texts, lives)

    async def _ask(
        self, live_on: float, sessions: list[str], names: list[str], revisions: list[str], lengths: list[str]
    ) -> list[Record]:
        """The rows of lives and texts. What the others say is noted."""
        coded = [name.encode().hex() for name in names]
        arguments = self._link.session, live_on * 1000, self._namespace, sessions, coded, revisions, lengths
        # A renewal does not wait for changes, which may have to wait for other sessions.
        here, now, *rows = await self._link.put(lambda: (_LOOK, *arguments), is_first=live_on > 0)
        self._is_alive = bool(now["o_flag"])
        self._known.learn(here["o_id"], here["o_number"], now["o_number"])
        return rows


def version(revision: str | None, kind: str | None, text: bytes | None) -> Version:
    """What is stored in a row; an empty version if there is none."""
    if revision is None or text is None:
        return Version()
    return Version(revision, text.decode(errors="backslashreplace"), kind or "-")
