"""What several processes did, merged, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Turn:
    """One holding of a lock or a permit. All moments are those of the machine's monotonic clock, in seconds."""

    who: str
    began: float
    """When the holder knew of its grant."""
    ended: float
    """When it began to give it back, or could not hold it any more."""
    asked: float = 0.0
    """When it was asked for: not before, the request has reached the record."""
    token: int | None = None
    arrived: float = float("inf")
    """By when the request had surely reached it."""


def violations(turns: Iterable[Turn], permits: int = 1) -> list[str]:
    """More holders than permits; tokens that are not in the order of the grants."""
    found = []
    moments = sorted([(turn.began, 1, turn) for turn in turns] + [(turn.ended, -1, turn) for turn in turns], key=_key)
    inside: set[Turn] = set()
    for at, change, turn in moments:
        if change < 0:
            inside.discard(turn)
        else:
            inside.add(turn)
            if len(inside) > permits:
                found.append(f"{len(inside)} hold it at {at}: {sorted(turn.who for turn in inside)}")
    with_token = sorted((turn for turn in turns if turn.token is not None), key=lambda turn: turn.began)
    for earlier, later in pairwise(with_token):
        if not earlier.token < later.token:
            found.append(f"token {later.token} of {later.who} after {earlier.token} of {earlier.who}")
    return found


def _key(moment: tuple[float, int, Turn]) -> tuple[float, int]:
    return moment[:2]  # a holder that leaves at the very moment at which another one enters left before


def overtaken(turns: Iterable[Turn]) -> list[str]:
    """The holders that overtook one whose request had arrived before they asked."""
    turns = [*turns]
    return [
        f"{late.who} overtook {early.who}"
        for early in turns
        for late in turns
        if early.arrived < late.asked and late.began < early.began
    ]


def stale(tokens: Sequence[int]) -> list[int]:
    """Of the tokens of accepted writes, in their order, those that came after a higher one."""
    return [token for number, token in enumerate(tokens) if token < max(tokens[:number], default=0)]
