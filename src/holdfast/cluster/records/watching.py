"""Which sessions each waiting session watches. Pure.

Each waiting session watches the one that stands before it in the line, and the first one watches the holders. So every
death that could block the line is noticed, and no session watches more than it has to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import takewhile

from .line import Line, Run


def watches(line: Line, holders: frozenset[str], of: Collection[str] | None = None) -> dict[str, frozenset[str]]:
    """For each waiting session, the sessions that it watches.

    of: the sessions that are asked about; by default all.
    """
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
    front, others = _changed(old, new)
    # Every other session stands behind the same one as before, and none of them stands further in front as well.
    of = {run.session for run in others}
    if front or old_holders != new_holders:
        of |= {run.session for run in new[:1]}
    watched = watches(old, old_holders, of)
    now = watches(new, new_holders, of)
    return {session for session, others in now.items() if not others <= watched.get(session, frozenset())}


def _changed(old: Line, new: Line) -> tuple[int, Iterable[Run]]:
    """How many runs have left at the front, and the runs that have left, come, changed, or stand behind such a one."""
    first = new[0] if new else None
    front = next((index for index, run in enumerate(old) if run is first), 0)
    kept = len(old) - front
    if old[front:] == new[:kept]:  # most often the first have left, and others have come at the end
        return front, (*old[:front], *new[kept:])
    front = _alike(old, new)
    back = _alike(reversed(old[front:]), reversed(new[front:]))
    return 0, (*old[front : len(old) - back], *new[front : len(new) - back + 1])


def _alike(one: Iterable[Run], other: Iterable[Run]) -> int:
    """How many runs the two have in common at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(one, other, strict=False)))
