"""A change on etcd and the texts that wake-ups bring meanwhile: which of them a failing change may be blamed on.

The server here answers what the test says, when the test says it; all else is the engine's.
"""

from __future__ import annotations

import pytest

from holdfast.cluster.engines.etcd.changes import Changes
from holdfast.cluster.engines.etcd.keys import Keys
from holdfast.cluster.engines.etcd.knowledge import Knowledge, State, Version
from holdfast.cluster.engines.etcd.transactions import Outcome

NAME = "deploy"


class NotInTheTextError(Exception):
    """The text does not have what this session has added to it."""


class Link:
    """A link to a server that makes every change."""

    session, key, number, server = "me", b"key", 1, "etcd"

    def check_open(self):
        pass

    async def settle(self):
        pass

    async def transact(self, request, changes=False):
        return Outcome(succeeded=True, revision=100, found=[])


class WakeUps:
    def of_change(self, name, made, notices):
        return [], []

    def send_all(self, puts):
        pass


class Reading:
    """The texts that the server has, one for each time it is asked; and what a wake-up brings before the answer."""

    def __init__(self, known, *answers):
        self.known = known
        self.answers = [*answers]

    async def fetch(self, name):
        found, brought = self.answers.pop(0)
        if brought is not None:
            self.known.note(name, brought)
        return found


def without(as_of):
    """A text of another session's, as a wake-up brings it: without the addition of this session behind it."""
    return Version("theirs", revision=as_of, as_of=as_of)


def whole(as_of):
    """The same as the server has it."""
    return Version("theirs\nmine", revision=as_of, as_of=as_of, added=(b"mine",), counted=1)


def changes(known, *answers):
    reading = Reading(known, *answers)
    return Changes(Link(), Keys("default"), known, reading, WakeUps(), lost=None), reading


def change(stored):
    if "mine" not in stored.text:
        raise NotInTheTextError
    return f"{stored.text}\nmore", stored.text


def apply(engine):
    return engine.apply(NAME, change, evicted=(), notices=None, addition=None, opens=None)


@pytest.fixture
def known():
    found = Knowledge()
    found.begin(State("incarnation", 0, 0), 1)
    found.note(NAME, without(5))
    return found


async def test_wake_ups_that_leave_out_what_this_session_has_added_do_not_make_a_change_fail(known):
    """Seen in a soak: a session that held the lock was told that its record had been replaced."""
    engine, reading = changes(known, (whole(6), without(7)), (whole(8), without(9)), (whole(10), None))
    assert await apply(engine) == "theirs\nmine"
    assert not reading.answers


async def test_a_change_that_fails_on_what_the_server_has_fails(known):
    engine, reading = changes(known, (without(6), None))
    with pytest.raises(NotInTheTextError):
        await apply(engine)
    assert not reading.answers
