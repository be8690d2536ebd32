"""What a record keeps of each session's last batch: the answer to it. Pure.

An answer stays a text, as it is stored: the number of the batch and behind a tab each the outcomes as they are packed;
or the only outcome. A record has one of every session that uses it, and a change reads one or two of them. So the
others are checked, carried along and written again as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, groupby, repeat
from typing import NamedTuple, Self

from .shapes import BETWEEN

_INTEGER = "(?:0|-?[1-9][0-9]{0,3999})"
_TIMES = "[1-9][0-9]{0,7}"  # less than shapes.MANY
_all_in = re.compile(
    f"^([ -~]*){BETWEEN}((?:0|[1-9][0-9]{{0,3999}})"
    f"(?:{BETWEEN}{_INTEGER}(?:{BETWEEN}(?!1$){_TIMES}(?:{BETWEEN}{_INTEGER}{BETWEEN}{_TIMES})*)?)?)$",
    re.MULTILINE,
).findall
"""The session and the answer in each row that is one of holdfast's: as of_answers() writes it, with numbers that Python
reads."""


class Answer(NamedTuple):
    """An answer that was read; see `Step.outcomes`."""

    batch: int
    packed: tuple[int, ...]
    """Each outcome, followed by how many times it comes in succession: thousands of outcomes are mostly the same."""

    @classmethod
    def of(cls, batch: int, outcomes: Sequence[int]) -> Self:
        return cls(batch, tuple(chain.from_iterable((each, len([*same])) for each, same in groupby(outcomes))))

    @classmethod
    def read(cls, text: str) -> Self:
        batch, *packed = map(int, text.split(BETWEEN))
        return cls(batch, tuple(packed) if len(packed) != 1 else (*packed, 1))

    @property
    def text(self) -> str:
        """As it is stored."""
        packed = self.packed[:1] if self.packed[1:] == (1,) else self.packed
        return BETWEEN.join(map(str, (self.batch, *packed)))

    @property
    def outcomes(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(map(repeat, self.packed[::2], self.packed[1::2])))


def answer_to(batch: int, outcomes: Sequence[int]) -> str:
    """The answer to the batch with this number."""
    if len(outcomes) == 1:  # as most often
        return f"{batch}{BETWEEN}{outcomes[0]}"
    return Answer.of(batch, outcomes).text


def batch_of(answer: str | None) -> int:
    """The number of the batch that was answered; 0 if there is no answer."""
    return 0 if answer is None else int(answer.partition(BETWEEN)[0])


def of_answers(answers: Mapping[str, str]) -> Iterable[str]:
    """The rows in which the answers to some sessions are stored: one for each."""
    return map(BETWEEN.join, answers.items())


def answers_in(rows: Collection[str]) -> dict[str, str] | None:
    """The answers that rows stand for; None if they are not holdfast's."""
    found = _all_in("\n".join(rows)) if rows else ()
    return dict(found) if len(found) == len(rows) else None
