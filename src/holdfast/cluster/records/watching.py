"""Which sessions each waiting session watches. Pure.

Each waiting session watches the one that stands before it in the line, and the first one watches the holders. So every
death that could block the line is noticed, and no session watches more than it has to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import takewhile

from .rows import Line, StoredLine, moved_on
from .run import Run
from .shapes import FEW


def watches(line: Line, holders: frozenset[str], of: Collection[str] | None = None) -> dict[str, frozenset[str]]:
    """For each waiting session, the sessions that it watches.

    of: the sessions that are asked about; by default all.
    """
    if of is not None and len(of) <= FEW and isinstance(line, StoredLine):
        pairs = ((session, line.session_before(session)) for session in of)
        return {
            session: (frozenset({ahead}) if ahead else holders) - {session}
            for session, ahead in pairs
            if ahead is not None
        }
    found: dict[str, frozenset[str]] = {}
    left = None if of is None else {*of}
    before: str | None = None
    for run in line:
        session = run.session
        if (left is None or session in left) and session not in found:
            others = holders if before is None else frozenset({before})
            found[session] = others - {session}
            if left is not None:
                left.discard(session)
        if left is not None and not left:
            break
        before = session
    return found


def watch_more(old: Line, old_holders: frozenset[str], new: Line, new_holders: frozenset[str]) -> set[str]:
    """The sessions that have to watch a session after a change that they did not watch before it."""
    if old is new and old_holders == new_holders:
        return set()
    left, others = _changed(old, new)
    # Every other session stands behind the same one as before, and none of them stands further in front as well.
    of = {run.session for run in others}
    if new and (left or old_holders != new_holders):
        of.add(new[0].session)
    now = watches(new, new_holders, of)
    watched = watches(old, old_holders, now.keys())
    return {session for session, others in now.items() if not others <= watched.get(session, frozenset())}


def _changed(old: Line, new: Line) -> tuple[bool, Iterable[Run]]:
    """Whether runs have left at the front, and the runs that have left, come, changed, or stand behind such a one."""
    moved = moved_on(old, new)
    if moved is not None:  # most often the first have left, and others have come at the end
        left, come = moved
        return bool(left), (*left, *come)
    if isinstance(old, StoredLine) and isinstance(new, StoredLine):
        before, now = old.unlike(new)
        return False, (*before, *now)
    old, new = (*old,), (*new,)
    front = _alike(old, new)
    back = _alike(reversed(old[front:]), reversed(new[front:]))
    return False, (*old[front : len(old) - back], *new[front : len(new) - back + 1])


def _alike(one: Iterable[Run], other: Iterable[Run]) -> int:
    """How many runs the two have in common at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
