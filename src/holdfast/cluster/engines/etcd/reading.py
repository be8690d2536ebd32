"""How a session looks: at texts, at which sessions are alive, and at the state, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from holdfast.cluster.engines.far_link import Unreachable

from .keys import ADDED, COUNT, INDEX, OPENED, TOLD, Keys
from .knowledge import Knowledge, State, Version, decode
from .link import Link
from .transactions import (
    MOST,
    NOTHING,
    Kept,
    Outcome,
    Part,
    get,
    get_all,
    get_version,
    if_,
    look,
    revision_is,
    version_is,
)

_BATCH = MOST - 2
"""What one transaction looks at, besides the state and the session itself."""


class Look(NamedTuple):
    """What a look has found."""

    is_alive: bool
    """Whether this session is."""
    texts: dict[str, str | None]
    """By name."""
    dead: frozenset[str]
    """Those of the sessions asked for that are dead."""


class Reading:
    """The looks of one session. A text that is known already is not sent again."""

    def __init__(self, link: Link, keys: Keys, known: Knowledge) -> None:
        self._link = link
        self._keys = keys
        self._known = known

    async def fetch(self, name: str) -> Version:
        """What is kept under the name now. Tried once; raises EngineError."""
        found = await self._transact(all_of(self._keys, name))
        return version(found, 2)

    async def look(self, names: Iterable[str] = (), sessions: Iterable[str] = (), is_urgent: bool = False) -> Look:
        """Look at sessions, then at texts. Tried once; raises EngineError. is_urgent: as for Link.ask()."""
        others, asked = [*sessions], [*names]
        is_alive, dead, texts = True, set[str](), dict[str, str | None]()
        parts: list[tuple[Part, str, Version | None]] = [
            (get_version(self._keys.session(each)), each, None) for each in others
        ]
        for name in asked:
            known = self._known.version(name)
            parts.append((if_(as_known(self._keys, name, known), [], all_of(self._keys, name)), name, known))
        for start in range(0, max(len(parts), 1), _BATCH):
            batch = parts[start : start + _BATCH]
            found = await self._transact([part for part, _, _ in batch], is_urgent)
            is_alive = found.one(1).version > 0
            for index, (_, what, before) in enumerate(batch, 2):
                if before is None:
                    if not found.found[index]:
                        dead.add(what)
                else:
                    texts[what] = self._text(what, before, found.found[index], found.revision)
        return Look(is_alive, texts, frozenset(dead))

    def _text(self, name: str, known: Version, found: Outcome, revision: int) -> str | None:
        """What a look has found of a text: whether it is still the known one, and else the one that is there."""
        if found.succeeded:
            return known.text
        now = version(found._replace(revision=revision), 0)
        if name in self._known.versions:
            self._known.note(name, now)
        return now.text

    async def _transact(self, parts: Sequence[Part], is_urgent: bool = False) -> Outcome:
        """Look, with the state and this session's own key in front."""
        await self._link.settle()
        state = self._known.state
        wanted = look([get(self._keys.state), get_version(self._link.key), *parts])
        found = await self._link.transact(wanted, is_urgent=is_urgent)
        if state.incarnation != self._known.state.incarnation or not saw(self._known, found.one(0), found.revision):
            self._link.doubt()
            raise Unreachable(f"{self._link.server} may have lost data")  # the next try finds out
        return found


def saw(known: Knowledge, kept: Kept, revision: int) -> bool:
    """Take in the state that was found at a revision; return whether it is of the incarnation that is known."""
    state = State.decode(kept.value)
    return state is not None and known.saw(state, revision)


def all_of(keys: Keys, name: str) -> list[Part]:
    """Gets all that is kept under a name: what `version` reads."""
    return [get(keys.record(name)), get_all(keys.of(name), sort_target="CREATE", sort_order="ASCEND")]


def as_known(keys: Keys, name: str, version: Version, with_others: bool = False) -> list[Part]:
    """The comparisons that say whether a text is the known one. with_others: other additions make no difference."""
    compares = [revision_is(keys.record(name), version.revision)]
    if version.revision and not with_others:
        compares.append(version_is(keys.count(name), version.counted))
    return compares


def version(found: Outcome, at: int) -> Version:
    """What is kept under a name, as `all_of` has got it. at: the index of the first thing that it has got."""
    record, others = found.one(at), found.all(at + 1)
    added = [each for each in others if ADDED in each.key]  # a name is quoted, and has no slash
    rest = {each.key.rpartition(b"/")[2]: each for each in others}
    index, opened, told, count = (rest.get(ending, NOTHING) for ending in (INDEX, OPENED, TOLD, COUNT))
    if not record.revision:
        began = int(index.value) if index.value.isdigit() else 0
        return Version(None, 0, found.revision, index.revision, began)
    rows = [b"\n" + each.value for each in added]
    return Version(
        decode(record.value) + b"".join(rows).decode(errors="backslashreplace"),
        record.revision,
        found.revision,
        kind=opened.value.decode(errors="backslashreplace") or "-",
        added=tuple(each.key for each in added),
        counted=count.version,
        told=told.value.decode(errors="backslashreplace") or "-",
    )
