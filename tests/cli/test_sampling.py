"""The looks of `holdfast top` and `holdfast web`: a deadlock is told while it is there, also if a session is silent."""

from __future__ import annotations

import asyncio
import dataclasses

from holdfast.cli.sampling import Sampler

from .found import deadlock, name, session

FOUND = [name("x", ["b"], ["a"]), name("y", ["a"], ["b", "c"]), name("z", ["c"], [])]
CIRCLE = deadlock(("a", "x"), ("b", "y"))


class Told:
    """A session that finds what it is told to find."""

    def __init__(self):
        self.found = FOUND
        self.deadlocks = [CIRCLE]
        self.silent = []
        self.asked = None

    async def inspect_all(self, on_error):
        return self.found

    async def find_deadlocks(self, names, within, on_silent, on_error):
        self.asked = names
        for each in self.silent:
            on_silent(session(each))
        return [*self.deadlocks]


def looks(*changes):
    """The deadlocks of a first look, and of another one after each change."""

    async def main():
        told = Told()
        sampler = Sampler(told, 0)
        samples = [await sampler.look()]
        for change in changes:
            change(told)
            samples.append(await sampler.look())
        assert told.asked == [one.name for one in told.found if one.waiters]
        return samples

    return asyncio.run(main())


def hush(told):
    told.deadlocks, told.silent = [], ["a"]


def end(told):
    told.deadlocks, told.silent = [], []


def with_another_token(told):
    x, *others = told.found
    told.found = [dataclasses.replace(x, holders=(dataclasses.replace(x.holders[0], token=2),)), *others]


def with_another_wait(told):
    x, *others = told.found
    later = x.waiters[0].since.replace(hour=1)
    told.found = [dataclasses.replace(x, waiters=(dataclasses.replace(x.waiters[0], since=later),)), *others]


def without_a_name(told):
    told.found = told.found[1:]


def test_names_in_a_deadlock_are_marked():
    (sample,) = looks()
    assert sample.deadlocks == [CIRCLE]
    assert {row.name: row.deadlock for row in sample.rows} == {"x": True, "y": True, "z": False}


def test_a_deadlock_with_a_session_that_is_silent_stays_while_the_records_show_it():
    _, second, third, fourth = looks(hush, hush, lambda told: setattr(told, "deadlocks", [CIRCLE]))
    for sample in (second, third, fourth):
        assert sample.deadlocks == [CIRCLE]
        assert [each.id for each in sample.silent] == ["a"]
    assert {row.name for row in second.rows if row.deadlock} == {"x", "y"}


def hush_somebody_else(told):
    told.deadlocks, told.silent = [], ["c"]


def without_tokens(told):
    told.found = [
        dataclasses.replace(one, holders=tuple(dataclasses.replace(each, token=None) for each in one.holders))
        for one in told.found
    ]


def test_it_goes_when_those_in_it_have_answered_whoever_else_is_silent():
    assert looks(hush_somebody_else)[1].deadlocks == []


def test_it_goes_where_no_token_tells_that_the_same_permit_is_held():
    _, second, third = looks(hush, without_tokens)
    assert second.deadlocks == [CIRCLE]
    assert third.deadlocks == []


def test_it_goes_when_all_have_answered_or_the_records_show_another_wait_or_grant():
    assert looks(end)[1].deadlocks == []
    for change in (with_another_token, with_another_wait, without_a_name):
        _, second, third, fourth = looks(hush, change, hush)
        assert second.deadlocks == [CIRCLE]
        assert third.deadlocks == fourth.deadlocks == [], change
