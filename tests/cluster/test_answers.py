"""The answers that a record keeps: they stay texts, and are checked when they are read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cluster.records import stored
from holdfast.cluster.records.answers import Answer, answer_to, answers_in, batch_of, of_answers
from holdfast.cluster.records.lock import Acquire, LockRecord
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import decode, encode

NUMBERS = st.integers(0, 3) | st.integers(0, 10**30)
OUTCOMES = st.lists(st.integers(-1, 2) | st.integers(0, 10**30), max_size=6)


@given(st.dictionaries(st.sampled_from(["a", "b", "a session of 7", ""]), st.tuples(NUMBERS, OUTCOMES)))
def test_an_answer_says_what_was_answered(answered):
    answers = {session: answer_to(*each) for session, each in answered.items()}
    assert answers_in([*of_answers(answers)]) == answers
    for session, (batch, outcomes) in answered.items():
        assert batch_of(answers[session]) == batch
        assert Answer.read(answers[session]).outcomes == (*outcomes,)
        assert Answer.of(batch, outcomes).text == answers[session]


@settings(max_examples=1000)
@given(st.text("a \t-0123456789", max_size=12) | st.text("a\t01", max_size=8), st.sampled_from([[], ["b\t1\t1"]]))
def test_what_is_believed_is_as_it_would_be_written(row, others):
    answers = answers_in([*others, row])
    if answers is not None:
        session, answer = [*answers.items()][-1]
        assert Answer.read(answer).text == answer
        assert row == f"{session}\t{answer}"
        assert all(0 < times < 10**8 for times in Answer.read(answer).packed[1::2])


def test_the_answers_to_others_and_the_head_are_not_read(monkeypatch):
    mine = LockRecord().but(made_by="me")
    for number, session in enumerate("abc"):
        mine = step(mine, Batch(session, number + 1, (Acquire(1),))).record
    read = []
    monkeypatch.setattr(Answer, "read", lambda text: read.append(text))
    monkeypatch.setattr(stored, "parse", lambda *args: read.append(args))
    found = decode(encode(mine), "x", LockRecord(), LockRecord().but(made_by="me"))
    assert found.but(tokens=mine.tokens) == mine
    assert encode(step(found, Batch("a", 2, (Acquire(2),))).record)
    assert not read
