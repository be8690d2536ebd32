"""The record of a RateLimiter beside a model of it, with a clock that the test moves."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.cluster.records.additions import added
from holdfast.cluster.records.any_kind import decode_any
from holdfast.cluster.records.rate_limiter import (
    MICROS,
    TAKEN,
    Claim,
    PutBack,
    RateLimiterRecord,
    Take,
    TryTake,
    turn,
    wait_of,
)
from holdfast.cluster.records.record import Withdraw
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import decode, encode

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
START = 1_700_000_000.0
RATE, PER, BURST = 5, 2, 4
EACH = Fraction(PER, RATE)
"""Seconds that a token takes to come."""
SESSIONS = st.sampled_from("abc")
INITIAL = RateLimiterRecord(rate=RATE, per=PER, burst=BURST)


class Limiter(RuleBasedStateMachine):
    """The model: a bucket that is filled as time passes, and a list of who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.record = INITIAL
        self.now = Fraction(START)
        self.level = Fraction(BURST)
        self.line: list[tuple[str, int, int]] = []
        self.head: tuple[str, int, int] | None = None
        self.told: dict[tuple[str, int], Fraction] = {}
        """The time at which each ticket was told that its tokens would be there."""
        self.numbers = {"a": 0, "b": 0, "c": 0}
        self.taken: list[tuple[Fraction, int]] = []

    def do(self, session: str, operation: object) -> int:
        """By a change, and as if it were stored behind the record: both have to give the same."""
        self.numbers[session] += 1
        batch = Batch(session, self.numbers[session], (operation,), float(self.now))
        text = encode(self.record)
        assert decode(text, "x", INITIAL) == decode_any(text, "x") == self.record
        done = step(self.record, batch)
        row = f"{text}\n{round(self.now * MICROS)} {session}{added(INITIAL, batch)}"
        assert decode(row, "x", INITIAL) == done.record
        self.record = done.record
        for wake in done.wakes:
            if wake.tickets:
                assert wake.value > TAKEN
                self.told[wake.session, wake.ticket] = self.now + Fraction(wait_of(wake.value)).limit_denominator(
                    MICROS
                )
        [outcome] = done.outcomes
        return outcome

    def wait_for(self, tokens: int) -> Fraction:
        return max(tokens - self.level, Fraction(0)) * EACH

    def take(self, tokens: int) -> None:
        self.level -= tokens
        self.taken.append((self.now, tokens))

    @rule(milliseconds=st.integers(1, 3000))
    def some_time_passes(self, milliseconds: int) -> None:
        self.time_passes(milliseconds)

    def time_passes(self, milliseconds: int) -> None:
        passed = Fraction(milliseconds, 1000)
        self.now += passed
        self.level = min(self.level + passed / EACH, Fraction(BURST))

    @rule(session=SESSIONS, tokens=st.integers(1, BURST))
    def ask(self, session: str, tokens: int) -> None:
        ticket = self.numbers[session] + 1
        outcome = self.do(session, Take(ticket, tokens))
        if not self.line and not self.wait_for(tokens):
            assert outcome == TAKEN
            self.take(tokens)
            return
        self.line.append((session, ticket, tokens))
        if len(self.line) > 1:
            assert outcome == 0
        else:
            assert outcome == turn(round(self.wait_for(tokens) * MICROS))
            self.told[session, ticket] = self.now + self.wait_for(tokens)

    @rule(session=SESSIONS, tokens=st.integers(1, BURST))
    def try_to_take(self, session: str, tokens: int) -> None:
        outcome = self.do(session, TryTake(self.numbers[session] + 1, tokens))
        if not self.line and not self.wait_for(tokens):
            assert outcome == TAKEN
            self.take(tokens)
        else:
            assert outcome == -1

    @rule(index=st.integers(0, 5))
    def claim(self, index: int) -> None:
        if not self.line:
            return
        session, ticket, tokens = self.line[index % len(self.line)]
        outcome = self.do(session, Claim(ticket))
        if index % len(self.line):
            assert outcome == 0, "it has overtaken"
        elif wait := self.wait_for(tokens):
            assert outcome == -1 - round(wait * MICROS)
        else:
            assert outcome == TAKEN
            self.take(tokens)
            self.line.pop(0)

    @rule()
    def claim_in_time(self) -> None:
        if self.line:
            self.time_passes(math.ceil(self.wait_for(self.line[0][2]) * 1000))
            self.claim(0)

    @rule(index=st.integers(0, 5), by=st.booleans())
    def leave(self, index: int, by: bool) -> None:
        if not self.line:
            return
        session, ticket, tokens = self.line.pop(index % len(self.line))
        assert self.do(session, PutBack(ticket, tokens, 0) if by else Withdraw(ticket)) == 1

    @rule(session=SESSIONS)
    def die(self, session: str) -> None:
        self.line = [entry for entry in self.line if entry[0] != session]
        done = step(self.record, Batch("", 0, (), float(self.now)), {session})
        self.record = done.record
        for wake in done.wakes:
            if wake.tickets:
                self.told[wake.session, wake.ticket] = self.now + Fraction(wait_of(wake.value)).limit_denominator(
                    MICROS
                )

    @rule(session=SESSIONS, tokens=st.integers(1, BURST), milliseconds=st.integers(0, 500))
    def take_and_put_back(self, session: str, tokens: int, milliseconds: int) -> None:
        """Nobody takes any in between, so it is as if they had not been taken."""
        ticket = self.numbers[session] + 1
        if self.do(session, TryTake(ticket, tokens)) == TAKEN:
            before = self.level
            self.time_passes(milliseconds)
            assert self.do(session, PutBack(ticket, tokens, milliseconds * 1000)) == 0
            had = before - tokens + Fraction(milliseconds, 1000) / EACH
            back = max(tokens - Fraction(milliseconds, 1000) / EACH, Fraction(0))
            self.level = min(had + back, Fraction(BURST))

    @invariant()
    def they_say_the_same(self) -> None:
        assert [(run.session, ticket, run.asks) for run in self.record.line for ticket in run.tickets()] == self.line
        assert not self.record.holding()
        if self.line:
            session, ticket, tokens = self.line[0]
            assert (session, ticket) in self.told, "nobody has told it that it stands at the head"
            assert self.told[session, ticket] <= self.now + self.wait_for(tokens) + Fraction(1, 1000), (
                "it is told to wait too long"
            )
        now = self.record.but(changed=float(self.now))
        assert abs(now.tokens() - float(self.level)) < 0.001

    @invariant()
    def no_more_are_taken_than_may_be(self) -> None:
        for index, (since, _) in enumerate(self.taken):
            for end, (until, _) in enumerate(self.taken[index:], index):
                most = BURST + (until - since) / EACH
                assert sum(tokens for _, tokens in self.taken[index : end + 1]) <= most + Fraction(1, 1000)


