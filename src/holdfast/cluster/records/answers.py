"""What a record keeps of each session's last batch: the answer to it. Pure.

An answer stays a text, as it is stored: the number of the batch and behind a tab each the outcomes as they are packed;
or the only outcome. A record has one of every session that uses it, and a change reads one or two of them. So the
others are not even taken apart: they are checked as a whole, and carried along.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, MutableMapping, Sequence
from itertools import chain, groupby, repeat
from typing import Any, NamedTuple, Self

from .shapes import BETWEEN, FEW

_INTEGER = "(?:0|-?[1-9][0-9]{0,3999})"
_TIMES = "[1-9][0-9]{0,7}"  # less than shapes.MANY
_ANSWER = (
    f"[ -~]*{BETWEEN}(?:0|[1-9][0-9]{{0,3999}})"
    f"(?:{BETWEEN}{_INTEGER}(?:{BETWEEN}(?!1$){_TIMES}(?:{BETWEEN}{_INTEGER}{BETWEEN}{_TIMES})*)?)?$"
)
"""A row that is one of holdfast's: as text_of() writes it, with numbers that Python reads."""
_other_row = re.compile(f"\n(?!{_ANSWER})", re.MULTILINE).search


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


class StoredAnswers(MutableMapping[str, str]):
    """The answers to some sessions, by session, as the text of their rows."""

    __slots__ = ("_count", "text")

    def __init__(self, text: str, count: int) -> None:
        """text: the rows, each behind a line break. They were checked. count: how many they are."""
        self.text = text
        self._count = count

    def copy(self) -> StoredAnswers:
        return StoredAnswers(self.text, self._count)

    def _place(self, session: str) -> tuple[int, int, int] | None:
        """Where the row of a session begins, the answer in it, and where it ends; None if there is none."""
        text = self.text
        # If a damaged record has two rows of it, the last one counts, as in a dict.
        place = text.rfind(beginning := f"\n{session}{BETWEEN}")
        if place < 0:
            return None
        answer = place + len(beginning)
        end = text.find("\n", answer)
        return place, answer, end if end >= 0 else len(text)

    def __getitem__(self, session: str) -> str:
        found = self._place(session)
        if found is None:
            raise KeyError(session)
        _, answer, end = found
        return self.text[answer:end]

    def __setitem__(self, session: str, answer: str) -> None:
        """As in a dict, with one difference: an answer that takes the place of another is the last one."""
        self.pop(session)
        self.text += f"\n{session}{BETWEEN}{answer}"
        self._count += 1

    def __delitem__(self, session: str) -> None:
        if self.pop(session) is None:
            raise KeyError(session)

    def pop(self, session: str, default: Any = None) -> Any:
        """As that of a dict, with None by default. Each change calls it."""
        found = self._place(session)
        if found is None:
            return default
        place, answer, end = found
        text = self.text
        self.text = text[:place] + text[end:]
        self._count -= 1
        return text[answer:end]

    def items(self) -> ItemsView[str, str]:
        """All, which are taken apart at once."""
        return _read(self.text).items()

    def __contains__(self, session: object) -> bool:
        return f"\n{session}{BETWEEN}" in self.text

    def __iter__(self) -> Iterator[str]:
        return (row.partition(BETWEEN)[0] for row in self.text.split("\n")[1:])

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return repr(_read(self.text))


Answers = dict[str, str] | StoredAnswers


def _read(text: str) -> dict[str, str]:
    read = (row.split(BETWEEN, 1) for row in text[1:].split("\n")) if text else ()
    return {session: answer for session, answer in read}  # noqa: C416  # mypy knows that these are two


def text_of(answers: Answers) -> str:
    """The rows of some answers, each behind a line break."""
    if isinstance(answers, StoredAnswers):
        return answers.text
    return "".join([f"\n{session}{BETWEEN}{answer}" for session, answer in answers.items()])


def answers_in(text: str, place: int = 0) -> tuple[Answers, int]:
    """The answers that the rows from a place in a text on stand for, up to the first row that is none; and its place.

    place: of the line break before the first row.
    """
    other = _other_row(text, place)
    end = len(text) if other is None else other.start()
    rows = text[place:end]
    count = rows.count("\n")
    if count > FEW:
        return StoredAnswers(rows, count), end
    return _read(rows), end
