"""Which records are old, and how they are removed. When a session does so is in `housekeeping.py`.

A record that is as good as new is removed some time after its last change. What is closed is forgotten so as well, but
not before `CLOSED`, as a program that starts slowly must not find it open. A record in which something is held or set
stays, however old it is, so a search for old names passes over those that it could not remove.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import FormatError
from holdfast.cluster.many_at_once import AT_ONCE, each, slices
from holdfast.cluster.records.any_kind import decode_any

FEW = 20
"""The number of names that are looked at together in a search of limited length."""

CLOSED = 86400.0
"""Seconds that a record is kept, at least, in which something is closed. Each call that is refused is a change of it.
It is also kept as long as the session lives that has closed it."""


async def remove_old(engine: Engine, seconds: float) -> int:
    """Remove the records that are as good as new and have not been changed for `seconds`; return how many."""
    began = monotonic()
    removed = skipped = 0
    while names := await engine.old(seconds + monotonic() - began, skipped):
        gone = 0
        for some in slices(names, AT_ONCE):
            gone += await _remove_idle(engine, some, seconds, skipped)
        removed += gone
        skipped += len(names) - gone
    return removed


async def remove_some(engine: Engine, seconds: float, most: int) -> int:
    """As remove_old(), but look at `most` names only; return how many were removed.

    Where the oldest names stay, the search goes on at random, further and further, so that in the end some session gets
    to each name.
    """
    removed = skip = start = 0
    end: int | None = None
    for _ in range(most // FEW):
        names = (await engine.old(seconds, skip))[:FEW]
        gone = await _remove_idle(engine, names, seconds, skip) if names else 0
        removed += gone
        if gone:  # there may be more of them
            skip += len(names) - gone
            continue
        if names:
            start = skip + len(names)
        else:
            end = skip
        if start >= (stop := 4 * start if end is None else min(end, 4 * start)):
            break
        skip = random.randrange(start, stop)
    return removed


async def _remove_idle(engine: Engine, names: Sequence[str], seconds: float, skip: int) -> int:
    """Remove those of the names that are as good as new. None has been changed for so many seconds.

    skip: how many of the oldest names are left out in the search that has found them.
    """
    texts = (await engine.look(names, ())).texts
    found: dict[str, tuple[str | None, frozenset[str], int]] = {}
    closed: set[str] = set()
    for name, text in texts.items():
        if text is None:  # somebody has removed it by hand
            found[name] = None, frozenset(), 0
            continue
        try:
            record = decode_any(text, name)
        except FormatError:
            continue  # a newer version has to decide
        if record.as_of(record.changed + seconds).is_initial():
            found[name] = text, frozenset(record.sessions()), record.last_token()
            if record.closings:
                closed.add(name)
    if closed:
        for name in closed.difference(await engine.old(max(seconds, CLOSED), skip)):
            del found[name]
    await asyncio.sleep(0)
    dead = await engine.dead(frozenset[str]().union(*(sessions for _, sessions, _ in found.values())))
    idle = [(name, text) for name, (text, sessions, _) in found.items() if sessions <= dead]
    # One floor for all of them: on a server, each session notices with its next change that the floor was raised.
    floor = max((floor for _, _, floor in found.values()), default=0)
    return sum(await each(idle, lambda entry: engine.remove(*entry, floor)))