Limiter.TestCase.settings = settings(
    derandomize=not DEEP,
    database=None,
    deadline=None,
    max_examples=5000 if DEEP else 60,
    stateful_step_count=80 if DEEP else 30,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
TestLimiter = Limiter.TestCase


def applied(
    record: RateLimiterRecord, at: float, session: str, number: int, operation: object
) -> tuple[RateLimiterRecord, int]:
    done = step(record, Batch(session, number, (operation,), at))
    return done.record, done.outcomes[0]


def test_what_was_put_back_late_is_not_had_twice() -> None:
    """It was taken, has come again and was taken again: there is nothing to put back."""
    record, _ = applied(INITIAL, START, "a", 1, Take(1, BURST))
    full = START + float(BURST * EACH)
    record, taken = applied(record, full, "b", 1, Take(1, BURST))
    assert taken == TAKEN
    record, _ = applied(record, full, "a", 2, PutBack(1, BURST, round(float(BURST * EACH) * MICROS)))
    assert record.tokens() == 0


def test_who_waits_is_told_when_tokens_are_put_back() -> None:
    record, _ = applied(INITIAL, START, "a", 1, Take(1, BURST))
    record, outcome = applied(record, START, "b", 1, Take(1, BURST))
    assert outcome == turn(round(float(BURST * EACH) * MICROS))
    done = step(record, Batch("a", 2, (PutBack(1, BURST, 0),), START))
    assert [(wake.session, wake.ticket, wake.value) for wake in done.wakes if wake.tickets] == [("b", 1, turn(0))]


@pytest.mark.parametrize("hours", [1, 1000])
def test_a_clock_that_was_set_back_costs_one_burst(hours: int) -> None:
    record, _ = applied(INITIAL, START, "a", 1, Take(1, 1))
    record, outcome = applied(record, START - 3600 * hours, "a", 2, Take(2, 1))
    assert outcome == turn(round(float(EACH) * MICROS))
    record, outcome = applied(record, START - 3600 * hours + float(EACH), "a", 3, Claim(2))
    assert outcome == TAKEN


def test_a_record_is_as_good_as_new_when_all_tokens_are_there_again() -> None:
    record, _ = applied(INITIAL, START, "a", 1, Take(1, BURST))
    assert not record.is_initial()
    assert not record.as_of(START + float(BURST * EACH) - 0.001).is_initial()
    assert record.as_of(START + float(BURST * EACH)).is_initial()


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 7, 1e6])
@pytest.mark.parametrize("per", [0.5, 1, 86400])
def test_the_kind_says_the_rate(rate: float, per: float) -> None:
    record = RateLimiterRecord(rate=float(rate), per=float(per), burst=3)
    assert RateLimiterRecord.of_kind(record.kind) == record
    assert record.tokens() == 3


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "rate limiter",
            "rate limiter of 3",
            "rate limiter of 0 per 1 s, 1 at most",
            "rate limiter of 1 per 0 s, 1 at most",
        ),
        *(
            "rate limiter of 1.0 per 1 s, 1 at most",
            "rate limiter of inf per 1 s, 1 at most",
            "rate limiter of 1 per 1 s, 0 at most",
        ),
        *(
            "rate limiter of nan per 1 s, 1 at most",
            "rate limiter of 1 per 1 m, 1 at most",
            "rate limiter of x per 1 s, 1 at most",
        ),
    ],
)
def test_a_kind_that_is_only_nearly_one(kind: str) -> None:
    assert RateLimiterRecord.of_kind(kind) is None
