"""The answers that a record keeps: they stay texts, and are checked when they are read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cluster.errors import FormatError
from holdfast.cluster.records import stored
from holdfast.cluster.records.answers import Answer, answer_to, answers_in, batch_of, text_of
from holdfast.cluster.records.lock import Acquire, LockRecord
from holdfast.cluster.records.shapes import FEW
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import decode, encode

NUMBERS = st.integers(0, 3) | st.integers(0, 10**30)
OUTCOMES = st.lists(st.integers(-1, 2) | st.integers(0, 10**30), max_size=6)


@given(st.dictionaries(st.sampled_from(["a", "b", "a session of 7", ""]), st.tuples(NUMBERS, OUTCOMES)))
def test_an_answer_says_what_was_answered(answered):
    answers = {session: answer_to(*each) for session, each in answered.items()}
    text = text_of(answers)
    found, end = answers_in(text)
    assert (found, [*found], len(found), end) == (answers, [*answers], len(answers), len(text))
    for session, (batch, outcomes) in answered.items():
        assert batch_of(answers[session]) == batch
        assert Answer.read(answers[session]).outcomes == (*outcomes,)
        assert Answer.of(batch, outcomes).text == answers[session]


@settings(max_examples=1000)
@given(st.text("a \t-0123456789", max_size=12) | st.text("a\t01", max_size=8), st.integers(0, FEW + 1))
def test_what_is_believed_is_as_it_would_be_written(row, others):
    before = "".join(f"\nb{other}\t1\t1" for other in range(others))
    answers, end = answers_in(f"{before}\n{row}\n\t[")
    assert text_of(answers) == f"{before}\n{row}\n\t["[:end]
    if end == len(before):
        assert len(answers) == others
    else:
        session, answer = [*answers.items()][-1]
        assert Answer.read(answer).text == answer
        assert row == f"{session}\t{answer}"
        assert all(0 < times < 10**8 for times in Answer.read(answer).packed[1::2])


@given(
    st.integers(0, 2 * FEW),
    st.lists(st.tuples(st.sampled_from(["s0", "s1", "s7", "t"]), st.sampled_from(["", "1\t1", "12"]))),
)
def test_many_answers_are_changed_as_those_in_a_dict_are(many, changes):
    expected = {f"s{number}": "3\t-1" for number in range(many)}
    answers, _ = answers_in(text_of(expected))
    before, text = answers.copy(), text_of(answers)
    for session, answer in changes:
        assert answers.pop(session, None) == expected.pop(session, None)
        assert session not in answers
        assert answers.get(session) is None
        if answer:
            answers[session] = expected[session] = answer
            answers[session] = answer
    assert (answers, [*answers.items()], len(answers)) == (expected, [*expected.items()], len(expected))
    for session in [*expected]:
        del answers[session], expected[session]
        assert answers == expected
    assert text_of(before) == text


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


@pytest.mark.parametrize("rows", [2, FEW + 1])
def test_a_damaged_record_with_two_answers_to_one_session(rows):
    """Either it is refused, or the last one counts, as it always has."""
    answers = "".join(f"\n{'a' if number < 2 else number}\t{number + 1}\t1" for number in range(rows))
    head = '{"format":4,"kind":"lock","by":"x"}'
    for count in (rows, rows - 1):
        try:
            record = decode(f"{head}{answers}\n\t[0,{count},1.0,1,null]", "x", LockRecord())
        except FormatError:
            continue
        assert (count, batch_of(record.answers["a"])) == (rows, 2)
