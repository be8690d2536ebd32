"""Which of the sessions that a record names are dead. For who only looks they do not count, though nobody has buried
them: as long as nobody waits, nobody has a reason to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from .engines.contract import Engine
from .record import Record

R = TypeVar("R", bound=Record)


async def look_for_dead(
    engine: Engine,
    name: str,
    decoded: Callable[[str | None], R],
    others: Callable[[R], frozenset[str]],
    named: frozenset[str] = frozenset(),
) -> tuple[R, frozenset[str]]:
    """The record of a name, and those of the `others` in it that were dead by then.

    decoded: makes a record of what is stored. named: sessions that are likely to be in it, which saves a request.
    """
    while True:
        seen = await engine.look([name], named)
        record = decoded(seen.texts[name])
        asked = others(record)
        if asked <= named:
            return record, seen.dead & asked
        named |= asked


async def read_living(
    engine: Engine,
    name: str,
    decoded: Callable[[str | None], R],
    me: str,
    named: frozenset[str] = frozenset(),
) -> R:
    """The record of a name, without what the dead hold and wait for. me: the session that looks. Else as above."""
    record, dead = await look_for_dead(engine, name, decoded, lambda record: in_the_way(record) - {me}, named)
    return record.bury(dead, []) if dead else record


def in_the_way(record: Record) -> frozenset[str]:
    """The sessions that hold something or wait. (Others are named as well: those whose last answer is kept.)"""
    return frozenset() if record.is_initial() else frozenset(replace(record, answers={}).sessions())
