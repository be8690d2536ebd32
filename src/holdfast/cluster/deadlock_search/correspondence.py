"""How one session asks others what their tasks and threads wait for and hold, and how they answer.

Question and answer are messages to a session under no name, as wake-ups are sent. So no engine knows of them, nothing
is stored, and nothing is left behind. A session of an earlier version takes such a message for a hint to look at
itself, and does not answer; nor does one whose process stands still. A message may be lost, so it is sent again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import ceil

from holdfast.cluster.records import shapes
from holdfast.cluster.session_life.life import Life

from .testimony import Question, Statement, decode, encode

log = logging.getLogger("holdfast.cluster")
_ASKS, _SAYS = "ask", "say"
LONGEST = 2500
"""Characters of a question or of a part of an answer. What has most escapes is twice as long in a notification of
PostgreSQL, which takes 8,000 bytes."""
AGAIN = 0.3
"""Seconds after which who has not answered is asked again; then after twice as long, and so on."""
_numbers = itertools.count(1)


def hear(life: Life, message: str) -> bool:
    """A message has come to a session under no name. Anybody may have sent it. Return whether it is of these."""
    word, _, rest = message.partition(" ")
    if word == _ASKS:
        number, _, rest = rest.partition(" ")
        asker, _, text = rest.partition(" ")
        question = Question.decode(text) if _is_id(asker) else None
        answer = None if question is None else _answer(life, question)
        if answer is None:
            return True
        parts = max(1, ceil(len(answer) / LONGEST))
        for part in range(parts):
            piece = answer[part * LONGEST : (part + 1) * LONGEST]
            life.engine.wake(asker, "", f"{_SAYS} {number} {part} {parts} {piece}")
    elif word == _SAYS:
        number, _, rest = rest.partition(" ")
        expected = life.expected.get(number)
        if expected is not None:
            expected(rest)
    else:
        return False
    return True


def _is_id(text: str) -> bool:
    """Whether a text may be a session's id. Engines put it into the names of files and keys."""
    return shapes.session(text) and "/" not in text


def _answer(life: Life, question: Question) -> str | None:
    """The answer; None if there is none, as where the stacks of tasks are not as CPython has them."""
    try:
        from .witnesses import testify  # what it stands on is loaded where somebody asks

        return encode(testify(life, question))
    except Exception:
        log.debug("%s cannot say what its tasks wait for, and does not answer", life, exc_info=True)
        return None


async def ask(life: Life, questions: Mapping[str, Sequence[Question]], seconds: float) -> dict[str, list[Statement]]:
    """Ask sessions; return what each that has answered all of its questions has said. Each answer was made after this
    was called.

    life: the session that asks. questions: by session. seconds: how long to wait for the answers, at most.

    Raises SessionLost if the session that asks is over.

    Cancellation: raises at once; answers that still come are dropped.
    """
    asked = [(session, _Asked(life, session, each)) for session, some in questions.items() for each in some]
    end, pause = life.loop.time() + seconds, AGAIN
    try:
        while open_ones := [each for _, each in asked if not each.answer.done()]:
            left = end - life.loop.time()
            if left <= 0:
                break
            for each in open_ones:
                each.send()
            await asyncio.wait([each.answer for each in open_ones], timeout=min(pause, left))
            pause *= 2
            life.check_alive()
    finally:
        for _, each in asked:
            each.forget()
    silent = {session for session, each in asked if not each.answer.done()}
    said: dict[str, list[Statement]] = {session: [] for session in questions if session not in silent}
    for session, each in asked:
        if session not in silent:
            said[session] += each.answer.result()
    return said


class _Asked:
    """A question to one session."""

    def __init__(self, life: Life, session: str, question: Question) -> None:
        self.answer: asyncio.Future[list[Statement]] = life.loop.create_future()
        self._life = life
        self._session = session
        self._question = question
        self._numbers: list[str] = []

    def send(self) -> None:
        """Each time under another number, as two answers may differ."""
        number = str(next(_numbers))
        self._numbers.append(number)
        if self._session == self._life.id:
            self._life.loop.call_soon(self._answer_itself)  # no task runs then, so all can be looked at
            return
        self._life.expected[number] = partial(self._gather, {})
        self._life.engine.wake(self._session, "", f"{_ASKS} {number} {self._life.id} {self._question.encode()}")

    def _answer_itself(self) -> None:
        if not self.answer.done():
            self._take(_answer(self._life, self._question))

    def _gather(self, pieces: dict[str, str], said: str) -> None:
        """A part of an answer has come. pieces: the parts that have come before, by their numbers."""
        part, _, rest = said.partition(" ")
        parts, _, piece = rest.partition(" ")
        pieces[part] = piece
        numbers = [str(number) for number in range(len(pieces))]
        if str(len(pieces)) == parts and pieces.keys() == {*numbers}:
            self._take("".join(map(pieces.__getitem__, numbers)))

    def _take(self, text: str | None) -> None:
        statements = None if text is None else decode(text)
        if statements is not None and not self.answer.done():
            self.answer.set_result(statements)

    def forget(self) -> None:
        """Take no answer any more."""
        for number in self._numbers:
            self._life.expected.pop(number, None)


def in_parts(names: Iterable[str], tickets: Iterable[tuple[str, int]]) -> list[Question]:
    """Questions of these names and tickets, each short enough to be sent."""
    questions: list[Question] = []
    for question in (
        *(Question((name,), ()) for name in names),
        *(Question((), (ticket,)) for ticket in tickets),
    ):
        if questions:
            last = questions[-1]
            joint = Question(last.names + question.names, last.tickets + question.tickets)
            if len(joint.encode()) <= LONGEST:
                questions[-1] = joint
                continue
        questions.append(question)
    return questions
